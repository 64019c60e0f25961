"""The key ``getstar`` of tables in descriptors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hven.descriptor.api.keys import KeyReferenceSection, TableDescriptorKey
from hven.model.errors import TextPlace, suggest_spelling
from hven.plugins.getstar.getstar_section_keys import GetstarSection

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hven.descriptor.api.keys import TableDescriptorKeyValue
    from hven.descriptor.value_schema import FaultCollector
    from hven.model.table import Table

GETSTAR_KEY = "getstar"
PLACEHOLDER_PATTERN = re.compile(r"\{([^{}]+)\}")
DEFAULT_RADIUS_ARCSEC, DEFAULT_EPOCH = 2.0, 2000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class OldField:
    """How old programs know a column: name and UCD; empty: as usual."""

    name: str = ""
    ucd: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StarTable:
    """How `/getstar` reads a table.

    Attributes
    ----------
    names
        Templates of the names of the stars.
    radius_arcsec, epoch
        Largest distance of a star from a resolved position, and epoch of the positions of the table.
    links
        Templates of addresses by their titles.
    fields
        Columns as old programs know them.
    server, style_sheet
        Name of the server, and address of the style sheet, in answers for old programs.
    place
        Place in the descriptor.
    """

    names: tuple[str, ...]
    radius_arcsec: float = DEFAULT_RADIUS_ARCSEC
    epoch: float = DEFAULT_EPOCH
    links: Mapping[str, str] = field(default_factory=dict)
    fields: Mapping[str, OldField] = field(default_factory=dict)
    server: str = ""
    style_sheet: str = ""
    place: TextPlace = field(default=TextPlace(), compare=False, repr=False)


def _read_star_table(key_value: TableDescriptorKeyValue) -> StarTable:
    fields = key_value.value
    for text in fields.get("names", ()):
        if not PLACEHOLDER_PATTERN.search(text):
            message = f"{key_value.key_path}.names: {str(text)!r} does not name a column"
            key_value.faults.add_error(message, text.place, "write the column in braces, for example 'HD {HD}'")
    return StarTable(
        names=tuple(str(text) for text in fields.get("names", ())),
        radius_arcsec=fields.get("radius", DEFAULT_RADIUS_ARCSEC),
        epoch=fields.get("epoch", DEFAULT_EPOCH),
        links={str(title): str(address) for title, address in fields.get("links", {}).items()},
        fields={
            str(column): OldField(name=str(old.get("name", "")), ucd=str(old.get("ucd", "")))
            for column, old in fields.get("fields", {}).items()
        },
        server=str(fields.get("server", "")),
        style_sheet=str(fields.get("style_sheet", "")),
        place=fields.place,
    )


def _check_star_table(key_path: str, table: Table, faults: FaultCollector) -> None:
    """Report columns that the table does not have, and those whose values cannot be parts of names."""
    star_table: StarTable = table.extensions[GETSTAR_KEY]
    columns = {column.name: column for column in table.columns}
    used_names = [
        (f"{key_path}.names", name) for text in star_table.names for name in PLACEHOLDER_PATTERN.findall(text)
    ]
    used_names += [
        (f"{key_path}.links", name) for link in star_table.links.values() for name in PLACEHOLDER_PATTERN.findall(link)
    ]
    used_names += [(f"{key_path}.fields", name) for name in star_table.fields]
    for path, name in used_names:
        if name not in columns:
            message = f"{path}: the table has no column {name!r}"
            faults.add_error(message, star_table.place, suggest_spelling(name, columns))
        elif path.endswith(".names") and not (columns[name].type.is_string or columns[name].type.is_integer):
            message = f"{path}: the column {name} has the type {columns[name].type}, so it cannot be part of a name"
            faults.add_error(message, star_table.place, "use columns of text or whole numbers")
    if not table.primary:
        message = f"{key_path}: the table has no primary key"
        faults.add_error(message, star_table.place, "add `primary` to the table")


def _list_name_columns(table: Table) -> Iterable[str]:
    names = {column.name for column in table.columns}
    star_table: StarTable = table.extensions[GETSTAR_KEY]
    return [name for text in star_table.names for name in PLACEHOLDER_PATTERN.findall(text) if name in names]


GETSTAR = TableDescriptorKey(
    value_type=GetstarSection,
    doc="the table contains stars: `/getstar` finds them by name and shows their properties",
    convert_value=_read_star_table,
    check_table=_check_star_table,
    list_indexed_columns=_list_name_columns,
    previous_key="quantities",
    reference_sections=(
        KeyReferenceSection("table getstar", "table", keys="getstar", shown_in="getstar"),
        KeyReferenceSection(
            "getstar",
            "getstar",
            example="""\
getstar:
  names: ["{main_id}", "HD {HD}"]
  radius: 2
  epoch: 2000
  links: {SIMBAD: "https://simbad.cds.unistra.fr/simbad/sim-id?Ident=HD{HD}"}
  fields: {main_id: Name, V: {name: V, ucd: PHOT_JHN_V}}
  server: SearchCal Server v6.0.0
  style_sheet: https://example.org/getstarVOTableToHTML.xsl
""",
        ),
        KeyReferenceSection("old field", "old field", shown_in="getstar"),
    ),
)
