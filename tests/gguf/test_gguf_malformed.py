"""Everything that a reader must refuse: with a `GGUFError` that says where and what, in bounded time and memory."""

from __future__ import annotations

import os
import random
import struct
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import libggml_opens
import pytest
from raw import ARR, BOOL, F32, I32, STR, U8, U16, U32, Raw, small

from qviz import gguf
from qviz.errors import GGUFError, NotEncodableError
from qviz.gguf.foreign import ForeignFormat

R = Raw()
V1 = Raw(version=1)
BIG = Raw(endian="big")
DATA = bytes(64)
F32_ID, Q4_0_ID = 0, 2


def one(dims: list[int], type_id: int = F32_ID, offset: int = 0, name: str | bytes = "w", data: bytes = DATA) -> bytes:
    return R.file([], [R.info(name, dims, type_id, offset)], data)


def two(first: bytes, second: bytes, data: bytes = bytes(128)) -> bytes:
    return R.file([], [first, second], data)


def key(raw_key: bytes, n: int | None = None) -> bytes:
    return R.file([R.length(len(raw_key) if n is None else n) + raw_key + R.number("I", U8) + b"\1"])


def array(item_type: int, count: int, body: bytes = b"", raw: Raw = R) -> bytes:
    return raw.file([raw.text("a") + raw.number("I", ARR) + raw.number("I", item_type) + raw.length(count) + body])


def nested(depth: int) -> bytes:
    body = (R.number("I", ARR) + R.length(1)) * (depth - 1) + R.number("I", U8) + R.length(1) + b"\7"
    return R.file([R.text("a") + R.number("I", ARR) + body])


def alignment(type_: int, value: object) -> bytes:
    return R.file([R.pair("general.alignment", type_, value)])


KV = 24  # where the first key starts in version 2 and 3
INFO = 24  # and the first tensor info, without keys


@dataclass
class Case:
    data: bytes
    problem: str  # what the message says
    offset: int | None = None  # where it says it is
    ggml: bool = True  # libggml refuses it too, in every version


