"""Serve ``/jobs``, where users see their jobs, run them again, abort and delete them.

The page works with or without an account. Without one, a cookie that is set with the first job identifies the visitor.
"""

from __future__ import annotations

import contextlib
import itertools
import shlex
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode, urlsplit

import anyio.to_thread
import orjson
from starlette.responses import Response, StreamingResponse

from hven import adql, formats, services
from hven.adql import syntax_tree
from hven.adql.syntax_tree import walk_tree
from hven.jobs import QUERY_JOB_TYPE, build_job_path, type_catalogue
from hven.jobs.job_service import ACTIVE_PHASES, JobRequester, JobService, format_job_list_position
from hven.model.errors import (
    ForbiddenError,
    HvenError,
    NotFoundError,
    ParamError,
    ParseError,
    format_message,
    message_from_json,
)
from hven.model.params import collect_params
from hven.plugins.query_pages import job_form, job_results
from hven.plugins.query_pages.file_preview import read_first_rows
from hven.plugins.query_pages.job_previews import (
    MAX_PREVIEW_ROWS,
    LogEnd,
    build_job_preview,
    find_pictures,
    read_log_ends,
)
from hven.portal.api import plots
from hven.portal.api.pages import (
    SAMP_HUB_ORIGINS,
    VARY_HEADERS,
    ErrorPage,
    TemplateContext,
    build_page_frame,
    build_page_security_headers,
    find_portal_brand,
    get_message_translator,
    render_page,
    render_page_part,
)
from hven.portal.api.plots import PlotPoints, is_plottable
from hven.portal.api.table_rows import build_column_headings, format_cells
from hven.services import uws_documents
from hven.services.addresses import get_client_address, is_cross_site_change_request, is_https
from hven.services.face import create_route
from hven.services.params import MAX_FORM_BYTES
from hven.site.api.events import load_event_services
from hven.site.auth import recorded_rights
from hven.site.auth.session import compute_visitor_hash, create_visitor_cookie_and_hash

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from starlette.requests import Request
    from starlette.routing import Route

    from hven.jobs import JobDefinition
    from hven.model.params import RequestParams, UploadedFile
    from hven.model.table import Table
    from hven.plugins.query_pages.job_form import JobForm
    from hven.portal.api.page_rows import RowPage
    from hven.portal.api.pages import MessageTranslator
    from hven.services.face import ServiceContext
    from hven.site.auth import Principal
    from hven.site.store import JobRecord, JobRef

MAX_LISTED_JOBS = 200  # of a page
MAX_RESULT_ROWS = 100  # of the result of the job that the page shows
DUPLICATE_SECONDS = 10.0  # the same job sent twice within this time is created once
MAX_NAMED_TABLES = 3  # tables in the name of a job
MAX_PARAMETER_CHARACTERS = 2_000  # shown characters of a parameter
TOPCAT_FORMATS = {"votable", "fits", "csv", "parquet"}  # formats that TOPCAT reads
PRIVATE_HEADERS = {"cache-control": "private, no-store", "vary": VARY_HEADERS}
PAGE_HEADERS = {
    **build_page_security_headers(allow_inline_styles=True, connect_origins=SAMP_HUB_ORIGINS),
    **PRIVATE_HEADERS,
}

