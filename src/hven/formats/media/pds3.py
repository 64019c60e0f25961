"""PDS3: labels, attached or beside their files; QUBEs with suffixes, IMAGEs, tables. Read by windows (PDS Standards Reference 3.8)."""

from __future__ import annotations

import math
import re
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from hven.formats.media import MOST, Array, Axis, Medium, Product, wavelengths
from hven.formats.media import _labels as labels
from hven.formats.media import _maps as maps
from hven.formats.media._grids import Layout, Scale, beside, bits, mapped
from hven.formats.media._records import Field, delimited, fixed
from hven.formats.media._spectral import spelled
from hven.model.errors import SourceError, say
from hven.model.sky import footprints

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hven.formats.media import Card, Part, Rows
    from hven.formats.media._distant import Place
    from hven.formats.media._labels import Label

_KINDS = {"LONGITUDE": "longitude", "LATITUDE": "latitude"}
_NULLS = ("MISSING_CONSTANT", "INVALID_CONSTANT", "MISSING", "NULL", "CORE_NULL", "UNKNOWN_CONSTANT", "NOT_APPLICABLE_CONSTANT", "CORE_LOW_REPR_SATURATION",
          "CORE_LOW_INSTR_SATURATION", "CORE_HIGH_REPR_SATURATION", "CORE_HIGH_INSTR_SATURATION")  # fmt: skip
_TABLES = ("TABLE", "SERIES", "SPECTRUM", "PALETTE", "SPREADSHEET")


def open_pds3(file: Place) -> Product:
    """Open a product by its label.

    Parameters
    ----------
    file
        Path of a label, or of a file that begins with one.

    Returns
    -------
    product
        Its images, cubes and tables.

    Raises
    ------
    SourceError
        It has no label, the label promises more than there is, or points out of its folder.
    """
    label = labels.read(file)
    plain = _map_of(label)
    parts: list[Part] = []
    others: set[Place] = set()
    for name, one in [*label.named("QUBE", "IMAGE", *_TABLES)][:MOST]:
        found = _pointer(label, name, file)
        if found is None:
            continue
        path, offset = found
        others.add(path)
        if name.endswith(("IMAGE", "QUBE")):
            make = _image if name.endswith("IMAGE") else _qube
            parts += make(one, path, offset, name, len(parts), plain)
        else:
            words = one.get("^STRUCTURE")
            body = [*one.objects]
            if isinstance(words, str):
                # what its columns are stands in a file beside the label
                others.add(beside(file.parent, words))
                body += labels.read(beside(file.parent, words)).objects
            parts.append(_table(one, body, path, offset, name, len(parts)))
    if not parts:
        raise SourceError(
            say("the label of {name} describes no image, cube or table", file.name), remedy=say("it may be a catalogue")
        )
    return Product(medium="pds3", parts=tuple(parts), cards=tuple(label.cards()), beside=tuple(sorted(others - {file})))


def head(file: Place) -> Iterator[Card]:
    """Read the label alone, which may be that of a catalogue.

    Parameters
    ----------
    file
        Path of a label, or of a file that begins with one.

    Returns
    -------
    cards
        All that it says.

    Raises
    ------
    SourceError
        It has no label.
    """
    return labels.read(file).cards()


def _pointer(label: Label, name: str, file: Place) -> tuple[Place, int] | None:
    """Find an object's file and its first byte."""
    value, unit = label.get(f"^{name}"), label.units.get(f"^{name}", "")
    record = int(label.number("RECORD_BYTES") or 1)
    if value is None:
        return None
    words = value if isinstance(value, list) else [value]
    path = beside(file.parent, words[0]) if isinstance(words[0], str) else file
    place = next((word for word in words if isinstance(word, int)), 1)
    return path, (place - 1) * (1 if unit.upper().startswith("BYTE") else record)


def _type(word: object, size: int) -> tuple[np.dtype[Any], bool]:
    """Return numpy's type for a word of the standard, and whether it is VAX's."""
    name = str(word).upper()
    order = "<" if name.startswith(("LSB", "PC", "VAX")) else ">"
    kind = "f" if re.search(r"REAL|FLOAT", name) else "u" if "UNSIGNED" in name else "i" if "INTEGER" in name else ""
    if not kind or size not in {1, 2, 4, 8} or (kind == "f" and size < 4) or (name.startswith("VAX") and kind == "f" and size != 4):  # fmt: skip
        raise SourceError(say("values of the type {kind} are not read", f"{name} ({size} bytes)"))
    return np.dtype(f"{order}{kind}{size}"), name.startswith("VAX") and kind == "f"


