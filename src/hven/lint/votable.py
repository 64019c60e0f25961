"""VOTables as a stranger sends them: read leniently, with a list of what is odd; an own reader, so that no fault is shared with the writer."""

from __future__ import annotations

import base64
import binascii
import math
import re
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hven.lint.documents import NotXml, local, parse, text

if TYPE_CHECKING:
    from collections.abc import Iterator

SIZES = {
    "boolean": ("c", 1), "unsignedByte": ("B", 1), "short": ("h", 2), "int": ("i", 4), "long": ("q", 8), "char": ("c", 1),
    "unicodeChar": ("c", 2), "float": ("f", 4), "double": ("d", 8), "floatComplex": ("ff", 8), "doubleComplex": ("dd", 16), "bit": ("B", 1),
}  # fmt: skip
INTEGERS = {
    "unsignedByte": (0, 255),
    "short": (-(2**15), 2**15 - 1),
    "int": (-(2**31), 2**31 - 1),
    "long": (-(2**63), 2**63 - 1),
}
FLOATS = {"float", "double", "floatComplex", "doubleComplex"}
TEXTS = {"char", "unicodeChar"}
ARRAYSIZE = re.compile(r"(\d+x)*(\d+|\d*\*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """A FIELD, as it says itself."""

    name: str
    datatype: str = ""
    arraysize: str = ""
    xtype: str = ""
    unit: str = ""
    ucd: str = ""
    utype: str = ""
    null: str = ""

    @property
    def is_text(self) -> bool:
        """True for strings."""
        return self.datatype in TEXTS


@dataclass(slots=True, kw_only=True)
class VOTable:
    """A document: its one results table, its INFOs before and behind it, and what is odd."""

    version: str = ""
    results: int = 0
    tables: int = 0
    before: list[tuple[str, str, str]] = field(default_factory=list)
    behind: list[tuple[str, str, str]] = field(default_factory=list)
    fields: list[Field] = field(default_factory=list)
    rows: list[list[Any]] = field(default_factory=list)
    odd: list[tuple[str, str, str]] = field(default_factory=list)  # (what kind, column, words)

    def statuses(self) -> list[str]:
        """Return the values of QUERY_STATUS, in order."""
        return [value.upper() for name, value, _ in [*self.before, *self.behind] if name == "QUERY_STATUS"]

    @property
    def overflow(self) -> bool:
        """True if it says that rows were cut."""
        return "OVERFLOW" in self.statuses()

    @property
    def error(self) -> str | None:
        """The message of an error document; None: it is none."""
        return next(
            (
                said
                for name, value, said in [*self.before, *self.behind]
                if name == "QUERY_STATUS" and value.upper() == "ERROR"
            ),
            None,
        )

    def records(self) -> list[dict[str, Any]]:
        """Return the rows by lower-case column name."""
        names = [one.name.lower() for one in self.fields]
        return [dict(zip(names, row, strict=False)) for row in self.rows]


def read(body: bytes) -> VOTable:
    """Read a document.

    Raises
    ------
    NotXml
        No XML, or no VOTable.
    """
    root = parse(body)
    if local(root) != "VOTABLE":
        raise NotXml(f"its root is <{local(root)}>, not <VOTABLE>")
    found = VOTable(version=root.get("version", ""))
    resources = [one for one in root.iter() if local(one) == "RESOURCE"]
    chosen = [one for one in resources if one.get("type") == "results"]
    found.results = len(chosen)
    place = (chosen or resources or [root])[0]
    found.tables = sum(1 for one in place if local(one) == "TABLE")
    seen = False
    for child in [*[one for one in root if local(one) == "INFO"], *place]:
        if local(child) == "INFO":
            (found.behind if seen else found.before).append(
                (child.get("name", ""), child.get("value", ""), (child.text or "").strip())
            )
        elif local(child) == "TABLE" and not seen:
            seen = True
            _table(child, found)
    return found


def _table(table: Any, found: VOTable) -> None:
    for element in table:
        if local(element) == "FIELD":
            nulls = [one.get("null", "") for one in element if local(one) == "VALUES"]
            found.fields.append(
                Field(
                    name=element.get("name", ""), datatype=element.get("datatype", ""), arraysize=element.get("arraysize", ""),
                    xtype=element.get("xtype", ""), unit=element.get("unit", ""), ucd=element.get("ucd", ""),
                    utype=element.get("utype", ""), null=nulls[0] if nulls else "",
                )
            )  # fmt: skip
    for one in found.fields:
        if one.datatype not in SIZES:
            found.odd.append(("datatype", one.name, f"{one.datatype!r} is no datatype of VOTable"))
        if one.arraysize and not ARRAYSIZE.fullmatch(one.arraysize):
            found.odd.append(("arraysize", one.name, f"{one.arraysize!r} is no arraysize"))
    data = next((one for one in table if local(one) == "DATA"), None)
    if data is None:
        return
    for element in data:
        if local(element) == "TABLEDATA":
            _tabledata(element, found)
        elif local(element) in {"BINARY", "BINARY2"}:
            _binary(element, found, flags=local(element) == "BINARY2")


def _tabledata(element: Any, found: VOTable) -> None:
    for row in element:
        if local(row) != "TR":
            continue
        cells = [one for one in row if local(one) == "TD"]
        if len(cells) != len(found.fields):
            found.odd.append(("row", "", f"a row has {len(cells)} cells for {len(found.fields)} FIELDs"))
        values = []
        for cell, about in zip(cells, found.fields, strict=False):
            said = cell.text or ""
            try:
                values.append(value_of(said, about))
            except ValueError:
                found.odd.append(("cell", about.name, f"{said[:60]!r} is no {about.datatype}"))
                values.append(None)
        found.rows.append(values)


def value_of(said: str, about: Field) -> Any:
    """Read a cell of TABLEDATA; None for null.

    Raises
    ------
    ValueError
        It is not of the datatype.
    """
    if about.is_text:
        return said or None
    bare = said.strip()
    if not bare or bare == about.null:
        return None
    if about.arraysize not in {"", "1"} or "omplex" in about.datatype:
        return [_number(word, about.datatype) for word in bare.split()]
    return _number(bare, about.datatype)


def _number(word: str, datatype: str) -> Any:
    if datatype in INTEGERS:
        number = int(word, 16) if word.lower().startswith("0x") else int(word)
        low, high = INTEGERS[datatype]
        if not low <= number <= high:
            raise ValueError(word)
        return number
    if datatype in FLOATS:
        value = float(word.replace("Inf", "inf"))
        return None if math.isnan(value) else value
    if datatype == "boolean":
        if word.lower() not in {"true", "false", "t", "f", "1", "0", "?"}:
            raise ValueError(word)
        return None if word == "?" else word.lower() in {"true", "t", "1"}
    return word


def _binary(element: Any, found: VOTable, *, flags: bool) -> None:
    stream = next((one for one in element if local(one) == "STREAM"), None)
    if stream is None or stream.get("href") or any(one.datatype not in SIZES for one in found.fields):
        found.odd.append(("stream", "", "the rows stand elsewhere, or their datatypes are unknown"))
        return
    try:
        data = base64.b64decode(re.sub(r"\s+", "", text(stream)), validate=True)
        found.rows.extend(_unpacked(data, found.fields, flags=flags))
    except (binascii.Error, struct.error, ValueError, IndexError) as error:
        found.odd.append(("stream", "", f"the binary rows cannot be unpacked: {error}"))


def _unpacked(data: bytes, fields: list[Field], *, flags: bool) -> Iterator[list[Any]]:
    place, width = 0, (len(fields) + 7) // 8
    while place < len(data) and fields:
        mask = data[place : place + width] if flags else b""
        place += width if flags else 0
        row = []
        for number, about in enumerate(fields):
            value, place = _cell(data, place, about)
            null = bool(mask) and bool(mask[number // 8] & (128 >> number % 8))
            row.append(None if null or (about.null and str(value) == about.null) else value)
        yield row


def _cell(data: bytes, place: int, about: Field) -> tuple[Any, int]:
    code, size = SIZES[about.datatype]
    many = about.arraysize not in {"", "1"}
    if about.arraysize.endswith("*"):
        (count,) = struct.unpack_from(">i", data, place)
        place += 4
    else:
        count = math.prod(int(part) for part in about.arraysize.split("x")) if about.arraysize else 1
    total = (count + 7) // 8 if about.datatype == "bit" else count * size
    end = place + total
    if count < 0 or end > len(data):
        raise ValueError(f"a cell of {about.name} reaches beyond the end")
    part = data[place:end]
    if about.is_text:
        said = part.decode("utf-16-be" if about.datatype == "unicodeChar" else "utf-8", "replace").split("\0")[0]
        return said or None, end
    if about.datatype == "boolean":
        truths = [None if one in b"\0 ?" else one in b"Tt1" for one in part]
        return (truths if many else truths[0]), end
    if about.datatype == "bit":
        return "".join(f"{one:08b}" for one in part)[:count], end
    numbers = [
        None if isinstance(one, float) and math.isnan(one) else one
        for one in struct.unpack(f">{count * len(code)}{code[0]}", part)
    ]
    if many or len(code) > 1:
        return (numbers or None), end
    return numbers[0], end
