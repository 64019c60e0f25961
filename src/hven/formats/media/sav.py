"""IDL SAVE files: arrays as images and cubes, maps of the Sun with their places, arrays of structures as tables. scipy reads, all of a file at once."""

from __future__ import annotations

import re
import struct
import tempfile
import zlib
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from hven.formats.media import MOST, Array, Axis, Card, Medium, Product, Rows
from hven.formats.media._grids import LARGEST, guarded, on_disk
from hven.formats.media._records import NAMES
from hven.model import plugins
from hven.model.errors import SourceError, TooLarge, say
from hven.model.sky import footprints
from hven.model.table import Column
from hven.model.types import Type

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import numpy.typing as npt

    from hven.formats.media import Part
    from hven.formats.media._distant import Place

DEEPEST = 10  # structures in each other
_END = 6  # of records
_TOLD = 4096  # bytes of a record that are looked at for what it says of itself
_KINDS = {1: "BYTE", 2: "INT", 3: "LONG", 4: "FLOAT", 5: "DOUBLE", 6: "COMPLEX", 7: "STRING", 8: "STRUCT", 9: "DCOMPLEX", 10: "POINTER", 11: "OBJREF", 12: "UINT", 13: "ULONG", 14: "LONG64", 15: "ULONG64"}  # fmt: skip