def _scale(one: Label, dtype: np.dtype[Any], factor: str, zero: str, least: str = "") -> Scale:
    nulls = [bits(value, dtype) for word in _NULLS for value in one.words(word)]
    return Scale(
        factor=one.number(factor) or 1.0,
        zero=one.number(zero) or 0.0,
        nulls=tuple(sorted({null for null in nulls if null is not None})),
        least=bits(one.get(least), dtype),
    )


def _sizes(values: list[Any], name: str, least: int = 1) -> list[int]:
    if not values or any(isinstance(one, bool) or not isinstance(one, int) or one < least for one in values):
        raise SourceError(say("the sizes of {name} are no numbers: {sizes}", name, str(values)[:60]))
    return [int(one) for one in values]


def _bands(one: Label, size: int) -> dict[str, Any]:
    """Say what an axis of bands stands for, as its table has it; empty: nothing does."""
    for _, group in [("", one), *one.named("BAND_BIN")]:
        prefix = "" if group is not one else "BAND_BIN_"
        centres = group.words(f"{prefix}CENTER") or group.words("BAND_BIN_CENTER")
        unit = group.get(f"{prefix}UNIT") or group.get("BAND_BIN_UNIT") or group.units.get("BAND_BIN_CENTER") or "um"
        if len(centres) == size and all(isinstance(value, int | float) for value in centres):
            own = np.array(centres, np.float64)
            return {"kind": "spectral", "unit": spelled(str(unit)), "values": partial(wavelengths, own, "", str(unit)), "own": partial(np.copy, own)}  # fmt: skip
    return {}


def _axes(names: list[str], sizes: list[int], one: Label) -> tuple[Axis, ...]:
    found = []
    for name, size in zip(names, sizes, strict=True):
        said = _bands(one, size) if name in {"BAND", "WAVELENGTH"} else {"kind": _KINDS.get(name, "")}
        found.append(Axis(name=name, size=size, **said))
    return tuple(found)


def _qube(one: Label, path: Place, offset: int, name: str, index: int, _map: dict[str, Any]) -> Iterator[Array]:
    """Read a cube as bands, lines, samples, in whichever order it is stored; then its suffixes, each an array of its own."""
    sizes = _sizes(one.words("CORE_ITEMS"), name)
    names = [str(word).upper() for word in one.words("AXIS_NAME")]
    if len(sizes) != 3 or len(names) != 3:
        raise SourceError(say("{name} has {count} axes, and 3 are read", name, len(sizes)))
    extra = _sizes(one.words("SUFFIX_ITEMS") or [0, 0, 0], name, 0)
    if len(extra) != 3:
        raise SourceError(say("the sizes of {name} are no numbers: {sizes}", name, str(extra)))
    core = int(one.number("CORE_ITEM_BYTES") or 0)
    wide = int(one.number("SUFFIX_BYTES") or core)
    dtype, vax = _type(one.get("CORE_ITEM_TYPE"), core)
    row = sizes[0] * core + extra[0] * wide
    wider = sizes[0] + extra[0]
    # where two suffixes meet, the standard has a corner; OMEGA's files have none: who writes one writes a longer file
    if offset + sizes[2] * (sizes[1] * row + extra[1] * wider * wide) > path.stat().st_size:
        wider = sizes[0]
    plane = sizes[1] * row + extra[1] * wider * wide
    steps = [core, row, plane]
    order = [names.index(word) for word in ("BAND", "LINE", "SAMPLE")] if {"BAND", "LINE", "SAMPLE"} == set(names) else [2, 1, 0]  # fmt: skip
    scale = _scale(one, dtype, "CORE_MULTIPLIER", "CORE_BASE", "CORE_VALID_MINIMUM")
    layout = Layout(offset, dtype, tuple(sizes[at] for at in order), tuple(steps[at] for at in order), vax)
    meant, read = mapped(path, layout, scale)
    cards = tuple(one.cards())
    axes = _axes([names[at] for at in order], [sizes[at] for at in order], one)
    yield Array(index=index, name=name, axes=axes, dtype=meant, read=read, unit=_unit(one, "CORE_UNIT"), cards=cards)
    # (its axis, where it begins, its sizes and strides: the axis of the suffix first)
    begins = [sizes[0] * core, sizes[1] * row, sizes[2] * plane]
    inner = [wide, wider * wide, (sizes[1] * sizes[0]) * wide]
    for at in range(3):
        if not extra[at]:
            continue
        others = [number for number in (2, 1, 0) if number != at]
        strides = {0: [plane, row], 1: [plane, wide], 2: [sizes[0] * wide, wide]}[at]
        kinds = one.words(f"{names[at]}_SUFFIX_ITEM_TYPE")
        if not kinds:
            continue
        every = one.words(f"{names[at]}_SUFFIX_ITEM_BYTES") or [wide]
        size = int(every[0]) if isinstance(every[0], int) else wide
        own, vax = _type(kinds[0], size)
        shape = (extra[at], *(sizes[number] for number in others))
        labelled = [str(word) for word in one.words(f"{names[at]}_SUFFIX_NAME")]
        index += 1
        meant, read = mapped(path, Layout(offset + begins[at], own, shape, (inner[at], *strides), vax), Scale())
        axes = (Axis(name=f"{names[at]}_SUFFIX", size=extra[at]), *(Axis(name=names[number], size=sizes[number]) for number in others))  # fmt: skip
        title = labelled[0] if len(labelled) == 1 else f"{names[at]}_SUFFIX"
        yield Array(index=index, name=title, axes=axes, dtype=meant, read=read, role="flag")


