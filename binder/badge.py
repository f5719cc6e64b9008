"""Put the Binder badge into README.md, for the repository that this checkout was cloned from.

python binder/badge.py [REMOTE]      the remote is `origin` unless another is named; on GitHub or GitLab
python binder/badge.py --remove      take it out again
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

README = Path(__file__).resolve().parents[1] / "README.md"
MARK = "<!-- binder badge: python binder/badge.py puts it here -->"
BEFORE = re.compile(r"\n\[!\[Open the course on Binder\].*", re.MULTILINE)
FIRST = "lab/tree/notebooks/00_start_here.ipynb"
REMOTE = re.compile(
    r"(?:https?://(?:[^/@]+@)?|ssh://git@|git@)(github|gitlab)\.com[:/]([\w.-]+(?:/[\w.-]+)*)/([\w.-]+?)(?:\.git)?/?$"
)


def badge(remote: str) -> str:
    """The badge's line for the address of a remote."""
    found = REMOTE.match(remote.strip())
    if found is None:
        raise SystemExit(f"{remote.strip()!r} is no address on GitHub or GitLab that Binder knows; name another remote")
    host, owner, name = found.groups()
    at = f"gh/{owner}/{name}" if host == "github" else f"gl/{quote(f'{owner}/{name}', safe='')}"
    address = f"https://mybinder.org/v2/{at}/HEAD?urlpath={FIRST}"
    return f"[![Open the course on Binder](https://mybinder.org/badge_logo.svg)]({address})"


def main(arguments: list[str]) -> None:
    """Rewrite README.md."""
    text = BEFORE.sub("", README.read_text(encoding="utf-8"))
    if MARK not in text:
        raise SystemExit(f"README.md has no line {MARK}")
    if arguments != ["--remove"]:
        command = ["git", "-C", str(README.parent), "remote", "get-url", *(arguments or ["origin"])]
        asked = subprocess.run(command, capture_output=True, text=True)
        if asked.returncode:
            raise SystemExit(f"{asked.stderr.strip()}; name the remote where the course is published")
        text = text.replace(MARK, f"{MARK}\n{badge(asked.stdout)}")
    README.write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main(sys.argv[1:])
