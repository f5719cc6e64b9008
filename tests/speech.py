"""Speech that is synthesised by espeak-ng, what whisper.cpp hears in it, and how many words of it are wrong."""

import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from scipy.io import wavfile
from scipy.signal import resample_poly

ESPEAK = shutil.which("espeak-ng")
RATE = 16_000  # samples a second, which whisper.cpp expects

TEXTS = (
    "The train leaves the station early in the morning, and nobody knows when it will come back. "
    "My neighbour keeps three brown hens behind the house. "
    "Please put the heavy boxes on the lowest shelf.",
    "A good map shows where the river bends and where the bridge is closed. "
    "She wrote a long letter to her brother, who lives near the harbour. "
    "The soup was too hot, so we waited a little.",
    "In winter the children walk to school before the sun is up. "
    "Every second window in the old factory was broken. "
    "He asked for a cup of tea and a piece of bread.",
    "The doctor told him to rest for a week and to drink a lot of water. "
    "Two small boats came around the island in the evening. "
    "Nobody answered the telephone, although it rang for a long time.",
    "Numbers that are stored with fewer bits take less room on the disk. "
    "A model of the weather needs the temperature of the sea. "
    "We bought apples, onions and a bag of flour at the market.",
    "The museum opens early and closes late, except on Monday. "
    "His grandfather repaired clocks in a narrow street behind the church. "
    "When the music stopped, everybody looked at the door.",
)


def spoken(text: str, voice: str = "en-us", words_a_minute: int = 150) -> np.ndarray:
    """Float32 samples at `RATE`."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "speech.wav"
        subprocess.run([ESPEAK, "-v", voice, "-s", str(words_a_minute), "-w", path, text], check=True)
        rate, samples = wavfile.read(path)
    return resample_poly(samples.astype(np.float32) / 32768, RATE, rate).astype(np.float32)


def heard(model: Path, speech: list[np.ndarray], threads: int = 1) -> list[str]:
    """What whisper.cpp makes of each recording: greedy, so that the same file gives the same text."""
    from pywhispercpp.model import Model

    with tempfile.TemporaryFile() as log:
        whisper = Model(str(model), n_threads=threads, redirect_whispercpp_logs_to=log, print_progress=False)
        options = {"language": "en", "temperature": 0.0, "temperature_inc": 0.0}
        return [" ".join(part.text for part in whisper.transcribe(samples, **options)) for samples in speech]


def words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9']+", text.lower())


def word_errors(said: str, text: str) -> int:
    """Words to be put in, taken out or changed: Levenshtein's distance.

    >>> word_errors("a good map shows the river", "A good map: it shows a river.")
    2
    """
    a, b = words(said), words(text)
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        diagonal, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (x != y))
    return row[-1]