SHOWN_JOB_PATH = "/jobs/shown"  # of the data of the job that a page shows
PREVIEW_PATH = f"{SHOWN_JOB_PATH}/preview"
FILL_ACTION = "fill"  # of a request: show the form of a job type with the parameters that were sent, and start nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class JobListEntry:
    """A job in the list.

    Attributes
    ----------
    title
        Title of its type; empty: it is a query.
    what
        Query or parameters, shortened.
    active, running
        Whether it is not finished, and whether it is executing.
    created, elapsed
        When it was created, and how long it has run.
    rows, percent, place
        Number of rows, progress, and its place in the queue.
    url, preview, picture
        Addresses of the page that shows it in full, of its preview, and of the first result that is a picture; empty:
        none.
    """

    id: str
    type: str
    title: str
    what: str
    phase: str
    active: bool
    running: bool
    created: str | None
    elapsed: str | None
    rows: int | None
    percent: int | None
    place: int | None
    url: str
    preview: str
    picture: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JobDetails:
    """A job in full.

    Attributes
    ----------
    entry
        The job as in the list.
    name
        Its title.
    uws
        Its address for programs.
    query, again, clone, parameters, format
        Its query and the address of the editor with it; the address of the form of its type with its parameters; its
        other parameters; its format.
    started, ended, destruction
        When it started and ended, and until when it is kept.
    place, quote, note
        Its place in the queue, when it will probably end, and a note.
    error
        Why it failed.
    overflow
        Whether its result was cut off.
    results
        Its results, as in `uws_documents.describe_results`.
    pictures, logs
        Id and address of its results that are pictures; the ends of those that are plain text.
    preview
        First rows of its result; None if it has none.
    """

    entry: JobListEntry
    name: str
    uws: str
    query: str
    again: str
    clone: str
    parameters: Sequence[tuple[str, str]]
    format: str
    started: str | None
    ended: str | None
    destruction: str | None
    place: int | None
    quote: str | None
    note: str
    error: str | None
    overflow: bool
    results: Sequence[Mapping[str, object]]
    pictures: Sequence[tuple[str, str]]
    logs: Sequence[LogEnd]
    preview: Mapping[str, object] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobListPage(TemplateContext):
    """The page of the jobs of a user.

    Attributes
    ----------
    who
        The user; None if nobody is logged in.
    jobs, older, newest
        The jobs of this page, and addresses of the pages of older and of the newest jobs.
    active
        Whether any of them is not finished.
    shown, gone
        The job that is shown in full, or the id of one that no longer exists.
    types
        The job types.
    form, login
        The form of a new job, and the address to log in for it.
    """

    template = "query_pages/jobs.html"
    who: str | None
    jobs: Sequence[JobListEntry]
    older: str
    newest: str
    active: bool
    shown: JobDetails | None
    gone: str
    types: Sequence[Mapping[str, object]]
    form: JobForm | None
    login: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _StartedJob:
    """A job that a form started.

    Attributes
    ----------
    visitor_cookie
        The cookie for a visitor who has none yet; empty for others.
    """

    id: str
    visitor_cookie: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobsPage:
    """The answers of the page of jobs; all but `answer_job_form` take long, and run in threads."""

    context: ServiceContext
    job_types: Mapping[str, JobDefinition]

    def show_jobs(self, request: Request) -> Response:
        """Show the user's jobs; ``?job=ID`` shows one of them in full.

        ``?new=TYPE`` shows the form of a job type, and ``&from=ID`` fills it with the parameters of a job.
        """
        type_name = request.query_params.get("new", "")
        new_job_form = None
        if type_name:
            job_type = self._find_job_type(type_name)
            principal = self.context.identify_principal(request)
            cloned_id = request.query_params.get("from", "")
            cloned_params: RequestParams | None = None
            if cloned_id:
                _, cloned_job = self._find_job(cloned_id, self._find_requester(request))
                cloned_params = collect_params(cloned_job.parameters)
            new_job_form = self._build_form(job_type, principal, cloned_params)
        return self._render_page(request, new_job_form)

    def _render_page(self, request: Request, new_job_form: JobForm | None, status: int = 200) -> Response:
        page = self._build_page(request, new_job_form)
        frame = build_page_frame(request, self.context)
        if page.shown is not None and page.shown.error:
            message = get_message_translator(frame.said)(page.shown.error)
            page = replace(page, shown=replace(page.shown, error=message))
        body = render_page(page, frame)
        return services.answer_with_body(request, body, PAGE_HEADERS, 404 if page.gone else status)

    def _build_form(
        self,
        job_type: JobDefinition,
        principal: Principal,
        sent_params: RequestParams | None,
        fault: Mapping[str, str] | None = None,
    ) -> JobForm:
        settings = self.context.site.settings
        notifies = any(service.is_enabled(settings) for service in load_event_services())
        return job_form.build_job_form(job_type, principal, sent_params, fault, notifies=notifies)

    def _build_login_address(self, request: Request, new_job_form: JobForm) -> str:
        """Return the address of a log-in that leads back to a form."""
        base = find_portal_brand(request, self.context.site.settings).base
        form_path = f"{urlsplit(base).path}/jobs?{urlencode({'new': new_job_form.kind})}"
        return f"{base}/login?{urlencode({'next': form_path})}"

    def _find_job_type(self, name: str) -> JobDefinition:
        """Find a job type of this site.

        Raises
        ------
        NotFoundError
            There is no such type.
        """
        if name not in self.job_types:
            message = format_message("there is no job type {name!r} here", name[:40])
            raise NotFoundError(message, remedy="see the list of job types at /jobs")
        return self.job_types[name]

    async def answer_job_form(self, request: Request) -> Response:
        """Start a query as a job, or a job of another type (``TYPE``), or change a job.

        ``ACTION`` is abort or delete, ``JOB`` the id.
        """
        if is_cross_site_change_request(request, self.context.site.settings):
            raise ForbiddenError("the request comes from a page on another site", remedy="use the forms of this site")
        form_params = await services.read_params(request, self.context.site.settings.limits.upload + MAX_FORM_BYTES)
        try:
            return await anyio.to_thread.run_sync(self._apply_job_form, request, form_params)
        finally:
            form_params.close()

    def _apply_job_form(self, request: Request, form_params: RequestParams) -> Response:
        headers = {"cache-control": "no-store"}
        action = form_params.read_one("ACTION")
        if action == FILL_ACTION:
            filled_type = self._find_job_type(form_params.read_one("TYPE") or "")
            principal = self.context.identify_principal(request)
            return self._render_page(request, self._build_form(filled_type, principal, form_params))
        if action is None:
            try:
                started_job = self._start_or_reuse_job(request, form_params)
            except ParamError as error:
                job_type = self.job_types.get(form_params.read_one("TYPE") or "")
                if job_type is None:
                    raise
                translator = self._find_translator(request)
                fault = {
                    "name": error.name or "",
                    "message": translator.translate_error(error),
                }
                principal = self.context.identify_principal(request)
                refused_form = self._build_form(job_type, principal, form_params, fault)
                return self._render_page(request, refused_form, 400)
            name = started_job.id
            if started_job.visitor_cookie:
                headers["set-cookie"] = started_job.visitor_cookie
        else:
            name = self._cancel_or_delete_jobs(request, action.lower(), form_params.read_all("JOB"))
        base = find_portal_brand(request, self.context.site.settings).base
        next_address = f"{base}/jobs"
        if name:
            next_address = self._build_job_page_address(self.context.site.store.jobs.get_job(name), base)
        return Response(status_code=303, headers={**headers, "location": next_address})

    def _find_translator(self, request: Request) -> MessageTranslator:
        return get_message_translator(build_page_frame(request, self.context).said)

    def send_error_page(self, request: Request, error: Exception) -> Response:
        """Send an error as a page."""
        http_status = services.find_http_status(error)
        message = self._find_translator(request).translate_error(error, services.get_request_id(request))
        frame = build_page_frame(request, self.context)
        page = ErrorPage(message=message, status=http_status, is_form=request.method == "POST")
        body = render_page(page, frame)
        headers = {**PAGE_HEADERS, **services.build_retry_after_header(error)}
        return services.answer_with_body(request, body, headers, http_status)

    def send_json_error(self, request: Request, error: Exception) -> Response:
        """Send an error as JSON."""
        translator = self._find_translator(request)
        message = translator.translate_error(error, services.get_request_id(request))
        remedy = ""
        if isinstance(error, HvenError):
            remedy = error.remedy
        body = orjson.dumps({"message": message, "remedy": translator(remedy)})
        headers = {**services.build_retry_after_header(error), **PRIVATE_HEADERS, "content-type": "application/json"}
        return Response(body, services.find_http_status(error), headers)

    # --- changing --------------------------------------------------------------------------------------------

    def _start_or_reuse_job(self, request: Request, form_params: services.RequestParams) -> _StartedJob:
        """Create a job, or find the same job if it was sent a moment ago."""
        requester = self._find_requester(request)
        cookie = ""
        if requester.has_ownerless_jobs and not requester.visitor:
            settings = self.context.site.settings
            cookie, visitor = create_visitor_cookie_and_hash(
                path=settings.root_path, is_secure=is_https(request, settings)
            )
            requester = JobRequester(principal=requester.principal, address=requester.address, visitor=visitor)
        type_name = form_params.read_one("TYPE")
        job_type = self.job_types.get(type_name or "")
        job_service = JobService(self.context.site, QUERY_JOB_TYPE if job_type is None else job_type.name)
        files: Mapping[str, UploadedFile] = {}
        if job_type is None:
            job_params = [("REQUEST", "doQuery"), ("LANG", "ADQL")]
            for name in ("QUERY", "RESPONSEFORMAT", "MAXREC"):
                job_params += [(name, value) for value in form_params.read_all(name) if value]
        else:
            job_params, files = job_form.read_job_params(job_type, form_params)
        if job_type is None and not form_params.read_one("QUERY"):
            raise ParamError("the request contains no query", name="QUERY", remedy="write a query at /adql")
        if not cookie and not files:
            existing_job = self._find_duplicate_job(job_service, requester, job_params)
            if existing_job:
                return _StartedJob(id=existing_job)
        all_params = collect_params([*job_params, ("PHASE", "RUN")], files)
        job = job_service.create_job(all_params, requester)
        return _StartedJob(id=job.id, visitor_cookie=cookie)

    def _find_duplicate_job(
        self, job_service: JobService, requester: JobRequester, job_params: Sequence[tuple[str, str]]
    ) -> str | None:
        """Find the job that the same form created a moment ago."""
        since = datetime.now(UTC) - timedelta(seconds=DUPLICATE_SECONDS)
        list_params = collect_params([("AFTER", since.isoformat()), ("LAST", "5")])
        for ref in job_service.list_jobs(list_params, requester):
            with contextlib.suppress(NotFoundError, ForbiddenError):
                job = job_service.get_job(ref.id, requester)
                is_active = job.phase in {*ACTIVE_PHASES, "HELD"}
                if is_active and sorted(job.parameters) == sorted(job_params):
                    return job.id
        return None

    def _cancel_or_delete_jobs(self, request: Request, action: str, names: Sequence[str]) -> str:
        """Abort or delete jobs, and return the id of the job to show then; empty: none."""
        if action not in {"abort", "delete"}:
            message = format_message("{name}={value!r} is not valid", "ACTION", action[:40])
            raise ParamError(message, name="ACTION", remedy="write ACTION=abort or ACTION=delete")
        if not names:
            raise ParamError("no job is selected", name="JOB", remedy="tick the jobs first")
        requester = self._find_requester(request)
        shown_names = [self._cancel_or_delete_job(requester, action, name) for name in names[:MAX_LISTED_JOBS]]
        if len(shown_names) == 1:
            return shown_names[0]
        return ""

    def _cancel_or_delete_job(self, requester: JobRequester, action: str, name: str) -> str:
        try:
            job_service, job = self._find_job(name, requester, is_for_reading=action != "delete", is_for_change=True)
        except NotFoundError:
            if action == "delete":  # it is already gone: the button was pressed twice, or the page is old
                return ""
            raise
        if action == "delete":
            job_service.destroy_job(job)
            return ""
        job_service.run_or_abort_job(job, "ABORT")
        return job.id

    def _find_job(
        self, name: str, requester: JobRequester, *, is_for_reading: bool = True, is_for_change: bool = False
    ) -> tuple[JobService, JobRecord]:
        job = self.context.site.store.jobs.get_job(name)
        job_service = JobService(self.context.site, job.type)
        return job_service, job_service.get_job(name, requester, for_reading=is_for_reading, for_change=is_for_change)

    # --- showing ---------------------------------------------------------------------------------------------

    def _build_page(self, request: Request, new_job_form: JobForm | None) -> JobListPage:
        requester = self._find_requester(request)
        name = request.query_params.get("job", "")
        base = services.get_base_url(request, self.context.site.settings)
        shown_job, missing_job = None, ""
        if name:
            try:
                job_service, job = self._find_job(name, requester)
                shown_job = self._describe_job_fully(job_service, job, base)
            except NotFoundError:
                missing_job = name[:80]
        before = request.query_params.get("before", "")
        job_refs = self._list_job_refs(requester, before)
        entries = self._describe_jobs(job_refs[:MAX_LISTED_JOBS], requester, base)
        older_address = ""
        if len(job_refs) > MAX_LISTED_JOBS:
            last_position = format_job_list_position(job_refs[MAX_LISTED_JOBS - 1])
            older_address = f"{base}/jobs?{urlencode({'before': last_position})}"
        type_entries = [
            {
                "name": job_type.name,
                "title": job_type.title,
                "description": job_type.description,
                "closed": job_type.access != "public" and requester.principal.name is None,
            }
            for job_type in self.job_types.values()
        ]
        shown_entries = entries
        if shown_job:
            shown_entries = [*entries, shown_job.entry]
        login_address = ""
        if new_job_form is not None and new_job_form.closed:
            login_address = self._build_login_address(request, new_job_form)
        return JobListPage(
            who=requester.principal.name,
            jobs=entries,
            older=older_address,
            newest=f"{base}/jobs" if before else "",
            active=any(entry.active for entry in shown_entries),
            shown=shown_job,
            gone=missing_job,
            types=type_entries,
            form=new_job_form,
            login=login_address,
        )

    def _list_job_refs(self, requester: JobRequester, before: str) -> list[JobRef]:
        """List the user's jobs of all types, the latest first, one more than a page has."""
        job_refs: list[JobRef] = []
        # a browser without an account or a cookie has no jobs: those of its address are from programs
        is_known_user = not requester.has_ownerless_jobs or requester.visitor
        if not is_known_user:
            return job_refs
        list_params = collect_params([("LAST", str(MAX_LISTED_JOBS + 1)), ("BEFORE", before)])
        for type_name in (QUERY_JOB_TYPE, *self.job_types):
            job_refs += JobService(self.context.site, type_name).list_jobs(list_params, requester)
        job_refs.sort(key=lambda ref: ref.id)
        job_refs.sort(key=lambda ref: ref.created, reverse=True)
        return job_refs

    def _describe_jobs(self, job_refs: Sequence[JobRef], requester: JobRequester, base: str) -> list[JobListEntry]:
        """Describe jobs for the list; a job of rights that the user has lost shows no parameters."""
        store = self.context.site.store.jobs
        jobs_by_id = store.find_jobs([ref.id for ref in job_refs])  # without those that were destroyed a moment ago
        places = store.find_queue_places(list(jobs_by_id.values()))
        entries = []
        for ref in job_refs:
            job = jobs_by_id.get(ref.id)
            if job is None:
                continue
            if recorded_rights.find_missing_rights(job.groups, requester.principal):
                job = replace(job, parameters=(), progress={}, results=[])
            entries.append(self._describe_job(job, places.get(job.id), base))
        return entries

    def _describe_job(self, job: JobRecord, place: int | None, base: str) -> JobListEntry:
        """Describe a job for the list."""
        job_type = self.job_types.get(job.type)
        text = _find_job_parameter_value(job, "QUERY")
        if not text:
            text = ", ".join(f"{name}={value}" for name, value in job.parameters)
        elapsed_text = None
        if job.started is not None:
            if job.ended:
                end_time = datetime.fromisoformat(job.ended)
            else:
                end_time = datetime.now(UTC)
            elapsed_text = _format_duration((end_time - datetime.fromisoformat(job.started)).total_seconds())
        share = job.progress.get("share")
        percent = None
        if isinstance(share, int | float):
            percent = max(0, min(100, round(100 * share)))
        return JobListEntry(
            id=job.id,
            type=job.type,
            title="" if job.type == QUERY_JOB_TYPE or job_type is None else job_type.title,
            what=" ".join(text.split())[:160] or job.type,
            phase=job.phase,
            active=job.phase in {*ACTIVE_PHASES, "HELD"} and job.ended is None,
            running=job.phase == "EXECUTING",
            created=uws_documents.format_time(job.created),
            elapsed=elapsed_text,
            rows=job.progress.get("rows"),
            percent=percent,
            place=place,
            url=self._build_job_page_address(job, base),
            preview=f"{base}{PREVIEW_PATH}?{urlencode({'job': job.id})}" if job.results else "",
            picture=_find_result_picture(job, base),
        )

    def _build_job_page_address(self, job: JobRecord, base: str) -> str:
        """Return the address of the page that shows a job: that of its type, or this page."""
        job_type = self.job_types.get(job.type)
        if job_type is not None and job_type.page:
            return f"{base}{job_type.page.replace('{id}', job.id)}"
        return f"{base}/jobs?{urlencode({'job': job.id})}"

    def _describe_job_fully(self, job_service: JobService, job: JobRecord, base: str) -> JobDetails:
        """Describe a job in full."""
        is_query = job.type == QUERY_JOB_TYPE
        job_address = base + build_job_path(job.type, job.id)
        outlook = job_service.estimate_completion(job)
        text = _find_job_parameter_value(job, "QUERY")
        name = job.run_id or _format_queried_table_names(text)
        if not name and job.type in self.job_types:
            name = self.job_types[job.type].title
        again_address = ""
        if text and is_query and len(text) < 8_000:
            again_address = f"{base}/adql?{urlencode({'QUERY': text})}"
        clone_address = ""
        if job.type in self.job_types:
            clone_address = f"{base}/jobs?{urlencode({'new': job.type, 'from': job.id})}"
        shown_parameters = [
            (parameter, _shorten_parameter(value))
            for parameter, value in job.parameters
            if parameter.upper() != "QUERY"
        ]
        error_message = None
        if job.error is not None:
            error_message = message_from_json(job.error.get("said") or [job.error["message"]])
        preview = None
        if job.phase == "COMPLETED":
            preview = self._build_preview(job_service, job, job_address, base)
        return JobDetails(
            entry=self._describe_job(job, outlook.place, base),
            name=name,
            uws=job_address,
            query=text,
            again=again_address,
            clone=clone_address,
            parameters=shown_parameters,
            format=_find_job_parameter_value(job, "RESPONSEFORMAT"),
            started=uws_documents.format_time(job.started),
            ended=uws_documents.format_time(job.ended),
            destruction=uws_documents.format_time(job.destruction),
            place=outlook.place,
            quote=uws_documents.format_time(outlook.quote),
            note=outlook.note or job.progress.get("note") or "",
            error=error_message,
            overflow=bool(job.progress.get("overflow")),
            results=uws_documents.describe_results(job, job_address),
            pictures=find_pictures(job, job_address),
            logs=read_log_ends(job_service, job, job_address),
            preview=preview,
        )

    def _build_preview(
        self, job_service: JobService, job: JobRecord, job_address: str, base: str
    ) -> dict[str, object] | None:
        """Read the first rows of a result, with its downloads; None if it is no readable table."""
        result_table = self._find_result_table(job_service, job, MAX_RESULT_ROWS)
        if result_table is None:
            return None
        item, _, media_type, (page, table) = result_table
        address = f"{job_address}/results/{quote(item)}"
        result_format, _ = formats.select_format(media_type)
        download_address = f"{base}{SHOWN_JOB_PATH}/download"
        table_address = ""
        other_formats = []
        if result_format.read:
            table_address = f"{download_address}?{urlencode({'job': job.id, '_as': 'votable'})}"
            for name, label in formats.list_format_labels():
                if name != result_format.name:
                    format_address = f"{download_address}?{urlencode({'job': job.id, '_as': name})}"
                    other_formats.append((label, format_address))
        if result_format.name == "votable":
            table_address = address
        client_lines = []
        if job.type == QUERY_JOB_TYPE:
            client_lines = _write_result_fetch_examples(address, job_address, result_format.name)
        plottable_columns = [column for column in table.columns if is_plottable(column)]
        return {
            "columns": build_column_headings(page, table),
            "rows": format_cells(page, table),
            "more": page.has_more,
            "here": f"{base}{SHOWN_JOB_PATH}",
            "table": table_address,
            "formats": other_formats,
            "lines": client_lines,
            "plotted": plots.axes_to_json(plottable_columns),
        }

    def _find_result_table(
        self, job_service: JobService, job: JobRecord, row_limit: int
    ) -> tuple[str, Path, str, tuple[RowPage, Table]] | None:
        """Find the first result that is a table: its name, file, media type and first rows."""
        for item in job.results:
            try:
                path, media_type = job_service.find_result_file(job, item["id"])
            except NotFoundError:
                continue
            first_rows = read_first_rows(path, media_type, row_limit)
            if first_rows is not None:
                return item["id"], path, media_type, first_rows
        return None

    def _find_requested_result(self, request: Request) -> tuple[Path, str, Table]:
        """Find the table of a plot or a download.

        Raises
        ------
        NotFoundError
            There is no such job, or its result is no table.
        """
        job_service, job = self._find_job(request.query_params.get("job", ""), self._find_requester(request))
        result_table = self._find_result_table(job_service, job, 1)
        if result_table is None:
            raise NotFoundError(
                "this job has produced no table", remedy="run the job again, and choose VOTable as the format"
            )
        _, path, media_type, (_, table) = result_table
        return path, media_type, table

    def send_plot_data(self, request: Request) -> Response:
        """Return the data of a plot of a result, as JSON.

        ``histogram`` takes ``_x``; ``points`` takes ``_x``, ``_y`` and ``_c``.
        """
        path, media_type, table = self._find_requested_result(request)
        plot_columns = []
        for name in ("_x", "_y", "_c"):
            column_name = request.query_params.get(name, "")
            if not column_name:
                continue
            column = next((candidate for candidate in table.columns if candidate.name == column_name), None)
            if column is None:
                message = format_message("the result has no column {name!r}", column_name[:60])
                raise ParamError(message, name=name, remedy="choose one of the result's columns")
            plot_columns.append(column)
        if not plot_columns:
            raise ParamError("the request does not specify a column", name="_x", remedy="write _x=COLUMN")
        if request.url.path.endswith("/histogram"):
            result_histogram = job_results.build_result_histogram(path, media_type, plot_columns[0])
            plot_json = plots.histogram_to_json(result_histogram, plot_columns[0])
        else:
            plot_points = job_results.build_result_points_or_density(path, media_type, plot_columns, table)
            if isinstance(plot_points, PlotPoints):
                plot_json = plots.points_to_json(plot_points, None)
            else:
                point_count = None
                if plot_points is not None:
                    point_count = int(plot_points.counts.sum())
                plot_json = plots.density_to_json(plot_points, plot_columns, point_count)
        body = orjson.dumps(plot_json, option=orjson.OPT_SERIALIZE_NUMPY)
        return services.answer_with_body(request, body, {**PRIVATE_HEADERS, "content-type": "application/json"})

    def send_download(self, request: Request) -> Response:
        """Send a result in another format (``_as``)."""
        path, media_type, _ = self._find_requested_result(request)
        file_format, options = formats.select_format(request.query_params.get("_as") or "votable")
        chunks = job_results.convert_result_file(path, media_type, file_format, options)
        first_chunk = next(chunks, b"")  # a conversion error is raised before the first byte is sent
        file_name = f"result.{file_format.extension.lstrip('.')}"
        headers = {
            **PRIVATE_HEADERS,
            "content-disposition": f'attachment; filename="{file_name}"',
            "x-content-type-options": "nosniff",
        }
        all_chunks = itertools.chain((first_chunk,), chunks)
        return StreamingResponse(all_chunks, media_type=file_format.media_types[0], headers=headers)

    def send_preview(self, request: Request) -> Response:
        """Send the results of a job in short, as a part of a page."""
        job_service, job = self._find_job(request.query_params.get("job", ""), self._find_requester(request))
        base = find_portal_brand(request, self.context.site.settings).base
        result_table = self._find_result_table(job_service, job, MAX_PREVIEW_ROWS)
        first_rows = None
        if result_table is not None:
            first_rows = result_table[3]
        preview = build_job_preview(job_service, job, base + build_job_path(job.type, job.id), first_rows)
        body = render_page_part(preview, build_page_frame(request, self.context).said).encode()
        return services.answer_with_body(request, body, PAGE_HEADERS)

    # --- users -----------------------------------------------------------------------------------------------

    def _find_requester(self, request: Request) -> JobRequester:
        principal = self.context.identify_principal(request)
        return JobRequester(
            principal=principal,
            address=get_client_address(request),
            visitor=compute_visitor_hash(request.headers),
        )