def _unit(one: Label, *names: str) -> str | None:
    words = (str(one.get(name) or "") for name in names)
    return next((word for word in words if word and word.upper() not in {"N/A", "NONE", "NULL", "UNK", "DIMENSIONLESS"}), None)  # fmt: skip


def _image(one: Label, path: Place, offset: int, name: str, index: int, plain: dict[str, Any]) -> Iterator[Array]:
    packed = str(one.get("ENCODING_TYPE") or "N/A").upper()
    if packed not in {"N/A", "NONE"}:
        raise SourceError(say("{name} is packed as {kind}, which is not read", name, packed))
    lines, samples = _sizes([one.number("LINES"), one.number("LINE_SAMPLES")], name)
    bands = int(one.number("BANDS") or 1)
    size = int(one.number("SAMPLE_BITS") or 0) // 8
    dtype, vax = _type(one.get("SAMPLE_TYPE") or "UNSIGNED_INTEGER", size)
    before, after = int(one.number("LINE_PREFIX_BYTES") or 0), int(one.number("LINE_SUFFIX_BYTES") or 0)
    way = str(one.get("BAND_STORAGE_TYPE") or "BAND_SEQUENTIAL").upper()
    row = before + samples * size * (bands if way == "SAMPLE_INTERLEAVED" else 1) + after
    steps: tuple[int, ...] = {
        "LINE_INTERLEAVED": (row, row * bands, size),
        "SAMPLE_INTERLEAVED": (size, row, size * bands),
    }.get(way, (row * lines, row, size))
    mask = one.number("SAMPLE_BIT_MASK")
    full = mask is None or mask < 0 or dtype.kind == "f" or mask >= 2 ** (8 * size) - 1 or "N/A" in str(mask)
    scale = _scale(one, dtype, "SCALING_FACTOR", "OFFSET")._replace(mask=None if full else int(mask or 0))
    shape: tuple[int, ...] = (bands, lines, samples)
    names = ["BAND", "LINE", "SAMPLE"]
    if bands == 1:
        shape, steps, names = shape[1:], steps[1:], names[1:]
    meant, read = mapped(path, Layout(offset + before, dtype, shape, steps, vax), scale)
    world = maps.cards(plain) if plain else []
    axes = list(_axes(names, list(shape), one))
    if world:
        axes[-1] = Axis(name="LONGITUDE", size=samples, kind="longitude", unit="deg")
        axes[-2] = Axis(name="LATITUDE", size=lines, kind="latitude", unit="deg")
    cards: tuple[Card, ...] = (*world, *one.cards())
    places = partial(footprints.places, {card.keyword: card.value for card in world}) if world else None
    yield Array(index=index, name=name, axes=tuple(axes), dtype=meant, read=read, unit=_unit(one, "UNIT", "SAMPLE_UNIT"), cards=cards, places=places)  # fmt: skip


