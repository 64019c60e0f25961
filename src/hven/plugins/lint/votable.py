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

from hven.plugins.lint.xml_documents import NotXmlError, get_element_text, get_local_name, parse_xml

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
        """True for texts."""
        return self.datatype in TEXT_DATATYPES


@dataclass(slots=True, kw_only=True)
class VOTableDocument:
    """A VOTable: its only table of results, the INFOs before and after it, and its faults."""

    version: str = ""
    result_resource_count: int = 0
    table_count: int = 0
    leading_infos: list[tuple[str, str, str]] = field(default_factory=list)
    trailing_infos: list[tuple[str, str, str]] = field(default_factory=list)
    fields: list[VOTableField] = field(default_factory=list)
    rows: list[list[Any]] = field(default_factory=list)
    anomalies: list[tuple[str, str, str]] = field(default_factory=list)  # kind, column, description

    def list_query_statuses(self) -> list[str]:
        """Return the values of QUERY_STATUS, in order."""
        return [value.upper() for value, _ in self._list_status_infos()]

    def _list_status_infos(self) -> list[tuple[str, str]]:
        """Return values and texts of the INFOs QUERY_STATUS."""
        infos = [*self.leading_infos, *self.trailing_infos]
        return [(value, text) for name, value, text in infos if name == "QUERY_STATUS"]

    @property
    def has_overflow(self) -> bool:
        """True if the document says that rows were cut off."""
        return "OVERFLOW" in self.list_query_statuses()

    @property
    def error_message(self) -> str | None:
        """Message of an error document; None: the document is none."""
        for value, text in self._list_status_infos():
            if value.upper() == "ERROR":
                return text
        return None

    def list_records(self) -> list[dict[str, Any]]:
        """Return the rows as maps with column names in lower case."""
        names = [votable_field.name.lower() for votable_field in self.fields]
        return [dict(zip(names, row, strict=False)) for row in self.rows]


def parse_votable(body: bytes) -> VOTableDocument:
    """Parse a document.

    Raises
    ------
    NotXmlError
        The body is no XML, or no VOTable.
    """
    root = parse_xml(body)
    if get_local_name(root) != "VOTABLE":
        raise NotXmlError(f"its root is <{get_local_name(root)}>, not <VOTABLE>")
    document = VOTableDocument(version=root.get("version", ""))
    resources = [element for element in root.iter() if get_local_name(element) == "RESOURCE"]
    result_resources = [element for element in resources if element.get("type") == "results"]
    document.result_resource_count = len(result_resources)
    resource = (result_resources or resources or [root])[0]
    document.table_count = len(resource.findall("{*}TABLE"))
    has_table = False
    for child in [*root.findall("{*}INFO"), *resource]:
        child_name = get_local_name(child)
        if child_name == "INFO":
            infos = document.trailing_infos if has_table else document.leading_infos
            text = (child.text or "").strip()
            infos.append((child.get("name", ""), child.get("value", ""), text))
        elif child_name == "TABLE" and not has_table:
            has_table = True
            _parse_table_element(child, document)
    return document


def _parse_table_element(table: Any, document: VOTableDocument) -> None:
    document.fields += map(_parse_field, table.findall("{*}FIELD"))
    for votable_field in document.fields:
        datatype, arraysize = votable_field.datatype, votable_field.arraysize
        if datatype not in DATATYPE_CODES:
            document.anomalies.append(("datatype", votable_field.name, f"{datatype!r} is not a VOTable datatype"))
        if arraysize and not ARRAYSIZE_PATTERN.fullmatch(arraysize):
            document.anomalies.append(("arraysize", votable_field.name, f"{arraysize!r} is not an arraysize"))
    data = table.find("{*}DATA")
    for element in () if data is None else data:
        element_name = get_local_name(element)
        if element_name == "TABLEDATA":
            _parse_tabledata(element, document)
        elif element_name in {"BINARY", "BINARY2"}:
            _parse_binary_rows(element, document, has_null_flags=element_name == "BINARY2")


def _parse_field(element: Any) -> VOTableField:
    values_element = element.find("{*}VALUES")
    null = ""
    if values_element is not None:
        null = values_element.get("null", "")
    keys = ("name", "datatype", "arraysize", "xtype", "unit", "ucd", "utype")
    return VOTableField(null=null, **{key: element.get(key, "") for key in keys})


