"""Simple Cone Search 1.03 for every table with a position and an identifier; builds a tree, never text.

RA, DEC and SR in ICRS degrees, VERB by the columns' rank, MAXREC and RESPONSEFORMAT as DALI has them. Faults of the
request are answered as section 2.3 says: a VOTable with an INFO named Error, under status 200, which is what the
clients of this old protocol look at.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from hven.adql import syntax_tree
from hven.model.params import Param
from hven.model.types import FLOAT64, INT32, STRING
from hven.services._coverage import has_icrs_position
from hven.services.errors import ErrorResponder, write_cone_error
from hven.services.face import Face, ServiceQuery, UsageExample

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.model.table import Column, Table
    from hven.site import PublishedTable

MAIN_UCDS = "meta.id;meta.main", "pos.eq.ra;meta.main", "pos.eq.dec;meta.main"
# the protocol is older than UCD1+ (SCS 1.03 section 2.2), and pyvo finds positions by these words alone
ID_UCD, RA_UCD, DEC_UCD = "ID_MAIN", "POS_EQ_RA_MAIN", "POS_EQ_DEC_MAIN"
CONE_PARAMS = (
    Param(
        name="RA",
        type=FLOAT64,
        unit="deg",
        ucd="pos.eq.ra;meta.main",
        minimum=0,
        maximum=360,
        period=360,
        required=True,
        description="ICRS right ascension",
    ),
    Param(
        name="DEC",
        type=FLOAT64,
        unit="deg",
        ucd="pos.eq.dec;meta.main",
        minimum=-90,
        maximum=90,
        required=True,
        description="ICRS declination",
    ),
    Param(
        name="SR",
        type=FLOAT64,
        unit="deg",
        minimum=0,
        maximum=180,
        required=True,
        description="radius; 0 asks for the columns alone",
    ),
    Param(
        name="VERB",
        type=INT32,
        default="2",
        allowed=("1", "2", "3"),
        description="how many columns: 1 few, 2 usual, 3 all",
    ),
)


def _build_query_tree(table: Table, verbosity: int) -> syntax_tree.Query:
    """Write a cone over a table, with RA, DEC and SR in slots 0, 1 and 2."""
    name, (lon, lat) = table.identifier_column, table.position or ("", "")
    needed = {name.name if name else "", lon, lat}
    visible_columns = (column for column in table.columns if not column.hidden)
    columns = [column.name for column in visible_columns if column.verbosity <= verbosity or column.name in needed]
    centre = tuple(syntax_tree.Literal(0.0, slot=slot) for slot in range(3))
    column_ref = syntax_tree.build_column_ref(lon)
    place = syntax_tree.FunctionCall("POINT", (column_ref, syntax_tree.build_column_ref(lat)))
    inside = syntax_tree.FunctionCall("CONTAINS", (place, syntax_tree.FunctionCall("CIRCLE", centre)))
    return syntax_tree.build_table_query(table, columns, syntax_tree.Comparison("=", syntax_tree.Literal(1), inside))


def _adapt_columns(table: Table, columns: Sequence[Column]) -> tuple[Column, ...]:
    """Set the UCDs of the three columns that the protocol is about, and of no other.

    The identifier is text (SCS 1.03 section 2.2).
    """
    name, (lon, lat) = table.identifier_column, table.position or ("", "")
    roles = {lon: RA_UCD, lat: DEC_UCD, name.name if name else "": ID_UCD}
    adapted_columns = []
    for column in columns:
        if (column.ucd or "").lower() in MAIN_UCDS:
            own_ucd = (column.ucd or "").split(";")[0]
        else:
            own_ucd = None
        ucd = roles.get(column.name, own_ucd)
        if ucd == ID_UCD and not column.type.is_string:
            kind = STRING
        else:
            kind = column.type
        adapted_columns.append(column.copy_with(ucd=ucd, type=kind) if ucd else column)
    return tuple(adapted_columns)


def _build_query(table: Table, values: Mapping[str, Any]) -> ServiceQuery:
    *place, verbosity = values.values()
    build_tree = partial(_build_query_tree, table, verbosity)
    present = partial(_adapt_columns, table)
    return ServiceQuery(
        query=build_tree, key=(verbosity,), values=tuple(place), columns_only=values["SR"] == 0, adapt_columns=present
    )


def _list_usage_examples(published: PublishedTable, base_url: str) -> Sequence[UsageExample]:
    """Show a cone search around nowhere in particular."""
    url = FACE.build_url(published.table, base_url)
    python = f'import pyvo\nprint(pyvo.dal.SCSService("{url}").search((83.63, 22.01), 1).to_table())'
    return [UsageExample(title="Cone search in Python", url=url, language="python", example=python)]


FACE = Face(
    name="cone",
    title="Cone search",
    standard_ids=("ivo://ivoa.net/std/ConeSearch",),
    params=CONE_PARAMS,
    applies=lambda table: has_icrs_position(table) and table.identifier_column is not None,
    missing_requirement="positions to search in right ascension and declination",
    build_query=_build_query,
    path="/cone/{table}",
    error_responder=ErrorResponder(write_document=write_cone_error, media_type="text/xml", answers_with_200=True),
    default_format="text/xml",  # TABLEDATA under this name is what every client since 2008 reads (SCS 1.03 section 2.2)
    capability_type=(
        "cs:ConeSearch",
        "http://www.ivoa.net/xml/ConeSearch/v1.0",
        "<maxSR>180</maxSR><maxRecords>{most}</maxRecords><verbosity>true</verbosity>",
    ),
    example="RA=83.63&DEC=22.01&SR=1&RESPONSEFORMAT=csv",
    test_query=(
        "RA={lon}&DEC={lat}&SR={size}",
        "<testQuery><ra>{lon}</ra><dec>{lat}</dec><sr>{size}</sr></testQuery>",
    ),
    list_usage_examples=_list_usage_examples,
)
