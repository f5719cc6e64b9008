"""Make ``cloze.json``: passages that end before a word, and four words to choose from.

    python data/make_cloze.py [--output data/cloze.json]

Three kinds, each from a source that anybody can get: the last word of a sentence of the held-out text; the country of
a city, from the time-zone database; sums of two numbers. What was chosen, and why, is in PROVENANCE.md beside this
script. Nothing in it is random: what has to be picked is picked by a hash, so the same sources give the same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import importlib.resources
import itertools
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

HERE = Path(__file__).parent
WORDS, PLACES = 240, 240  # items of these two kinds
SUMS = {1: 60, 2: 100}  # digits of the numbers: items

Item = tuple[str, list[str], int]
"""What is read; what may follow; which of these is right."""


def by_hash(things: Iterable[str], salt: str) -> list[str]:
    """The same things in an order that nobody chose."""
    return sorted(things, key=lambda thing: hashlib.sha256(f"{salt}|{thing}".encode()).digest())


def spread(things: list[Item], n: int) -> list[Item]:
    """`n` of them at equal distances."""
    if len(things) < n:
        raise SystemExit(f"{n} items are wanted, and only {len(things)} were found")
    return [things[k * len(things) // n] for k in range(n)]


def item(context: str, right: str, wrong: Iterable[str]) -> Item:
    """The choices in the order of the alphabet, so that their place says nothing."""
    choices = sorted([right, *wrong])
    if len(set(choices)) != 4:
        raise SystemExit(f"four different choices are needed, got {choices}")
    return context, [f" {choice}" for choice in choices], choices.index(right)


def sentence_ends(text: str) -> Iterator[tuple[str, str]]:
    """A whole sentence without its last word, and that word."""
    for document in text.split("\n\n"):
        for found in re.finditer(r"(?:^|(?<=[.?!] ))([A-Z][^.?!\"\n]{60,150}) ([a-z]{5,})(?=\.(?: |$))", document):
            yield found[1], found[2]


def words(text: str) -> list[Item]:
    """Last words of sentences; the wrong ones end other sentences, with the same last two letters and about as long."""
    ends = list(sentence_ends(text))
    counts, known = Counter(word for _, word in ends), {word for _, word in ends}
    made = []
    for context, right in ends:
        alike = {w for w in known if w[-2:] == right[-2:] and abs(len(w) - len(right)) <= 2 and w != right}
        wrong = by_hash(alike, context)[:3]
        if counts[right] <= 3 and len(wrong) == 3 and right not in context.lower():
            made.append(item(context, right, wrong))
    return spread(made, WORDS)


def places() -> list[Item]:
    """Cities of the time-zone database and their countries; the wrong countries lie in the same part of the world."""
    folder = importlib.resources.files("tzdata").joinpath("zoneinfo")

    def rows(name: str) -> list[list[str]]:
        lines = folder.joinpath(name).read_text(encoding="utf-8").splitlines()
        return [line.split("\t") for line in lines if line and not line.startswith("#")]

    country = {code: name for code, name in rows("iso3166.tab") if re.fullmatch(r"[A-Za-z ]+", name)}
    cities = [(code, *zone.split("/")) for code, _, zone, *_ in rows("zone.tab") if code in country]
    known = [(country[c[0]], c[1], c[2].replace("_", " ")) for c in cities if len(c) == 3]
    made = []
    for right, region, city in known:
        near = {name for name, where, _ in known if where == region and abs(len(name) - len(right)) <= 4}
        wrong = by_hash(near - {right}, city)[:3]
        named = city.lower() in right.lower() or right.lower() in city.lower()  # Singapore, Guatemala
        if region != "Antarctica" and not named and len(wrong) == 3:
            made.append(item(f"{city} is a place in", right, wrong))
    return spread(made, PLACES)


def sums(digits: int) -> list[Item]:
    """Two solved sums and one to solve; wrong are a carry too many or too few, and one more or less."""
    low, high = 10 ** (digits - 1), 10**digits
    pairs = by_hash((f"{a} {b}" for a, b in itertools.product(range(low, high), repeat=2)), "sums")
    numbers = [tuple(map(int, pair.split())) for pair in pairs]
    solved = ", ".join(f"{a} + {b} = {a + b}" for a, b in numbers[:2])
    made = []
    for a, b in numbers[2 : SUMS[digits] + 2]:
        right = a + b
        carried = right - 10 if digits > 1 and a % 10 + b % 10 > 9 else right + (10 if digits > 1 else 2)
        made.append(item(f"{solved}, {a} + {b} =", str(right), (str(right - 1), str(right + 1), str(carried))))
    return made


def main() -> None:
    """Make all kinds, and write them."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--output", type=Path, default=HERE / "cloze.json")
    output = parser.parse_args().output
    tasks = {
        "words": words((HERE / "tiny-heldout.txt").read_text(encoding="utf-8")),
        "places": places(),
        **{f"sums of {n}-digit numbers": sums(n) for n in SUMS},
    }
    about = {
        "words": "last words of sentences in data/tiny-heldout.txt",
        "places": f"zone.tab and iso3166.tab of package tzdata {importlib.metadata.version('tzdata')}",
        "sums": "made by data/make_cloze.py",
    }
    lines = [
        f' "{name}": [\n' + ",\n".join(f"  {json.dumps(row)}" for row in rows) + "\n ]" for name, rows in tasks.items()
    ]
    text = f'{{\n "about": {json.dumps(about)},\n' + ",\n".join(lines) + "\n}\n"
    output.write_text(text, encoding="utf-8")
    for name, rows in tasks.items():
        print(f"{len(rows)} {name}: {rows[0]}")


if __name__ == "__main__":
    main()