def _parse_tabledata(element: Any, document: VOTableDocument) -> None:
    for row in element.findall("{*}TR"):
        cells = row.findall("{*}TD")
        if len(cells) != len(document.fields):
            document.anomalies.append(("row", "", f"a row has {len(cells)} cells for {len(document.fields)} FIELDs"))
        values = []
        for cell, cell_field in zip(cells, document.fields, strict=False):
            cell_text = cell.text or ""
            value = None
            try:
                value = parse_tabledata_cell(cell_text, cell_field)
            except ValueError:
                description = f"{cell_text[:60]!r} is not of type {cell_field.datatype}"
                document.anomalies.append(("cell", cell_field.name, description))
            values.append(value)
        document.rows.append(values)


def parse_tabledata_cell(cell_text: str, cell_field: VOTableField) -> Any:
    """Parse a cell of TABLEDATA; None for null.

    Raises
    ------
    ValueError
        The cell is no value of the datatype.
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
        base = 10
        if number_text.lower().startswith("0x"):
            base = 16
        number = int(number_text, base)
        low, high = INTEGER_RANGES[datatype]
        if not low <= number <= high:
            raise ValueError(number_text)
        return number
    if datatype in FLOAT_DATATYPES:
        value = float(number_text.replace("Inf", "inf"))
        if math.isnan(value):
            return None
        return value
    if datatype == "boolean":
        if number_text.lower() not in {"true", "false", "t", "f", "1", "0", "?"}:
            raise ValueError(number_text)
        if number_text == "?":
            return None
        return number_text.lower() in {"true", "t", "1"}
    return number_text


def _parse_binary_rows(element: Any, document: VOTableDocument, *, has_null_flags: bool) -> None:
    stream = element.find("{*}STREAM")
    has_unknown_datatypes = any(votable_field.datatype not in DATATYPE_CODES for votable_field in document.fields)
    if stream is None or stream.get("href") or has_unknown_datatypes:
        document.anomalies.append(("stream", "", "the rows are elsewhere, or their datatypes are unknown"))
        return
    try:
        data = base64.b64decode(re.sub(r"\s+", "", get_element_text(stream)), validate=True)
        document.rows.extend(_unpack_rows(data, document.fields, has_null_flags=has_null_flags))
    except (binascii.Error, struct.error, ValueError, IndexError) as error:
        document.anomalies.append(("stream", "", f"the binary rows cannot be unpacked: {error}"))


def _unpack_rows(data: bytes, fields: list[VOTableField], *, has_null_flags: bool) -> Iterator[list[Any]]:
    offset = 0
    mask_size = 0
    if has_null_flags:
        mask_size = (len(fields) + 7) // 8
    while offset < len(data) and fields:
        mask = data[offset : offset + mask_size]
        offset += mask_size
        row = []
        for number, cell_field in enumerate(fields):
            value, offset = _unpack_cell(data, offset, cell_field)
            has_null_flag = bool(mask) and bool(mask[number // 8] & (128 >> number % 8))
            is_null_value = bool(cell_field.null) and str(value) == cell_field.null
            row.append(None if has_null_flag or is_null_value else value)
        yield row


def _unpack_cell(data: bytes, offset: int, cell_field: VOTableField) -> tuple[Any, int]:
    """Return the value of a cell, and the offset of the next one."""
    code, size = DATATYPE_CODES[cell_field.datatype]
    count = 1
    if cell_field.arraysize.endswith("*"):
        (count,) = struct.unpack_from(">i", data, offset)
        offset += 4
    elif cell_field.arraysize:
        count = math.prod(map(int, cell_field.arraysize.split("x")))
    byte_count = count * size
    if cell_field.datatype == "bit":
        byte_count = (count + 7) // 8
    end = offset + byte_count
    if count < 0 or end > len(data):
        raise ValueError(f"a cell of {cell_field.name} extends beyond the end of the data")
    return _decode_cell(data[offset:end], cell_field, code, count), end


def _decode_cell(cell_bytes: bytes, cell_field: VOTableField, code: str, count: int) -> Any:
    is_array = cell_field.arraysize not in {"", "1"}
    if cell_field.is_text:
        encoding = "utf-16-be" if cell_field.datatype == "unicodeChar" else "utf-8"
        text = cell_bytes.decode(encoding, "replace").split("\0")[0]
        return text or None
    if cell_field.datatype == "bit":
        return "".join(f"{byte:08b}" for byte in cell_bytes)[:count]
    values: list[Any] = []
    if cell_field.datatype == "boolean":
        for byte in cell_bytes:
            values.append(None if byte in b"\0 ?" else byte in b"Tt1")  # noqa: PERF401
        if is_array:
            return values
        return values[0]
    for number in struct.unpack(f">{count * len(code)}{code[0]}", cell_bytes):
        is_missing = isinstance(number, float) and math.isnan(number)
        values.append(None if is_missing else number)
    if is_array or len(code) > 1:
        return values or None
    return values[0]
