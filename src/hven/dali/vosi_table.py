"""Read a VOSI table, as clients send it to make a table that has no rows yet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lxml import etree

from hven.errors import SourceError
from hven.model.table import Column, Table
from hven.model.types import Type

if TYPE_CHECKING:
    from pathlib import Path


def described(path: Path) -> Table | None:
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
        columns = tuple(_column(item) for item in root.iter("{*}column"))
    except (etree.XMLSyntaxError, ValueError, KeyError) as error:
        raise SourceError(f"the description of the table cannot be read: {error}", remedy="a VOSI table, or a VOTable") from error
    return Table(schema="", name="", columns=columns, description=root.findtext("{*}description"))


def _column(item: Any) -> Column:
    said = {key: (item.findtext(f"{{*}}{key}") or "").strip() or None for key in ("name", "description", "unit", "ucd", "utype")}
    kind = item.find("{*}dataType")
    if kind is None:
        raise ValueError(f"column {said['name']!r:.80} has no dataType")
    datatype = (kind.text or "").strip()
    return Column(
        name=said["name"] or "",
        type=Type(datatype, kind.get("arraysize"), kind.get("extendedType")),
        description=said["description"],
        unit=said["unit"],
        ucd=said["ucd"],
        utype=said["utype"],
    )
