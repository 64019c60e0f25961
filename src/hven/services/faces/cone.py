"""Simple Cone Search 1.03 for every table with a position and an identifier; builds a tree, never text.

RA, DEC and SR in ICRS degrees, VERB by the columns' rank, MAXREC and RESPONSEFORMAT as DALI has them. Faults of the
request are answered as section 2.3 says: a VOTable with an INFO named Error, under status 200, which is what the clients
of this old protocol look at.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote as urlquote

from hven import services as dali
from hven.adql import tree
from hven.model.errors import NotFound, ParamError
from hven.model.params import Param
from hven.model.types import FLOAT64, INT32, STRING
from hven.services.face import Asked, Face
from hven.services.protocol import Protocol, Way

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.model.table import Column, Table
    from hven.services import Params
    from hven.site import Published

STANDARD = "ivo://ivoa.net/std/ConeSearch"
MAIN = "meta.id;meta.main", "pos.eq.ra;meta.main", "pos.eq.dec;meta.main"
# the protocol is older than UCD1+ (SCS 1.03 section 2.2), and pyvo finds positions by these words alone
ID, LON, LAT = "ID_MAIN", "POS_EQ_RA_MAIN", "POS_EQ_DEC_MAIN"
PARAMS = (
    Param(name="RA", type=FLOAT64, unit="deg", ucd="pos.eq.ra;meta.main", minimum=0, maximum=360, required=True, description="ICRS right ascension"),
    Param(name="DEC", type=FLOAT64, unit="deg", ucd="pos.eq.dec;meta.main", minimum=-90, maximum=90, required=True, description="ICRS declination"),
    Param(name="SR", type=FLOAT64, unit="deg", minimum=0, maximum=180, required=True, description="radius; 0 asks for the columns alone"),
    Param(name="VERB", type=INT32, default="2", allowed=("1", "2", "3"), description="how many columns: 1 few, 2 usual, 3 all"),
    Param(name="MAXREC", type=INT32, description="rows at most"),
    Param(name="RESPONSEFORMAT", description="votable (default), csv, tsv, json, fits, parquet, arrow"),
)  # fmt: skip


def identifier(table: Table) -> Column | None:
    """Choose the column that names a row: meta.id;meta.main, else a one-column primary key, else the first meta.id."""
    main = table.by_ucd(MAIN[0])
    if main is not None:
        return main
    if len(table.primary) == 1:
        return table.column(table.primary[0])
    return next((column for column in table.columns if (column.ucd or "").lower().split(";")[0] == "meta.id"), None)


def applies(table: Table) -> bool:
    """Whether cones can be asked of a table: positions in degrees and an identifier."""
    return table.position is not None and identifier(table) is not None


def _query(table: Table, verbosity: int) -> tree.Query:
    """Write a cone over a table, with RA, DEC and SR in slots 0, 1 and 2."""
    name, (lon, lat) = identifier(table), table.position or ("", "")
    needed = {name.name if name else "", lon, lat}
    columns = [column.name for column in table.columns if not column.hidden and (column.verbosity <= verbosity or column.name in needed)]
    items = tuple(tree.SelectItem(_ref(column), tree.Ident(column, quoted=True)) for column in columns)
    centre = tuple(tree.Literal(0.0, slot=slot) for slot in range(3))
    inside = tree.Function("CONTAINS", (tree.Function("POINT", (_ref(lon), _ref(lat))), tree.Function("CIRCLE", centre)))
    source = tree.TableRef((tree.Ident(table.schema, quoted=True), tree.Ident(table.name, quoted=True)))
    return tree.Query(tree.Select(items, source, where=tree.Compare("=", tree.Literal(1), inside)))


def _ref(column: str) -> tree.Expr:
    return tree.ColumnRef(tree.Ident(column, quoted=True))


def _presented(columns: Sequence[Column], table: Table) -> tuple[Column, ...]:
    """Give the three columns that the protocol is about their UCDs, and nobody else."""
    name, (lon, lat) = identifier(table), table.position or ("", "")
    roles = {lon: LON, lat: LAT, name.name if name else "": ID}
    found = []
    for column in columns:
        own = (column.ucd or "").split(";")[0] if (column.ucd or "").lower() in MAIN else None
        ucd = roles.get(column.name, own)
        kind = STRING if ucd == ID and not column.type.is_string else column.type  # SCS 1.03 section 2.2: the identifier is text
        found.append(column.having(ucd=ucd, type=kind) if ucd else column)
    return tuple(found)


def _ask(table: Table, params: Params) -> Asked:
    if not applies(table):
        raise NotFound(f"{table.qualified} has no positions to search", remedy="ask it by TAP")
    place = tuple(_needed(params, param) for param in PARAMS[:3])
    params.check(PARAMS[3:])
    verbosity, maxrec = int(params.one("VERB", "2") or "2"), params.whole("MAXREC")
    return Asked(
        query=lambda: _query(table, verbosity),
        key=(verbosity,),
        values=place,
        maxrec=0 if place[2] == 0 else maxrec,
        present=lambda columns: _presented(columns, table),
    )


def _needed(params: Params, param: Param) -> float:
    value = params.number(param.name, minimum=param.minimum, maximum=param.maximum)
    if value is None:
        raise ParamError(f"{param.name} is missing", name=param.name, remedy=f"give the {param.description} in decimal degrees")
    return value


# TABLEDATA as text/xml is what every client since 2008 reads (SCS 1.03 section 2.2)
FACE = Face(
    name="cone", path="/cone/{table}", params=PARAMS, ask=_ask, document=dali.cone_error, kind="text/xml", patient=True, form="text/xml"
)


def ways(published: Published, base: str) -> Sequence[Way]:
    """Show a cone search around nowhere in particular."""
    url = f"{base}/cone/{urlquote(published.table.qualified)}"
    return [
        Way(title="Cone search", url=url, example=f"curl '{url}?RA=83.63&DEC=22.01&SR=1&RESPONSEFORMAT=csv'"),
        Way(
            title="Cone search in Python",
            url=url,
            language="python",
            example=f'import pyvo\nprint(pyvo.dal.SCSService("{url}").search((83.63, 22.01), 1).to_table())',
        ),
    ]


PROTOCOL = Protocol(name="cone", title="Cone search", standard_ids=(STANDARD,), params=PARAMS, applies=applies, face=FACE, ways=ways)
