"""Serve ``/entries``: forms in which users enter rows, and lists where moderators decide on them; also as JSON.

All of it works without scripts.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import anyio.to_thread
from starlette.routing import Route

from hven import services
from hven.model.errors import (
    ConflictError,
    HvenError,
    NotFoundError,
    PreconditionFailedError,
    ServiceError,
    UserError,
    format_message,
)
from hven.model.sky import frames
from hven.plugins.entries.cited_works import describe_cited_works
from hven.plugins.entries.contribution_feeds import ContributionFeed, ContributionFeedEntry, build_feed_routes
from hven.plugins.entries.contribution_requests import (
    PRIVATE_HEADERS,
    ContributionRequest,
    build_form_fields,
    build_older_address,
    build_table_link,
    find_visible_table,
    is_blind_referee,
    list_contribution_tables,
    read_before_number,
    read_contribution,
    read_visible_row,
)
from hven.plugins.entries.entry_forms import (
    LATITUDE_ROLE,
    LONGITUDE_ROLE,
    NAME_ROLE,
    EntryValuesError,
    find_position_frame,
    format_value_text,
    read_entry_values,
)
from hven.plugins.entries.entry_store import (
    ACCEPTED,
    ENTRY_STATES,
    LIST_PAGE_ENTRIES,
    SUBMITTED,
    WITHDRAWN,
    EntryStore,
)
from hven.plugins.entries.entry_workflow import (
    ACCEPT,
    REFUSE,
    SAVE,
    SUBMIT,
    WITHDRAW,
    EntryStepRequest,
    EntryTable,
    EntryWorkflow,
    RuleFindingsError,
    find_entry_table,
)
from hven.plugins.entries.row_references import find_row_references
from hven.portal.api.pages import (
    PageContent,
    PageContext,
    PageLink,
    TemplateContext,
    build_page_endpoint,
    build_redirect,
    is_json_requested,
    load_page_translations,
    read_path_number,
)
from hven.query.resolver import can_resolve_names, resolve_object_position

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from hven.model.table import Table
    from hven.plugins.entries.entry_forms import EntryField
    from hven.plugins.entries.entry_store import TableEntry
    from hven.plugins.entries.row_references import OfferedKeys
    from hven.services.face import ServiceContext

MAX_TITLE_CHARACTERS = 80  # of an entry in lists
RESOLVE = "resolve"  # action of a form that looks up a position
FIND = "find"  # action of a form that lists keys of other tables
ROLE_COUNT = 3  # a name and two coordinates
WAITING_PARAMETER = "waiting_before"  # of pages with two lists


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryListPage(TemplateContext):
    """Lists of entries.

    Attributes
    ----------
    table
        The table of the entries; None: of all tables.
    enter
        Address of the form for a new row; empty: the user may not enter rows.
    tables
        Tables that take entries of the user, with the addresses of their lists.
    waiting
        Entries on which the user may decide, as in JSON.
    listed
        The user's own entries; for moderators of the table, those of all users.
    row
        Key of the row whose versions are listed; empty: all rows.
    state
        State of the listed entries; empty: any.
    states
        All states.
    older_url, older_waiting_url
        Addresses of the entries before these; empty if there are none.
    actions
        Steps that the user may take with several entries at once.
    problem, remedy, faults
        What is wrong with the last request, in general and by the number of the entry.
    feeds
        Address below which the feeds of the table's entries are; empty: of all tables.
    """

    template = "entries/entry_list.html"
    table: PageLink | None = None
    enter: str = ""
    tables: Sequence[PageLink] = ()
    waiting: Sequence[Mapping[str, object]] = ()
    listed: Sequence[Mapping[str, object]] = ()
    row: str = ""
    state: str = ""
    states: Sequence[str] = ENTRY_STATES
    older_url: str = ""
    older_waiting_url: str = ""
    actions: Sequence[str] = ()
    problem: str = ""
    remedy: str = ""
    faults: Mapping[str, str] = field(default_factory=dict)
    feeds: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowHistoryPage(TemplateContext):
    """The versions of a row that moderators accepted.

    Attributes
    ----------
    table
        The table.
    row, row_url
        Key and address of the row.
    versions
        The versions, the newest first, as in JSON.
    labels
        Column -> its label.
    older_url
        Address of the versions before these; empty if there are none.
    """

    template = "entries/row_history.html"
    table: PageLink
    row: str
    row_url: str
    versions: Sequence[Mapping[str, Any]]
    labels: Mapping[str, str]
    older_url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryPage(TemplateContext):
    """An entry, or the form of a new one.

    Attributes
    ----------
    table
        The table.
    list_url, form_url
        Addresses of the table's entries, and of this entry.
    entry
        The entry as in JSON; None for the form of a new one.
    fields
        Fields of the form.
    values, base_values, stored_values
        Values of the fields as texts; base_values has those before the entry, and is None for a new row; stored_values
        has those that somebody else has stored while the user wrote, else None.
    reason
        The reason, or the note for the moderators, that the user wrote.
    actions
        Steps that the user may take.
    steps
        Steps that were taken.
    row, row_url
        Key and address of the row; empty for a new row.
    is_reason_public
        Whether the history of the row shows the reasons of moderators to all.
    token
        Token of the form.
    can_resolve
        Whether the form finds the position of an object by its name.
    offered_keys
        Column -> keys of another table that its field offers.
    translate
        Translates messages of rules.
    problem, remedy, findings, faults
        What is wrong, in general and by field.
    """

    template = "entries/entry.html"
    table: PageLink
    list_url: str
    form_url: str
    entry: Mapping[str, Any] | None
    fields: Sequence[EntryField]
    values: Mapping[str, str]
    base_values: Mapping[str, str] | None
    stored_values: Mapping[str, str] | None
    reason: str
    actions: Sequence[str]
    steps: Sequence[Mapping[str, object]]
    row: str
    row_url: str
    is_reason_public: bool
    token: str
    can_resolve: bool
    offered_keys: Mapping[str, OfferedKeys]
    translate: Callable[[str], str]
    problem: str = ""
    remedy: str = ""
    findings: Sequence[str] = ()
    faults: Mapping[str, str]


def build_entries_address(page_context: PageContext, table: Table) -> str:
    """Build the address of the entries of a table.

    Parameters
    ----------
    page_context
        The request of a page.
    table
        The table.
    """
    return f"{page_context.base}/entries/{quote(table.qualified_name, safe='')}"


def build_entry_routes(context: ServiceContext) -> Sequence[Route]:
    """Route ``/entries``, ``/entries/TABLE``, its form, feeds, and ``/entries/TABLE/NUMBER``.

    Parameters
    ----------
    context
        The site, its users and its services.

    Returns
    -------
    routes
        Routes of Starlette.
    """
    endpoints = _EntryEndpoints(context)
    return [
        Route("/entries", build_page_endpoint(endpoints.show_overview, context), methods=["GET"]),
        Route("/entries/{table}", build_page_endpoint(endpoints.show_entry_list, context), methods=["GET"]),
        Route("/entries/{table}", build_page_endpoint(endpoints.create_entry, context), methods=["POST"]),
        Route("/entries/{table}/history", build_page_endpoint(endpoints.show_history, context), methods=["GET"]),
        Route("/entries/{table}/new", build_page_endpoint(endpoints.show_new_entry_form, context), methods=["GET"]),
        *build_feed_routes("/entries/{table}", context, endpoints.build_feed),
        Route("/entries/{table}/{number:int}", build_page_endpoint(endpoints.show_entry, context), methods=["GET"]),
        Route("/entries/{table}/{number:int}", build_page_endpoint(endpoints.change_entry, context), methods=["POST"]),
    ]


class _EntryEndpoints:
    """The endpoints of the pages of entries."""

    def __init__(self, context: ServiceContext) -> None:
        self.site = context.site

    def build_feed(self, page_context: PageContext) -> tuple[ContributionFeed, bool]:
        entry_view = _EntryView(self.site, page_context)
        entry_view.workflow.check_submitter()
        return entry_view.build_feed(), False

    async def show_overview(self, page_context: PageContext) -> PageContent:
        return await anyio.to_thread.run_sync(self._build_overview, page_context)

    def _build_overview(self, page_context: PageContext) -> PageContent:
        entry_tables = list_contribution_tables(EntryTable, page_context)
        names = [entry_table.name for entry_table in entry_tables]
        moderated_names = [
            entry_table.name for entry_table in entry_tables if entry_table.can_moderate(page_context.principal)
        ]
        store = self.site.store.get_or_create(EntryStore)
        waiting = store.list_entries(
            moderated_names, states=(SUBMITTED,), before_number=read_before_number(page_context, WAITING_PARAMETER)
        )
        own_entries = store.list_entries(
            names, author=page_context.principal.name, before_number=read_before_number(page_context)
        )
        address = f"{page_context.base}/entries"
        page = EntryListPage(
            tables=[
                PageLink(
                    title=str(entry_table.table.title or entry_table.name),
                    url=build_entries_address(page_context, entry_table.table),
                )
                for entry_table in entry_tables
            ],
            waiting=[_describe_entry(entry, page_context) for entry in waiting],
            listed=[_describe_entry(entry, page_context) for entry in own_entries],
            older_url=_build_older_address(page_context, address, own_entries),
            older_waiting_url=_build_older_address(page_context, address, waiting, WAITING_PARAMETER),
        )
        json_content = {
            "tables": names,
            "waiting": page.waiting,
            "entries": page.listed,
            "more": page.older_url,
            "more_waiting": page.older_waiting_url,
        }
        return PageContent(page=page, json_content=json_content, headers=PRIVATE_HEADERS)

    async def show_entry_list(self, page_context: PageContext) -> PageContent:
        return await anyio.to_thread.run_sync(lambda: self._build_entry_list(_EntryView(self.site, page_context)))

    def _build_entry_list(self, entry_view: _EntryView, faults: Mapping[str, str] | None = None) -> PageContent:
        page_context = entry_view.page_context
        entry_view.workflow.check_submitter()
        parameters = page_context.request.query_params
        state = parameters.get("state", "")
        row_key = parameters.get("row", "")
        if row_key:
            row_key = read_visible_row(page_context, entry_view.entry_table.table, row_key)[0]
        before_number = read_before_number(page_context)
        is_moderator = entry_view.entry_table.can_moderate(page_context.principal)
        listed = entry_view.list_entries_for_user(
            states=(state,) if state in ENTRY_STATES else ENTRY_STATES,
            row_key=row_key or None,
            before_number=before_number,
        )
        own_entries = []
        if is_moderator and before_number is None:
            own_drafts = entry_view.workflow.store.list_entries(
                [entry_view.entry_table.name],
                author=page_context.principal.name,
                states=("draft",),
                row_key=row_key or None,
            )
            own_entries = own_drafts if state in {"", "draft"} else []
        page = EntryListPage(
            table=entry_view.table_link,
            enter=f"{entry_view.list_url}/new",
            listed=[_describe_entry(entry, page_context) for entry in (*own_entries, *listed)],
            row=row_key,
            state=state,
            older_url=_build_older_address(page_context, entry_view.list_url, listed),
            actions=(ACCEPT, REFUSE) if is_moderator and state == SUBMITTED else (),
            problem=page_context.translator(format_message("some entries stay as they were")) if faults else "",
            faults=faults or {},
            feeds=entry_view.list_url,
        )
        json_content = {
            "table": entry_view.entry_table.name,
            "moderator": is_moderator,
            "fields": [_describe_field(entry_field) for entry_field in entry_view.fields],
            "entries": page.listed,
            "more": page.older_url,
        }
        if faults:
            json_content |= {"error": page.problem, "faults": faults}
        return PageContent(page=page, json_content=json_content, status=409 if faults else 200, headers=PRIVATE_HEADERS)

    async def show_history(self, page_context: PageContext) -> PageContent:
        return await anyio.to_thread.run_sync(lambda: _EntryView(self.site, page_context).build_history())

    async def show_new_entry_form(self, page_context: PageContext) -> PageContent:
        return await anyio.to_thread.run_sync(self._build_new_entry_form, page_context)

    def _build_new_entry_form(self, page_context: PageContext) -> PageContent:
        entry_view = _EntryView(self.site, page_context)
        entry_view.workflow.check_submitter()
        parameters = page_context.request.query_params
        row_key = parameters.get("row", "")
        values: dict[str, Any] = {name: parameters[name] for name in entry_view.field_names if name in parameters}
        if row_key:
            row_key = read_visible_row(page_context, entry_view.entry_table.table, row_key)[0]
            values = {**entry_view.workflow.read_row(row_key)[0], **values}
        return entry_view.build_page(None, row_key=row_key, values=values)

    async def create_entry(self, page_context: PageContext) -> PageContent:
        entry_view = await anyio.to_thread.run_sync(_EntryView, self.site, page_context)
        entry_view.workflow.check_submitter()
        contribution = await read_contribution(page_context)
        return await anyio.to_thread.run_sync(self._create_entry, entry_view, contribution)

    def _create_entry(self, entry_view: _EntryView, contribution: ContributionRequest) -> PageContent:
        row_key = contribution.read_text("row")
        if row_key:
            row_key = read_visible_row(entry_view.page_context, entry_view.entry_table.table, row_key)[0]
        action = contribution.read_text("action") or SAVE
        if action == RESOLVE:
            return entry_view.resolve_position(None, row_key, contribution)
        if action == FIND:
            return entry_view.build_page(None, row_key=row_key, contribution=contribution)
        if action in {ACCEPT, REFUSE}:
            return self._decide_on_entries(entry_view, action, contribution)
        if action not in {SAVE, SUBMIT}:
            message = format_message("you cannot {action} a new entry", action)
            raise ConflictError(message, remedy="save or submit the entry")
        try:
            values = entry_view.read_values(contribution) or {}
        except EntryValuesError as error:
            return entry_view.build_page(None, row_key=row_key, contribution=contribution, error=error)
        entry, is_new = entry_view.workflow.create_entry(values, row_key, contribution.read_text("token"))
        if action == SUBMIT and entry.revision == 1:  # new, or a process was killed before it submitted the draft
            request = EntryStepRequest(action=SUBMIT, reason=contribution.read_text("reason"), etag=entry.etag)
            return entry_view.take_step(entry, request, contribution, is_new=is_new)
        return entry_view.answer_change(entry, contribution, is_new=is_new)

    def _decide_on_entries(self, entry_view: _EntryView, action: str, contribution: ContributionRequest) -> PageContent:
        """Take a step with each entry whose number and state the request has; those that fail stay as they are."""
        translate = entry_view.page_context.translator
        faults: dict[str, str] = {}
        decided = []
        reason = contribution.read_text("reason")
        for number, etag in list((contribution.values or {}).items())[:LIST_PAGE_ENTRIES]:
            try:
                entry = entry_view.workflow.find_entry(int(number) if number.isdecimal() and len(number) < 16 else 0)
                request = EntryStepRequest(action=action, reason=reason, etag=str(etag))
                decided.append(entry_view.workflow.take_step(entry, request))
            except UserError as error:
                findings = error.findings if isinstance(error, RuleFindingsError) else []
                faults[number] = "; ".join(map(translate, (error.message, *findings)))
        if faults:
            return self._build_entry_list(entry_view, faults)
        if not contribution.is_json and not is_json_requested(entry_view.page_context.request):
            return build_redirect(f"{entry_view.list_url}?state={SUBMITTED}")
        content = {"entries": [_describe_entry(entry, entry_view.page_context) for entry in decided]}
        return PageContent(json_content=content, headers=PRIVATE_HEADERS)

    async def show_entry(self, page_context: PageContext) -> PageContent:
        def build_page() -> PageContent:
            entry_view = _EntryView(self.site, page_context)
            return entry_view.build_page(entry_view.workflow.find_entry(read_path_number(page_context)))

        return await anyio.to_thread.run_sync(build_page)

    async def change_entry(self, page_context: PageContext) -> PageContent:
        number = read_path_number(page_context)
        entry_view = await anyio.to_thread.run_sync(_EntryView, self.site, page_context)
        entry = await anyio.to_thread.run_sync(entry_view.workflow.find_entry, number)
        contribution = await read_contribution(page_context)
        return await anyio.to_thread.run_sync(self._change_entry, entry_view, entry, contribution)

    def _change_entry(
        self, entry_view: _EntryView, entry: TableEntry, contribution: ContributionRequest
    ) -> PageContent:
        action = contribution.read_text("action") or SAVE
        if action == RESOLVE:
            return entry_view.resolve_position(entry, "", contribution)
        if action == FIND:
            return entry_view.build_page(entry, contribution=contribution)
        try:
            values = entry_view.read_values(contribution) if action in {SAVE, SUBMIT} else None
        except EntryValuesError as error:
            return entry_view.build_page(entry, contribution=contribution, error=error)
        request = EntryStepRequest(
            action=action, values=values, reason=contribution.read_text("reason"), etag=contribution.read_text("etag")
        )
        return entry_view.take_step(entry, request, contribution)


class _EntryView:
    """The entries of one table for the user of a page: their steps, and the page that shows them."""

    def __init__(self, site: Any, page_context: PageContext) -> None:
        table = find_visible_table(page_context, page_context.request.path_params["table"])
        entry_table = find_entry_table(site, table)
        if entry_table is None:
            message = format_message("users cannot enter rows into {table}", table.qualified_name)
            raise NotFoundError(message, remedy="add `entries` to the table in the descriptor")
        self._site = site
        self.page_context = page_context
        self.entry_table: EntryTable = entry_table
        self.fields = build_form_fields(entry_table, page_context)
        self.field_names = [entry_field.name for entry_field in self.fields]
        self.references = find_row_references(table, page_context)
        self.workflow = EntryWorkflow(site, entry_table, page_context.principal, self.fields, self.references)
        self.list_url = build_entries_address(page_context, table)
        self.table_link = build_table_link(page_context, table)

    def list_entries_for_user(self, **conditions: Any) -> list[TableEntry]:
        """List the user's own entries; for moderators of the table, those of all users, without the others' drafts."""
        principal = self.page_context.principal
        is_moderator = self.entry_table.can_moderate(principal)
        author = None if is_moderator else principal.name
        return self.workflow.store.list_entries([self.entry_table.name], author=author, **conditions)

    def build_history(self) -> PageContent:
        """Build the page of the accepted versions of a row that the user sees."""
        page_context = self.page_context
        if not (self.entry_table.rules.is_history_public or self.entry_table.can_moderate(page_context.principal)):
            message = format_message("the history of rows of {table} is not public", self.entry_table.name)
            raise NotFoundError(message, remedy="find your entries at /entries")
        sent_key = page_context.request.query_params.get("row", "")
        row_key = read_visible_row(page_context, self.entry_table.table, sent_key)[0]
        listed = self.workflow.store.list_entries(
            [self.entry_table.name],
            states=(ACCEPTED, WITHDRAWN),
            row_key=row_key,
            before_number=read_before_number(page_context),
        )
        page = RowHistoryPage(
            table=self.table_link,
            row=row_key,
            row_url=self._build_row_address(row_key),
            versions=[self._describe_version(entry) for entry in listed if entry.version],
            labels={entry_field.name: entry_field.label for entry_field in self.fields},
            older_url=_build_older_address(page_context, f"{self.list_url}/history", listed),
        )
        json_content = {
            "table": self.entry_table.name,
            "row": row_key,
            "versions": page.versions,
            "more": page.older_url,
        }
        return PageContent(page=page, json_content=json_content, headers=PRIVATE_HEADERS)

    def _describe_version(self, entry: TableEntry) -> dict[str, Any]:
        """Describe a version of a row to those who see the row: only columns and names that they may see."""
        has_names = not is_blind_referee(self.page_context, self.entry_table.table)
        old_values = entry.base_values or {}
        return {
            "number": entry.number,
            "version": entry.version,
            "state": entry.state,
            "author": entry.author if has_names else "",
            "changes": {
                entry_field.name: [old_values.get(entry_field.name), entry.row_values.get(entry_field.name)]
                for entry_field in self.fields
                if entry_field.is_published
                and old_values.get(entry_field.name) != entry.row_values.get(entry_field.name)
            },
            "steps": [
                {"at": step.at, "by": step.by if has_names else "", "action": step.action, "reason": step.reason}
                for step in self.workflow.store.list_steps(entry.number)
                if step.action in {ACCEPT, WITHDRAW}
            ],
        }

    def _build_row_address(self, row_key: str) -> str:
        return f"{self.table_link.url}?{urlencode({'_row': row_key})}" if row_key else ""

    def build_feed(self) -> ContributionFeed:
        """Build the feed of the entries that concern the user: each step of an entry is news."""
        translate = load_page_translations(self.page_context.language)
        entries = self.list_entries_for_user(is_by_change=True)
        name = self.entry_table.name
        authority = self._site.settings.find_collection_authority(self.entry_table.table.schema)
        return ContributionFeed(
            name=f"ivo://{authority}/entries/{name}",
            title=f"{self.table_link.title}: {translate.get('Entries', 'Entries')}",
            site_title=self.page_context.brand.title,
            page_url=self.list_url,
            updated=max((entry.changed for entry in entries), default="1970-01-01T00:00:00Z"),
            entries=[
                ContributionFeedEntry(
                    id=f"{entry.number}/{entry.revision}",
                    title=f"{self.table_link.title} {entry.number}: {translate.get(entry.state, entry.state)}",
                    author=entry.author or "-",
                    published=entry.created,
                    updated=entry.changed,
                    url=f"{self.list_url}/{entry.number}",
                    text=_write_entry_title(entry),
                )
                for entry in entries
            ],
        )

    def read_values(self, contribution: ContributionRequest) -> dict[str, Any] | None:
        """Read the values of a request; None: it has none."""
        if contribution.values is None:
            return None
        sent_values = contribution.values
        if not contribution.is_json:  # names of form fields have no case
            names = {name.upper(): name for name in self.field_names}
            sent_values = {names.get(name.upper(), name): value for name, value in sent_values.items()}
        return read_entry_values(self.fields, sent_values)

    def resolve_position(
        self, entry: TableEntry | None, row_key: str, contribution: ContributionRequest
    ) -> PageContent:
        """Show the form with the position of the object that it names; nothing is stored."""
        values = self._format_field_texts(contribution.values or {})
        names_by_role = self._map_roles_to_fields()
        error: HvenError | None = None
        try:
            object_name = values.get(names_by_role[NAME_ROLE], "")
            longitude, latitude = resolve_object_position(
                object_name, site=self._site, policies=self.page_context.context.policies
            )
            table = self.entry_table.table
            frame = find_position_frame(table.find_column(names_by_role[LONGITUDE_ROLE]), table)
            (longitude,), (latitude,) = frames.rotate_positions([longitude], [latitude], "ICRS", frame)
            values[names_by_role[LONGITUDE_ROLE]] = repr(round(float(longitude), 9))
            values[names_by_role[LATITUDE_ROLE]] = repr(round(float(latitude), 9))
        except KeyError:
            error = ConflictError(
                "the form lacks a field for the name, the longitude or the latitude of an object",
                remedy="save or submit the entry without finding a position by name",
            )
        except (UserError, ServiceError) as resolver_error:
            error = resolver_error
        return self.build_page(entry, row_key=row_key, values=values, contribution=contribution, error=error)

    def _map_roles_to_fields(self) -> dict[str, str]:
        return {entry_field.role: entry_field.name for entry_field in reversed(self.fields) if entry_field.role}

    def take_step(
        self, entry: TableEntry, request: EntryStepRequest, contribution: ContributionRequest, *, is_new: bool = False
    ) -> PageContent:
        """Take a step; if it fails, show the entry as it is then, with what is wrong."""
        try:
            changed_entry = self.workflow.take_step(entry, request)
        except UserError as error:
            current_entry = self.workflow.find_entry(entry.number)
            return self.build_page(current_entry, contribution=contribution, error=error)
        return self.answer_change(changed_entry, contribution, is_new=is_new)

    def answer_change(self, entry: TableEntry, contribution: ContributionRequest, *, is_new: bool) -> PageContent:
        """Answer a change: programs get the entry, browsers are led to its page."""
        address = f"{self.list_url}/{entry.number}"
        if not contribution.is_json and not is_json_requested(self.page_context.request):
            return build_redirect(address)
        headers = {**PRIVATE_HEADERS, "etag": f'"{entry.etag}"'}
        if is_new:
            headers["location"] = address
        content = self._build_entry_json(entry)
        return PageContent(json_content=content, status=201 if is_new else 200, headers=headers)

    def _build_entry_json(self, entry: TableEntry) -> dict[str, Any]:
        steps = self.workflow.store.list_steps(entry.number)
        values_text = "\n".join(map(format_value_text, entry.row_values.values()))
        names = ("at", "by", "action", "state", "reason")
        return {
            **_describe_entry(entry, self.page_context),
            "values": dict(entry.row_values),
            "base": entry.base_values,
            "works": describe_cited_works(self._site, [values_text])[0],
            "warnings": list(entry.warnings),
            "steps": [{name: getattr(step, name) for name in names} for step in steps],
            "actions": self.entry_table.list_actions(entry, self.page_context.principal),
        }

    def build_page(
        self,
        entry: TableEntry | None,
        *,
        row_key: str = "",
        values: Mapping[str, Any] | None = None,
        contribution: ContributionRequest | None = None,
        error: HvenError | None = None,
    ) -> PageContent:
        """Build the page of an entry, or the form of a new one.

        Parameters
        ----------
        entry
            The entry; None for a new one.
        row_key
            Key of the row that a new entry changes.
        values
            Values in the form; None: those of the last request and, for other fields, of the entry.
        contribution
            The last request, if it did not store what it sent: the form has its values and its reason.
        error
            What is wrong with the last request.
        """
        translate = self.page_context.translator
        if values is None and contribution is not None:
            values = contribution.values
        document: dict[str, Any] = {"table": self.entry_table.name}
        headers: dict[str, str] = dict(PRIVATE_HEADERS)
        actions: Sequence[str] = (SAVE, SUBMIT)
        base_values = None
        entry_values: Mapping[str, Any] = {}
        if entry is not None:
            document = self._build_entry_json(entry)
            row_key = entry.row_key
            actions = document["actions"]
            headers["etag"] = f'"{entry.etag}"'
            entry_values = entry.row_values
            base_values = None if entry.base_values is None else self._format_field_texts(entry.base_values)
        faults = error.faults if isinstance(error, EntryValuesError) else {}
        findings = error.findings if isinstance(error, RuleFindingsError) else []
        stored_texts = self._format_field_texts(entry_values)
        texts = stored_texts | (self._format_field_texts(values or {}) if SAVE in actions else {})
        offered_keys: Mapping[str, OfferedKeys] = {}
        if SAVE in actions:
            offered_keys = self.references.list_offered_keys({name: [text] for name, text in texts.items()})
        page = EntryPage(
            table=self.table_link,
            list_url=self.list_url,
            form_url=self.list_url if entry is None else f"{self.list_url}/{entry.number}",
            entry=None if entry is None else document,
            fields=self._list_shown_fields(entry, row_key),
            values=texts,
            base_values=base_values,
            stored_values=stored_texts if isinstance(error, PreconditionFailedError) else None,
            reason="" if contribution is None else contribution.read_text("reason"),
            actions=actions,
            steps=document.get("steps", ()),
            row=row_key,
            row_url=self._build_row_address(row_key),
            is_reason_public=self.entry_table.rules.is_history_public,
            token=secrets.token_hex(16),
            can_resolve=len(self._map_roles_to_fields()) == ROLE_COUNT and can_resolve_names(self._site.settings),
            offered_keys=offered_keys,
            translate=translate,
            problem="" if error is None else translate(error.message),
            remedy="" if error is None else translate(error.remedy),
            findings=findings,
            faults={name: translate(message) for name, message in faults.items()},
        )
        if error is None:
            content = {**document, "fields": [_describe_field(entry_field) for entry_field in page.fields]}
            return PageContent(page=page, json_content=content, headers=headers)
        status = services.find_http_status(error)
        content = {"error": f"{page.problem}; {page.remedy}", "status": status, "faults": page.faults}
        content |= {"findings": findings, "entry": page.entry}
        return PageContent(page=page, json_content=content, status=status, headers=headers)

    def _list_shown_fields(self, entry: TableEntry | None, row_key: str) -> list[EntryField]:
        """List the fields of a form: of a new row all, of a correction those that the user may change."""
        if entry is None and row_key:
            shown_names = self.workflow.list_changeable_columns()
        elif entry is not None and entry.base_values is not None:
            shown_names = set(entry.base_values)
        else:
            shown_names = set(self.field_names)
        return [entry_field for entry_field in self.fields if entry_field.name in shown_names]

    def _format_field_texts(self, values: Mapping[str, Any]) -> dict[str, str]:
        """Write values as texts of the form; names of form fields have no case."""
        names = {name.upper(): name for name in self.field_names}
        return {names.get(name.upper(), name): format_value_text(value) for name, value in values.items()}


def _build_older_address(
    page_context: PageContext, address: str, listed: Sequence[TableEntry], parameter: str = "before"
) -> str:
    numbers = [entry.number for entry in listed]
    return build_older_address(page_context, address, numbers, LIST_PAGE_ENTRIES, parameter)


def _describe_entry(entry: TableEntry, page_context: PageContext) -> dict[str, Any]:
    """Describe an entry in lists."""
    address = f"{page_context.base}/entries/{quote(entry.table, safe='')}/{entry.number}"
    names = ("number", "table", "state", "author", "version", "created", "changed")
    facts: dict[str, Any] = {name: getattr(entry, name) for name in names}
    return {
        **facts,
        "url": address,
        "row": entry.row_key,
        "etag": entry.etag,
        "changes_row": entry.base_values is not None,
        "title": _write_entry_title(entry),
    }


def _write_entry_title(entry: TableEntry) -> str:
    shown_values = [format_value_text(value) for value in entry.row_values.values() if value is not None]
    return ", ".join(shown_values)[:MAX_TITLE_CHARACTERS]


def _describe_field(entry_field: EntryField) -> dict[str, Any]:
    """Describe a field for programs."""
    names = ("name", "kind", "label", "description", "unit", "required", "minimum", "maximum", "choices")
    return {**{name: getattr(entry_field, name) for name in names}, "type": str(entry_field.type)}