CASES = {
    # the header
    "bad magic": Case(R.file(magic=b"GGUX"), "not a GGUF file", 0),
    "version 0": Case(R.file(version=0), "unknown GGUF version", 4),
    "version 4": Case(R.file(version=4), "unknown GGUF version", 4),
    "version -1": Case(R.file(version=0xFFFFFFFF), "unknown GGUF version", 4),
    "version 65536": Case(R.file(version=1 << 16), "unknown GGUF version", 4),
    "version big, rest little": Case(
        b"GGUF" + BIG.number("I", 3) + small()[8:], "more metadata keys than the file has room for", 16
    ),
    "version little, rest big": Case(
        b"GGUF" + R.number("I", 3) + small(BIG)[8:], "more metadata keys than the file has room for", 16
    ),
    "too many keys": Case(R.file(n_pairs=1000), "more metadata keys than", 16),
    "2^63 keys": Case(R.file(n_pairs=1 << 63), "more metadata keys than", 16),
    "2^64 - 1 keys": Case(R.file(n_pairs=2**64 - 1), "more metadata keys than", 16),
    "too many tensors": Case(R.file(n_tensors=1000), "more tensors than", 8),
    "2^63 tensors": Case(R.file(n_tensors=1 << 63), "more tensors than", 8),
    "2^64 - 1 tensors": Case(R.file(n_tensors=2**64 - 1), "more tensors than", 8),
    "tensors wrap when multiplied": Case(R.file(n_tensors=(2**64 // 32) + 1), "more tensors than", 8),
    "one key more than there are": Case(R.file([R.pair("k", U8, 1)], n_pairs=2), "", None),
    "one tensor more than there are": Case(
        R.file([], [R.info("w", [8], F32_ID, 0)], DATA, n_tensors=2), "'w' overlaps ''", None
    ),
    "version 1, too many keys": Case(V1.file(n_pairs=1000), "more metadata keys than", 12),
    # keys
    "empty key": Case(key(b""), "metadata key 0 is empty", KV),
    "key of 65536 bytes": Case(key(b"k" * 65536), "metadata key 0 is too long", KV, ggml=False),
    "key longer than the file": Case(key(b"k", 60000), "the file ends inside metadata key 0", KV + 8),
    "key of 2^64 - 1 bytes": Case(key(b"k", 2**64 - 1), "metadata key 0 is too long", KV),
    "key not UTF-8": Case(key(b"ab\xff"), "metadata key 0 is not UTF-8", KV + 10, ggml=False),
    "key twice": Case(R.file([R.pair("k", U8, 1), R.pair("k", U8, 2)]), "'k' appears twice", KV + 14),
    # values
    "value type 13": Case(R.file([R.text("k") + R.number("I", 13) + bytes(16)]), "the type of 'k' is unknown", KV + 9),
    "value type -1": Case(R.file([R.text("k") + R.number("i", -1) + bytes(16)]), "the type of 'k' is unknown", KV + 9),
    "string longer than the file": Case(
        R.file([R.text("k") + R.number("I", STR) + R.length(1000) + b"x"]), "ends inside the text of 'k'", KV + 21
    ),
    "string of 1 GiB": Case(
        R.file([R.text("k") + R.number("I", STR) + R.length(1 << 30) + b"x"]), "ends inside the text of 'k'", KV + 21
    ),
    "string of 2^64 - 1 bytes": Case(
        R.file([R.text("k") + R.number("I", STR) + R.length(2**64 - 1) + b"x"]), "ends inside the text of 'k'", KV + 21
    ),
    # arrays
    "item type 13": Case(array(13, 1, bytes(16)), "the item type of 'a' is unknown", KV + 13),
    "array longer than the file": Case(array(I32, 1000, bytes(16)), "more items of 'a' than", KV + 17),
    "array wraps when multiplied": Case(array(I32, 2**62 + 1, bytes(16)), "more items of 'a' than", KV + 17),
    "2^64 - 1 bools": Case(array(BOOL, 2**64 - 1, bytes(16)), "more items of 'a' than", KV + 17),
    "2^61 strings": Case(array(STR, 2**61, bytes(16)), "more items of 'a' than", KV + 17),
    "2^64 - 1 arrays": Case(array(ARR, 2**64 - 1, bytes(16)), "more items of 'a' than", KV + 17),
    "string in array too long": Case(
        array(STR, 2, R.text("ok") + R.length(1 << 40) + b"x"), "ends inside the text of 'a'", KV + 43
    ),
    "last string in array too long": Case(array(STR, 1, R.length(99) + b"x"), "ends inside the text", KV + 33),
    "string length cut": Case(
        array(STR, 2, R.text("ok") + bytes(7))[: KV + 42], "ends inside the length of 'a'", KV + 35
    ),
    "1000 levels of arrays": Case(nested(1000), "nests arrays too deeply"),
    "100000 levels of arrays": Case(nested(100000), "nests arrays too deeply"),
    "nested array wraps": Case(
        array(ARR, 1, R.number("I", F32) + R.length(2**62 + 1) + bytes(16)), "more items of 'a' than", KV + 29
    ),
    # alignment
    "alignment u16": Case(alignment(U16, 32), "general.alignment has the wrong type", KV + 25),
    "alignment string": Case(alignment(STR, "32"), "general.alignment has the wrong type", KV + 25),
    "alignment array": Case(alignment(ARR, (U32, [32])), "general.alignment has the wrong type", KV + 25, ggml=False),
    "alignment 0": Case(alignment(U32, 0), "general.alignment is not positive", KV + 29),
    "alignment 24": Case(alignment(U32, 24), "general.alignment is not a power of two", KV + 29),
    "alignment 2^31": Case(alignment(U32, 1 << 31), "general.alignment is huge", KV + 29, ggml=False),
    "alignment 2^32 - 1": Case(alignment(U32, 2**32 - 1), "general.alignment is not a power of two", KV + 29),
    # tensor names
    "name of 64 bytes": Case(one([8], name="n" * 64), "the name of tensor 0 is too long", INFO),
    "name of 2^64 - 1 bytes": Case(
        R.file([], [R.length(2**64 - 1) + b"n" * 40], DATA), "the name of tensor 0 is too long", INFO
    ),
    "name not UTF-8": Case(one([8], name=b"\xc3\x28"), "the name of tensor 0 is not UTF-8", INFO + 8, ggml=False),
    "name with a zero byte": Case(one([8], name=b"w\0x"), "holds a zero byte", INFO, ggml=False),
    "name twice": Case(
        two(R.info("w", [8], F32_ID, 0), R.info("w", [8], F32_ID, 32)), "tensor name 'w' appears twice", INFO + 33
    ),
    # dimensions
    "5 dimensions": Case(one([1] * 5), "'w' has a wrong number of dimensions", INFO + 9),
    "2^32 - 1 dimensions": Case(
        R.file([], [R.text("w") + R.number("I", 2**32 - 1) + bytes(20)], DATA), "wrong number of dimensions", INFO + 9
    ),
    "dimension negative": Case(one([2**64 - 8]), "dimension 0 of 'w' is negative", INFO + 13),
    "product of dimensions wraps to 0": Case(one([2**32, 2**32]), "more weights than memory can address", INFO + 21),
    "product of dimensions wraps to 1": Case(
        one([0x0123456789ABCDEF, 0x5F5A9BD1E6C1B5EF & (2**63 - 1)]), "more weights than memory can address", INFO + 21
    ),
    "no weights, 2^61 - 1 in each of no rows": Case(
        one([2**61 - 1, 0]), "more weights than memory can address", INFO + 13, ggml=False
    ),
    "2^63 weights": Case(one([2**31, 2**31, 2]), "more weights than memory can address", INFO + 21),
    "2^60 weights": Case(one([2**30, 2**29, 2]), "more weights than memory can address", INFO + 29, ggml=False),
    # types
    "row of 33 in blocks of 32": Case(one([33], Q4_0_ID), "rows of 'w' are not whole blocks of Q4_0", INFO + 13),
    "row of 16, 2 rows": Case(one([16, 2], Q4_0_ID), "rows of 'w' are not whole blocks of Q4_0", INFO + 13),
    # offsets
    "offset unaligned": Case(one([8], offset=4), "the offset of 'w' is not aligned", INFO + 25),
    "offset past the end": Case(one([8], offset=4096), "'w' reaches past the end", INFO + 25),
    "offset 2^64 - 32": Case(one([8], offset=2**64 - 32), "'w' reaches past the end", INFO + 25),
    "tensor past the end": Case(one([17]), "'w' reaches past the end", INFO + 25, ggml=False),  # needs the data
    "2^60 bytes": Case(one([2**58]), "'w' reaches past the end", INFO + 25, ggml=False),
    "bytes wrap": Case(one([2**62]), "more weights than memory can address", INFO + 13),
    "sum of sizes wraps": Case(
        two(R.info("a", [2**59], F32_ID, 0), R.info("b", [2**59], F32_ID, 2**64 - 2**61)),
        "'a' reaches past the end",
        INFO + 25,
    ),
    "tensors overlap": Case(
        two(R.info("a", [16], F32_ID, 0), R.info("b", [8], F32_ID, 32)), "'b' overlaps 'a'", INFO + 58
    ),
    "tensors in one place": Case(
        two(R.info("a", [8], F32_ID, 0), R.info("b", [8], F32_ID, 0)), "'b' overlaps 'a'", INFO + 58
    ),
    "no data section": Case(
        R.file([], [R.info("w", [8], F32_ID, 0)]), "'w' reaches past the end", INFO + 25, ggml=False
    ),
    "last padding cut": Case(
        R.file([], [R.info("w", [3], F32_ID, 0)], bytes(20)), "the file ends inside its padding", 84, ggml=False
    ),
}
cases = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


@cases
def test_refused_and_located(tmp_path, case):
    path = tmp_path / "bad.gguf"
    path.write_bytes(case.data)
    with pytest.raises(GGUFError) as caught:
        gguf.read(path)
    error = caught.value
    assert case.problem in error.problem
    assert error.path == str(path)
    assert error.offset is not None
    assert 0 <= error.offset <= len(case.data)
    if case.offset is not None:
        assert error.offset == case.offset
    assert "\n" not in str(error)
    assert len(str(error)) < 600


def test_libggml_refuses_the_same_classes(tmp_path):
    """Guards the table against files that are broken for another reason than the one they name."""
    shared = {name: case for name, case in CASES.items() if case.ggml}
    paths = []
    for index, case in enumerate(shared.values()):
        paths.append(tmp_path / f"{index}.gguf")
        paths[-1].write_bytes(case.data)
    answers = dict(zip(shared, libggml_opens.ask(paths), strict=True))
    assert [name for name, answer in answers.items() if answer == "opens"] == []


def test_the_deepest_arrays_that_are_allowed(tmp_path):
    path = tmp_path / "deep.gguf"
    path.write_bytes(nested(32))
    value = gguf.read(path).metadata["a"]
    for _ in range(31):
        (value,) = value
    assert value == [7]
    path.write_bytes(nested(33))
    with pytest.raises(GGUFError, match="at most 32 levels"):
        gguf.read(path)


@pytest.mark.parametrize("raw", [R, V1, BIG], ids=["v3", "v1", "big"])
def test_truncated_at_every_byte(tmp_path, raw):
    path = tmp_path / "cut.gguf"
    data = small(raw)
    path.write_bytes(data)
    # the last tensor takes 6 bytes and its padding 26: a file that stops between the two holds every weight
    whole = {len(data) - 26, len(data)}
    for length in range(len(data), -1, -1):
        os.truncate(path, length)
        if length in whole:
            assert len(gguf.read(path)) == 3
            continue
        with pytest.raises(GGUFError) as caught:
            gguf.read(path)
        assert caught.value.offset is not None, length
        assert caught.value.offset <= length


HUGE = [
    name
    for name in CASES
    if any(word in name for word in ("2^", "1 GiB", "wrap", "1000 levels", "longer", "more than"))
]


@pytest.mark.parametrize("name", HUGE)
def test_what_is_declared_is_not_allocated(tmp_path, name):
    path = tmp_path / "huge.gguf"
    path.write_bytes(CASES[name].data)
    with pytest.raises(GGUFError):
        gguf.read(path)  # imports and caches
    tracemalloc.start()
    try:
        with pytest.raises(GGUFError):
            gguf.read(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1 << 20


def touch(file: gguf.GGUFFile) -> None:
    """Use everything that a file offers."""
    for name, info in file.tensor_info.items():
        if isinstance(info.format, ForeignFormat):
            with pytest.raises(NotEncodableError, match="cannot be used"):
                file[name]
        else:
            tensor = file[name]
            assert tensor.nbytes == info.nbytes
            tensor.tobytes()
    assert dict(file.metadata).keys() == file.metadata.types.keys()
    for part in file.parts:
        assert part.regions[-1].stop == part.size


def survives(path: Path, data: bytes) -> bool:
    with path.open("r+b" if path.exists() else "wb") as file:  # several times as fast as emptying it first
        file.write(data)
        file.truncate()
    try:
        file = gguf.read(path)
    except GGUFError:
        return False
    touch(file)
    return True


SPECIAL = [0, 1, 2, 3, 0x7F, 0x80, 0xFF]
WIDE = [0, 1, 0xFFFFFFFF, 0x80000000, 1 << 32, 1 << 63, 2**64 - 1, 2**62 + 1, 0xFFFFFFE0]


def flip_bits(data: bytearray, rng: random.Random) -> None:
    for _ in range(rng.choice((1, 1, 1, 2, 8))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def set_bytes(data: bytearray, rng: random.Random) -> None:
    data[rng.randrange(len(data))] = rng.choice(SPECIAL)


def set_number(data: bytearray, rng: random.Random) -> None:
    at = rng.randrange(len(data) - 8)
    data[at : at + 8] = struct.pack("<Q", rng.choice(WIDE))


def cut_out(data: bytearray, rng: random.Random) -> None:
    at = rng.randrange(len(data))
    del data[at : at + rng.randrange(1, 40)]


def repeat(data: bytearray, rng: random.Random) -> None:
    at = rng.randrange(len(data))
    data[at:at] = data[at : at + rng.randrange(1, 40)]


@pytest.mark.parametrize("mutate", [flip_bits, set_bytes, set_number, cut_out, repeat])
@pytest.mark.parametrize("raw", [R, V1, BIG], ids=["v3", "v1", "big"])
def test_mutations_open_or_are_refused(tmp_path, raw, mutate: Callable[[bytearray, random.Random], None]):
    rng = random.Random(f"{mutate.__name__} {raw}")
    good = small(raw)
    outcomes = []
    for _ in range(400):
        data = bytearray(good)
        mutate(data, rng)
        outcomes.append(survives(tmp_path / "m.gguf", bytes(data)))
    assert True in outcomes or mutate in (cut_out, repeat)
    assert False in outcomes  # both ways were exercised


def test_every_byte_of_the_header_set_to_extremes(tmp_path):
    good = small()
    header = good.index(b"ids") + 60
    outcomes = set()
    for at in range(header):
        for value in (0x00, 0xFF, good[at] ^ 0x80):
            outcomes.add(survives(tmp_path / "m.gguf", good[:at] + bytes([value]) + good[at + 1 :]))
    assert outcomes == {True, False}


def test_random_bytes_behind_a_good_magic(tmp_path):
    rng = random.Random(7)
    for _ in range(500):
        head = b"GGUF" + struct.pack(rng.choice("<>") + "I", rng.choice((1, 2, 3)))
        assert not survives(tmp_path / "m.gguf", head + struct.pack("<QQ", 1, 1) + rng.randbytes(rng.randrange(200)))


@pytest.mark.parametrize("what", ["tensors", "metadata keys"])
def test_a_large_file_of_nothing_but_names_does_not_fill_the_memory(tmp_path, what):
    path = tmp_path / "names.gguf"
    counts = {"n_tensors": 1 << 17} if what == "tensors" else {"n_pairs": 1 << 17}
    path.write_bytes(R.file(data=bytes(32 << 17), **counts))
    tracemalloc.start()
    with pytest.raises(
        GGUFError, match=f"more {what} than any model has at byte .*: found 131072, expected at most 65536"
    ):
        gguf.read(path)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def test_a_long_array_is_checked_without_being_built(tmp_path):
    """A hundred thousand strings with the last one broken: one pass, no list of as many things."""
    path = tmp_path / "long.gguf"
    path.write_bytes(array(STR, 100_001, R.text("x") * 100_000 + R.length(50)))
    tracemalloc.start()
    with pytest.raises(GGUFError, match="ends inside the text of 'a'"):
        gguf.read(path)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()
