"""``/changes/<schema.table>?since=STATE``: added, changed and removed rows, to follow a table with small transfers.

Without ``since`` there are no rows, only the name of the present state: INFO ``snapshot`` and the header
``Hven-Snapshot``, from which the client continues next time. 410 means that the changes since a state are not kept;
then the client reads the whole table again, by TAP.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import quote as percent_encode
from urllib.parse import urlencode

import anyio
import anyio.to_thread
from starlette.responses import Response

from hven import __version__, formats, services
from hven.engines import Snapshot
from hven.formats import InfoElement
from hven.model.errors import ParamError
from hven.model.params import Param
from hven.model.types import INT32
from hven.plugins.changes import change_feeds
from hven.services.errors import ErrorResponder, write_votable_error
from hven.services.face import DALI_PARAMS, ServiceContext, ServiceFace, UsageExample, create_query_route

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from starlette.requests import Request
    from starlette.routing import Route

    from hven.model.table import Table
    from hven.site import PublishedTable

MAX_CONCURRENT_FEEDS = 4  # feeds that are computed at the same time
KEYS_MODE = "keys"
VALUES_MODE = "values"
CHANGES_PARAMS = (
    Param(
        name="SINCE",
        description=(
            "name of a state from the feed, a snapshot, or a time (ISO 8601, UTC); "
            "without it, the response contains no rows, only the name of the current state"
        ),
    ),
    Param(name="UNTIL", description="end of the changes, in the same forms (default: the published state)"),
    Param(
        name="ROWS",
        default=KEYS_MODE,
        allowed=(KEYS_MODE, VALUES_MODE),
        description="keys: the keys of the rows (default); values: all their columns",
    ),
    Param(name="OFFSET", type=INT32, description="number of rows to skip; the links to further pages set it"),
    *DALI_PARAMS,
)


def has_change_feed(table: Table) -> bool:
    """Return whether a table has changes: it is stored, and its rows have a key."""
    return bool(table.primary) and table.view is None and table.owner is None and table.schema.upper() != "TAP_SCHEMA"


def build_change_feed_routes(context: ServiceContext) -> Sequence[Route]:
    """Build the route of ``/changes/<schema.table>``."""
    site = context.site
    feeds = change_feeds.CachedChangeFeeds()
    lookup_limiter = anyio.CapacityLimiter(MAX_CONCURRENT_FEEDS)
    feed_limiter = anyio.CapacityLimiter(MAX_CONCURRENT_FEEDS)

    async def answer_changes(request: Request, params: services.RequestParams) -> Response:
        principal = context.identify_principal(request)
        published_state = site.get_published_state()
        catalogue = published_state.get_catalogue(principal, context.policies)
        table = services.find_table(request.path_params["table"], catalogue)
        output_format, options = formats.select_format(params.read_one("RESPONSEFORMAT"), request.headers.get("accept"))
        maxrec = params.read_integer("MAXREC")
        offset = params.read_integer("OFFSET") or 0
        mode = (params.read_one("ROWS") or KEYS_MODE).lower()
        if mode not in {KEYS_MODE, VALUES_MODE}:
            raise ParamError(
                f"ROWS={mode!r:.40} is not valid", name="ROWS", remedy=f"write ROWS={KEYS_MODE} or ROWS={VALUES_MODE}"
            )
        find_changes = partial(
            change_feeds.create_change_feed_request,
            context,
            principal,
            table,
            params.read_one("SINCE"),
            params.read_one("UNTIL"),
            published_state=published_state,
        )
        feed_request = await anyio.to_thread.run_sync(find_changes, limiter=lookup_limiter)
        warnings = services.build_unused_parameter_warnings(params, CHANGES_PARAMS)
        url = FACE.build_url(table, services.get_base_url(request, site.settings))
        option_items = sorted(options.items())
        etag = _compute_feed_etag(feed_request, mode, maxrec, offset, output_format.name, option_items, warnings)
        headers = _build_headers(feed_request, etag, url)
        if services.is_unchanged(request, headers["etag"]):
            return Response(status_code=304, headers=headers)

        query_changes = partial(
            feeds.query_changes, feed_request, offset=offset, maxrec=maxrec, include_values=mode == VALUES_MODE
        )
        result, row_count = await anyio.to_thread.run_sync(query_changes, limiter=feed_limiter)
        if maxrec and offset + maxrec < row_count:
            next_url = _build_next_page_url(feed_request, params, url, offset=offset + maxrec, maxrec=maxrec)
            if next_url is not None:
                headers["link"] = f'<{next_url}>; rel="next", {headers["link"]}'
        return await services.answer_with_result(
            request,
            result,
            (output_format, options),
            headers=headers,
            infos=[*_list_info_elements(feed_request, row_count), *warnings],
            name=table.qualified_name,
        )

    return [create_query_route(FACE.path, answer_changes, FACE.error_responder)]


def _build_next_page_url(
    feed_request: change_feeds.ChangeFeedRequest,
    params: services.RequestParams,
    url: str,
    *,
    offset: int,
    maxrec: int,
) -> str | None:
    """Build the address of the next page of the same state of the table; return None if there are no rows."""
    if feed_request.since is None:
        return None
    query_params: dict[str, object] = {
        "since": feed_request.format_state_name(feed_request.since),
        "until": feed_request.format_state_name(feed_request.until),
        "OFFSET": offset,
        "MAXREC": maxrec,
    }
    for name in ("ROWS", "RESPONSEFORMAT"):
        value = params.read_one(name)
        if value is not None:
            query_params[name] = value
    return f"{url}?{urlencode(query_params)}"


def _list_info_elements(feed_request: change_feeds.ChangeFeedRequest, row_count: int) -> Iterator[InfoElement]:
    yield InfoElement(
        name="snapshot",
        value=feed_request.format_state_name(feed_request.until),
        content="the state after these changes; use it as `since` in the next request",
    )
    if feed_request.since is not None:
        yield InfoElement(name="since", value=feed_request.format_state_name(feed_request.since))
    yield InfoElement(
        name="changes", value=str(row_count), content="rows that changed between these states, on all pages"
    )


def _compute_feed_etag(feed_request: change_feeds.ChangeFeedRequest, *parts: object) -> str:
    """Compute the entity tag of an answer; it does not change with later states, nor do the changes between two."""
    column_facts = [
        (column.name, column.type, column.unit, column.ucd, column.description, column.hidden)
        for column in feed_request.table.columns
    ]
    return services.compute_etag(*map(repr, [__version__, feed_request.cache_key, column_facts, *parts]))


def _build_headers(feed_request: change_feeds.ChangeFeedRequest, etag: str, url: str) -> dict[str, str]:
    base_url = url.rpartition("/changes/")[0]
    collection_url = f"{base_url}/collections/{percent_encode(feed_request.table.schema)}"
    headers = services.build_cache_headers(
        etag, is_public=feed_request.scope.is_public, vary="accept, accept-encoding, authorization, cookie"
    )
    headers["hven-snapshot"] = feed_request.format_state_name(feed_request.until)
    headers["link"] = f'<{collection_url}>; rel="collection"'  # RFC 6573
    return headers


def _list_usage_examples(published: PublishedTable, base_url: str) -> Sequence[UsageExample]:
    """List an example of how a table is followed."""
    if not isinstance(published.relation, Snapshot):
        return []
    url = FACE.build_url(published.table, base_url)
    command = f"curl '{url}?since={published.updated[:10]}&RESPONSEFORMAT=csv'"
    return [UsageExample(title="Changes", url=url, example=command)]


FACE = ServiceFace(
    name="changes",
    title="Changes",
    is_selectable=True,
    params=CHANGES_PARAMS,
    path="/changes/{table}",
    applies=has_change_feed,
    error_responder=ErrorResponder(
        write_document=write_votable_error,
        media_type="application/x-votable+xml",
        headers={"cache-control": "no-store"},
    ),
    list_usage_examples=_list_usage_examples,
    build_routes=build_change_feed_routes,
)
