"""``/changes/<schema.table>?since=STATE``: what was added, changed and removed, so that others follow a table with small transfers.

Without ``since`` there are no rows, but the name of the present state: INFO ``snapshot`` and the header ``Hven-Snapshot``, with which one
goes on next time. 410 says that the way from a state to now is not kept; then the whole table is read anew, by TAP.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote as urlquote
from urllib.parse import urlencode

import anyio
import anyio.to_thread
from starlette.responses import Response

from hven import __version__, formats
from hven import services as dali
from hven.engines import Snapshot
from hven.formats import Info
from hven.ingest.sync import feed
from hven.model.errors import ParamError
from hven.model.params import Param
from hven.model.types import INT32
from hven.services.errors import Faults, votable_error
from hven.services.face import DALI, Face, Surroundings, Way, asking

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request
    from starlette.routing import Route

    from hven.model.table import Table
    from hven.query import Result
    from hven.site import Published

AT_ONCE = 4  # feeds that are worked out at the same time
KEYS, VALUES = "keys", "values"
PARAMS = (
    Param(name="SINCE", description="a state's name as the feed gives it, a snapshot, or a time (ISO 8601, UTC); none: no rows, but the name of the present state"),
    Param(name="UNTIL", description="the same; default: what is published"),
    Param(name="ROWS", default=KEYS, allowed=(KEYS, VALUES), description="keys of the rows (default), or their other columns too"),
    Param(name="OFFSET", type=INT32, description="rows to leave out: for pages, whose links are given"),
    *DALI,
)  # fmt: skip


def applies(table: Table) -> bool:
    """Check whether changes of a table can be told: it is stored, and its rows have a key."""
    return bool(table.primary) and table.view is None and table.owner is None and table.schema.upper() != "TAP_SCHEMA"


def routes(around: Surroundings) -> Sequence[Route]:
    """Route ``/changes/<schema.table>``."""
    site = around.site
    feeds = feed.Feeds(site)
    looking, working = anyio.CapacityLimiter(AT_ONCE), anyio.CapacityLimiter(AT_ONCE)

    async def changes(request: Request, params: dali.Params) -> Response:
        who = around.reader(request)
        holdings = site.current()
        table = dali.table_named(request.path_params["table"], holdings.catalogue(who, around.policies))
        fmt, options = form = formats.select(params.one("RESPONSEFORMAT"), request.headers.get("accept"))
        maxrec, offset = params.whole("MAXREC"), params.whole("OFFSET") or 0
        rows = (params.one("ROWS") or KEYS).lower()
        if rows not in {KEYS, VALUES}:
            raise ParamError(f"ROWS={rows!r:.40} is not known", name="ROWS", remedy=f"{KEYS} or {VALUES}")
        since, until = params.one("SINCE"), params.one("UNTIL")

        def found() -> feed.Asked:
            return feed.asked(site, table, since, until, who=who, policies=around.policies, holdings=holdings)

        wanted = await anyio.to_thread.run_sync(found, limiter=looking)
        warnings = dali.unused(params, PARAMS)
        url = FACE.url(table, dali.base(request, site.settings))
        headers = _headers(wanted, _tag(wanted, rows, maxrec, offset, fmt.name, sorted(options.items()), warnings), url)
        if dali.unchanged(request, headers["etag"]):
            return Response(status_code=304, headers=headers)

        def ask() -> tuple[Result, int]:
            total = feeds.rows(wanted).num_rows
            return feeds.result(wanted, offset=offset, maxrec=maxrec, values=rows == VALUES), total

        result, total = await anyio.to_thread.run_sync(ask, limiter=working)
        if maxrec and offset + maxrec < total and wanted.since is not None:
            # the next page is one of the same answer, whatever is published meanwhile
            again = {
                "since": wanted.state(wanted.since),
                "until": wanted.state(wanted.until),
                "OFFSET": offset + maxrec,
                "MAXREC": maxrec,
            }
            kept = {name: value for name in ("ROWS", "RESPONSEFORMAT") if (value := params.one(name)) is not None}
            headers["link"] = f'<{url}?{urlencode({**again, **kept})}>; rel="next", {headers["link"]}'
        infos = [
            Info(
                name="snapshot",
                value=wanted.state(wanted.until),
                content="the state that this leads to: ask with since= it next time",
            ),
            *([Info(name="since", value=wanted.state(wanted.since))] if wanted.since is not None else []),
            Info(name="changes", value=str(total), content="rows that changed between these states, on all pages"),
            *warnings,
        ]
        return await dali.answer(request, result, form, headers=headers, infos=infos, name=table.qualified)

    return [asking(FACE.path, changes, FACE.faults)]


def _tag(wanted: feed.Asked, *parts: object) -> str:
    """Name an answer. It is the same whatever else is published: between two states changed what changed."""
    shown = [
        (column.name, column.type, column.unit, column.ucd, column.description, column.hidden)
        for column in wanted.table.columns
    ]
    return dali.etag(*map(repr, [__version__, wanted.key, shown, *parts]))


def _headers(wanted: feed.Asked, tag: str, url: str) -> dict[str, str]:
    base = url.rpartition("/changes/")[0]
    return {
        **dali.caching(tag, public=wanted.scope.public, vary="accept, accept-encoding, authorization, cookie"),
        "hven-snapshot": wanted.state(wanted.until),
        "link": f'<{base}/collections/{urlquote(wanted.table.schema)}>; rel="collection"',  # RFC 6573
    }


def _ways(published: Published, base: str) -> Sequence[Way]:
    """Show how to follow a table."""
    if not isinstance(published.relation, Snapshot):
        return []
    url = FACE.url(published.table, base)
    return [Way(title="Changes", url=url, example=f"curl '{url}?since={published.updated[:10]}&RESPONSEFORMAT=csv'")]


FACE = Face(
    name="changes",
    title="Changes",
    params=PARAMS,
    path="/changes/{table}",
    applies=applies,
    faults=Faults(write=votable_error, kind="application/x-votable+xml", headers={"cache-control": "no-store"}),
    ways=_ways,
    routes=routes,
)
