"""Simple Cone Search 1.03 for every table with a position and an identifier; builds a tree, never text.

RA, DEC and SR in ICRS degrees, VERB by the columns' rank, MAXREC and RESPONSEFORMAT as DALI has them. Faults of the request are answered
as section 2.3 says: a VOTable with an INFO named Error, under status 200, which is what the clients of this old protocol look at.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from hven.adql import tree
from hven.model.params import Param
from hven.model.types import FLOAT64, INT32, STRING
from hven.services._covered import has_icrs_position
from hven.services.errors import Faults, cone_error
from hven.services.face import Asked, Face, Way

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.model.table import Column, Table
    from hven.site import Published

MAIN = "meta.id;meta.main", "pos.eq.ra;meta.main", "pos.eq.dec;meta.main"
# the protocol is older than UCD1+ (SCS 1.03 section 2.2), and pyvo finds positions by these words alone
ID, LON, LAT = "ID_MAIN", "POS_EQ_RA_MAIN", "POS_EQ_DEC_MAIN"
PARAMS = (
    Param(name="RA", type=FLOAT64, unit="deg", ucd="pos.eq.ra;meta.main", minimum=0, maximum=360, period=360, required=True, description="ICRS right ascension"),
    Param(name="DEC", type=FLOAT64, unit="deg", ucd="pos.eq.dec;meta.main", minimum=-90, maximum=90, required=True, description="ICRS declination"),
    Param(name="SR", type=FLOAT64, unit="deg", minimum=0, maximum=180, required=True, description="radius; 0 asks for the columns alone"),
    Param(name="VERB", type=INT32, default="2", allowed=("1", "2", "3"), description="how many columns: 1 few, 2 usual, 3 all"),
)  # fmt: skip


def _query(table: Table, verbosity: int) -> tree.Query:
    """Write a cone over a table, with RA, DEC and SR in slots 0, 1 and 2."""
    name, (lon, lat) = table.identifier, table.position or ("", "")
    needed = {name.name if name else "", lon, lat}
    shown = (column for column in table.columns if not column.hidden)
    columns = [column.name for column in shown if column.verbosity <= verbosity or column.name in needed]
    centre = tuple(tree.Literal(0.0, slot=slot) for slot in range(3))
    place = tree.Function("POINT", (tree.ref(lon), tree.ref(lat)))
    inside = tree.Function("CONTAINS", (place, tree.Function("CIRCLE", centre)))
    return tree.select(table, columns, tree.Compare("=", tree.Literal(1), inside))


def _presented(table: Table, columns: Sequence[Column]) -> tuple[Column, ...]:
    """Set the UCDs of the three columns that the protocol is about, and of no other; the identifier is text (SCS 1.03 section 2.2)."""
    name, (lon, lat) = table.identifier, table.position or ("", "")
    roles = {lon: LON, lat: LAT, name.name if name else "": ID}
    found = []
    for column in columns:
        own = (column.ucd or "").split(";")[0] if (column.ucd or "").lower() in MAIN else None
        ucd = roles.get(column.name, own)
        kind = STRING if ucd == ID and not column.type.is_string else column.type
        found.append(column.having(ucd=ucd, type=kind) if ucd else column)
    return tuple(found)


def _ask(table: Table, given: Mapping[str, Any]) -> Asked:
    *place, verbosity = given.values()
    made, present = partial(_query, table, verbosity), partial(_presented, table)
    return Asked(query=made, key=(verbosity,), values=tuple(place), empty=given["SR"] == 0, present=present)


def _ways(published: Published, base: str) -> Sequence[Way]:
    """Show a cone search around nowhere in particular."""
    url = FACE.url(published.table, base)
    python = f'import pyvo\nprint(pyvo.dal.SCSService("{url}").search((83.63, 22.01), 1).to_table())'
    return [Way(title="Cone search in Python", url=url, language="python", example=python)]


FACE = Face(
    name="cone",
    title="Cone search",
    standard_ids=("ivo://ivoa.net/std/ConeSearch",),
    params=PARAMS,
    applies=lambda table: has_icrs_position(table) and table.identifier is not None,
    lacking="positions to search in right ascension and declination",
    ask=_ask,
    path="/cone/{table}",
    faults=Faults(write=cone_error, kind="text/xml", patient=True),
    form="text/xml",  # TABLEDATA under this name is what every client since 2008 reads (SCS 1.03 section 2.2)
    kind=(
        "cs:ConeSearch",
        "http://www.ivoa.net/xml/ConeSearch/v1.0",
        "<maxSR>180</maxSR><maxRecords>{most}</maxRecords><verbosity>true</verbosity>",
    ),
    example="RA=83.63&DEC=22.01&SR=1&RESPONSEFORMAT=csv",
    trial=(
        "RA={lon}&DEC={lat}&SR={size}",
        "<testQuery><ra>{lon}</ra><dec>{lat}</dec><sr>{size}</sr></testQuery>",
    ),
    ways=_ways,
)