def open_sav(file: Place) -> Product:
    """Open a file.

    Parameters
    ----------
    file
        One on another server is copied.

    Returns
    -------
    product
        Its arrays, and a table for each array of structures and for one-dimensional arrays of one length.

    Raises
    ------
    SourceError
        It is none, damaged, or scipy is not installed.
    TooLarge
        It, or what it unpacks to, is larger than what is held in memory.
    """
    plugins.need("an IDL SAVE file", "scipy", error=SourceError)
    from scipy.io import readsav  # noqa: PLC0415  (asked by few)

    path, closing = on_disk(file)
    name = path.name if path is file else "the file"
    try:
        if path.stat().st_size > LARGEST // 2:
            raise TooLarge(say("{name} has more than the {most} MB that are read at once", name, LARGEST // 2 >> 20))
        with guarded(name, "IDL SAVE"), tempfile.NamedTemporaryFile(suffix=".sav") as plain:
            packed = _unpacked(path, plain, name)
            known = readsav(plain.name if packed else str(path), python_dict=True)
            found = _Found()
            for word, value in known.items():
                found.take(str(word), value, 0)
            return Product(medium="sav", parts=tuple(found.parts()), cards=tuple(found.cards))
    finally:
        closing()


def _unpacked(path: Path, plain: Any, name: str) -> bool:
    """Unpack a file that was saved with /COMPRESS, up to a bound: its records are packed one by one."""
    with path.open("rb") as file:
        if file.read(4) != b"SR\x00\x06":
            return False
        plain.write(b"SR\x00\x04")
        while len(head := file.read(16)) == 16:
            kind, low, high = struct.unpack(">iII", head[:12])
            size = low + (high << 32) - file.tell()
            if kind == _END:
                plain.write(head)
                break
            unpacker = zlib.decompressobj()
            body = unpacker.decompress(file.read(max(0, size)), LARGEST // 2)
            if unpacker.unconsumed_tail or plain.tell() + len(body) > LARGEST // 2:
                raise TooLarge(say("{name} unpacks to more than {most} MB", name, LARGEST // 2 >> 20))
            after = plain.tell() + 16 + len(body)
            plain.write(struct.pack(">iII", kind, after & 0xFFFFFFFF, after >> 32) + head[12:] + body)
        plain.flush()
    return True


def head(file: Place) -> Iterator[Card]:
    """Read what a file says of itself and of its variables: types and sizes, and no values.

    Parameters
    ----------
    file
        It is read by ranges, wherever it lies.

    Yields
    ------
    cards
        When, by whom and by which IDL it was written; then each variable by its name: ``FLOAT 512x256``.

    Raises
    ------
    SourceError
        It is none, or damaged.
    """
    with file.open("rb") as source, guarded(file.name, "IDL SAVE"):
        start = source.read(4)
        if start[:3] != b"SR\x00" or start[3] not in (4, 6):
            raise SourceError(say("{name} is damaged, or no {title} file: {reason}", file.name, "IDL SAVE", "its first bytes"))  # fmt: skip
        for _ in range(100 * MOST):
            kind, low, high, _ = struct.unpack(">iIII", source.read(16))
            if kind == _END:
                return
            here, following = source.tell(), low + (high << 32)
            if following < here:
                raise SourceError(say("its records lead in a circle"))
            body = source.read(min(following - here, _TOLD))
            if start[3] == 6:
                body = zlib.decompressobj().decompress(body, _TOLD)
            yield from _said(kind, body)
            source.seek(following)


def _said(kind: int, body: bytes) -> Iterator[Card]:
    """Read what a record says of itself."""
    at = 0

    def word() -> str:
        nonlocal at
        size = number()
        found = body[at : at + size]
        at += -(-size // 4) * 4
        return found.decode("latin-1").strip()

    def number() -> int:
        nonlocal at
        at += 4
        return int(struct.unpack(">i", body[at - 4 : at].ljust(4, b"\0"))[0])

    if kind == 2:  # a variable
        name, code, flags = word(), number(), number()
        sizes: list[int] = []
        if flags & 0x24:  # an array, a structure
            begins, _, _, _, count = number(), number(), number(), number(), number()
            at += 8
            most = number()
            if begins == 8 and 0 <= count <= most <= 8:
                sizes = [number() for _ in range(count)]
        yield Card(name.lower(), " ".join([_KINDS.get(code, str(code)), "x".join(map(str, sizes))]).strip())
    elif kind in {13, 14, 19, 20}:
        if kind == 14:
            number()
        words = {13: ("author", "title", "code"), 14: ("architecture", "system", "release"), 19: ("notice",), 20: ("description",)}[kind]  # fmt: skip
        yield from (Card(name, said) for name in words if (said := word()))
    elif kind == 10:  # when, by whom
        at = 1024
        yield from (Card(name, said) for name in ("date", "user", "host") if (said := word()))


class _Found:
    """What is in a file, sorted: images, tables, columns of tables by their lengths, single values."""

    def __init__(self) -> None:
        self.arrays: list[tuple[str, npt.NDArray[Any], list[Card]]] = []
        self.tables: list[tuple[str, dict[str, npt.NDArray[Any]]]] = []
        self.columns: dict[int, dict[str, npt.NDArray[Any]]] = {}
        self.cards: list[Card] = []

    def take(self, name: str, value: Any, depth: int) -> None:
        if depth > DEEPEST or value is None:
            return
        if isinstance(value, bytes | str | int | float | bool | np.generic) and not isinstance(value, np.void):
            self.cards.append(Card(name, _text(value)))
            return
        if isinstance(value, np.void):  # a record by itself
            value = np.array([value], value.dtype).view(np.recarray)
        values = np.asarray(value)
        if values.dtype.names:
            self._records(name, values.ravel(), depth)
        elif values.dtype.kind == "O":
            self._objects(name, values, depth)
        elif values.dtype.kind in "SU" or values.ndim <= 1 < values.size:
            self.columns.setdefault(values.size, {})[name] = values.ravel()
        elif values.dtype.kind == "c" and values.size > 1:
            self.arrays += [(f"{name}_real", values.real, []), (f"{name}_imag", values.imag, [])]
        elif values.dtype.kind in "iufb" and values.size > 1:
            self.arrays.append((name, values, []))
        elif values.size == 1:
            self.cards.append(Card(name, _text(values.ravel()[0])))

    def _objects(self, name: str, values: npt.NDArray[Any], depth: int) -> None:
        """Take texts, what pointers lead to, and structures in structures."""
        flat = values.ravel()
        if all(isinstance(one, bytes | str) for one in flat) and len(flat) > 1:
            self.columns.setdefault(len(flat), {})[name] = np.array([str(_text(one)) for one in flat])
            return
        shapes = {np.shape(one) for one in flat if one is not None}
        kinds = {np.asarray(one).dtype.kind for one in flat if one is not None}
        if len(flat) > 1 and len(shapes) == 1 and kinds <= set("iuf") and all(one is not None for one in flat):
            self.take(name, np.stack([np.asarray(one) for one in flat]).reshape(*values.shape, *shapes.pop()), depth + 1)  # fmt: skip
            return
        for number, one in enumerate(flat[:MOST], 1):
            self.take(name if len(flat) == 1 else f"{name}.{number}", one, depth + 1)

    def _records(self, name: str, values: npt.NDArray[Any], depth: int) -> None:
        fields = {str(word).lower(): values[word] for word in values.dtype.names or ()}
        if len(values) > 1:
            columns = {word: column for word, one in fields.items() if (column := _column(one)) is not None}
            if columns:
                self.tables.append((name, columns))
            for word, one in fields.items():
                if word not in columns:
                    self._objects(f"{name}.{word}", np.asarray(one, object), depth + 1)
            return
        single = {word: one[0] for word, one in fields.items()}
        data = np.asarray(single.get("data"))
        if {"data", "xc", "yc", "dx", "dy"} <= single.keys() and data.ndim == 2 and data.dtype.kind in "iuf":
            self.arrays.append((name, data, _sun(single, data.shape)))
            return
        for word, one in single.items():
            self.take(f"{name}.{word}", one, depth + 1)

    def parts(self) -> Iterator[Part]:
        index = 0
        for name, values, cards in self.arrays[:MOST]:
            yield _array(name, values, cards, index)
            index += 1
        lone = [("arrays" if len(self.columns) == 1 else f"arrays of {size}", columns) for size, columns in self.columns.items()]  # fmt: skip
        for name, columns in [*self.tables, *lone][:MOST]:
            yield _rows(name, columns, index)
            index += 1
        if not index and self.cards:  # single values alone: a row of them
            yield _rows("values", {card.keyword: np.array([card.value]) for card in self.cards[:MOST]}, 0)


def _text(value: Any) -> str | int | float | bool:
    if isinstance(value, bytes):
        return value.decode("latin-1").strip()
    plain = value.item() if isinstance(value, np.generic) else value
    if isinstance(plain, bytes):
        return plain.decode("latin-1").strip()
    return plain if isinstance(plain, str | int | float | bool) else str(plain)


def _column(values: Any) -> npt.NDArray[Any] | None:
    """Make a column of a field of several structures: numbers, texts, or arrays of one shape; None: it is neither."""
    found = np.asarray(values)
    if found.dtype.kind in "iufbc" and found.ndim >= 1:
        return found
    each = found.ravel()
    if all(isinstance(one, bytes | str | np.bytes_) for one in each):
        return np.array([str(_text(one)) for one in each])
    shapes = {np.shape(one) for one in each}
    if len(shapes) == 1 and all(np.asarray(one).dtype.kind in "iufc" for one in each) and min(shapes.pop(), default=1):
        return np.stack([np.asarray(one) for one in each])
    return None


def _sun(said: Mapping[str, Any], shape: tuple[int, ...]) -> list[Card]:
    """Write where a map of SolarSoft's lies: arcseconds from the middle of the disc."""
    numbers = {word: float(said[word]) for word in ("xc", "yc", "dx", "dy")}
    cards: list[tuple[str, Any]] = []
    for at, (axis, word) in enumerate((("x", "HPLN-TAN"), ("y", "HPLT-TAN")), 1):
        cards += [(f"CTYPE{at}", word), (f"CUNIT{at}", "arcsec"), (f"CRPIX{at}", (shape[2 - at] + 1) / 2.0)]
        cards += [(f"CRVAL{at}", numbers[f"{axis}c"]), (f"CDELT{at}", numbers[f"d{axis}"])]
    if isinstance(said.get("roll_angle"), int | float | np.number):
        cards.append(("CROTA2", -float(said["roll_angle"])))
    time = _date(str(_text(said["time"]))) if "time" in said else None
    cards += [("DATE-OBS", time), ("DSUN_OBS", None), ("RSUN_OBS", said.get("rsun")), ("HGLT_OBS", said.get("b0")), ("HGLN_OBS", said.get("l0"))]  # fmt: skip
    cards += [(word, _text(value)) for word, value in said.items() if isinstance(value, bytes | str | np.number) and word not in {*numbers, "time", "rsun", "b0", "l0", "roll_angle"}]  # fmt: skip
    return [Card(word, float(value) if isinstance(value, np.floating) else value) for word, value in cards if value is not None]  # fmt: skip


def _date(text: str) -> str | None:
    """Read a date of SolarSoft's: ``15-Feb-2011 02:00:00.000``."""
    match = re.fullmatch(r"\s*(\d{1,2})-([A-Za-z]{3})-(\d{2,4})(?:\s+([\d:.]+))?\s*", text)
    months = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
    if match is None or match[2].lower() not in months:
        return None
    year = int(match[3]) + (0 if len(match[3]) == 4 else 1900 if int(match[3]) > 50 else 2000)
    return f"{year:04d}-{months.index(match[2].lower()) + 1:02d}-{int(match[1]):02d}" + (f"T{match[4]}" if match[4] else "")  # fmt: skip


def _array(name: str, values: npt.NDArray[Any], cards: list[Card], index: int) -> Array:
    plain = values.astype("u1") if values.dtype.kind == "b" else values.astype(values.dtype.newbyteorder("="), copy=False)  # fmt: skip
    kinds = ["longitude", "latitude"] if cards else []
    axes = [Axis(name=f"axis{at}", size=size, kind=kinds[at - 1] if at <= len(kinds) else "") for at, size in enumerate(reversed(plain.shape), 1)]  # fmt: skip
    said = {card.keyword: card.value for card in cards}
    return Array(
        index=index,
        name=name,
        axes=tuple(reversed(axes)),
        dtype=plain.dtype,
        read=lambda window: np.array(plain[tuple(window)]),
        cards=tuple(cards),
        places=partial(footprints.places, said) if cards else None,
    )


def _real(columns: Mapping[str, npt.NDArray[Any]]) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    """Take complex numbers apart."""
    for word, values in columns.items():
        if values.dtype.kind == "c":
            yield f"{word}_real", values.real
            yield f"{word}_imag", values.imag
        else:
            yield word, values


def _rows(name: str, columns: Mapping[str, npt.NDArray[Any]], index: int) -> Rows:
    made, arrays = [], []
    for word, values in _real(columns):
        if values.dtype.str[1:] == "u8":  # no format of ours has these: as long, or as texts
            values = values.astype("i8") if int(values.max()) < 1 << 63 else values.astype("U20")  # noqa: PLW2901
        text = values.dtype.kind in "SU"
        plain = values.astype(values.dtype.newbyteorder("="), copy=False)
        kind = "char" if text else "boolean" if plain.dtype.kind == "b" else NAMES.get(plain.dtype.str[1:], "double")
        size = "*" if text else "x".join(str(one) for one in reversed(plain.shape[1:])) or None
        made.append(Column(name=word, type=Type(kind, size)))
        own = made[-1].arrow.type
        flat = pa.array([str(_text(one)) for one in plain] if text else np.ascontiguousarray(plain).ravel())
        arrays.append(flat.cast(own) if text or plain.ndim == 1 else pa.FixedSizeListArray.from_arrays(flat.cast(own.value_type), own.list_size).cast(own))  # fmt: skip
    whole = pa.RecordBatch.from_arrays(arrays, schema=pa.schema([column.arrow for column in made]))
    return Rows(index=index, name=name, columns=tuple(made), count=whole.num_rows, batches=lambda start, most: iter([whole.slice(start, most)]))  # fmt: skip


MEDIUM = Medium(
    name="sav",
    title="IDL SAVE",
    media_types=("application/x-idl-save",),
    endings=("sav", "save", "xdr", "idlsav"),
    begins=rb"SR\x00[\x04\x06]",
    open=open_sav,
    head=head,
)