def _map_of(label: Label) -> dict[str, Any]:
    """Take the words of a map's projection, lengths in km."""
    found = next((one for _, one in label.named("IMAGE_MAP_PROJECTION")), None)
    if found is None:
        return {}
    plain = {"TARGET_NAME": label.get("TARGET_NAME"), **found}
    for word in ("A_AXIS_RADIUS", "B_AXIS_RADIUS", "C_AXIS_RADIUS", "MAP_SCALE"):
        unit = found.units.get(word, "").upper()
        if isinstance(plain.get(word), int | float) and re.match(r"M(ETERS?)?(/|$)", unit):
            plain[word] /= 1e3
    return plain


def _table(one: Label, body: list[tuple[str, Label]], path: Place, offset: int, name: str, index: int) -> Rows:
    binary = str(one.get("INTERCHANGE_FORMAT")).upper() == "BINARY"
    count = int(one.number("ROWS", "RECORDS") or 0)
    cards = tuple(one.cards())
    fields: list[Field] = []
    _fields(body, 0, binary, fields)
    if name.endswith("SPREADSHEET"):
        mark = {"COMMA": ",", "SEMICOLON": ";", "TAB": "\t", "VERTICAL BAR": "|", "VERTICAL_BAR": "|"}.get(str(one.get("FIELD_DELIMITER")).upper(), ",")  # fmt: skip
        return delimited(path, fields, index=index, name=name, offset=offset, size=0, count=count, mark=mark, cards=cards)  # fmt: skip
    record = int(one.number("ROW_BYTES") or 0)
    before, after = int(one.number("ROW_PREFIX_BYTES") or 0), int(one.number("ROW_SUFFIX_BYTES") or 0)
    return fixed(path, fields, index=index, name=name, offset=offset + before, record=record + before + after, count=count, cards=cards)  # fmt: skip


def _fields(body: list[tuple[str, Label]], shift: int, binary: bool, fields: list[Field]) -> None:
    for kind, one in body:
        if kind == "CONTAINER":
            size, start = int(one.number("BYTES") or 0), int(one.number("START_BYTE") or 1) - 1
            for turn in range(min(int(one.number("REPETITIONS") or 1), MOST)):
                _fields(one.objects, shift + start + turn * size, binary, fields)
        elif kind in {"COLUMN", "FIELD"} and len(fields) < MOST:
            fields.append(_field(one, shift, binary))


def _field(one: Label, shift: int, binary: bool) -> Field:
    items = int(one.number("ITEMS") or 1)
    size = int(one.number("ITEM_BYTES") or 0) or math.floor((one.number("BYTES") or 1) / items)
    word = str(one.get("DATA_TYPE") or one.get("ITEM_TYPE") or "CHARACTER").upper()
    nulls = [value for name in _NULLS for value in one.words(name) if value not in ("N/A", "UNK")]
    kind = "text"
    if binary and not re.match(r"CHAR|ASCII|DATE|TIME|EBCDIC", word):
        dtype, vax = _type("UNSIGNED_INTEGER" if "BIT_STRING" in word or word == "BOOLEAN" else word, size)
        kind = "vax" if vax else dtype.str
        nulls = [bits(value, dtype) for value in nulls]
    elif re.search(r"INTEGER", word):
        kind = "integer"
    elif re.search(r"REAL|FLOAT", word):
        kind = "real"
    return Field(
        name=str(one.get("NAME") or "column"),
        kind=kind,
        at=shift + int(one.number("START_BYTE", "FIELD_NUMBER") or 1) - 1,
        size=size,
        items=items,
        step=int(one.number("ITEM_OFFSET") or 0),
        unit=_unit(one, "UNIT"),
        description=str(one.get("DESCRIPTION") or "")[:500] or None,
        nulls=tuple(null for null in nulls if null is not None),
        factor=one.number("SCALING_FACTOR") or 1.0,
        zero=one.number("OFFSET") or 0.0,
    )


MEDIUM = Medium(
    name="pds3",
    title="PDS3",
    media_types=("application/x-pds3", "application/x-pds"),
    endings=("lbl", "img", "qub", "imq"),
    begins=rb"(CCSD\w+ *= *\w+\s|\s|/\*.*?\*/)*(PDS_VERSION_ID|ODL_VERSION_ID|RECORD_TYPE|FILE_NAME)\s*=|CCSD3ZF",
    open=open_pds3,
    beside=True,
    head=head,
)
