"""The way out of a result: every format, the files behind its rows as scripts and lists, lines to copy for the usual programs.

Below ``/collections/NAME/TABLE``: ``download`` (the rows), ``script`` (the files), ``take`` (what there is to take, as JSON). All read the
state of the search in the address; rows that were marked are named by ``_key``, in the address or in a form that is posted.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import anyio.to_thread
import orjson
from starlette.routing import Route

from hven import formats
from hven import services as dali
from hven.adql.text import write
from hven.formats import Info
from hven.model.errors import ParamError, say
from hven.model.sky import Circle, Polygon, region_files
from hven.portal._explore import cart, search_regions
from hven.portal._explore import rows as pages
from hven.portal._explore.map_frames import kind
from hven.portal._explore.names import body_of, on_body
from hven.portal._explore.search import footprint
from hven.portal._views.facts import cited_at
from hven.portal._views.page_addresses import address
from hven.portal._views.page_formats import Asked, Page, asked, json_page, kept_by, refused
from hven.portal._views.table_page import View, view
from hven.services import archives, scripts
from hven.services.face import careful
from hven.services.file_rows import list_link_columns

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from starlette.requests import Request
    from starlette.responses import Response

    from hven.formats import Format
    from hven.model.table import Column
    from hven.portal._explore import Search
    from hven.query import Result
    from hven.services.face import Surroundings

AS, LINK, KEY, ALL, KEYED = "_as", "_link", "_key", "_all", "_keyed"
OF = "_of"
OWN = (AS, LINK, KEY, ALL, KEYED, OF)
MOCS = {
    "fits": ("application/fits", ".fits"),
    "json": ("application/json", ".json"),
    "ascii": ("text/plain; charset=utf-8", ".txt"),
    "shape": ("application/json", ".json"),
}
FORM = 2 * 1024**2  # bytes of a form: thousands of keys
SECONDS = 60.0
LOOKED = 1000  # files that are looked at before somebody wants them
NUMBERED = 100_000  # rows whose place in a table that was sent is known


def routes(around: Surroundings) -> Sequence[Route]:
    """Return the addresses of what can be taken."""
    path = "/collections/{name}/{table}"

    async def take(state: Asked) -> Page:
        keys = await _keys(state.request)
        return Page(template="", content=await anyio.to_thread.run_sync(lambda: _take(_seen(state, keys), state, keys)))

    return [
        Route(f"{path}/take", json_page(take, around), methods=["GET", "POST"]),
        Route(f"{path}/script", _files(around), methods=["GET", "POST"]),
        Route(f"{path}/moc", _moc(around), methods=["GET"]),
        Route(f"{path}/download", streamed(_download, around), methods=["GET", "POST"]),
    ]


def lines(text: str, base: str) -> list[dict[str, str]]:
    """Write a query as lines for the programs that people use; every part is quoted as its language wants it."""
    query = " ".join(text.split()) if "--" not in text and "'" not in text and '"' not in text else text
    tap = f"{base}/tap"
    python = repr(query)
    there = f"{tap}/sync?{urlencode({'LANG': 'ADQL', 'RESPONSEFORMAT': 'votable', 'QUERY': query})}"

    def signed(text: str) -> dict[str, str]:
        return {"url": there, "signed": text} if len(there) <= scripts.ADDRESS else {}

    return [
        {"name": "ADQL", "text": text},
        {
            "name": "curl",
            "text": f"curl -f -o answer.vot {shlex.quote(f'{tap}/sync')} -d LANG=ADQL -d RESPONSEFORMAT=votable --data-urlencode {shlex.quote(f'QUERY={query}')}",
            **signed("curl -f -o answer.vot {url}"),
        },
        {
            "name": "pyvo",
            "text": f"import pyvo\n\nservice = pyvo.dal.TAPService({tap!r})\ntable = service.search({python}).to_table()",
        },
        {
            "name": "STILTS",
            "text": f"stilts tapquery tapurl={shlex.quote(tap)} sync=true adql={shlex.quote(query)} ofmt=votable out=answer.vot",
        },
        {
            "name": "Python",
            "text": "from urllib.parse import urlencode\nfrom astropy.table import Table\n\n"
            f"query = {python}\n"
            f'address = {tap + "/sync?"!r} + urlencode({{"LANG": "ADQL", "QUERY": query, "RESPONSEFORMAT": "votable"}})\n'
            'table = Table.read(address, format="votable")',
            **signed('from astropy.table import Table\n\ntable = Table.read({url}, format="votable")'),
        },
        {"name": "TOPCAT", "text": f"topcat -f votable {shlex.quote(there)}", **signed("topcat -f votable {url}")},
    ]


def offered(seen: View, state: Asked) -> dict[str, Any]:
    """Return what the page of a table offers without counting anything: addresses and lines that need no script of ours."""
    here = address(state.base, seen.table)
    pairs = [(name, value) for name, value in seen.search.pairs() if name != "_row"]

    def at(what: str, **more: str) -> str:
        return f"{here}/{what}?{urlencode([*pairs, *((f'_{name}', value) for name, value in more.items())])}"

    found = list_link_columns(seen.table)
    return {
        "formats": [
            {"name": name, "label": label, "url": at("download", **{"as": name})}
            for name, label in formats.menu_entries()
        ],
        "scripts": [{"name": name, "url": at("script", **{"as": name})} for name in ways(seen)],
        "links": [{"name": one.name, "label": one.label or one.name} for one in found],
        "coverage": kind(seen.table) == "sky" and (seen.table.position is not None or bool(seen.published.coverage)),
        "footprints": _covering(seen),
        "lines": lines(seen.search.adql(), state.base),
        "cite": _cited(seen, state, f"{here}?{urlencode(seen.search.pairs())}" if seen.search.pairs() else here),
    }


def _cited(seen: View, state: Asked, here: str) -> dict[str, str]:
    """Return how to cite what a search finds, and its link; without a collection it is the link alone."""
    release = seen.published.release
    resource = state.holdings.resources.get(seen.table.schema if release is None else release.collection)
    keep = {"query": write(seen.search.query()), "make": f"{state.base}/results"} if seen.table.everybodys else {}
    return {"link": here} if resource is None else {"link": here, **cited_at(resource, here), **keep}


async def _keys(request: Request) -> list[str]:
    """Read the keys of marked rows.

    Raises
    ------
    ParamError
        They are too many.
    """
    found = request.query_params.getlist(KEY)
    if request.method == "POST":
        given = await dali.read(request, FORM)
        found = [value for name, values in given.values.items() if name.lower() == KEY for value in values]
    if len(found) > cart.KEYS:
        raise ParamError(
            say("{count:,} rows were marked; the limit is {most:,}", len(found), cart.KEYS),
            name=KEY,
            remedy="narrow the search instead",
        )
    return found


def _seen(state: Asked, keys: Sequence[str]) -> View:
    seen = view(state, leave=OWN)
    return replace(seen, search=cart.marked(seen.search, keys)) if keys else seen


def _whole(seen: View) -> View:
    """Refuse a search that is not understood whole: a program would take the answer for what it asked.

    Raises
    ------
    ParamError
        It has a fault.
    """
    for fault in seen.search.faults:
        raise ParamError(
            say("{name}: {message}", fault.field, say(fault.message)), name=fault.field, remedy=fault.remedy
        )
    return seen


def _take(seen: View, state: Asked, keys: Sequence[str]) -> dict[str, Any]:
    """Return what there is: rows, files and their size, the query and its lines."""
    search = _asked_columns(seen, state)
    total = pages.count(seen.search, seen.asking)
    found = list_link_columns(seen.table)
    chosen = _link(found, state)
    counted = cart.count(seen.search, chosen, seen.asking) if chosen is not None else None
    told = offered(seen, state)
    return {
        **told,
        **_table(seen, search, state),
        "rows": total.rows,
        "exact": total.exact,
        "marked": len(keys),
        "adql": write(search.query()),
        "lines": lines(write(search.query()), state.base),
        "sync": state.around.site.settings.limits.maxrec_hard,
        "files": None
        if counted is None
        else {
            "column": counted.column.name,
            "files": counted.files,
            "bytes": counted.size,
            "sized": counted.sized,
            "most": scripts.MOST,
        },
        "archive": _told(seen, state, total.rows if counted is None else counted.files),
        "tap": f"{state.base}/tap",
        "region": _region(search),
    }


def _told(seen: View, state: Asked, files: int | None) -> dict[str, Any] | None:
    """Return what an archive will have; None: there is none, or to look takes long."""
    if files is None or files > LOOKED or not ways(seen) or seen.search.faults:
        return None
    plan, _ = _archive(seen, state)
    return {"files": plan.files, "bytes": plan.bytes, "missing": len(plan.entries) - plan.files}


def _region(search: Search) -> dict[str, Any] | None:
    """Return the place that is asked for, as programs draw it."""
    shape = search_regions.asked(search)
    if isinstance(shape, Circle):
        return {"circle": [shape.lon, shape.lat, shape.radius]}
    return (
        {"polygon": [number for pair in zip(shape.lons, shape.lats, strict=True) for number in pair]}
        if isinstance(shape, Polygon)
        else None
    )


def _table(seen: View, search: Search, state: Asked) -> dict[str, Any]:
    """Return the address of the result for other programs, in an order of its own; and, if asked, which row is which there."""
    primary = seen.table.primary
    order = (*search.order, *((name, False) for name in primary if name not in dict(search.order)))
    keyed = search.having(order=order)
    parameters = {"LANG": "ADQL", "REQUEST": "doQuery", "RESPONSEFORMAT": "votable", "QUERY": write(keyed.query())}
    found: dict[str, Any] = {"table": f"{state.base}/tap/sync?{urlencode(parameters)}"}
    if state.request.query_params.get(KEYED):
        known = seen.asking.table(keyed.query(columns=list(primary), limit=NUMBERED)) if primary else None
        found["keys"] = [] if known is None else pages.keys_of(known, primary)
    return found


def _asked_columns(seen: View, state: Asked) -> Search:
    if not state.request.query_params.get(ALL):
        return seen.search
    return seen.search.having(columns=tuple(column.name for column in seen.table.columns if not column.hidden))


def _link(found: Sequence[Column], state: Asked) -> Column | None:
    wanted = state.request.query_params.get(LINK, "")
    if not wanted:
        return found[0] if found else None
    chosen = next((one for one in found if one.name == wanted), None)
    if chosen is None:
        known = ", ".join(one.name for one in found) or say("none")
        raise ParamError(
            say("{name}={value}: no column of that name leads to files", LINK, wanted[:60]),
            name=LINK,
            remedy=say("there are: {names}", known),
        )
    return chosen


def streamed(
    make: Callable[[Asked, Sequence[str]], tuple[Result, Format, dict[str, str], list[Info], str]], around: Surroundings
) -> Callable[[Request], Awaitable[Response]]:
    """Return the endpoint of an answer that is written as it is read."""

    async def endpoint(request: Request) -> Response:
        state = asked(request, around)
        keys = await _keys(request)
        result, fmt, options, infos, name = await anyio.to_thread.run_sync(make, state, keys)
        headers = {
            "cache-control": "no-cache" if state.reach == "public" and state.who.anonymous else "private, no-store",
            "vary": "accept-encoding, authorization, cookie",
            "content-disposition": f'attachment; filename="{name}"',
            "x-content-type-options": "nosniff",
        }
        here = dali.base(request, around.site.settings)
        return await dali.answer(request, result, (fmt, options), headers=headers, infos=infos, base=here)

    return careful(endpoint, refused(around))


def ways(seen: View) -> list[str]:
    """List how the files of a table are taken: without a column of addresses only as the site itself finds them, by the links of its rows."""
    packed = list(archives.KINDS)
    if list_link_columns(seen.table):
        return [*packed, *scripts.SCRIPTS]
    return packed if seen.table.leads and seen.table.identifier is not None else []


def _covering(seen: View) -> bool:
    """Return whether rows have footprints; a column that stands there for its standard's sake alone is none."""
    column, rows = footprint(seen.table), seen.published.rows
    if column is None:
        return False
    known = {} if seen.asking.hides(seen.table) else seen.published.statistics.get(column.name, {})
    return rows is None or known.get("nulls") != rows


