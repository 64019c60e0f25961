"""Serve ``/submissions``: pages where users send files, complete their rows, and publish them; also as JSON.

All of it works without scripts. The steps have addresses of their own, so that users can go on another day.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import anyio
import anyio.to_thread
from starlette.routing import Route

from hven import services
from hven.model.errors import (
    ConflictError,
    HvenError,
    NotFoundError,
    ParamError,
    PreconditionFailedError,
    UserError,
    format_message,
)
from hven.plugins.entries.contribution_requests import (
    PRIVATE_HEADERS,
    build_form_fields,
    build_older_address,
    build_table_link,
    find_visible_table,
    list_contribution_tables,
    read_before_number,
    read_contribution,
)
from hven.plugins.entries.entry_forms import EntryValuesError, format_value_text
from hven.plugins.entries.entry_workflow import format_row_key
from hven.plugins.entries.row_references import find_row_references
from hven.plugins.submissions.expired_submissions import delete_expired_data
from hven.plugins.submissions.file_checkers import ERROR, WARNING
from hven.plugins.submissions.submission_requests import (
    MAX_NUMBER_DIGITS,
    group_row_values,
    read_file_upload_request,
)
from hven.plugins.submissions.submission_store import (
    LISTED_SUBMISSIONS,
    REFUSED,
    SAVED,
    SUBMITTED,
    SubmissionStore,
    build_changed_submission_error,
)
from hven.plugins.submissions.submission_workflow import (
    CHECK,
    EDIT,
    REFUSE,
    REMOVE,
    REPAIR,
    SUBMIT,
    SubmissionTable,
    SubmissionWorkflow,
    find_submission_table,
)
from hven.portal.api.pages import (
    PageContent,
    PageLink,
    TemplateContext,
    build_page_endpoint,
    build_redirect,
    is_json_requested,
    read_path_number,
    read_whole_number_parameter,
)
from hven.site.store import format_current_time

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from hven.model.table import Table
    from hven.plugins.entries.contribution_requests import ContributionRequest
    from hven.plugins.entries.entry_forms import EntryField
    from hven.plugins.entries.row_references import OfferedKeys
    from hven.plugins.submissions.submission_requests import FileUploadRequest
    from hven.plugins.submissions.submission_store import StagedFile, StagedRow, Submission
    from hven.portal.api.pages import PageContext
    from hven.services.face import ServiceContext

WAITING_PARAMETER = "waiting_before"  # of pages with two lists
GRID_ROWS = 25  # of the form for rows
SECTIONS = {CHECK: "difference", EDIT: "rows", REMOVE: "files", REPAIR: "files"}  # of the page after a step
SEVERITIES = (ERROR, WARNING, "info")  # in the order of reports
LISTED_NAMES = 3  # of files of a submission in lists
SHOWN_KEYS = 20  # of published rows
MAX_NUMBER = 2**53
MAX_CONCURRENT_CHECKS = 2  # requests whose files are checked at once: their values are in memory


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmissionListPage(TemplateContext):
    """Lists of submissions.

    Attributes
    ----------
    table
        The table of the submissions; None: of all tables.
    tables
        Tables to which the user may submit files.
    waiting, listed
        Submissions on which the user decides; and the user's own, as in JSON.
    older_url, older_waiting_url
        Addresses of the submissions before those of each list; empty: there are none.
    form_url
        Where the form of a new submission is sent; empty: none.
    token
        Token of the form.
    problem, remedy
        What is wrong with the last request.
    """

    template = "submissions/submission_list.html"
    table: PageLink | None = None
    tables: Sequence[PageLink] = ()
    waiting: Sequence[Mapping[str, object]] = ()
    listed: Sequence[Mapping[str, object]] = ()
    older_url: str = ""
    older_waiting_url: str = ""
    form_url: str = ""
    token: str = ""
    problem: str = ""
    remedy: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmissionPage(TemplateContext):
    """A submission: its files, rows, values, and what would change.

    Attributes
    ----------
    table
        The table.
    list_url, form_url
        Addresses of the table's submissions, and of this one.
    submission
        The submission as in JSON.
    shared_fields, row_fields
        Fields of all rows, and of single rows.
    offered_keys
        Column -> keys of another table that its fields offer.
    grid_rows
        Rows of the form: number, name of the file, and texts by column.
    previous_url, next_url
        Addresses of the rows before and after; empty: none.
    labels
        Column -> its label.
    translate
        Translates messages of findings.
    group_findings
        Groups findings that differ only in their places.
    refusal
        The step that refused the submission; None: it is not refused.
    published_rows
        Links to the first published rows.
    today
        The date in UTC.
    problem, remedy, faults
        What is wrong with the last request, in general and by column.
    """

    template = "submissions/submission.html"
    table: PageLink
    list_url: str
    form_url: str
    submission: Mapping[str, Any]
    shared_fields: Sequence[EntryField]
    row_fields: Sequence[EntryField]
    offered_keys: Mapping[str, OfferedKeys]
    grid_rows: Sequence[Mapping[str, Any]]
    previous_url: str
    next_url: str
    labels: Mapping[str, str]
    translate: Callable[[str], str]
    group_findings: Callable[[Sequence[Mapping[str, Any]]], list[dict[str, Any]]]
    refusal: Mapping[str, str] | None
    published_rows: Sequence[PageLink]
    today: str
    problem: str = ""
    remedy: str = ""
    faults: Mapping[str, str]


def build_submissions_address(page_context: PageContext, table: Table) -> str:
    """Build the address of the submissions to a table.

    Parameters
    ----------
    page_context
        The request of a page.
    table
        The table.
    """
    return f"{page_context.base}/submissions/{quote(table.qualified_name, safe='')}"


def build_submission_routes(context: ServiceContext) -> Sequence[Route]:
    """Route ``/submissions``, ``/submissions/TABLE``, ``/submissions/TABLE/NUMBER`` and its ``/files``.

    Parameters
    ----------
    context
        The site, its users and its services.
    """
    endpoints = _SubmissionEndpoints(context)
    number_path = "/submissions/{table}/{number:int}"
    return [
        Route("/submissions", build_page_endpoint(endpoints.show_overview, context), methods=["GET"]),
        Route("/submissions/{table}", build_page_endpoint(endpoints.show_table, context), methods=["GET"]),
        Route("/submissions/{table}", build_page_endpoint(endpoints.create_submission, context), methods=["POST"]),
        Route(number_path, build_page_endpoint(endpoints.show_submission, context), methods=["GET"]),
        Route(number_path, build_page_endpoint(endpoints.change_submission, context), methods=["POST"]),
        Route(f"{number_path}/files", build_page_endpoint(endpoints.add_files, context), methods=["POST"]),
    ]


class _SubmissionEndpoints:
    """The endpoints of the pages of submissions."""

    def __init__(self, context: ServiceContext) -> None:
        self.site = context.site
        self._file_limiter = anyio.CapacityLimiter(MAX_CONCURRENT_CHECKS)

    async def show_overview(self, page_context: PageContext) -> PageContent:
        return await anyio.to_thread.run_sync(self._build_overview, page_context)

    def _build_overview(self, page_context: PageContext) -> PageContent:
        found_tables = list_contribution_tables(SubmissionTable, page_context)
        delete_expired_data(self.site)
        moderated = [table.name for table in found_tables if table.can_moderate(page_context.principal)]
        store = self.site.store.get_or_create(SubmissionStore)
        names = [table.name for table in found_tables]
        page = _build_list_page(
            store,
            page_context,
            f"{page_context.base}/submissions",
            moderated,
            names,
            tables=[
                PageLink(
                    title=str(table.table.title or table.name), url=build_submissions_address(page_context, table.table)
                )
                for table in found_tables
            ],
        )
        json_content = {"tables": names, **_list_described_submissions(page)}
        return PageContent(page=page, json_content=json_content, headers=PRIVATE_HEADERS)

    async def show_table(self, page_context: PageContext) -> PageContent:
        return await anyio.to_thread.run_sync(lambda: _SubmissionView(self.site, page_context).build_list())

    async def create_submission(self, page_context: PageContext) -> PageContent:
        view = await anyio.to_thread.run_sync(_SubmissionView, self.site, page_context)
        view.workflow.check_submitter()
        async with read_file_upload_request(page_context) as file_request:
            return await anyio.to_thread.run_sync(view.create_submission, file_request, limiter=self._file_limiter)

    async def show_submission(self, page_context: PageContext) -> PageContent:
        def build_page() -> PageContent:
            view = _SubmissionView(self.site, page_context)
            return view.build_page(view.find_submission())

        return await anyio.to_thread.run_sync(build_page)

    async def add_files(self, page_context: PageContext) -> PageContent:
        view = await anyio.to_thread.run_sync(_SubmissionView, self.site, page_context)
        submission = await anyio.to_thread.run_sync(view.find_submission)
        async with read_file_upload_request(page_context) as file_request:
            return await anyio.to_thread.run_sync(view.add_files, submission, file_request, limiter=self._file_limiter)

    async def change_submission(self, page_context: PageContext) -> PageContent:
        view = await anyio.to_thread.run_sync(_SubmissionView, self.site, page_context)
        submission = await anyio.to_thread.run_sync(view.find_submission)
        contribution = await read_contribution(page_context)
        return await anyio.to_thread.run_sync(view.change_submission, submission, contribution)


class _SubmissionView:
    """The submissions to one table for the user of a page."""

    def __init__(self, site: Any, page_context: PageContext) -> None:
        table = find_visible_table(page_context, page_context.request.path_params["table"])
        submission_table = find_submission_table(site, table)
        if submission_table is None:
            message = format_message("users cannot submit files to {table}", table.qualified_name)
            raise NotFoundError(message, remedy="add `submissions` to the table in the descriptor")
        self.page_context = page_context
        self.submission_table: SubmissionTable = submission_table
        fields = build_form_fields(submission_table, page_context)
        self.references = find_row_references(table, page_context)
        self.workflow = SubmissionWorkflow(site, submission_table, page_context.principal, fields, self.references)
        self.list_url = build_submissions_address(page_context, table)
        self.table_link = build_table_link(page_context, table)

    def find_submission(self) -> Submission:
        return self.workflow.find_submission(read_path_number(self.page_context))

    # --- requests ---------------------------------------------------------------------------------------------------

    def create_submission(self, file_request: FileUploadRequest) -> PageContent:
        submission, is_new = self.workflow.create_submission(file_request.texts["token"])
        if submission.revision == 1:  # new, or a process was killed before it stored the files
            try:
                submission = self._add_requested_content(submission, file_request)
            except PreconditionFailedError:  # the same request came at the same moment
                submission = self.workflow.find_submission(submission.number)
            except HvenError as error:
                if self.workflow.store.remove_empty_submission(submission.number) or not isinstance(error, UserError):
                    raise
                stored_submission = self.workflow.find_submission(submission.number)
                return self.build_page(stored_submission, error=error, is_new=True)
        return self.answer_change(submission, is_json=file_request.is_json, is_new=is_new)

    def _add_requested_content(self, submission: Submission, file_request: FileUploadRequest) -> Submission:
        """Add the files and the catalogue of a request, as far as it has them."""
        if file_request.files:
            submission = self.workflow.add_files(submission, file_request.files)
        catalogue = file_request.texts.get("vizier", "").strip()
        if catalogue:
            client = self.page_context.request.client
            submission = self.workflow.request_catalogue(submission, catalogue, client.host if client else "")
        return submission

    def add_files(self, submission: Submission, file_request: FileUploadRequest) -> PageContent:
        # files are only added, so that a request without If-Match loses nothing
        if file_request.texts["etag"] not in {"", submission.etag}:
            return self.build_page(submission, error=build_changed_submission_error())
        try:
            changed_submission = self._add_requested_content(submission, file_request)
            if changed_submission is submission:
                raise ParamError("the request has no file", remedy="choose a file, or enter an address")
        except UserError as error:
            return self.show_error(error)
        return self.answer_change(changed_submission, is_json=file_request.is_json, section="files")

    def change_submission(self, submission: Submission, contribution: ContributionRequest) -> PageContent:
        action = contribution.read_text("action") or EDIT
        is_replay = action == SUBMIT and submission.state in {SUBMITTED, SAVED}
        try:
            if contribution.read_text("etag") != submission.etag and not is_replay:
                raise build_changed_submission_error()
            if not is_replay:
                submission = self._save_values(submission, contribution, action)
            if action in {REMOVE, REPAIR}:
                words = map(str.strip, contribution.read_text("file").split(","))
                numbers = [int(word) for word in words if word.isdecimal() and len(word) <= MAX_NUMBER_DIGITS]
                change_files = (
                    self.workflow.remove_files if action == REMOVE else self.workflow.replace_by_repaired_files
                )
                submission = change_files(submission, numbers)
            elif action != EDIT:
                submission = self.workflow.take_step(submission, action, contribution.read_text("reason"))
        except UserError as error:
            return self.show_error(error)
        return self.answer_change(submission, is_json=contribution.is_json, section=SECTIONS.get(action, ""))

    def _save_values(self, submission: Submission, contribution: ContributionRequest, action: str) -> Submission:
        """Save the values of a request before its step, so that they are kept whatever the step finds."""
        note = contribution.texts.get("note")
        names = {
            entry_field.name.upper(): entry_field.name for entry_field in self.workflow.fields
        }  # names of form fields have no case
        shared_values: dict[str, object] = {}
        row_values: dict[int, dict[str, object]] = {}
        values = dict(contribution.values or {})
        nested_values = values.pop("shared", None)
        if isinstance(nested_values, dict):
            shared_values |= nested_values
        for name in [name for name in values if name.upper().startswith("SHARED.")]:
            column = name[len("shared.") :]
            shared_values[names.get(column.upper(), column)] = values.pop(name)
        for number, row in group_row_values(values).items():
            row_values[number] = {names.get(column.upper(), column): value for column, value in row.items()}
        if note is None and not shared_values and not row_values:
            return submission
        if action not in {EDIT, SUBMIT, "check"}:
            message = format_message("you cannot {action} a submission and change its values at the same time", action)
            raise ConflictError(message, remedy="save the values first")
        return self.workflow.change_values(submission, shared_values=shared_values, row_values=row_values, note=note)

    # --- answers ----------------------------------------------------------------------------------------------------

    def answer_change(
        self, submission: Submission, *, is_json: bool, is_new: bool = False, section: str = ""
    ) -> PageContent:
        """Answer a change: programs get the submission, browsers are led to its page, or to a section of it."""
        address = f"{self.list_url}/{submission.number}"
        if not is_json and not is_json_requested(self.page_context.request):
            is_visible = self.workflow.can_see(submission)  # not to the moderator who has refused it
            own_address = f"{address}#{section}" if section else address
            return build_redirect(own_address if is_visible else self.list_url)
        headers = {**PRIVATE_HEADERS, "etag": f'"{submission.etag}"'}
        if is_new:
            headers["location"] = address
        status = 201 if is_new else 200
        return PageContent(
            json_content=self._describe_submission_with_files(submission), status=status, headers=headers
        )

    def show_error(self, error: UserError) -> PageContent:
        """Show the submission as it is now, with what is wrong with the request."""
        try:
            submission = self.find_submission()
        except NotFoundError:  # another moderator has refused it, so that this one does not see it any more
            raise error from None
        return self.build_page(submission, error=error)

    def build_list(self) -> PageContent:
        """Build the list of a table's submissions, with the form of a new one."""
        self.workflow.check_submitter()
        principal = self.page_context.principal
        name = self.submission_table.name
        is_moderator = self.submission_table.can_moderate(principal)
        page = _build_list_page(
            self.workflow.store,
            self.page_context,
            self.list_url,
            [name] if is_moderator else [],
            [name],
            table=self.table_link,
            form_url=self.list_url,
            token=secrets.token_hex(16),
        )
        json_content = {
            "table": name,
            "moderator": is_moderator,
            "shared": [_describe_field(entry_field) for entry_field in self.workflow.shared_fields],
            "columns": [_describe_field(entry_field) for entry_field in self.workflow.row_fields],
            **_list_described_submissions(page),
        }
        return PageContent(page=page, json_content=json_content, headers=PRIVATE_HEADERS)

    def _describe_submission_with_files(self, submission: Submission) -> dict[str, Any]:
        files = self.workflow.store.list_files(submission.number)
        rows = self.workflow.store.list_rows(submission.number)
        report = dict(submission.report)
        is_current = report.pop("revision", None) == submission.revision
        return {
            **_describe_submission(submission, self.page_context),
            "note": submission.note,
            "shared": dict(submission.shared_values),
            "expires": submission.expires,
            "files": [_describe_file(file) for file in files],
            "catalogues": self.workflow.list_unfinished_catalogues(submission),
            "rows": [_describe_row(row) for row in rows],
            "report": report if is_current or submission.state in {SUBMITTED, SAVED} else None,
            "steps": list(submission.steps),
            "keys": list(submission.keys),
            "actions": self.submission_table.list_actions(submission, self.page_context.principal),
        }

    def build_page(
        self, submission: Submission, *, error: HvenError | None = None, is_new: bool = False
    ) -> PageContent:
        """Build the page of a submission."""
        translate = self.page_context.translator
        document = self._describe_submission_with_files(submission)
        form_url = f"{self.list_url}/{submission.number}"
        headers = {**PRIVATE_HEADERS, "etag": f'"{submission.etag}"'}
        if is_new:
            headers["location"] = form_url
        first_row = read_whole_number_parameter(self.page_context, "from", 0, MAX_NUMBER)
        file_names = {file["number"]: file["name"] for file in document["files"]}
        grid_rows = []
        for row in document["rows"][first_row : first_row + GRID_ROWS]:
            texts = {name: format_value_text(value) for name, value in row["values"].items()}
            grid_rows.append({"number": row["number"], "file": file_names.get(row["file"], ""), "texts": texts})
        offered_keys: Mapping[str, OfferedKeys] = {}
        if EDIT in document["actions"]:
            texts_by_name: dict[str, list[str]] = {}
            for texts in [row["texts"] for row in grid_rows]:
                for name, text in texts.items():
                    texts_by_name.setdefault(name, []).append(text)
            for name, value in submission.shared_values.items():
                texts_by_name[name] = [format_value_text(value)]
            offered_keys = self.references.list_offered_keys(texts_by_name)
        has_more = len(document["rows"]) > first_row + GRID_ROWS
        fields = self.workflow.fields
        page = SubmissionPage(
            table=self.table_link,
            list_url=self.list_url,
            form_url=form_url,
            submission=document,
            shared_fields=self.workflow.shared_fields,
            row_fields=self.workflow.row_fields,
            offered_keys=offered_keys,
            grid_rows=grid_rows,
            previous_url=f"{form_url}?from={max(0, first_row - GRID_ROWS)}#rows" if first_row else "",
            next_url=f"{form_url}?from={first_row + GRID_ROWS}#rows" if has_more else "",
            labels={entry_field.name: entry_field.label for entry_field in fields},
            translate=translate,
            group_findings=group_findings,
            refusal=_find_refusal(submission),
            published_rows=self._list_published_rows(submission),
            today=format_current_time()[:10],
            problem="" if error is None else translate(error.message),
            remedy="" if error is None else translate(error.remedy),
            faults={
                name: translate(message)
                for name, message in (error.faults if isinstance(error, EntryValuesError) else {}).items()
            },
        )
        if error is None:
            return PageContent(page=page, json_content=document, headers=headers)
        status = services.find_http_status(error)
        content = {"error": f"{page.problem}; {page.remedy}", "status": status, "faults": page.faults}
        content |= {"submission": document}
        return PageContent(page=page, json_content=content, status=status, headers=headers)

    def _list_published_rows(self, submission: Submission) -> list[PageLink]:
        return [
            PageLink(title=str(key), url=f"{self.table_link.url}?{urlencode({'_row': format_row_key(key)})}")
            for key in submission.keys[:SHOWN_KEYS]
        ]