def _find_result_picture(job: JobRecord, base: str) -> str:
    """Return the address of the first result of a job that is a picture; empty: none."""
    return next((address for _, address in find_pictures(job, base + build_job_path(job.type, job.id))), "")


def _find_job_parameter_value(job: JobRecord, parameter: str) -> str:
    """Return the first value of a parameter of a job, regardless of the case of its name."""
    return next((value for name, value in job.parameters if name.upper() == parameter), "")


def _shorten_parameter(value: str) -> str:
    if len(value) > MAX_PARAMETER_CHARACTERS:
        return f"{value[:MAX_PARAMETER_CHARACTERS]}…"
    return value


def _write_result_fetch_examples(address: str, job_address: str, format_name: str) -> list[dict[str, str]]:
    """Write the lines with which programs fetch a result."""

    def build_line(name: str, text: str) -> dict[str, str]:
        url = shlex.quote(address)
        return {"name": name, "text": text.format(url=url), "url": address, "signed": text}

    pyvo_lines = f"import pyvo\n\njob = pyvo.dal.AsyncTAPJob({job_address!r})\ntable = job.fetch_result().to_table()"
    stilts_line = f"stilts tapresume joburl={shlex.quote(job_address)} ofmt=votable out=answer.vot"
    lines = [build_line("curl", "curl -f -O -J {url}")]
    if format_name == "votable":
        lines.append({"name": "pyvo", "text": pyvo_lines})
        lines.append({"name": "STILTS", "text": stilts_line})
    if format_name in TOPCAT_FORMATS:
        lines.append(build_line("TOPCAT", f"topcat -f {format_name} {{url}}"))
    return lines