def _files(around: Surroundings) -> Callable[[Request], Awaitable[Response]]:
    """Return the endpoint of the files behind a result: scripts and lists, or the files themselves as one archive."""
    listed = streamed(_script, around)

    def packed(state: Asked, keys: Sequence[str], kind: str) -> Response:
        seen = _whole(_seen(state, keys))
        plan, column = _archive(seen, state)
        brand = state.around.site.settings
        about = [("Table", seen.table.qualified), ("Column", column), ("Query", write(seen.search.query()))]
        about.append(("Page", f"{address(state.base, seen.table)}?{urlencode(seen.search.pairs())}"))
        title = brand.title or brand.name
        return archives.answer(state.request, plan, kind=kind, called=called(seen), title=title, about=about)

    async def endpoint(request: Request) -> Response:
        kind = request.query_params.get(AS, "")
        if kind not in archives.KINDS:
            return await listed(request)
        state = asked(request, around)
        found: Response = await anyio.to_thread.run_sync(packed, state, await _keys(request), kind)
        return found

    return careful(endpoint, refused(around))


def _archive(seen: View, state: Asked) -> tuple[archives.Plan, str]:
    """Look what an archive of the files of a search will have."""
    found, column = addresses(seen, state, _link(list_link_columns(seen.table), state))
    return archives.planned(state.around, state.request, found), column


