"""Serve ``/comments``: comments on rows and reports of errors, for readers, authors and moderators; and their feed."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import anyio.to_thread
from starlette.routing import Route

from hven.formats import replace_illegal_characters
from hven.model.errors import (
    ConflictError,
    ForbiddenError,
    NotFoundError,
    ParamError,
    UnauthenticatedError,
    format_message,
)
from hven.plugins.entries.cited_works import describe_cited_works
from hven.plugins.entries.comment_store import (
    COMMENT,
    HIDDEN,
    MAX_LISTED_COMMENTS,
    REPORT,
    SETTLED,
    SHOWN,
    TAKEN_BACK,
    WAITING,
    CommentStore,
    RowComment,
)
from hven.plugins.entries.contribution_feeds import ContributionFeed, ContributionFeedEntry, build_feed_routes
from hven.plugins.entries.contribution_requests import (
    PRIVATE_HEADERS,
    ContributionRequest,
    build_older_address,
    build_table_link,
    find_visible_table,
    is_blind_referee,
    read_before_number,
    read_contribution,
    read_visible_row,
)
from hven.plugins.entries.entry_keys import COMMENTS_KEY, CommentRules, is_listed
from hven.plugins.entries.entry_workflow import format_row_key
from hven.portal.api.pages import (
    PageContent,
    PageContext,
    PageLink,
    TemplateContext,
    build_page_endpoint,
    build_redirect,
    can_edit_collection,
    is_json_requested,
    load_page_translations,
)
from hven.portal.api.table_rows import build_search_by_row_keys_alone, build_table_view, fetch_page

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.model.table import Table
    from hven.portal.api.table_rows import TableView
    from hven.services.face import ServiceContext

MAX_COMMENT_CHARACTERS = 4_000
MAX_KEY_DIGITS = 18  # of a number
FEED_COMMENTS = 50
MAX_COMMENT_BATCHES = 50  # that one request reads
STATE_BY_ACTION = {"accept": SHOWN, "refuse": HIDDEN, "settle": SETTLED, "withdraw": TAKEN_BACK}
MODERATOR_ACTIONS = {WAITING: ("accept", "refuse"), SHOWN: ("refuse",), HIDDEN: ("accept",)}
REPORT_ACTIONS = {WAITING: ("accept", "settle", "refuse"), SHOWN: ("settle", "refuse"), HIDDEN: ("accept",)}
AUTHOR_ACTIONS = {WAITING: ("withdraw",), SHOWN: ("withdraw",)}


@dataclass(frozen=True, slots=True, kw_only=True)
class CommentPage(TemplateContext):
    """Comments on a row, or on the rows of a table.

    Attributes
    ----------
    table
        The table.
    here
        Address of the comments of the table.
    row, row_url
        Key and page of the row; empty: all rows.
    shown_comments
        Accepted comments on rows that the reader sees, as in JSON.
    own_comments, waiting
        The user's other comments, and those on which the user may decide.
    columns
        Columns of the row, for reports.
    reported_column
        The column whose value the address of the page reports; empty: none.
    can_write
        Whether the user may write a comment on the row.
    older_url, older_own_url, older_waiting_url
        Addresses of the comments before those of each list; empty: there are none.
    """

    template = "entries/comments.html"
    table: PageLink
    here: str
    row: str
    row_url: str
    shown_comments: Sequence[Mapping[str, Any]]
    own_comments: Sequence[Mapping[str, Any]]
    waiting: Sequence[Mapping[str, Any]]
    columns: Sequence[tuple[str, str]]
    reported_column: str
    can_write: bool
    older_url: str
    older_own_url: str
    older_waiting_url: str


def build_comments_address(page_context: PageContext, table: Table) -> str:
    """Build the address of the comments on the rows of a table.

    Parameters
    ----------
    page_context
        The request of a page.
    table
        The table.
    """
    return f"{page_context.base}/comments/{quote(table.qualified_name, safe='')}"


def list_shown_comments(table_view: TableView, page_context: PageContext, row_key: str) -> list[dict[str, Any]]:
    """List the accepted comments on a row, for the page of the row; none if the reader does not see the row.

    Parameters
    ----------
    table_view
        The table, as the reader sees it.
    page_context
        The request of the page.
    row_key
        Key of the row as JSON text.
    """
    try:
        row_key = read_visible_row(page_context, table_view.table, row_key)[0]
    except NotFoundError:
        return []
    store = page_context.context.site.store.get_or_create(CommentStore)
    view = _CommentView(page_context, table_view.table)
    return view.describe_comments(store.list_comments(view.table.qualified_name, row_key=row_key))


def build_comment_routes(context: ServiceContext) -> Sequence[Route]:
    """Route ``/comments/TABLE``, ``/comments/TABLE/feed.atom`` and ``/comments/TABLE/feed.rss``.

    Parameters
    ----------
    context
        The site, its users and its services.

    Returns
    -------
    routes
        Routes of Starlette.
    """
    endpoints = _CommentEndpoints()
    return [
        Route("/comments/{table}", build_page_endpoint(endpoints.show_comments, context), methods=["GET"]),
        Route("/comments/{table}", build_page_endpoint(endpoints.change_comments, context), methods=["POST"]),
        *build_feed_routes("/comments/{table}", context, _build_comment_feed),
    ]


class _CommentEndpoints:
    """The endpoints of the pages of comments."""

    async def show_comments(self, page_context: PageContext) -> PageContent:
        def build_page() -> PageContent:
            view = _open_comments(page_context)
            parameters = page_context.request.query_params
            comment = view.find_comment(parameters.get("comment", ""))
            if comment is not None:
                with suppress(NotFoundError):  # a moderator may not see the row
                    return view.build_page(comment.row_key)
            return view.build_page(parameters.get("row", ""))

        return await anyio.to_thread.run_sync(build_page)

    async def change_comments(self, page_context: PageContext) -> PageContent:
        view = await anyio.to_thread.run_sync(_open_comments, page_context)
        if page_context.principal.name is None:
            raise UnauthenticatedError("only users with an account can write comments", remedy="log in at /login")
        contribution = await read_contribution(page_context)
        if contribution.read_text("number"):
            return await anyio.to_thread.run_sync(view.decide_on_comment, contribution)
        return await anyio.to_thread.run_sync(view.write_comment, contribution)


def _build_comment_feed(page_context: PageContext) -> tuple[ContributionFeed, bool]:
    return _open_comments(page_context).build_feed(), page_context.access_key == "public"


def _open_comments(page_context: PageContext) -> _CommentView:
    """Open the comments of the table that the address names."""
    table = find_visible_table(page_context, page_context.request.path_params["table"])
    if COMMENTS_KEY not in table.extensions or not table.primary or table.release is not None:
        message = format_message("users cannot comment on the rows of {table}", table.qualified_name)
        raise NotFoundError(message, remedy="add `comments` to the table in the descriptor")
    return _CommentView(page_context, table)


class _CommentView:
    """The comments on the rows of one table for the user of a page."""

    def __init__(self, page_context: PageContext, table: Table) -> None:
        self.page_context = page_context
        self.table = table
        self.principal = page_context.principal
        self.rules: CommentRules = table.extensions[COMMENTS_KEY]
        self.store = page_context.context.site.store.get_or_create(CommentStore)
        self.here = build_comments_address(page_context, table)
        self.table_link = build_table_link(page_context, table)
        visible_names = {column.name for column in table.columns if not column.hidden}
        self.unmasked_columns = visible_names - table.file_column_names

    def can_write(self) -> bool:
        """Return whether the user may write comments on rows that they see."""
        if self.principal.name is None or self.principal.impersonator:
            return False
        return not self.rules.authors or is_listed(self.principal, self.rules.authors) or self.can_moderate()

    def can_moderate(self) -> bool:
        """Return whether the user decides on comments."""
        if self.principal.impersonator:
            return False
        if self.rules.moderators:
            return is_listed(self.principal, self.rules.moderators)
        resource = self.page_context.published_state.resources.get(self.table.schema)
        return resource is not None and can_edit_collection(self.principal, self.page_context.context, resource)

    def _list_moderators(self) -> frozenset[str]:
        """List the accounts and groups that decide on comments, apart from the administrators of portals."""
        if self.rules.moderators:
            return self.rules.moderators
        resource = self.page_context.published_state.resources.get(self.table.schema)
        operators = self.page_context.context.site.settings.health.operators
        if resource is None or resource.project is None:
            return frozenset(operators)
        return frozenset({*operators, f"project:{resource.project}:curator"})

    def list_actions(self, comment: RowComment) -> tuple[str, ...]:
        """List the steps that the user may take with a comment."""
        actions: list[str] = []
        if self.principal.name is not None and comment.author == self.principal.name:
            actions += AUTHOR_ACTIONS.get(comment.state, ())
        if self.can_moderate():
            moderator_actions = REPORT_ACTIONS if comment.kind == REPORT else MODERATOR_ACTIONS
            actions += moderator_actions.get(comment.state, ())
        return tuple(actions)

    def describe_comments(self, comments: Sequence[RowComment]) -> list[dict[str, Any]]:
        """Describe comments as in JSON."""
        works = describe_cited_works(self.page_context.context.site, [comment.text for comment in comments])
        return [
            self._describe_comment(comment, comment_works)
            for comment, comment_works in zip(comments, works, strict=True)
        ]

    def _describe_comment(self, comment: RowComment, works: Sequence[Mapping[str, str]]) -> dict[str, Any]:
        address_query = {"_row": comment.row_key}
        if comment.column:
            address_query["_cols"] = comment.column
        names = ("number", "kind", "column", "value", "text", "author", "at", "state", "by", "reason")
        facts = {name: getattr(comment, name) for name in names}
        if comment.author != self.principal.name and comment.column not in self.unmasked_columns:
            facts["value"] = None  # its author saw it; others see it where the row shows it
        if is_blind_referee(self.page_context, self.table):
            facts |= {"author": "", "by": ""}
        return {
            **facts,
            "works": works,
            "row": comment.row_key,
            "row_url": f"{self.table_link.url}?{urlencode(address_query)}",
            "url": f"{self.here}?{urlencode({'row': comment.row_key})}#comment-{comment.number}",
            "actions": self.list_actions(comment),
        }

    def list_visible_comments(
        self, row_key: str | None = None, before_number: int | None = None
    ) -> tuple[list[RowComment], int | None]:
        """List the newest accepted comments whose rows the user sees, on one row or on all, before a number.

        Also return the number before which the next list begins; None: there are no more.
        """
        visible_comments: list[RowComment] = []
        for _ in range(MAX_COMMENT_BATCHES):
            comments = self.store.list_comments(self.table.qualified_name, row_key=row_key, before_number=before_number)
            visible_comments += self._select_visible_comments(comments)
            if len(visible_comments) >= MAX_LISTED_COMMENTS:
                visible_comments = visible_comments[:MAX_LISTED_COMMENTS]
                return visible_comments, visible_comments[-1].number
            if len(comments) < MAX_LISTED_COMMENTS:
                return visible_comments, None
            before_number = comments[-1].number
        return visible_comments, before_number

    def _select_visible_comments(self, comments: Sequence[RowComment]) -> list[RowComment]:
        """Select the comments whose rows the user sees."""
        keys = list(dict.fromkeys(comment.row_key for comment in comments))
        if not keys:
            return []
        table_view = build_table_view(self.page_context, self.table)
        search = build_search_by_row_keys_alone(table_view.search, keys)
        visible_keys = set(fetch_page(search, table_view.runner, limit=len(keys)).keys)
        return [comment for comment in comments if comment.row_key in visible_keys]

    def build_page(self, row_key: str) -> PageContent:
        """Build the page of the comments on a row, or on all rows."""
        row_values: Mapping[str, str] = {}
        name = self.table.qualified_name
        if row_key:
            row_key, row_values = read_visible_row(self.page_context, self.table, row_key)
        wanted_key = row_key or None
        shown_comments, older_number = self.list_visible_comments(wanted_key, read_before_number(self.page_context))
        own_comments: list[RowComment] = []
        waiting: list[RowComment] = []
        if self.principal.name is not None:
            own_states = (WAITING, HIDDEN, SETTLED)
            own_comments = self.store.list_comments(
                name,
                row_key=wanted_key,
                states=own_states,
                author=self.principal.name,
                before_number=read_before_number(self.page_context, "own_before"),
            )
        if self.can_moderate():
            before_number = read_before_number(self.page_context, "waiting_before")
            waiting = self.store.list_comments(name, row_key=wanted_key, states=(WAITING,), before_number=before_number)
        described = self.describe_comments([*shown_comments, *own_comments, *waiting])
        labels = self.page_context.build_column_labels(self.table)
        column_titles = [
            (column.name, labels.label_column(column)) for column in self.table.columns if column.name in row_values
        ]
        can_write = bool(row_key) and self.can_write()
        wanted_column = self.page_context.request.query_params.get("column", "")
        reported_column = wanted_column if wanted_column in row_values else ""
        page = CommentPage(
            table=self.table_link,
            here=self.here,
            row=row_key,
            row_url=f"{self.table_link.url}?{urlencode({'_row': row_key})}" if row_key else "",
            shown_comments=described[: len(shown_comments)],
            own_comments=described[len(shown_comments) : -len(waiting) or None],
            waiting=described[len(described) - len(waiting) :],
            columns=column_titles,
            reported_column=reported_column,
            can_write=can_write,
            older_url=self._build_older_address([older_number] if older_number else [], "before", 1),
            older_own_url=self._build_older_address([comment.number for comment in own_comments], "own_before"),
            older_waiting_url=self._build_older_address([comment.number for comment in waiting], "waiting_before"),
        )
        json_content = {
            "table": name,
            "row": row_key,
            "comments": page.shown_comments,
            "own": page.own_comments,
            "waiting": page.waiting,
            "can_write": can_write,
            "more": page.older_url,
            "more_own": page.older_own_url,
            "more_waiting": page.older_waiting_url,
        }
        return PageContent(page=page, json_content=json_content, headers=PRIVATE_HEADERS)

    def _build_older_address(self, numbers: Sequence[int], parameter: str, page_size: int = 0) -> str:
        return build_older_address(self.page_context, self.here, numbers, page_size or MAX_LISTED_COMMENTS, parameter)

    def write_comment(self, contribution: ContributionRequest) -> PageContent:
        """Store a comment or a report of the user."""
        sent_key = contribution.read_text("row") or self._find_sent_key(contribution)
        row_key, row_values = read_visible_row(self.page_context, self.table, sent_key)
        if not self.can_write():
            message = format_message(
                "your account is not allowed to comment on rows of {table}", self.table.qualified_name
            )
            raise ForbiddenError(message, remedy="ask the curators of the collection to add you to `authors`")
        text = replace_illegal_characters(contribution.read_text("text").replace("\r\n", "\n")).strip()
        if not text:
            raise ParamError("the comment is empty", name="TEXT", remedy="write a text")
        if len(text) > MAX_COMMENT_CHARACTERS:
            message = format_message("a comment may have at most {most:,} characters", MAX_COMMENT_CHARACTERS)
            raise ParamError(message, name="TEXT", remedy="shorten the comment, or link to a longer text")
        kind = contribution.read_text("kind") or COMMENT
        if kind not in {COMMENT, REPORT}:
            message = format_message("{name!r:.40} is not a kind of comment", kind)
            raise ParamError(message, name="KIND", remedy="write `comment` or `report`")
        column = contribution.read_text("column") if kind == REPORT else ""
        if column and column not in row_values:
            message = format_message("the row has no column {name!r:.80}", column)
            raise ParamError(message, name="COLUMN", remedy="choose a column of the row")
        comment = self.store.add_comment_and_notify(
            RowComment(
                table=self.table.qualified_name,
                row_key=row_key,
                kind=kind,
                column=column,
                value=row_values.get(column, "")[:MAX_COMMENT_CHARACTERS],
                text=text,
                author=str(self.principal.name),
            ),
            self._list_moderators(),
        )
        return self.answer_change(comment, contribution, status=201)

    def _find_sent_key(self, contribution: ContributionRequest) -> str:
        """Find the key that a record of XML has as OiDB names it: ``granule-id`` or ``id`` for the column ``id``."""
        if len(self.table.primary) != 1:
            return ""
        column = self.table.find_column(self.table.primary[0])
        name = column.name.lower()
        for sent_name, text in contribution.texts.items():
            if sent_name == name or sent_name.endswith((f"-{name}", f"_{name}")):
                is_number = column.type.is_integer and text.isdecimal() and len(text) <= MAX_KEY_DIGITS
                return format_row_key(int(text) if is_number else text)
        return ""

    def find_comment(self, number_text: str) -> RowComment | None:
        """Find a comment that the user wrote or decides on, by its number in an address; None: there is none."""
        if not number_text.isdecimal() or len(number_text) > 15:
            return None
        comment = self.store.find_comment(self.table.qualified_name, int(number_text))
        is_own = comment is not None and self.principal.name is not None and comment.author == self.principal.name
        return comment if is_own or self.can_moderate() else None

    def decide_on_comment(self, contribution: ContributionRequest) -> PageContent:
        """Store the decision of a moderator, or take back a comment of the user."""
        number_text = contribution.read_text("number")
        comment = self.find_comment(number_text)
        if comment is None:
            raise NotFoundError(format_message("there is no comment {number:.20} here", number_text))
        action = contribution.read_text("action")
        reason = contribution.read_text("reason").strip()[:MAX_COMMENT_CHARACTERS]
        if STATE_BY_ACTION.get(action) == comment.state and comment.by == self.principal.name:  # it came twice
            return self.answer_change(comment, contribution)
        if action not in self.list_actions(comment):
            raise ConflictError(
                format_message("you cannot {action:.20} a comment that is {state}", action, comment.state),
                remedy="reload the page to see which steps are possible",
            )
        if action in {"refuse", "settle"} and not reason:
            raise ParamError("give a reason", name="REASON", remedy="write what the author should know")
        decided_comment = self.store.decide_comment_and_notify(
            comment, STATE_BY_ACTION[action], str(self.principal.name), reason
        )
        return self.answer_change(decided_comment, contribution)

    def answer_change(
        self, comment: RowComment, contribution: ContributionRequest, *, status: int = 200
    ) -> PageContent:
        """Answer a change: programs get the comment, browsers are led to the page."""
        content = self.describe_comments([comment])[0]
        if contribution.is_json or is_json_requested(self.page_context.request):
            return PageContent(json_content=content, status=status, headers=PRIVATE_HEADERS)
        back_query = f"?{urlencode({'row': comment.row_key})}" if contribution.read_text("row") else ""
        return build_redirect(f"{self.here}{back_query}")

    def build_feed(self) -> ContributionFeed:
        """Build the feed of the accepted comments on rows that the reader sees."""
        comments = self.list_visible_comments()[0][:FEED_COMMENTS]
        translate = load_page_translations(self.page_context.language)
        name = self.table.qualified_name
        authority = self.page_context.context.site.settings.find_collection_authority(self.table.schema)
        return ContributionFeed(
            name=f"ivo://{authority}/comments/{name}",
            title=f"{self.table_link.title}: {translate.get('Comments', 'Comments')}",
            site_title=self.page_context.brand.title,
            page_url=self.here,
            updated=max((comment.decided for comment in comments), default="1970-01-01T00:00:00Z"),
            entries=[
                self._describe_feed_entry(comment, facts)
                for comment, facts in zip(comments, self.describe_comments(comments), strict=True)
            ],
        )

    def _describe_feed_entry(self, comment: RowComment, facts: Mapping[str, Any]) -> ContributionFeedEntry:
        subject = ", ".join(filter(None, (comment.row_key, comment.column)))
        return ContributionFeedEntry(
            id=str(comment.number),
            title=f"{self.table_link.title} {subject}",
            author=facts["author"] or "-",
            published=comment.at,
            updated=comment.decided,
            url=facts["url"],
            text=comment.text,
            work_urls=[work["url"] for work in facts["works"]],
        )
