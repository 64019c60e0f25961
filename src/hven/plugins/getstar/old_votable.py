"""Write stars as the VOTable 1.1 of JMMC's GetStar, which SearchCal, ASPRO and their style sheets read.

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
from xml.sax.saxutils import escape, quoteattr

from hven.model import literal
from hven.model.table import HIDDEN_DISPLAY
from hven.plugins.getstar.getstar_keys import PLACEHOLDER_PATTERN, OldField
from hven.plugins.quantities.quantity_values import list_quantity_groups

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pyarrow as pa

    from hven.model.table import Column, ColumnGroup, Table
    from hven.plugins.getstar.getstar_keys import StarTable

NAMESPACE = "http://www.ivoa.net/xml/VOTable/v1.1"
POSITION_FIELDS = (("RAJ2000", "POS_EQ_RA_MAIN", "h:m:s"), ("DEJ2000", "POS_EQ_DEC_MAIN", "d:m:s"))
FRAME_ID = "J2000"
SEXAGESIMAL_DECIMALS = 6  # of seconds
HIDDEN_FIELDS = {"origin": "REFER_CODE", "confidence": "CODE_QUALITY"}  # role -> UCD
ERROR_UCD_SUFFIX, MAIN_UCD_SUFFIX = "_ERROR", "_MAIN"
BOOLEAN_TEXTS = {"true": "1", "false": "0"}
INDEX_PARAMS = (("ConfidenceIndexes", "confidence"), ("OriginIndexes", "origin"))
DATATYPES = frozenset({"boolean", "unsignedByte", "short", "int", "long", "float", "double"})
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
_OLD_UCD_PATTERN = re.compile(r"[A-Z][A-Za-z0-9_/+-]*")  # words of UCD1+ have dots
_ILLEGAL_PATTERN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufffe\uffff]")


@dataclass(frozen=True, slots=True, kw_only=True)
class _OldColumn:
    """A FIELD of the old document: its column, attributes, and texts of its values."""

    column: Column
    name: str
    ucd: str
    datatype: str
    unit: str
    is_hidden: bool = False
    texts: Sequence[str] = ()

    def write_field(self, ident: str, link: str, description: str) -> str:
        """Write the FIELD."""
        attributes = f"name={quoteattr(self.name)} ID={quoteattr(ident)} ucd={quoteattr(self.ucd)}"
        if self.unit in {"h:m:s", "d:m:s"}:
            attributes += f' ref="{FRAME_ID}"'
        attributes += f' datatype="{self.datatype}"'
        if self.datatype == "char":
            attributes += ' arraysize="*"'
        if self.unit:
            attributes += f" unit={quoteattr(self.unit)}"
        if self.is_hidden:
            attributes += ' type="hidden"'
        content = f"<DESCRIPTION>{_escape_text(description)}</DESCRIPTION>" if description else ""
        if link:
            content += f"<LINK href={quoteattr(link)}/>"
        return f"<FIELD {attributes}>{content}</FIELD>\n"


def write_old_votable(
    table: Table,
    star_table: StarTable,
    columns: Sequence[Column],
    rows: pa.Table,
    *,
    names: Sequence[str],
    missing_names: Sequence[str] = (),
    software: str = "Hven",
) -> Iterator[str]:
    """Write the document.

    Parameters
    ----------
    table, star_table
        The table, and how it is read.
    columns, rows
        Columns and rows of the stars.
    names, missing_names
        Names in the request, and those that were not found.
    software
        Name of the server, if the descriptor has none.

    Yields
    ------
    text
        Parts of the document.
    """
    server = star_table.server or software
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S")
    yield '<?xml version="1.0" encoding="UTF-8"?>'
    if star_table.style_sheet:
        yield f'<?xml-stylesheet href={quoteattr(star_table.style_sheet)} type="text/xsl"?>'
    yield f'<VOTABLE version="1.1" xmlns="{NAMESPACE}">\n'
    request = f"-objectName {','.join(names)} -format vot"
    yield f"<DESCRIPTION>{_escape_text(f'GetStar; request: {request}; generated on (UTC): {now}')}</DESCRIPTION>\n"
    yield f'<COOSYS ID="{FRAME_ID}" equinox="J2000." epoch="J2000." system="ICRS"/>\n'
    for name in missing_names:
        yield f'<INFO name="notFound" value={_quote_text(name)}/>\n'
    yield f"<RESOURCE name={_quote_text(server)}>\n<TABLE>\n"
    yield from _write_params(table, server, now, names)
    properties = _build_properties(table, star_table, columns, rows)
    new_names = {column.column.name: column.name for fields in properties.values() for column in fields}
    idents: dict[int, str] = {}
    for fields in properties.values():
        for field in fields:
            ident = idents[id(field)] = f"col{len(idents)}"
            yield field.write_field(ident, _write_link(field, new_names), field.column.description or "")
    for name, fields in properties.items():
        yield f"<GROUP name={_quote_text(name)} ucd={quoteattr(fields[0].ucd)}>"
        yield "".join(f'<FIELDref ref="{idents[id(field)]}"/>' for field in fields)
        yield "</GROUP>\n"
    yield "<DATA><TABLEDATA>\n"
    all_fields = [field for fields in properties.values() for field in fields]
    for number in range(rows.num_rows):
        yield "<TR>"
        yield "".join(f"<TD>{_escape_text(field.texts[number])}</TD>" for field in all_fields)
        yield "</TR>\n"
    yield "</TABLEDATA></DATA>\n</TABLE>\n</RESOURCE>\n</VOTABLE>\n"


def _write_params(table: Table, server: str, now: str, names: Sequence[str]) -> Iterator[str]:
    """Write the parameters of the request, and the code lists."""
    texts = {"ServerCommand": "GetStar", "ServerDate": now, "SearchCalServerVersion": server}
    texts |= {"objectName": ",".join(names), "file": ""}
    for name, text in texts.items():
        yield f'<PARAM name="{name}" datatype="char" arraysize="*" value={_quote_text(text)}/>\n'
    yield '<PARAM name="baseMax" datatype="double" value="0.0" unit="m"/>\n'
    yield '<PARAM name="wlen" datatype="double" value="0.0" unit="um"/>\n'
    yield '<PARAM name="format" datatype="char" arraysize="*" value="vot"/>\n'
    yield '<PARAM name="diagnose" datatype="boolean" value="false"/>\n'
    for name, role in INDEX_PARAMS:
        labels = _find_code_list(table, role)
        if labels:
            options = "".join(
                f"<OPTION name={quoteattr(code)} value={_quote_text(label)}/>" for code, label in labels.items()
            )
            yield f'<PARAM name="{name}" datatype="int" value="0"><VALUES>{options}</VALUES></PARAM>\n'


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
    # the names of groups that come from a VOTable are those of its FIELDs, and so are their UCDs
    group_name = group.name if group is not None and _is_same_name(group.name, column.name) else ""
    name = old.name or group_name or column.name
    group_ucd = (group.ucd or "") if group is not None else ""
    ucd = old.ucd or (group_ucd if _OLD_UCD_PATTERN.fullmatch(group_ucd) else "")
    unit = column.unit or ""
    texts = _format_texts(column, rows)
    datatype = _choose_datatype(column)
    if table.position is not None and column.name in table.position:
        place = table.position.index(column.name)
        default_name, default_ucd, unit = POSITION_FIELDS[place]
        name, ucd = old.name or group_name or default_name, ucd or default_ucd
        numbers = rows.column(column.name).to_pylist()
        texts = [format_sexagesimal(number, is_longitude=place == 0) for number in numbers]
        datatype = "char"
    if not ucd:
        ucd = OLD_UCDS.get((column.ucd or "").lower()) or _write_name_as_ucd(name)
    is_hidden = column.display == HIDDEN_DISPLAY
    return _OldColumn(column=column, name=name, ucd=ucd, datatype=datatype, unit=unit, is_hidden=is_hidden, texts=texts)


def _build_member_fields(
    value: _OldColumn, group: ColumnGroup, shown: Mapping[str, Column], star_table: StarTable, rows: pa.Table
) -> list[_OldColumn]:
    fields = []
    for role, ucd in HIDDEN_FIELDS.items():
        column = shown.get(group.roles.get(role, ""))
        if column is not None:
            # the style sheets write these codes into classes, so that a missing one is 0
            texts = [text or "0" for text in _format_texts(column, rows)]
            name = f"{value.name}.{role}"
            fields.append(
                _OldColumn(column=column, name=name, ucd=ucd, datatype="int", unit="", is_hidden=True, texts=texts)
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
                datatype=_choose_datatype(column),
                unit=column.unit or "",
                texts=_format_texts(column, rows),
            )
        )
    return fields


def _choose_datatype(column: Column) -> str:
    is_scalar = column.type.arraysize is None
    return str(column.type.datatype) if is_scalar and column.type.datatype in DATATYPES else "char"


def _format_texts(column: Column, rows: pa.Table) -> list[str]:
    """Format the values of a column; a missing one is an empty text."""
    values = literal.cast_to_storage_type(rows.column(column.name).combine_chunks(), column.type)
    texts = literal.format_dali_literals(values, column.type).to_pylist()
    valid = rows.column(column.name).is_valid().to_pylist()
    pairs = zip(texts, valid, strict=True)
    shown_texts = [text if is_valid and text not in {None, "NaN"} else "" for text, is_valid in pairs]
    if column.type.datatype == "boolean":
        return [BOOLEAN_TEXTS.get(text.lower(), text) for text in shown_texts]
    return shown_texts


def _is_same_name(first_name: str, second_name: str) -> bool:
    """Return whether two names differ only in case and in signs that names of columns cannot have."""
    first, second = (re.sub(r"[^a-z0-9]", "", name.lower()) for name in (first_name, second_name))
    return second in {first, f"c{first}"}  # names that begin with a digit get a prefix


def _write_name_as_ucd(name: str) -> str:
    return re.sub(r"[^A-Z0-9]+", "_", name.upper()).strip("_") or "ID"


def _write_link(field: _OldColumn, new_names: Mapping[str, str]) -> str:
    """Write the link of a column with the names of the old document: ``${HD}``."""
    link = field.column.link
    if not link or field.is_hidden:
        return ""
    return PLACEHOLDER_PATTERN.sub(lambda match: f"${{{new_names.get(match[1], match[1])}}}", link)


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


def _escape_text(text: str) -> str:
    return escape(_ILLEGAL_PATTERN.sub("?", text))


def _quote_text(text: str) -> str:
    return quoteattr(_ILLEGAL_PATTERN.sub("?", text))