def addresses(seen: View, state: Asked, column: Column | None) -> tuple[list[str], str]:
    """List the files of a search, as archives take them, and the column that they are of; without a column its rows' identifiers lead to them.

    Raises
    ------
    ParamError
        Nothing leads to files.
    TooLarge
        They are more than an archive has.
    """
    table = seen.table
    if column is None and not ways(seen):
        raise ParamError("no column of this table leads to files", name=LINK, remedy="download its rows instead")
    if column is not None:
        made = cart.query(seen.search, column)
    else:
        made = seen.search.query(columns=[table.identifier.name] if table.identifier is not None else [])
    most = state.around.site.settings.limits.archive_files
    with seen.asking.run(made, most=most, seconds=SECONDS) as result:
        if column is not None and column.link:
            found = [text for batch in result.batches() for text in scripts.written(batch, column.link) if text]
        else:
            found = archives.addresses(result, result.columns[0].name, state.base)
        if result.overflow:
            raise archives.too_large(state.around)
        return found, result.columns[0].name


def _moc(around: Surroundings) -> Callable[[Request], Awaitable[Response]]:
    """Return the endpoint of a region as a MOC: ``_of=region`` what is asked for, ``_of=coverage`` what the rows cover."""

    def make(state: Asked) -> tuple[bytes, str]:
        seen = _whole(view(state, leave=OWN))
        wanted = state.request.query_params.get(AS) or "fits"
        if wanted not in MOCS:
            raise ParamError(
                say("{name}={value} is not known", AS, wanted[:40]),
                name=AS,
                remedy=say("one of {names}", ", ".join(MOCS)),
            )
        of = state.request.query_params.get(OF) or "coverage"
        if of not in {"region", "coverage"}:
            raise ParamError(say("{name}={value} is not known", OF, of[:40]), name=OF, remedy="region or coverage")
        if wanted == "shape":
            return orjson.dumps(_region(seen.search) or {}), f"{called(seen)}-{of}"
        found = (
            search_regions.region(seen.search) if of == "region" else search_regions.coverage(seen.search, seen.asking)
        )
        body = (body_of(seen.table, seen.search.pairs(), seen.asking) or "body") if on_body(seen.table) else ""
        return region_files.moc_written(found, wanted, body), f"{called(seen)}-{of}"

    async def endpoint(request: Request) -> Response:
        state = asked(request, around)
        body, name = await anyio.to_thread.run_sync(make, state)
        media_type, extension = MOCS[request.query_params.get(AS) or "fits"]
        headers = {
            "content-type": media_type,
            "cache-control": kept_by(state),
            "vary": "accept-encoding, authorization, cookie",
            "content-disposition": f'attachment; filename="{name}{extension}"',
            "x-content-type-options": "nosniff",
        }
        return dali.whole(request, body, headers)

    return careful(endpoint, refused(around))


