"""Serve ``/watches``: the watches of an account, what they have found, feeds, and the pages of signed links."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import anyio.to_thread
from starlette.responses import Response
from starlette.routing import Route

from hven import services
from hven.adql.adql_writer import write_adql
from hven.adql.syntax_tree import Query, Select, SelectStar
from hven.model.errors import ForbiddenError, NotFoundError, ParamError, UnauthenticatedError
from hven.plugins.changes.change_service import has_change_feed
from hven.plugins.notifications.choice_store import ChoiceStore
from hven.plugins.notifications.recipients import RecipientRights
from hven.plugins.notifications.settings import get_notification_settings
from hven.plugins.watches.event_stream import EventStreams
from hven.plugins.watches.match_documents import (
    ATOM_MEDIA_TYPE,
    FEED,
    PAGES_PATH,
    UNSUBSCRIBE,
    VOEVENT_MEDIA_TYPE,
    MatchWriter,
    format_timestamp,
)
from hven.plugins.watches.settings import get_watch_settings
from hven.plugins.watches.store_tables import watch_matches, watches
from hven.plugins.watches.visible_matches import select_visible_rows
from hven.plugins.watches.watch_definitions import check_table_watchable
from hven.plugins.watches.watch_requests import WatchRequest
from hven.plugins.watches.watch_store import WatchStore
from hven.portal.api.page_rows import build_table_address
from hven.portal.api.pages import (
    PageContent,
    PageContext,
    PortalPages,
    TemplateContext,
    build_error_responder,
    build_page_context,
    build_page_endpoint,
    build_redirect,
    is_json_requested,
    load_page_translations,
    read_path_number,
)
from hven.portal.api.table_downloads import require_faultless_search
from hven.portal.api.table_links import TableLink, TableLinkKind
from hven.portal.api.table_rows import read_table_view
from hven.services.addresses import is_cross_site_change_request
from hven.services.api.positions import has_icrs_position
from hven.services.face import wrap_endpoint_with_gates_and_errors
from hven.site.api.account_users import TOKEN_SCOPE_GROUPS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from starlette.requests import Request

    from hven.model.params import RequestParams
    from hven.model.table import Table
    from hven.plugins.watches.watch_store import Watch, WatchMatch
    from hven.services.face import ServiceContext
    from hven.site.auth import Principal

PRIVATE_HEADERS = {"cache-control": "private, no-store"}
MAX_FORM_BYTES = 1024**2
SHOWN_MATCHES, FEED_MATCHES = 20, 50
FORM_PATH = "/collections/{name}/{table}/watch"


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchListPage(TemplateContext):
    """The page of an account's watches.

    Attributes
    ----------
    watches
        Documents of the watches.
    limit
        Maximum number of watches that the account may have.
    """

    template = "watches/watch_list.html"
    watches: Sequence[Mapping[str, Any]]
    limit: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchPage(TemplateContext):
    """The page of a watch.

    Attributes
    ----------
    watch
        Document of the watch.
    matches
        Documents of what it has found.
    """

    template = "watches/watch.html"
    watch: Mapping[str, Any]
    matches: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchFormPage(TemplateContext):
    """The form of a new watch.

    Attributes
    ----------
    table
        The table.
    query, rows
        The search and the row that the form begins with; empty: none.
    has_positions
        Whether the form offers a list of targets.
    channels
        Channels of the site.
    has_address
        Whether the account has a confirmed e-mail address.
    page_url
        Address of the search.
    """

    template = "watches/watch_form.html"
    table: Table
    query: str
    row: str
    has_positions: bool
    channels: Sequence[str]
    has_address: bool
    page_url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UnsubscribePage(TemplateContext):
    """The page of a link in a mail.

    Attributes
    ----------
    watch_title
        Title of the watch.
    form_url
        Address to which the button posts; empty: the watch is removed.
    """

    template = "watches/unsubscribe.html"
    watch_title: str
    form_url: str


def build_routes(context: ServiceContext) -> Sequence[Route]:
    """Route the pages, feeds and streams."""
    pages = _WatchPages(context)
    watch_path = f"{PAGES_PATH}/{{watch}}"
    respond_to_error = build_error_responder(context)

    def build_document_route(path: str, write_answer: Callable[[PageContext], Response]) -> Route:
        async def answer(request: Request) -> Response:
            return await anyio.to_thread.run_sync(lambda: write_answer(build_page_context(request, context)))

        return Route(path, wrap_endpoint_with_gates_and_errors(answer, respond_to_error))

    def build_page_route(path: str, build_content: Callable[[PageContext], PageContent]) -> Route:
        async def answer(page_context: PageContext) -> PageContent:
            return await anyio.to_thread.run_sync(build_content, page_context)

        return Route(path, build_page_endpoint(answer, context))

    def build_form_route(path: str, act: Callable[[PageContext, RequestParams], PageContent]) -> Route:
        async def answer(page_context: PageContext) -> PageContent:
            pages.find_account(page_context)
            if is_cross_site_change_request(page_context.request, context.site.settings):
                raise ForbiddenError(
                    "the request comes from a page on another site", remedy="use the form of this site"
                )
            params = await services.read_params(page_context.request, MAX_FORM_BYTES)
            return await anyio.to_thread.run_sync(act, page_context, params)

        return Route(path, build_page_endpoint(answer, context), methods=["POST"])

    return [
        build_page_route(FORM_PATH, pages.build_form),
        build_page_route(PAGES_PATH, pages.build_list),
        build_form_route(PAGES_PATH, pages.create_watch),
        build_document_route(f"{PAGES_PATH}/stream", pages.open_stream),
        build_page_route(watch_path, pages.build_watch_page),
        build_form_route(watch_path, pages.change_watch),
        build_page_route(f"{watch_path}/{UNSUBSCRIBE}", partial(pages.open_signed_link, should_act=False)),
        Route(
            f"{watch_path}/{UNSUBSCRIBE}",
            build_page_endpoint(pages.follow_signed_link, context),
            methods=["POST"],
        ),
        build_document_route(f"{watch_path}/{FEED}", pages.write_feed),
        build_document_route(f"{watch_path}/voevents/{{number:int}}", pages.write_voevent),
    ]


class _WatchPages:
    def __init__(self, context: ServiceContext) -> None:
        self._site = context.site
        self._store = context.site.store.get_or_create(WatchStore)
        self._streams = EventStreams(context.site, self._store, self._create_stream_writer)

    def _create_stream_writer(self, watch: Watch) -> MatchWriter:
        return MatchWriter(site=self._site, watch=watch, base_url=self._site.settings.site_url)

    def find_account(self, page_context: PageContext) -> str:
        """Return the account of a request.

        Raises
        ------
        UnauthenticatedError, ForbiddenError
            The user has no account, or shows the rights of another user.
        """
        principal = page_context.principal
        if principal.name is None:
            raise UnauthenticatedError("only users with an account can watch rows", remedy="log in at /login")
        if principal.impersonator:
            raise ForbiddenError("you cannot see the watches of another user", remedy="return to your own account")
        if not self._site.store.users.has_account(principal.name):
            raise ForbiddenError(
                "only users with an account at this site can watch rows", remedy="ask the operators for an account"
            )
        return principal.name

    def _find_watch(self, page_context: PageContext) -> Watch:
        """Find the watch of the address, which must be the account's own."""
        return self._find_own_watch(self.find_account(page_context), page_context.request.path_params["watch"])

    def _find_own_watch(self, account: str, name: str) -> Watch:
        watch = self._store.find_watch(name)
        if watch is None or watch.account != account:
            raise NotFoundError("you have no such watch", remedy="see /watches")
        return watch

    # --- pages ------------------------------------------------------------------------------------------------

    def build_form(self, page_context: PageContext) -> PageContent:
        account = self.find_account(page_context)
        table_view = require_faultless_search(read_table_view(page_context))
        search = table_view.search
        table = search.table
        check_table_watchable(table, page_context.published_state)
        if search.every is not None:
            raise ParamError(
                "this search cannot be watched: it chooses rows by their distance in time",
                name="_every",
                remedy="leave out the cadence",
            )
        condition = search.build_condition()
        query_text = ""
        if condition is not None and not search.row:
            query_text = write_adql(Query(Select((SelectStar(),), search.build_from_item(), where=condition)))
        parameters = search.list_parameters()
        choices = self._site.store.get_or_create(ChoiceStore).find_choices(account)
        page = WatchFormPage(
            table=table,
            query=query_text,
            row=search.row,
            has_positions=has_icrs_position(table) and not search.row and search.near is None and not search.inside,
            channels=get_notification_settings(self._site.settings).channels,
            has_address=choices is not None and choices.confirmed,
            page_url=build_table_address(page_context.base, table)
            + (f"?{urlencode(parameters)}" if parameters else ""),
        )
        json_content = {
            "table": table.qualified_name,
            "query": query_text,
            "row": search.row,
            "post": f"{page_context.base}{PAGES_PATH}",
        }
        return PageContent(page=page, json_content=json_content, headers=PRIVATE_HEADERS)

    def build_list(self, page_context: PageContext) -> PageContent:
        account = self.find_account(page_context)
        documents = []
        for watch in self._store.list_watches(watches.c.account == account):
            matches = self._list_visible_matches(watch, page_context.principal, 1)
            document = self._describe_watch(watch, page_context)
            document["last"] = [self._describe_match(watch, match, page_context) for match in matches]
            documents.append(document)
        limit = get_watch_settings(self._site.settings).per_account
        page = WatchListPage(watches=documents, limit=limit)
        return PageContent(page=page, json_content={"watches": documents, "limit": limit}, headers=PRIVATE_HEADERS)

    def create_watch(self, page_context: PageContext, params: RequestParams) -> PageContent:
        account = self.find_account(page_context)
        watch = WatchRequest(page_context=page_context, params=params, account=account).create_watch()
        address = f"{page_context.base}{PAGES_PATH}/{watch.name}"
        if is_json_requested(page_context.request):
            document = self._describe_watch(watch, page_context)
            headers = {**PRIVATE_HEADERS, "location": address}
            return PageContent(json_content=document, status=201, headers=headers)
        return build_redirect(address)

    def build_watch_page(self, page_context: PageContext) -> PageContent:
        watch = self._find_watch(page_context)
        document = self._describe_watch(watch, page_context)
        can_see_secret = bool(watch.webhook) and not _has_read_token(page_context)
        document["webhook_secret"] = watch.build_webhook_secret(self._site.store) if can_see_secret else ""
        matches = [
            self._describe_match(watch, match, page_context)
            for match in self._list_visible_matches(watch, page_context.principal, SHOWN_MATCHES)
        ]
        page = WatchPage(watch=document, matches=matches)
        return PageContent(page=page, json_content={**document, "matches": matches}, headers=PRIVATE_HEADERS)

    def change_watch(self, page_context: PageContext, params: RequestParams) -> PageContent:
        watch = self._find_watch(page_context)
        action = (params.read_one("ACTION", "") or "").lower()
        if action == "remove":
            self._store.remove_watches(watches.c.name == watch.name)
            return build_redirect(f"{page_context.base}{PAGES_PATH}")
        if action == "resume":
            self._store.update_watch(watch.name, problem="")
            return build_redirect(f"{page_context.base}{PAGES_PATH}/{watch.name}")
        raise ParamError("ACTION is not valid", name="ACTION", remedy="use remove or resume")

    def _describe_watch(self, watch: Watch, page_context: PageContext) -> dict[str, Any]:
        writer = MatchWriter(site=self._site, watch=watch, base_url=page_context.base)
        return {
            "name": watch.name,
            "title": watch.title,
            "table": watch.table_name,
            **watch.definition.describe(),
            "changes": watch.tells,
            "channel": watch.channel,
            "webhook": watch.webhook,
            "problem": watch.problem,
            "fault": watch.fault,
            "created": format_timestamp(watch.created),
            "state": watch.snapshot,
            "url": writer.page_url,
            "feed": f"{writer.page_url}/{FEED}" if _has_read_token(page_context) else writer.build_signed_url(FEED),
            "stream": f"{page_context.base}{PAGES_PATH}/stream?watch={watch.name}",
        }

    def _describe_match(self, watch: Watch, match: WatchMatch, page_context: PageContext) -> dict[str, Any]:
        writer = MatchWriter(site=self._site, watch=watch, base_url=page_context.base)
        document = writer.build_json(match)
        summary = writer.describe_match(match, page_context.language)
        delivery = {"state": match.state, "attempts": match.attempts, "error": match.error}
        return {**document, "summary": summary, "delivery": delivery}

    def _list_visible_matches(self, watch: Watch, principal: Principal, limit: int) -> list[WatchMatch]:
        matches = self._store.list_matches([watch.name], limit=limit)
        return select_visible_rows(self._site, principal, watch.table_name, matches)

    # --- signed links -----------------------------------------------------------------------------------------

    async def follow_signed_link(self, page_context: PageContext) -> PageContent:
        """Remove the watch. Programs that look at links send GET, which changes nothing."""
        return await anyio.to_thread.run_sync(partial(self.open_signed_link, should_act=True), page_context)

    def open_signed_link(self, page_context: PageContext, *, should_act: bool) -> PageContent:
        request = page_context.request
        watch = self._store.find_watch(request.path_params["watch"])
        signature = request.query_params.get("key", "")
        if watch is None or not watch.is_signature_valid(self._site.store, signature, UNSUBSCRIBE):
            raise NotFoundError("this link is not valid, or the watch has already been removed", remedy="see /watches")
        if should_act:
            self._store.remove_watches(watches.c.name == watch.name)
        form_url = (
            "" if should_act else f"{page_context.base}{PAGES_PATH}/{watch.name}/{UNSUBSCRIBE}?{request.url.query}"
        )
        page = UnsubscribePage(watch_title=watch.title, form_url=form_url)
        json_content = {"watch": watch.name, "title": watch.title, "removed": should_act}
        return PageContent(page=page, json_content=json_content, headers=PRIVATE_HEADERS)

    # --- feeds and streams ------------------------------------------------------------------------------------

    def _find_feed_watch(self, page_context: PageContext) -> tuple[Watch, Principal]:
        """Find the watch of a feed, and its user: its account, by a log-in or by the key in the address."""
        signature = page_context.request.query_params.get("key", "")
        if not signature:
            return self._find_watch(page_context), page_context.principal
        watch = self._store.find_watch(page_context.request.path_params["watch"])
        principal = None
        if watch is not None and watch.is_signature_valid(self._site.store, signature, FEED):
            principal = RecipientRights(self._site).find_principal(watch.account)
        if watch is None or principal is None:
            raise NotFoundError("this link is not valid, or the watch has been removed", remedy="see /watches")
        return watch, principal

    def write_feed(self, page_context: PageContext) -> Response:
        watch, principal = self._find_feed_watch(page_context)
        writer = MatchWriter(site=self._site, watch=watch, base_url=page_context.base)
        matches = self._list_visible_matches(watch, principal, FEED_MATCHES)
        query_text = page_context.request.url.query
        feed_url = f"{writer.page_url}/{FEED}" + (f"?{query_text}" if query_text else "")
        body = writer.write_atom_feed(matches, feed_url).encode()
        cache_headers = services.build_cache_headers(services.compute_etag(body), is_public=False)
        return services.answer_with_etag(page_context.request, cache_headers, f"{ATOM_MEDIA_TYPE}; charset=utf-8", body)

    def write_voevent(self, page_context: PageContext) -> Response:
        watch, principal = self._find_feed_watch(page_context)
        is_wanted = watch_matches.c.number == read_path_number(page_context)
        matches = self._store.list_matches([watch.name], is_wanted)
        for match in select_visible_rows(self._site, principal, watch.table_name, matches):
            writer = MatchWriter(site=self._site, watch=watch, base_url=page_context.base)
            return Response(writer.write_voevent(match), media_type=VOEVENT_MEDIA_TYPE, headers=PRIVATE_HEADERS)
        raise NotFoundError(
            "this watch did not find this row, or found it too long ago", remedy="see the page of the watch"
        )

    def open_stream(self, page_context: PageContext) -> Response:
        account = self.find_account(page_context)
        request = page_context.request
        last_id = request.headers.get("last-event-id", "") or request.query_params.get("last", "")
        watch_name, duration = (request.query_params.get(name, "") for name in ("watch", "seconds"))
        if watch_name:
            self._find_own_watch(account, watch_name)
        return self._streams.open_stream(page_context.principal, watch_name, last_id, duration)