def _describe_submission(submission: Submission, page_context: PageContext) -> dict[str, Any]:
    names = ("number", "table", "state", "author", "created", "changed", "etag")
    address = f"{page_context.base}/submissions/{quote(submission.table, safe='')}/{submission.number}"
    return {**{name: getattr(submission, name) for name in names}, "url": address}


def _find_refusal(submission: Submission) -> Mapping[str, str] | None:
    """Return the step that refused a submission; None: it is not refused."""
    if submission.state != REFUSED:
        return None
    return next((step for step in reversed(submission.steps) if step["action"] == REFUSE), None)


def _build_list_page(
    store: SubmissionStore,
    page_context: PageContext,
    address: str,
    moderated_tables: Sequence[str],
    own_tables: Sequence[str],
    **parts: Any,
) -> SubmissionListPage:
    """Build a page with the submissions on which the user decides, and those of the user."""
    waiting = store.list_submissions(
        tables=moderated_tables,
        states=(SUBMITTED,),
        before_number=read_before_number(page_context, WAITING_PARAMETER),
    )
    own = store.list_submissions(
        tables=own_tables, author=page_context.principal.name, before_number=read_before_number(page_context)
    )

    def build_address(listed: Sequence[Submission], parameter: str) -> str:
        numbers = [submission.number for submission in listed]
        return build_older_address(page_context, address, numbers, LISTED_SUBMISSIONS, parameter)

    return SubmissionListPage(
        waiting=_describe_listed_submissions(waiting, store, page_context),
        listed=_describe_listed_submissions(own, store, page_context),
        older_url=build_address(own, "before"),
        older_waiting_url=build_address(waiting, WAITING_PARAMETER),
        **parts,
    )