def _download(state: Asked, keys: Sequence[str]) -> tuple[Result, Format, dict[str, str], list[Info], str]:
    seen = _whole(_seen(state, keys))
    fmt, options = formats.select(state.request.query_params.get(AS) or "votable")
    asked_ = _asked_columns(seen, state).query()
    result = seen.asking.run(asked_, most=state.around.site.settings.limits.maxrec_hard, seconds=SECONDS)
    infos = [Info(name="QUERY", value=write(asked_))]
    return result, fmt, options, infos, f"{called(seen)}.{fmt.extension.lstrip('.')}"


def _script(state: Asked, keys: Sequence[str]) -> tuple[Result, Format, dict[str, str], list[Info], str]:
    seen = _whole(_seen(state, keys))
    wanted = state.request.query_params.get(AS) or "wget"
    if wanted not in scripts.SCRIPTS:
        raise ParamError(
            say("{name}={value} is not known", AS, wanted[:40]),
            name=AS,
            remedy=say("one of {names}", ", ".join(scripts.SCRIPTS)),
        )
    column = _link(list_link_columns(seen.table), state)
    if column is None:
        raise ParamError("no column of this table leads to files", name=LINK, remedy="download its rows instead")
    found = cart.count(seen.search, column, seen.asking)
    size = (
        ""
        if found.size is None
        else f", {said_bytes(found.size)}{'' if found.sized >= found.files else ' and more'} as the table estimates"
    )
    infos = [
        Info(name="Files", value=f"{found.files:,} of {seen.table.qualified}, column {column.name}{size}"),
        Info(name="Query", value=write(seen.search.query())),
        Info(name="Written", value=f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} by {state.base}"),
    ]
    if found.rows > found.files:
        infos.append(Info(name="Without a link", value=f"{found.rows - found.files:,} rows"))
    result = seen.asking.run(cart.query(seen.search, column), most=scripts.MOST, seconds=SECONDS)
    fmt = scripts.scripts(state.around.signing(state.request) or str)[wanted]
    return result, fmt, cart.options(column), infos, f"{called(seen)}-{wanted}{fmt.extension}"


def said_bytes(size: float) -> str:
    """Format a size as people do, in powers of 1000."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if size < 999.5 or unit == "TB":
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.3g} {unit}"
        size /= 1000
    raise AssertionError


def called(seen: View) -> str:
    """Name a file after its table: in a header that old browsers read, too."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", f"{seen.table.schema}.{seen.table.name}").strip(".") or "rows"