def _has_read_token(page_context: PageContext) -> bool:
    """Return whether the user shows a token that may end: it must not show keys that last longer."""
    return TOKEN_SCOPE_GROUPS["read"] in page_context.principal.groups


def _is_link_shown(request: Request, context: ServiceContext) -> bool | None:
    """Return True if the header of pages links to the watches, else None. Nothing is looked up for it."""
    return context.identify_principal(request).name is not None or None


def _list_links(table: Table, page_context: PageContext) -> list[TableLink]:
    """List the form of a new watch; with the parameters of a row, it is about the row."""
    if "/collections/" not in page_context.request.url.path:  # the first page is no place for it
        return []
    if page_context.principal.name is None or not has_change_feed(table):
        return []
    title = "tell me when rows are new or change"
    translations = load_page_translations(page_context.language)
    url = f"{build_table_address(page_context.base, table)}/watch"
    return [TableLink(id="watches", title=translations.get(title, title), url=url)]


PAGES = PortalPages(
    build_routes=build_routes,
    template_directory=Path(__file__).parent / "pages",
    parts={"menu": "menu_link.html", "table.downloads": "search_link.html"},
    compute_frame_value=_is_link_shown,
)
WATCH_LINKS = TableLinkKind(
    name="watches",
    title="Watch",
    list_links=_list_links,
    overview_path=PAGES_PATH,
    write_row_query=lambda row, _: urlencode({"_row": row.keys[0]}) if row.keys and row.keys[0] else "",
)
