"""Simple Cone Search 1.03 for every table with a position and an identifier; it builds a query tree, not text.

RA, DEC and SR are ICRS degrees, VERB selects columns by rank, MAXREC and RESPONSEFORMAT are those of DALI. Errors of a
request are answered as in section 2.3: a VOTable with an INFO named Error and status 200, which clients of this old
protocol expect.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from hven.adql import syntax_tree
from hven.model.params import Param
from hven.model.types import FLOAT64, INT32, STRING
from hven.services._icrs_positions import has_icrs_position
from hven.services.errors import ErrorResponder, write_cone_search_error
from hven.services.face import ServiceFace, ServiceQuery, UsageExample

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.model.table import Column, Table
    from hven.site import PublishedTable

MAIN_UCDS = "meta.id;meta.main", "pos.eq.ra;meta.main", "pos.eq.dec;meta.main"
# the protocol is older than UCD1+ (SCS 1.03, section 2.2), and pyvo finds positions by these UCDs only
ID_UCD = "ID_MAIN"
RA_UCD = "POS_EQ_RA_MAIN"
DEC_UCD = "POS_EQ_DEC_MAIN"
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
        description="radius; 0 returns only the columns",
    ),
    Param(
        name="VERB",
        type=INT32,
        default="2",
        allowed=("1", "2", "3"),
        description="which columns: 1 few, 2 usual, 3 all",
    ),
)


def _build_cone_query_tree(table: Table, verbosity: int) -> syntax_tree.Query:
    """Build a cone search of a table, with RA, DEC and SR in slots 0, 1 and 2."""
    lon, lat = table.position or ("", "")
    needed_names = {lon, lat}
    if table.identifier_column is not None:
        needed_names.add(table.identifier_column.name)
    visible_columns = [column for column in table.columns if not column.hidden]
    column_names = [
        column.name for column in visible_columns if column.min_verbosity <= verbosity or column.name in needed_names
    ]
    circle = tuple(syntax_tree.Literal(0.0, slot=slot) for slot in range(3))
    coordinates = (syntax_tree.build_column_ref(lon), syntax_tree.build_column_ref(lat))
    position = syntax_tree.FunctionCall("POINT", coordinates)
    contains = syntax_tree.FunctionCall("CONTAINS", (position, syntax_tree.FunctionCall("CIRCLE", circle)))
    condition = syntax_tree.Comparison("=", syntax_tree.Literal(1), contains)
    return syntax_tree.build_table_query(table, column_names, condition)


def _adapt_columns_to_cone_search(table: Table, columns: Sequence[Column]) -> tuple[Column, ...]:
    """Set the UCDs of the three columns that the protocol requires, and of no other.

    The identifier is a text (SCS 1.03, section 2.2).
    """
    lon, lat = table.position or ("", "")
    ucd_by_name = {lon: RA_UCD, lat: DEC_UCD}
    if table.identifier_column is not None:
        ucd_by_name[table.identifier_column.name] = ID_UCD
    adapted_columns = []
    for column in columns:
        ucd = ucd_by_name.get(column.name)
        if ucd is None and (column.ucd or "").lower() in MAIN_UCDS:
            ucd = (column.ucd or "").split(";")[0]
        if ucd is None:
            adapted_columns.append(column)
        elif ucd == ID_UCD and not column.type.is_string:
            adapted_columns.append(column.copy_with(ucd=ucd, type=STRING))
        else:
            adapted_columns.append(column.copy_with(ucd=ucd))
    return tuple(adapted_columns)


def _build_cone_query(table: Table, values: Mapping[str, Any]) -> ServiceQuery:
    *circle, verbosity = values.values()
    return ServiceQuery(
        query=partial(_build_cone_query_tree, table, verbosity),
        key=(verbosity,),
        values=tuple(circle),
        columns_only=values["SR"] == 0,
        adapt_columns=partial(_adapt_columns_to_cone_search, table),
    )


def _list_usage_examples(published: PublishedTable, base_url: str) -> Sequence[UsageExample]:
    """List an example of a cone search."""
    url = FACE.build_url(published.table, base_url)
    python = f'import pyvo\nprint(pyvo.dal.SCSService("{url}").search((83.63, 22.01), 1).to_table())'
    return [UsageExample(title="Cone search in Python", url=url, language="python", example=python)]


FACE = ServiceFace(
    name="cone",
    title="Cone search",
    is_selectable=True,
    standard_ids=("ivo://ivoa.net/std/ConeSearch",),
    params=CONE_PARAMS,
    applies=lambda table: has_icrs_position(table) and table.identifier_column is not None,
    missing_requirement="positions to search (right ascension and declination)",
    build_query=_build_cone_query,
    path="/cone/{table}",
    error_responder=ErrorResponder(
        write_document=write_cone_search_error, media_type="text/xml", answers_with_200=True
    ),
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
