"""Simple Cone Search 1.03 for every table with a position and an identifier; builds a tree, never text.

RA, DEC and SR in ICRS degrees, VERB by the columns' rank, MAXREC and RESPONSEFORMAT as DALI has them. Faults of the
request are answered as section 2.3 says: a VOTable with an INFO named Error, under status 200, which is what the clients
of this old protocol look at.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote as urlquote

from starlette.responses import Response
from starlette.routing import Route

from hven import dali, formats, query
from hven.adql import tree
from hven.errors import NotFound, ParamError, UserError
from hven.model.params import Param
from hven.model.types import FLOAT64, INT32, STRING
from hven.protocols import Protocol, Surroundings, Way

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request

    from hven.holdings import Holdings, Published
    from hven.model.table import Column, Table

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


def _searchable(table: Table) -> Table:
    """Let a table through that cones can be asked of.

    Raises
    ------
    NotFound
        It has no positions or no identifier.
    """
    if not applies(table):
        raise NotFound(f"{table.qualified} has no positions to search", remedy="ask it by TAP")
    return table


class Cones:
    """The queries of cones, with literals 0, 1, 2 for RA, DEC and SR, and their columns: made once for each state of the holdings."""

    def __init__(self) -> None:
        self._version = ""
        self._known: dict[tuple[str, int], tuple[Table, tree.Query]] = {}
        self._dressed: dict[tuple[str, int], tuple[tuple[Column, ...], tuple[Column, ...]]] = {}

    def query(self, version: str, table: Table, verbosity: int) -> tree.Query:
        """Give the query of a cone over a table of that version of the holdings."""
        if version != self._version:
            self._version, self._known, self._dressed = version, {}, {}
        # readers of other reach may know another state of the table: other keys to follow
        known = self._known.get((table.qualified, verbosity))
        if known is None or known[0] is not table:
            known = self._known[table.qualified, verbosity] = (table, _built(table, verbosity))
        return known[1]

    def dressed(self, columns: tuple[Column, ...], table: Table, verbosity: int) -> tuple[Column, ...]:
        """Give the columns of an answer, those of a plan, with the protocol's UCDs."""
        known = self._dressed.get((table.qualified, verbosity))
        if known is None or known[0] is not columns:
            known = self._dressed[table.qualified, verbosity] = (columns, _dressed(columns, table))
        return known[1]


def _built(table: Table, verbosity: int) -> tree.Query:
    name = identifier(table)
    assert table.position is not None  # noqa: S101  (applies() said so)
    assert name is not None  # noqa: S101
    needed = {name.name, *table.position}
    items = [
        tree.SelectItem(_ref(column), tree.Ident(column.name, quoted=True))
        for column in table.columns
        if not column.hidden and (column.verbosity <= verbosity or column.name in needed)
    ]
    lon, lat = (tree.ColumnRef(tree.Ident(part, quoted=True)) for part in table.position)
    centre = (tree.Literal(0.0, slot=0), tree.Literal(0.0, slot=1), tree.Literal(0.0, slot=2))
    inside = tree.Function("CONTAINS", (tree.Function("POINT", (lon, lat)), tree.Function("CIRCLE", centre)))
    source = tree.TableRef((tree.Ident(table.schema, quoted=True), tree.Ident(table.name, quoted=True)))
    return tree.Query(tree.Select(tuple(items), source, where=tree.Compare("=", tree.Literal(1), inside)))


def _ref(column: Column) -> tree.Expr:
    return tree.ColumnRef(tree.Ident(column.name, quoted=True))


def _dressed(columns: tuple[Column, ...], table: Table) -> tuple[Column, ...]:
    """Give the three columns that the protocol is about their UCDs, and nobody else."""
    name = identifier(table)
    lon, lat = table.position or ("", "")
    roles = {lon: LON, lat: LAT, name.name if name else "": ID}
    dressed = []
    for column in columns:
        ucd = roles.get(column.name)
        if ucd is None and (column.ucd or "").lower() in MAIN:
            ucd = (column.ucd or "").split(";")[0]
        if ucd == ID and not column.type.is_string:  # SCS 1.03 section 2.2: the identifier is text
            column = column.having(type=STRING)  # noqa: PLW2901
        dressed.append(column.having(ucd=ucd) if ucd else column)
    return tuple(dressed)


def routes(around: Surroundings) -> Sequence[Route]:
    """``/cone/<schema.table>``."""
    site = around.site
    cones = Cones()

    async def cone(request: Request) -> Response:
        try:
            params = await dali.read(request, 64 * 1024)
            # one state of the holdings for the tree and for the query: an ingest may come between
            holdings = site.current()
            table = _searchable(dali.table_named(request.path_params["table"], holdings.catalogue(around.reader(request), around.policies)))
            return await _answer(request, holdings, table, params)
        except Exception as error:  # noqa: BLE001  (one table of errors)
            status = dali.status_of(error)
            if isinstance(error, UserError) and status in {400, 413}:
                status = 200
            body = dali.cone_error(dali.message_of(error, dali.request_id(request)))
            return Response(body, status, dali.headers_of(error), media_type="text/xml")

    async def _answer(request: Request, holdings: Holdings, table: Table, params: dali.Params) -> Response:
        ra, dec, radius = _centre(params)
        params.check(PARAMS[3:])
        verb = params.one("VERB", "2") or "2"
        # TABLEDATA as text/xml is what every client since 2008 reads (SCS 1.03 section 2.2)
        fmt, options = formats.select(params.one("RESPONSEFORMAT") or "text/xml")
        maxrec = params.whole("MAXREC")
        verbosity = int(verb)
        warnings = dali.unused(params, PARAMS)
        result = query.run(
            cones.query(holdings.version, table, verbosity),
            around.reader(request),
            site=site,
            maxrec=0 if radius == 0 else maxrec,
            policies=around.policies,
            values=(ra, dec, radius),
            key=("cone", table.qualified, verbosity),
            holdings=holdings,
        )
        try:
            dali.begin(request, result)
            tag = dali.etag(
                result, "cone", table.qualified, ra, dec, radius, verbosity, maxrec, fmt.name, sorted(options.items()), warnings
            )
            if dali.unchanged(request, tag):
                result.close()
                return Response(status_code=304, headers=dali.caching(result, tag))
            result.present(cones.dressed(result.columns, table, verbosity))
            head = dali.head(result, infos=warnings, name=table.name)
            return await dali.answer(request, result, fmt, head, options, headers=dali.caching(result, tag))
        except BaseException:
            result.close()
            raise

    return [Route("/cone/{table}", cone, methods=["GET", "POST"])]


def _centre(params: dali.Params) -> tuple[float, float, float]:
    """Read RA, DEC and SR.

    Raises
    ------
    ParamError
        One is missing, no number, or out of range.
    """
    found = []
    for param in PARAMS[:3]:
        value = params.number(param.name, minimum=param.minimum, maximum=param.maximum)
        if value is None:
            raise ParamError(f"{param.name} is missing", name=param.name, remedy=f"give the {param.description} in decimal degrees")
        found.append(value)
    return found[0], found[1], found[2]


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


PROTOCOL = Protocol(name="cone", title="Cone search", standard_ids=(STANDARD,), params=PARAMS, applies=applies, routes=routes, ways=ways)