def _format_queried_table_names(text: str) -> str:
    """Return the names of the tables in a query; an empty text if the query cannot be read."""
    if not text:
        return ""
    try:
        parsed = adql.parse_query(text)
    except ParseError:
        return ""
    nodes = list(walk_tree(parsed))
    common_table_names = {
        node.name.name.lower() for node in nodes if isinstance(node, syntax_tree.CommonTableExpression)
    }
    table_refs = [node for node in nodes if isinstance(node, syntax_tree.TableRef)]
    table_names = dict.fromkeys(".".join(part.name for part in table_ref.parts) for table_ref in table_refs)
    base_table_names = [name for name in table_names if name.lower() not in common_table_names]
    shown_names = ", ".join(base_table_names[:MAX_NAMED_TABLES])
    if len(base_table_names) > MAX_NAMED_TABLES:
        return f"{shown_names} …"
    return shown_names


def _format_duration(duration_seconds: float) -> str:
    if duration_seconds < 60:
        return f"{max(duration_seconds, 0):.1f} s"
    minutes, remaining_seconds = divmod(round(duration_seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {remaining_seconds:02d} s"


def build_routes(context: ServiceContext) -> Sequence[Route]:
    """Route the form of ``/jobs``, and plots and downloads of results. The service of jobs serves the page itself."""
    page = JobsPage(context=context, job_types={})  # for answers that need no job types

    async def answer_job_form(request: Request) -> Response:
        job_types = await anyio.to_thread.run_sync(type_catalogue.load_served_job_types, context.site.settings)
        return await JobsPage(context=context, job_types=job_types).answer_job_form(request)

    def build_data_route(name: str, respond: Callable[[Request], Response]) -> Route:
        async def answer_request(request: Request) -> Response:
            return await anyio.to_thread.run_sync(respond, request)

        return create_route(f"{SHOWN_JOB_PATH}/{name}", answer_request, page.send_json_error)

    return [
        create_route("/jobs", answer_job_form, page.send_error_page, ["POST"]),
        build_data_route("histogram", page.send_plot_data),
        build_data_route("points", page.send_plot_data),
        build_data_route("download", page.send_download),
        build_data_route("preview", page.send_preview),
    ]


def render_job_list(request: Request, context: ServiceContext, job_types: Mapping[str, JobDefinition]) -> Response:
    """Render the page of the user's jobs of all types."""
    page = JobsPage(context=context, job_types=job_types)
    try:
        return page.show_jobs(request)
    except HvenError as error:
        return page.send_error_page(request, error)