def _list_described_submissions(page: SubmissionListPage) -> dict[str, Any]:
    """List the submissions of a page as in JSON."""
    return {
        "waiting": page.waiting,
        "submissions": page.listed,
        "more": page.older_url,
        "more_waiting": page.older_waiting_url,
    }


def _describe_listed_submissions(
    submissions: Sequence[Submission], store: SubmissionStore, page_context: PageContext
) -> list[dict[str, Any]]:
    """Describe submissions in lists, with the names of their first files."""
    names = store.list_file_names([submission.number for submission in submissions])
    listed = []
    for submission in submissions:
        own_names = names.get(submission.number, [])
        facts = {"file_count": len(own_names), "file_names": own_names[:LISTED_NAMES]}
        listed.append({**_describe_submission(submission, page_context), **facts})
    return listed


def group_findings(findings: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Group findings that differ only in their places, with the errors first.

    Parameters
    ----------
    findings
        Findings of a file, as in JSON.

    Returns
    -------
    groups
        The first finding of each group, with the ``places`` of all.
    """
    groups: dict[tuple[object, ...], dict[str, Any]] = {}
    for finding in findings:
        key = (finding["severity"], finding["rule"], finding["message"], tuple(finding["rows"]))
        group = groups.setdefault(key, {**finding, "places": []})
        if finding["place"]:
            group["places"].append(finding["place"])
    return sorted(groups.values(), key=lambda group: SEVERITIES.index(group["severity"]))


def _describe_file(file: StagedFile) -> dict[str, Any]:
    counts: dict[str, int] = {}
    for finding in file.findings:
        counts[finding["severity"]] = counts.get(finding["severity"], 0) + 1
    names = ("number", "name", "sha256", "bytes", "state", "findings")
    return {**{name: getattr(file, name) for name in names}, "counts": counts}


def _describe_row(row: StagedRow) -> dict[str, Any]:
    return {"number": row.number, "file": row.file, "values": {**row.file_values, **row.own_values}}


def _describe_field(entry_field: EntryField) -> dict[str, Any]:
    names = ("name", "kind", "label", "description", "unit", "required", "choices")
    return {name: getattr(entry_field, name) for name in names}
