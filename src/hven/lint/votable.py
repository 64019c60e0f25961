"""VOTables as a stranger sends them: read leniently, with a list of what is odd.

An own reader, so that no fault is shared with the writer.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hven.lint.xml_documents import NotXmlError, get_local_name, get_text, parse_xml

if TYPE_CHECKING:
    from collections.abc import Iterator

DATATYPE_CODES = {
    "boolean": ("c", 1),
    "unsignedByte": ("B", 1),
    "short": ("h", 2),
    "int": ("i", 4),
    "long": ("q", 8),
    "char": ("c", 1),
    "unicodeChar": ("c", 2),
    "float": ("f", 4),
    "double": ("d", 8),
    "floatComplex": ("ff", 8),
    "doubleComplex": ("dd", 16),
    "bit": ("B", 1),
}
INTEGER_RANGES = {
    "unsignedByte": (0, 255),
    "short": (-(2**15), 2**15 - 1),
    "int": (-(2**31), 2**31 - 1),
    "long": (-(2**63), 2**63 - 1),
}
FLOAT_DATATYPES = {"float", "double", "floatComplex", "doubleComplex"}
TEXT_DATATYPES = {"char", "unicodeChar"}
ARRAYSIZE_PATTERN = re.compile(r"(\d+x)*(\d+|\d*\*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class VOTableField:
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
        return self.datatype in TEXT_DATATYPES


@dataclass(slots=True, kw_only=True)
class VOTableDocument:
    """A document: its one results table, its INFOs before and behind it, and what is odd."""

    version: str = ""
    result_resource_count: int = 0
    table_count: int = 0
    leading_infos: list[tuple[str, str, str]] = field(default_factory=list)
    trailing_infos: list[tuple[str, str, str]] = field(default_factory=list)
    fields: list[VOTableField] = field(default_factory=list)
    rows: list[list[Any]] = field(default_factory=list)
    anomalies: list[tuple[str, str, str]] = field(default_factory=list)  # (what kind, column, words)

    def list_query_statuses(self) -> list[str]:
        """Return the values of QUERY_STATUS, in order."""
        return [
            value.upper() for name, value, _ in [*self.leading_infos, *self.trailing_infos] if name == "QUERY_STATUS"
        ]

    @property
    def has_overflow(self) -> bool:
        """True if it says that rows were cut."""
        return "OVERFLOW" in self.list_query_statuses()

    @property
    def error_message(self) -> str | None:
        """The message of an error document; None: it is none."""
        return next(
            (
                info_text
                for name, value, info_text in [*self.leading_infos, *self.trailing_infos]
                if name == "QUERY_STATUS" and value.upper() == "ERROR"
            ),
            None,
        )

    def list_records(self) -> list[dict[str, Any]]:
        """Return the rows by lower-case column name."""
        names = [table_field.name.lower() for table_field in self.fields]
        return [dict(zip(names, row, strict=False)) for row in self.rows]


def parse_votable(body: bytes) -> VOTableDocument:
    """Read a document.

    Raises
    ------
    NotXmlError
        No XML, or no VOTable.
    """
    root = parse_xml(body)
    if get_local_name(root) != "VOTABLE":
        raise NotXmlError(f"its root is <{get_local_name(root)}>, not <VOTABLE>")
    document = VOTableDocument(version=root.get("version", ""))
    resources = [element for element in root.iter() if get_local_name(element) == "RESOURCE"]
    result_resources = [element for element in resources if element.get("type") == "results"]
    document.result_resource_count = len(result_resources)
    resource = (result_resources or resources or [root])[0]
    document.table_count = sum(1 for element in resource if get_local_name(element) == "TABLE")
    has_table = False
    for child in [*[element for element in root if get_local_name(element) == "INFO"], *resource]:
        if get_local_name(child) == "INFO":
            (document.trailing_infos if has_table else document.leading_infos).append(
                (child.get("name", ""), child.get("value", ""), (child.text or "").strip())
            )
        elif get_local_name(child) == "TABLE" and not has_table:
            has_table = True
            _parse_table(child, document)
    return document


def _parse_table(table: Any, document: VOTableDocument) -> None:
    for element in table:
        if get_local_name(element) == "FIELD":
            nulls = [table_field.get("null", "") for table_field in element if get_local_name(table_field) == "VALUES"]
            document.fields.append(
                VOTableField(
                    name=element.get("name", ""),
                    datatype=element.get("datatype", ""),
                    arraysize=element.get("arraysize", ""),
                    xtype=element.get("xtype", ""),
                    unit=element.get("unit", ""),
                    ucd=element.get("ucd", ""),
                    utype=element.get("utype", ""),
                    null=nulls[0] if nulls else "",
                )
            )
    for table_field in document.fields:
        if table_field.datatype not in DATATYPE_CODES:
            document.anomalies.append(
                ("datatype", table_field.name, f"{table_field.datatype!r} is no datatype of VOTable")
            )
        if table_field.arraysize and not ARRAYSIZE_PATTERN.fullmatch(table_field.arraysize):
            document.anomalies.append(("arraysize", table_field.name, f"{table_field.arraysize!r} is no arraysize"))
    data = next((table_field for table_field in table if get_local_name(table_field) == "DATA"), None)
    if data is None:
        return
    for element in data:
        if get_local_name(element) == "TABLEDATA":
            _parse_tabledata(element, document)
        elif get_local_name(element) in {"BINARY", "BINARY2"}:
            _parse_binary(element, document, has_null_flags=get_local_name(element) == "BINARY2")


def _parse_tabledata(element: Any, document: VOTableDocument) -> None:
    for row in element:
        if get_local_name(row) != "TR":
            continue
        cells = [cell_element for cell_element in row if get_local_name(cell_element) == "TD"]
        if len(cells) != len(document.fields):
            document.anomalies.append(("row", "", f"a row has {len(cells)} cells for {len(document.fields)} FIELDs"))
        values = []
        for cell, cell_field in zip(cells, document.fields, strict=False):
            cell_text = cell.text or ""
            try:
                values.append(parse_cell(cell_text, cell_field))
            except ValueError:
                document.anomalies.append(("cell", cell_field.name, f"{cell_text[:60]!r} is no {cell_field.datatype}"))
                values.append(None)
        document.rows.append(values)


def parse_cell(cell_text: str, cell_field: VOTableField) -> Any:
    """Read a cell of TABLEDATA; None for null.

    Raises
    ------
    ValueError
        It is not of the datatype.
    """
    if cell_field.is_text:
        return cell_text or None
    stripped_text = cell_text.strip()
    if not stripped_text or stripped_text == cell_field.null:
        return None
    if cell_field.arraysize not in {"", "1"} or "omplex" in cell_field.datatype:
        return [_parse_scalar(word, cell_field.datatype) for word in stripped_text.split()]
    return _parse_scalar(stripped_text, cell_field.datatype)


def _parse_scalar(number_text: str, datatype: str) -> Any:
    if datatype in INTEGER_RANGES:
        if number_text.lower().startswith("0x"):
            number = int(number_text, 16)
        else:
            number = int(number_text)
        low, high = INTEGER_RANGES[datatype]
        if not low <= number <= high:
            raise ValueError(number_text)
        return number
    if datatype in FLOAT_DATATYPES:
        value = float(number_text.replace("Inf", "inf"))
        return None if math.isnan(value) else value
    if datatype == "boolean":
        if number_text.lower() not in {"true", "false", "t", "f", "1", "0", "?"}:
            raise ValueError(number_text)
        if number_text == "?":
            return None
        return number_text.lower() in {"true", "t", "1"}
    return number_text


def _parse_binary(element: Any, document: VOTableDocument, *, has_null_flags: bool) -> None:
    stream = next((stream_field for stream_field in element if get_local_name(stream_field) == "STREAM"), None)
    if (
        stream is None
        or stream.get("href")
        or any(stream_field.datatype not in DATATYPE_CODES for stream_field in document.fields)
    ):
        document.anomalies.append(("stream", "", "the rows stand elsewhere, or their datatypes are unknown"))
        return
    try:
        data = base64.b64decode(re.sub(r"\s+", "", get_text(stream)), validate=True)
        document.rows.extend(_unpack_rows(data, document.fields, has_null_flags=has_null_flags))
    except (binascii.Error, struct.error, ValueError, IndexError) as error:
        document.anomalies.append(("stream", "", f"the binary rows cannot be unpacked: {error}"))


def _unpack_rows(data: bytes, fields: list[VOTableField], *, has_null_flags: bool) -> Iterator[list[Any]]:
    offset = 0
    mask_bytes = (len(fields) + 7) // 8
    while offset < len(data) and fields:
        if has_null_flags:
            mask = data[offset : offset + mask_bytes]
        else:
            mask = b""
        offset += mask_bytes if has_null_flags else 0
        row = []
        for number, cell_field in enumerate(fields):
            value, offset = _unpack_cell(data, offset, cell_field)
            null = bool(mask) and bool(mask[number // 8] & (128 >> number % 8))
            row.append(None if null or (cell_field.null and str(value) == cell_field.null) else value)
        yield row


def _unpack_cell(data: bytes, offset: int, cell_field: VOTableField) -> tuple[Any, int]:
    code, size = DATATYPE_CODES[cell_field.datatype]
    is_array = cell_field.arraysize not in {"", "1"}
    if cell_field.arraysize.endswith("*"):
        (count,) = struct.unpack_from(">i", data, offset)
        offset += 4
    elif cell_field.arraysize:
        count = math.prod(int(cell_bytes) for cell_bytes in cell_field.arraysize.split("x"))
    else:
        count = 1
    if cell_field.datatype == "bit":
        total = (count + 7) // 8
    else:
        total = count * size
    end = offset + total
    if count < 0 or end > len(data):
        raise ValueError(f"a cell of {cell_field.name} reaches beyond the end")
    cell_bytes = data[offset:end]
    if cell_field.is_text:
        cell_text = cell_bytes.decode(
            "utf-16-be" if cell_field.datatype == "unicodeChar" else "utf-8", "replace"
        ).split("\0")[0]
        return cell_text or None, end
    if cell_field.datatype == "boolean":
        truths = [None if element in b"\0 ?" else element in b"Tt1" for element in cell_bytes]
        return (truths if is_array else truths[0]), end
    if cell_field.datatype == "bit":
        return "".join(f"{element:08b}" for element in cell_bytes)[:count], end
    numbers = [
        None if isinstance(element, float) and math.isnan(element) else element
        for element in struct.unpack(f">{count * len(code)}{code[0]}", cell_bytes)
    ]
    if is_array or len(code) > 1:
        return (numbers or None), end
    return numbers[0], end
