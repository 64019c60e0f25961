"""Describe stars as the VOTable 1.1 of JMMC's GetStar, which SearchCal, ASPRO and their style sheets read.

Each property is a GROUP of its value, its origin and confidence (``V.origin``, hidden), and its error. The positions
are sexagesimal texts. UCDs are of the list that preceded UCD1+; the UCD of an error ends with ``_ERROR``. The OPTIONs
of the code lists have the code as name and the word as value, as these programs expect.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from math import isnan
from typing import TYPE_CHECKING
from xml.sax.saxutils import quoteattr

import pyarrow as pa
import pyarrow.compute as pc
from lxml import etree

from hven.formats import ResultStatus, TableMetadata
from hven.formats.votable import write_votable
from hven.model import literal
from hven.model.table import HIDDEN_DISPLAY, INPUT_DOCUMENT_KEY, Column, Table
from hven.model.types import INT32, STRING
from hven.plugins.getstar.getstar_keys import PLACEHOLDER_PATTERN, OldField
from hven.plugins.quantities.quantity_values import list_quantity_groups
from hven.plugins.schema_life.delivery.cds_units import write_cds_unit
from hven.plugins.source_votables.input_documents import InputDocument

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.model.table import ColumnGroup
    from hven.model.types import ColumnType
    from hven.plugins.getstar.getstar_keys import StarTable

FORM_OPTIONS = {"names": "source", "version": "1.1"}  # how `source_votables` writes a document as it is described
POSITION_FIELDS = (("RAJ2000", "POS_EQ_RA_MAIN", "h:m:s"), ("DEJ2000", "POS_EQ_DEC_MAIN", "d:m:s"))
FRAME_ID = "J2000"
DEFAULT_SERVER = "Hven"
SEXAGESIMAL_DECIMALS = 6  # of seconds
HIDDEN_FIELDS = {"origin": "REFER_CODE", "confidence": "CODE_QUALITY"}  # role -> UCD
ERROR_UCD_SUFFIX, MAIN_UCD_SUFFIX = "_ERROR", "_MAIN"
INDEX_PARAMS = (("ConfidenceIndexes", "confidence"), ("OriginIndexes", "origin"))
OLD_UCDS = {  # UCD1+ -> UCD of the older list
    "phot.mag;em.opt.u": "PHOT_JHN_U",
    "phot.mag;em.opt.b": "PHOT_JHN_B",
    "phot.mag;em.opt.v": "PHOT_JHN_V",
    "phot.mag;em.opt.r": "PHOT_JHN_R",
    "phot.mag;em.opt.i": "PHOT_JHN_I",
    "phot.mag;em.ir.j": "PHOT_JHN_J",
    "phot.mag;em.ir.h": "PHOT_JHN_H",
    "phot.mag;em.ir.k": "PHOT_JHN_K",
    "pos.pm;pos.eq.ra": "POS_EQ_PMRA",
    "pos.pm;pos.eq.dec": "POS_EQ_PMDEC",
    "pos.parallax": "POS_PARLX_TRIG",
    "pos.parallax.trig": "POS_PARLX_TRIG",
    "src.sptype": "SPECT_TYPE_MK",
    "src.class": "OBJ_TYPES",
    "meta.id;meta.main": "ID_MAIN",
    "phys.temperature.effective": "PHYS_TEMP_EFFEC",
}
GROUP_DESCRIPTION = "with its origin and confidence indexes and its error when available"
_OLD_UCD_PATTERN = re.compile(r"[A-Z][A-Za-z0-9_/+-]*")  # words of UCD1+ have dots
_ILLEGAL_PATTERN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufffe\uffff]")


@dataclass(frozen=True, slots=True, kw_only=True)
class _OldColumn:
    """A FIELD of the old document: its column, attributes, and values."""

    column: Column
    name: str
    ucd: str
    type: ColumnType
    unit: str
    is_hidden: bool = False
    values: pa.Array

    def add_field(self, table: etree._Element, ident: str, new_names: Mapping[str, str]) -> None:
        """Add the FIELD to a TABLE; its link has the names of the old document: ``${HD}``."""
        attributes = {"name": self.name, "ID": ident, "ucd": self.ucd, "datatype": str(self.type.datatype)}
        if self.type.arraysize is not None:
            attributes["arraysize"] = self.type.arraysize
        if self.unit in {"h:m:s", "d:m:s"}:
            attributes |= {"ref": FRAME_ID, "unit": self.unit}
        elif self.unit:
            attributes["unit"] = write_cds_unit(self.unit) or self.unit
        if self.is_hidden:
            attributes["type"] = "hidden"
        element = _add_element(table, "FIELD", attributes)
        if self.column.description:
            _add_element(element, "DESCRIPTION", text=self.column.description)
        if self.column.link and not self.is_hidden:
            link = PLACEHOLDER_PATTERN.sub(lambda match: f"${{{new_names.get(match[1], match[1])}}}", self.column.link)
            _add_element(element, "LINK", {"href": link})


def write_old_votable(
    table: Table,
    star_table: StarTable,
    columns: Sequence[Column],
    rows: pa.Table,
    *,
    names: Sequence[str],
    missing_names: Mapping[str, str],
    cut_names: Sequence[str] = (),
) -> bytes:
    """Write the document.

    Parameters
    ----------
    table, star_table
        The table, and how it is read.
    columns, rows
        Columns and rows of the stars.
    names
        Names in the request.
    missing_names
        Names that were not found, with the reasons.
    cut_names
        Names of stars that have more rows in the table.
    """
    server = star_table.server or DEFAULT_SERVER
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S")
    root = etree.Element("VOTABLE")
    request = f"-objectName {','.join(names)} -format vot"
    _add_element(root, "DESCRIPTION", text=f"GetStar; request: {request}; generated on (UTC): {now}")
    _add_element(root, "COOSYS", {"ID": FRAME_ID, "equinox": "J2000.", "epoch": "J2000.", "system": "ICRS"})
    for name, reason in missing_names.items():
        _add_element(root, "INFO", {"name": "notFound", "value": name}, reason)
    for name in cut_names:
        _add_element(root, "INFO", {"name": "moreRows", "value": name}, "the table has more rows of this star")
    element = _add_element(_add_element(root, "RESOURCE", {"name": server}), "TABLE")
    _add_params(element, table, server, now, names)
    properties = _build_properties(table, star_table, columns, rows)
    fields = [field for property_fields in properties.values() for field in property_fields]
    new_names = {field.column.name: field.name for field in fields}
    idents = {id(field): f"col{number}" for number, field in enumerate(fields)}
    for field in fields:
        field.add_field(element, idents[id(field)], new_names)
    for name, property_fields in properties.items():
        group = _add_element(element, "GROUP", {"name": name, "ucd": property_fields[0].ucd})
        _add_element(group, "DESCRIPTION", text=f"{name} {GROUP_DESCRIPTION}")
        for field in property_fields:
            _add_element(group, "FIELDref", {"ref": idents[id(field)]})
    data = _write_document(root, fields, rows.num_rows)
    if star_table.style_sheet:
        instruction = f'<?xml-stylesheet href={quoteattr(star_table.style_sheet)} type="text/xsl"?>\n'
        declaration, _, document = data.partition(b"\n")
        data = declaration + b"\n" + instruction.encode() + document
    return data


def _write_document(root: etree._Element, fields: Sequence[_OldColumn], row_count: int) -> bytes:
    """Write the rows into a document that is described."""
    columns = tuple(Column(name=f"c{number}", type=field.type) for number, field in enumerate(fields))
    positions = {column.name: number for number, column in enumerate(columns)}
    described_table = Table(
        schema="",
        name="",
        columns=columns,
        extensions={INPUT_DOCUMENT_KEY: {"document": InputDocument(root), "fields": positions}},
    )
    metadata = TableMetadata(columns=columns, tables=(described_table,), includes_query_status=False, request_infos=())
    batch = pa.RecordBatch.from_arrays([field.values for field in fields], names=list(positions))
    return b"".join(write_votable(metadata, iter([batch]), lambda: ResultStatus(row_count=row_count), FORM_OPTIONS))


def _add_element(
    parent: etree._Element, tag: str, attributes: Mapping[str, str] | None = None, text: str = ""
) -> etree._Element:
    """Add an element, without characters that XML cannot contain."""
    legal_attributes = {name: _ILLEGAL_PATTERN.sub("?", value) for name, value in (attributes or {}).items()}
    element = etree.SubElement(parent, tag, legal_attributes)
    if text:
        element.text = _ILLEGAL_PATTERN.sub("?", text)
    return element


def _add_params(table_element: etree._Element, table: Table, server: str, now: str, names: Sequence[str]) -> None:
    """Add the parameters of the request, and the code lists."""
    texts = {"ServerCommand": "GetStar", "ServerDate": now, "SearchCalServerVersion": server}
    texts |= {"objectName": ",".join(names), "file": ""}
    params = [{"name": name, "datatype": "char", "arraysize": "*", "value": text} for name, text in texts.items()]
    params += [
        {"name": "baseMax", "datatype": "double", "value": "0.0", "unit": "m"},
        {"name": "wlen", "datatype": "double", "value": "0.0", "unit": "um"},
        {"name": "format", "datatype": "char", "arraysize": "*", "value": "vot"},
        {"name": "diagnose", "datatype": "boolean", "value": "false"},
    ]
    for param in params:
        _add_element(table_element, "PARAM", param)
    for name, role in INDEX_PARAMS:
        labels = _find_code_list(table, role)
        if labels:
            param_element = _add_element(table_element, "PARAM", {"name": name, "datatype": "int", "value": "0"})
            values = _add_element(param_element, "VALUES")
            for code, label in labels.items():
                _add_element(values, "OPTION", {"name": code, "value": label})


def _find_code_list(table: Table, role: str) -> Mapping[str, str]:
    """Return the codes of the first column with a role, in their order."""
    for group in list_quantity_groups(table):
        if role in group.roles:
            labels = table.enums.get(table.find_column(group.roles[role]).enum or "", {})
            if labels:
                return {code: labels[code] for code in sorted(labels, key=lambda code: (len(code), code))}
    return {}


def _build_properties(
    table: Table, star_table: StarTable, columns: Sequence[Column], rows: pa.Table
) -> dict[str, list[_OldColumn]]:
    """Build the FIELDs of each property: the value, its origin, its confidence, its error and its bounds."""
    shown = {column.name: column for column in columns}
    groups = {group.roles["value"]: group for group in list_quantity_groups(table)}
    member_names = {name for group in groups.values() for role, name in group.roles.items() if role != "value"}
    properties: dict[str, list[_OldColumn]] = {}
    for column in columns:
        if column.name in member_names and column.name not in groups:
            continue
        group = groups.get(column.name)
        value = _build_value_field(column, group, table, star_table, rows)
        fields = [value]
        if group is not None:
            fields += _build_member_fields(value, group, shown, star_table, rows)
        properties.setdefault(value.name, []).extend(fields)
    return properties


def _build_value_field(
    column: Column, group: ColumnGroup | None, table: Table, star_table: StarTable, rows: pa.Table
) -> _OldColumn:
    old = star_table.fields.get(column.name, OldField())
    group_name = group_ucd = ""
    if group is not None:  # the names of groups that come from a VOTable are those of its FIELDs, and so are their UCDs
        group_name = group.name if _is_same_name(group.name, column.name) else ""
        group_ucd = group.ucd if group.ucd and _OLD_UCD_PATTERN.fullmatch(group.ucd) else ""
    default_name, default_ucd, unit = column.name, OLD_UCDS.get((column.ucd or "").lower(), ""), column.unit or ""
    values = _read_values_without_nan(column, rows)
    column_type = column.type
    if table.position is not None and column.name in table.position:
        place = table.position.index(column.name)
        default_name, default_ucd, unit = POSITION_FIELDS[place]
        numbers = rows.column(column.name).to_pylist()
        texts = [format_sexagesimal(number, is_longitude=place == 0) for number in numbers]
        values = pa.array(texts, pa.string())
        column_type = STRING
    name = old.name or group_name or default_name
    ucd = old.ucd or group_ucd or default_ucd or _write_name_as_ucd(name)
    is_hidden = column.display == HIDDEN_DISPLAY
    return _OldColumn(
        column=column, name=name, ucd=ucd, type=column_type, unit=unit, is_hidden=is_hidden, values=values
    )


def _build_member_fields(
    value: _OldColumn, group: ColumnGroup, shown: Mapping[str, Column], star_table: StarTable, rows: pa.Table
) -> list[_OldColumn]:
    fields = []
    for role, ucd in HIDDEN_FIELDS.items():
        column = shown.get(group.roles.get(role, ""))
        if column is not None:
            # the style sheets write these codes into classes, so that a missing one is 0
            code_type = INT32 if column.type.is_integer else STRING
            codes = pc.fill_null(
                _read_values_without_nan(column, rows).cast(code_type.arrow), 0 if code_type is INT32 else "0"
            )
            name = f"{value.name}.{role}"
            fields.append(
                _OldColumn(column=column, name=name, ucd=ucd, type=code_type, unit="", is_hidden=True, values=codes)
            )
    for role, name in group.roles.items():
        column = shown.get(name)
        if column is None or role in {"value", *HIDDEN_FIELDS}:
            continue
        old = star_table.fields.get(name, OldField())
        error_name = f"e_{value.name}"
        new_name = old.name or (error_name if role == "error" and _is_same_name(error_name, name) else name)
        ucd = old.ucd
        if not ucd:
            suffix = ERROR_UCD_SUFFIX if role == "error" else f"_{role.upper()}"
            ucd = value.ucd.removesuffix(MAIN_UCD_SUFFIX) + suffix
        fields.append(
            _OldColumn(
                column=column,
                name=new_name,
                ucd=ucd,
                type=column.type,
                unit=column.unit or "",
                values=_read_values_without_nan(column, rows),
            )
        )
    return fields


def _read_values_without_nan(column: Column, rows: pa.Table) -> pa.Array:
    """Return the values of a column; NaN is a missing value, because these programs show it as a number."""
    values = literal.cast_to_storage_type(rows.column(column.name).combine_chunks(), column.type)
    if pa.types.is_floating(values.type):
        return pc.if_else(pc.is_nan(values), pa.scalar(None, values.type), values)
    return values


def _is_same_name(first_name: str, second_name: str) -> bool:
    """Return whether two names differ only in case and in signs that names of columns cannot have."""
    first, second = (re.sub(r"[^a-z0-9]", "", name.lower()) for name in (first_name, second_name))
    return second in {first, f"c{first}"}  # names that begin with a digit get a prefix


def _write_name_as_ucd(name: str) -> str:
    return re.sub(r"[^A-Z0-9]+", "_", name.upper()).strip("_") or "ID"


def format_sexagesimal(degrees: float | None, *, is_longitude: bool) -> str:
    """Format an angle as ``06 45 08.917300`` (hours) or ``-16 42 58.017000`` (degrees); empty if there is none.

    Parameters
    ----------
    degrees
        The angle in degrees.
    is_longitude
        Whether it is a right ascension.
    """
    if degrees is None or isnan(degrees):
        return ""
    scale = 10**SEXAGESIMAL_DECIMALS
    if is_longitude:
        sign = ""
        units = round(degrees % 360 / 15 * 3600 * scale) % (24 * 3600 * scale)
    else:
        sign = "-" if degrees < 0 else "+"
        units = round(abs(degrees) * 3600 * scale)
    minutes, seconds = divmod(units, 60 * scale)
    hours, minutes = divmod(minutes, 60)
    return f"{sign}{hours:02d} {minutes:02d} {seconds // scale:02d}.{seconds % scale:0{SEXAGESIMAL_DECIMALS}d}"
