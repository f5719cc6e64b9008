"""GGUF files put together by hand from the specification, so that tests do not lean on the writer they test."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

U8, I8, U16, I16, U32, I32, F32, BOOL, STR, ARR, U64, I64, F64 = range(13)
CODES = {U8: "B", I8: "b", U16: "H", I16: "h", U32: "I", I32: "i", F32: "f", BOOL: "?", U64: "Q", I64: "q", F64: "d"}


@dataclass
class Raw:
    """Packs the pieces of a file of one version and byte order."""

    version: int = 3
    endian: str = "little"

    def number(self, code: str, value: Any) -> bytes:
        return struct.pack(("<" if self.endian == "little" else ">") + code, value)

    def length(self, value: int) -> bytes:
        return self.number("I" if self.version == 1 else "Q", value)

    def text(self, value: str | bytes) -> bytes:
        raw = value.encode() if isinstance(value, str) else value
        return self.length(len(raw)) + raw

    def value(self, type_: int, value: Any) -> bytes:
        if type_ == STR:
            return self.text(value)
        if type_ == ARR:
            item_type, items = value
            body = b"".join(self.value(item_type, item) for item in items)
            return self.number("I", item_type) + self.length(len(items)) + body
        return self.number(CODES[type_], value)

    def pair(self, key: str | bytes, type_: int, value: Any) -> bytes:
        return self.text(key) + self.number("I", type_) + self.value(type_, value)

    def info(self, name: str | bytes, dims: list[int], type_id: int, offset: int) -> bytes:
        packed = b"".join(self.length(n) for n in dims)
        return (
            self.text(name)
            + self.number("I", len(dims))
            + packed
            + self.number("I", type_id)
            + self.number("Q", offset)
        )

    def file(
        self,
        pairs: list[bytes] = (),
        infos: list[bytes] = (),
        data: bytes = b"",
        *,
        alignment: int = 32,
        n_pairs: int | None = None,
        n_tensors: int | None = None,
        magic: bytes = b"GGUF",
        version: int | None = None,
    ) -> bytes:
        head = magic + self.number("I", self.version if version is None else version)
        head += self.length(len(infos) if n_tensors is None else n_tensors)
        head += self.length(len(pairs) if n_pairs is None else n_pairs)
        head += b"".join(pairs) + b"".join(infos)
        return pad(head, alignment) + data


def pad(data: bytes, alignment: int = 32) -> bytes:
    return data + bytes(-len(data) % alignment)


def small(raw: Raw | None = None) -> bytes:
    """A valid file with one of everything: every value type, nested arrays, three tensors."""
    raw = raw or Raw()
    pairs = [
        raw.pair("general.architecture", STR, "llama"),
        raw.pair("a.u8", U8, 200),
        raw.pair("a.i8", I8, -100),
        raw.pair("a.u16", U16, 60000),
        raw.pair("a.i16", I16, -30000),
        raw.pair("a.u32", U32, 4_000_000_000),
        raw.pair("a.i32", I32, -2_000_000_000),
        raw.pair("a.f32", F32, 1e-5),
        raw.pair("a.bool", BOOL, True),
        raw.pair("a.u64", U64, 2**64 - 1),
        raw.pair("a.i64", I64, -(2**63)),
        raw.pair("a.f64", F64, 0.1),
        raw.pair("a.empty", STR, ""),
        raw.pair("tokens", ARR, (STR, ["<s>", "Ġt", b"\xff\xfe", ""])),
        raw.pair("scores", ARR, (F32, [0.5, -1.25, float("inf")])),
        raw.pair("flags", ARR, (BOOL, [True, False])),
        raw.pair("none", ARR, (I16, [])),
        raw.pair("nested", ARR, (ARR, [(I32, [1, -2]), (STR, ["x"]), (ARR, [(U8, [7])])])),
    ]
    f32 = b"".join(raw.number("f", x) for x in range(-4, 4))
    q4_0 = b"".join(raw.number("e", 0.5 + row) + bytes(range(16)) for row in range(4))
    i16 = b"".join(raw.number("h", x) for x in (1, -2, 300))
    infos = [
        raw.info("norm.weight", [8], 0, 0),
        raw.info("w.weight", [64, 2], 2, 32),
        raw.info("ids", [3, 1, 1], 25, 128),
    ]
    return raw.file(pairs, infos, pad(f32) + pad(q4_0) + pad(i16))
