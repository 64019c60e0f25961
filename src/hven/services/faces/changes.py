"""``/changes/<schema.table>?since=STATE``.

What was added, changed and removed, so that others follow a table with small transfers.

Without ``since`` there are no rows, but the name of the present state: INFO ``snapshot`` and the header
``Hven-Snapshot``, with which one goes on next time. 410 says that the way from a state to now is not kept; then the
whole table is read anew, by TAP.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote as percent_encode
from urllib.parse import urlencode

import anyio
import anyio.to_thread
from starlette.responses import Response

from hven import __version__, formats, services
from hven.engines import Snapshot
from hven.formats import InfoElement
from hven.ingest.sync import change_feeds
from hven.model.errors import ParamError
from hven.model.params import Param
from hven.model.types import INT32
from hven.services.errors import ErrorResponder, write_votable_error
from hven.services.face import DALI_PARAMS, Face, ServiceContext, UsageExample, create_query_route

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request
    from starlette.routing import Route

    from hven.model.table import Table
    from hven.query import QueryResult
    from hven.site import PublishedTable

MAX_CONCURRENT_FEEDS = 4  # feeds that are worked out at the same time
KEYS_MODE, VALUES_MODE = "keys", "values"
CHANGES_PARAMS = (
    Param(
        name="SINCE",
        description=(
            "a state's name as the feed gives it, a snapshot, or a time (ISO 8601, UTC); none: no rows, but the "
            "name of the present state"
        ),
    ),
    Param(name="UNTIL", description="the same; default: what is published"),
    Param(
        name="ROWS",
        default=KEYS_MODE,
        allowed=(KEYS_MODE, VALUES_MODE),
        description="keys of the rows (default), or their other columns too",
    ),
    Param(name="OFFSET", type=INT32, description="rows to leave out: for pages, whose links are given"),
    *DALI_PARAMS,
)


def has_changes(table: Table) -> bool:
    """Check whether changes of a table can be told: it is stored, and its rows have a key."""
    return bool(table.primary) and table.view is None and table.owner is None and table.schema.upper() != "TAP_SCHEMA"


def build_routes(context: ServiceContext) -> Sequence[Route]:
    """Route ``/changes/<schema.table>``."""
    site = context.site
    feeds = change_feeds.ChangeFeeds(site)
    looking, working = anyio.CapacityLimiter(MAX_CONCURRENT_FEEDS), anyio.CapacityLimiter(MAX_CONCURRENT_FEEDS)

    async def answer_changes(request: Request, params: services.RequestParams) -> Response:
        principal = context.identify_principal(request)
        published_state = site.get_published_state()
        catalogue = published_state.get_catalogue(principal, context.policies)
        table = services.find_table(request.path_params["table"], catalogue)
        fmt, options = form = formats.select_format(params.read_one("RESPONSEFORMAT"), request.headers.get("accept"))
        integer = params.read_integer("MAXREC")
        maxrec, offset = integer, params.read_integer("OFFSET") or 0
        rows = (params.read_one("ROWS") or KEYS_MODE).lower()
        if rows not in {KEYS_MODE, VALUES_MODE}:
            raise ParamError(f"ROWS={rows!r:.40} is not known", name="ROWS", remedy=f"{KEYS_MODE} or {VALUES_MODE}")
        one = params.read_one("SINCE")
        since, until = one, params.read_one("UNTIL")

        def find_changes() -> change_feeds.ChangeFeedRequest:
            return change_feeds.create_feed_request(
                site,
                table,
                since,
                until,
                principal=principal,
                policies=context.policies,
                published_state=published_state,
            )

        feed_request = await anyio.to_thread.run_sync(find_changes, limiter=looking)
        warnings = services.warn_unused_parameters(params, CHANGES_PARAMS)
        base_url = services.get_base_url(request, site.settings)
        url = FACE.build_url(table, base_url)
        feed_etag = _compute_feed_etag(feed_request, rows, maxrec, offset, fmt.name, sorted(options.items()), warnings)
        headers = _build_headers(
            feed_request,
            feed_etag,
            url,
        )
        if services.is_unchanged(request, headers["etag"]):
            return Response(status_code=304, headers=headers)

        def run_feed() -> tuple[QueryResult, int]:
            total = feeds.find_changed_rows(feed_request).num_rows
            return feeds.query_changes(
                feed_request, offset=offset, maxrec=maxrec, include_values=rows == VALUES_MODE
            ), total

        result, total = await anyio.to_thread.run_sync(run_feed, limiter=working)
        if maxrec and offset + maxrec < total and feed_request.since is not None:
            # the next page is one of the same answer, whatever is published meanwhile
            again = {
                "since": feed_request.format_state_name(feed_request.since),
                "until": feed_request.format_state_name(feed_request.until),
                "OFFSET": offset + maxrec,
                "MAXREC": maxrec,
            }
            repeated_params = {
                name: value for name in ("ROWS", "RESPONSEFORMAT") if (value := params.read_one(name)) is not None
            }
            headers["link"] = f'<{url}?{urlencode({**again, **repeated_params})}>; rel="next", {headers["link"]}'
        infos = [
            InfoElement(
                name="snapshot",
                value=feed_request.format_state_name(feed_request.until),
                content="the state that this leads to: ask with since= it next time",
            ),
            *(
                [InfoElement(name="since", value=feed_request.format_state_name(feed_request.since))]
                if feed_request.since is not None
                else []
            ),
            InfoElement(
                name="changes", value=str(total), content="rows that changed between these states, on all pages"
            ),
            *warnings,
        ]
        return await services.answer_with_result(
            request, result, form, headers=headers, infos=infos, name=table.qualified_name
        )

    return [create_query_route(FACE.path, answer_changes, FACE.error_responder)]


def _compute_feed_etag(feed_request: change_feeds.ChangeFeedRequest, *parts: object) -> str:
    """Name an answer. It is the same whatever else is published: between two states changed what changed."""
    column_facts = [
        (column.name, column.type, column.unit, column.ucd, column.description, column.hidden)
        for column in feed_request.table.columns
    ]
    return services.compute_etag(*map(repr, [__version__, feed_request.cache_key, column_facts, *parts]))


def _build_headers(feed_request: change_feeds.ChangeFeedRequest, etag: str, url: str) -> dict[str, str]:
    base = url.rpartition("/changes/")[0]
    return {
        **services.build_cache_headers(
            etag, is_public=feed_request.scope.is_public, vary="accept, accept-encoding, authorization, cookie"
        ),
        "hven-snapshot": feed_request.format_state_name(feed_request.until),
        "link": f'<{base}/collections/{percent_encode(feed_request.table.schema)}>; rel="collection"',  # RFC 6573
    }


def _list_usage_examples(published: PublishedTable, base_url: str) -> Sequence[UsageExample]:
    """Show how to follow a table."""
    if not isinstance(published.relation, Snapshot):
        return []
    url = FACE.build_url(published.table, base_url)
    return [
        UsageExample(
            title="Changes", url=url, example=f"curl '{url}?since={published.updated[:10]}&RESPONSEFORMAT=csv'"
        )
    ]


FACE = Face(
    name="changes",
    title="Changes",
    params=CHANGES_PARAMS,
    path="/changes/{table}",
    applies=has_changes,
    error_responder=ErrorResponder(
        write_document=write_votable_error,
        media_type="application/x-votable+xml",
        headers={"cache-control": "no-store"},
    ),
    list_usage_examples=_list_usage_examples,
    build_routes=build_routes,
)
