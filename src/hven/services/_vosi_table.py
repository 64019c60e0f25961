"""Read a VOSI table, as clients send it to make a table that has no rows yet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lxml import etree

from hven.model.errors import SourceError
from hven.model.table import Column, Table
from hven.model.types import SCALAR_TYPES_BY_DATATYPE, Type, parse_type

if TYPE_CHECKING:
    from pathlib import Path


def read_vosi_table(path: Path) -> Table | None:
    """Read a VOSI table (VODataService 1.2 section 3.3): columns without rows; None if the file is something else."""
    with path.open("rb") as file:
        start = file.read(4096)
    if (b"<table" not in start and b":table" not in start) or b"<VOTABLE" in start or b":VOTABLE" in start:
        return None
    try:
        parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
        root = etree.parse(path, parser).getroot()
        if etree.QName(root).localname != "table":
            return None
        columns = tuple(_read_column(item) for item in root.iter("{*}column"))
    except (etree.XMLSyntaxError, ValueError) as error:
        raise SourceError(
            f"the description of the table cannot be read: {error}", remedy="a VOSI table, or a VOTable"
        ) from error
    description = root.findtext("{*}description")
    return Table(schema="", name="", columns=columns, description=description)


# the words of vs:TAPType (VODataService 1.1 section 3.5.3) as descriptors say them
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


def _read_type(element: Any, column_name: str | None) -> Type:
    word = (element.text or "").strip()
    if word.upper() in _TYPES_BY_TAP_NAME and word not in SCALAR_TYPES_BY_DATATYPE:
        return parse_type(_TYPES_BY_TAP_NAME[word.upper()])
    kind = Type(word, element.get("arraysize"), element.get("extendedType"))
    try:
        if kind.arrow is not None:
            return kind
    except (KeyError, ValueError):
        pass
    if kind.arraysize:
        size = f" with arraysize {kind.arraysize!r:.40}"
    else:
        size = ""
    raise ValueError(f"column {column_name!r:.80} is of type {word!r:.40}{size}, which is not known")


def _read_column(element: Any) -> Column:
    attributes = {
        key: (element.findtext(f"{{*}}{key}") or "").strip() or None
        for key in ("name", "description", "unit", "ucd", "utype")
    }
    kind = element.find("{*}dataType")
    if kind is None:
        raise ValueError(f"column {attributes['name']!r:.80} has no dataType")
    return Column(
        name=attributes["name"] or "",
        type=_read_type(kind, attributes["name"]),
        description=attributes["description"],
        unit=attributes["unit"],
        ucd=attributes["ucd"],
        utype=attributes["utype"],
    )
