"""Read a VOSI table, which clients send to create a table without rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lxml import etree

from hven.model.errors import SourceError
from hven.model.table import Column, Table
from hven.model.types import SCALAR_TYPES_BY_DATATYPE, ColumnType, parse_type

if TYPE_CHECKING:
    from pathlib import Path


def read_vosi_table(path: Path) -> Table | None:
    """Read the columns of a VOSI table (VODataService 1.2 section 3.3); return None if the file is something else."""
    with path.open("rb") as file:
        start = file.read(4096)
    has_table_element = b"<table" in start or b":table" in start
    is_votable = b"<VOTABLE" in start or b":VOTABLE" in start
    if not has_table_element or is_votable:
        return None
    try:
        parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
        root = etree.parse(path, parser).getroot()
        if etree.QName(root).localname != "table":
            return None
        columns = tuple(_read_column(element) for element in root.iter("{*}column"))
    except (etree.XMLSyntaxError, ValueError) as error:
        raise SourceError(
            f"the description of the table cannot be read: {error}", remedy="send a VOSI table or a VOTable"
        ) from error
    description = root.findtext("{*}description")
    return Table(schema="", name="", columns=columns, description=description)


# the words of vs:TAPType (VODataService 1.1 section 3.5.3) and the types that descriptors name
_TYPES_BY_TAP_NAME = {
    "BOOLEAN": "bool",
    "SMALLINT": "int16",
    "INTEGER": "int32",
    "BIGINT": "int64",
    "REAL": "float32",
    "DOUBLE": "float64",
    "TIMESTAMP": "timestamp",
    "CHAR": "string",
    "VARCHAR": "string",
    "UNICODE": "string",
    "UNICODECHAR": "string",
    "POINT": "point",
    "CIRCLE": "circle",
    "POLYGON": "polygon",
    "REGION": "shape",
    "CLOB": "string",
}


def _read_type(element: Any, column_name: str | None) -> ColumnType:
    type_name = (element.text or "").strip()
    tap_name = type_name.upper()
    if tap_name in _TYPES_BY_TAP_NAME and type_name not in SCALAR_TYPES_BY_DATATYPE:
        return parse_type(_TYPES_BY_TAP_NAME[tap_name])
    column_type = ColumnType(type_name, element.get("arraysize"), element.get("extendedType"))
    try:
        if column_type.arrow is not None:
            return column_type
    except (KeyError, ValueError):
        pass
    shape = ""
    if column_type.arraysize:
        shape = f" with arraysize {column_type.arraysize!r:.40}"
    raise ValueError(f"the column {column_name!r:.80} has the unknown type {type_name!r:.40}{shape}")


def _read_column(element: Any) -> Column:
    name = _read_child_text(element, "name")
    type_element = element.find("{*}dataType")
    if type_element is None:
        raise ValueError(f"the column {name!r:.80} has no dataType element")
    return Column(
        name=name or "",
        type=_read_type(type_element, name),
        description=_read_child_text(element, "description"),
        unit=_read_child_text(element, "unit"),
        ucd=_read_child_text(element, "ucd"),
        utype=_read_child_text(element, "utype"),
    )


def _read_child_text(element: Any, child_name: str) -> str | None:
    text = element.findtext(f"{{*}}{child_name}") or ""
    return text.strip() or None
