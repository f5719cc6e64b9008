"""Word errors of Whisper tiny.en in whisper.cpp's formats, on speech that espeak-ng synthesises.

    python benchmarks/whisper.py [--json FILE]

Wants `qviz fetch whisper-tiny.en`, espeak-ng and pywhispercpp. A synthesiser is no person: compare formats with it, do
not transfer its figures. What lesson 12 shows is `data/whisper-word-errors.json`, which ``--json`` wrote.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import qviz

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import speech

FORMATS = ("F16", "Q8_0", "Q5_1", "Q5_0", "Q4_1", "Q4_0")
VOICES = (("en-us", 150), ("en-gb", 170))  # and words a minute


def main() -> None:
    """Quantize, transcribe, count."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    source = qviz.fetch("whisper-tiny.en")
    recordings = [speech.spoken(text, *voice) for voice in VOICES for text in speech.TEXTS]
    texts = speech.TEXTS * len(VOICES)
    total = sum(len(speech.words(text)) for text in texts)
    seconds = sum(map(len, recordings)) / speech.RATE
    print(f"{len(recordings)} recordings, {seconds:.0f} s, {total} words")
    plain, table = None, {}
    with tempfile.TemporaryDirectory() as folder:
        for name in FORMATS:
            path = source if name == "F16" else Path(folder) / f"{name}.bin"
            if path != source:
                qviz.quantize_model(source, path, name)
            heard = speech.heard(path, recordings)
            plain = plain or heard
            errors = list(map(speech.word_errors, heard, texts))
            moved = sum(map(speech.word_errors, heard, plain))
            table[name] = {"bytes": path.stat().st_size, "errors": errors, "other than F16": moved}
            print(
                f"{name:5} {path.stat().st_size:>11,} bytes  {sum(errors):3} word errors, {sum(errors) / total:6.2%}"
                f"  {moved:3} words other than with F16",
            )
    if args.json:
        described = {
            "model": "Whisper tiny.en",
            "speech": f"{len(recordings)} recordings, {seconds:.0f} s, synthesised by {_espeak()}",
            "heard by": f"whisper.cpp, as in pywhispercpp {importlib.metadata.version('pywhispercpp')}, greedy",
            "measured": datetime.date.today().isoformat(),
            "words": [len(speech.words(text)) for text in texts],
            "formats": table,
        }
        lines = json.dumps(described, indent=1)
        lines = re.sub(r"\[[\d,\s]+\]", lambda found: " ".join(found[0].split()), lines)
        args.json.write_text(lines + "\n", encoding="utf-8")


def _espeak() -> str:
    said = subprocess.run([speech.ESPEAK, "--version"], capture_output=True, text=True, check=True).stdout
    return "espeak-ng " + re.search(r"\d[\d.]+", said)[0]


if __name__ == "__main__":
    main()
