"""``/jobs`` as people see it: their jobs with phase, progress, parameters and results, run again, aborted, deleted.

With or without an account.

Without an account a cookie says which jobs are one's own: it is given with the first job, and with nothing else.
"""

from __future__ import annotations

import contextlib
import itertools
import shlex
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode, urlsplit

import anyio.to_thread
import orjson
from starlette.responses import Response, StreamingResponse

from hven import adql, formats, services
from hven.adql import syntax_tree
from hven.adql.syntax_tree import walk_tree
from hven.jobs.job_service import ACTIVE_PHASES, JobRequester, JobService, format_list_position
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
from hven.portal._explore import job_results, plots_json
from hven.portal._explore.cell_text import build_headings, format_cells
from hven.portal._explore.file_preview import read_first_rows
from hven.portal._explore.plots import PlotPoints, is_plottable
from hven.portal._pages import (
    SAMP_HUB_ORIGINS,
    VARY_HEADERS,
    build_frame,
    build_page_headers,
    find_brand,
    get_message_translator,
    render_error_page,
    render_page,
)
from hven.portal._views import job_form
from hven.services import uws_documents
from hven.services.addresses import get_client_address, is_cross_site, is_https
from hven.services.params import MAX_FORM_BYTES
from hven.site.auth import recorded_rights
from hven.site.auth.session import create_visitor_cookie, identify_visitor

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from starlette.requests import Request

    from hven.jobs import JobDefinition
    from hven.model.params import RequestParams, Upload
    from hven.model.table import Table
    from hven.portal._explore.row_pages import RowPage
    from hven.services.face import ServiceContext
    from hven.site.store import JobRecord, JobRef

TAP_JOB_TYPE = "tap"
MAX_LISTED_JOBS = 200  # jobs of a page
MAX_PREVIEW_ROWS = 100  # rows of a result
DUPLICATE_SECONDS = 10.0  # seconds in which the same job, sent twice, is one
MAX_NAMED_TABLES = 3  # tables that a job is called by
MAX_PARAMETER_CHARACTERS = 2_000  # characters of a parameter that are shown
TOPCAT_FORMATS = {"votable", "fits", "csv", "parquet"}  # what it reads
PRIVATE_HEADERS = {"cache-control": "private, no-store", "vary": VARY_HEADERS}
PAGE_HEADERS = {**build_page_headers(allow_inline_styles=True, connect_origins=SAMP_HUB_ORIGINS), **PRIVATE_HEADERS}


@dataclass(frozen=True, slots=True, kw_only=True)
class JobsPage:
    """The page of jobs: `show_jobs` and `answer_form` are its endpoints."""

    context: ServiceContext
    job_types: Mapping[str, JobDefinition]

    async def show_jobs(self, request: Request) -> Response:
        """Show the jobs of who asks, and one of them with everything: ``?job=ID``.

        ``?new=TYPE`` is the form of a kind.
        """
        type_name = request.query_params.get("new", "")
        if type_name:
            job_type = self._find_job_type(type_name)
            job_form_facts = job_form.build_job_form(job_type, self.context.identify_principal(request))
        else:
            job_form_facts = None
        return await self._render_page(request, job_form_facts)

    async def _render_page(
        self, request: Request, job_form_facts: Mapping[str, Any] | None, status: int = 200
    ) -> Response:
        content = {**await anyio.to_thread.run_sync(self._build_content, request), "form": job_form_facts, "login": ""}
        if job_form_facts is not None and job_form_facts["closed"]:
            base = find_brand(request, self.context.site.settings).base
            form_path = f"{urlsplit(base).path}/jobs?{urlencode({'new': job_form_facts['kind']})}"
            content["login"] = f"{base}/login?{urlencode({'next': form_path})}"
        facts = build_frame(request, self.context)
        if content["shown"] is not None and content["shown"]["error"]:
            message_translator = get_message_translator(facts["said"])
            content["shown"]["error"] = message_translator(content["shown"]["error"])
        return services.answer_with_body(
            request, render_page("jobs.html", facts, **content), PAGE_HEADERS, 404 if content["gone"] else status
        )

    def _find_job_type(self, name: str) -> JobDefinition:
        """Find a kind of jobs that is begun here.

        Raises
        ------
        NotFoundError
            There is none.
        """
        if name not in self.job_types:
            raise NotFoundError(
                format_message("there is no kind of jobs {name!r} here", name[:40]), remedy="/jobs lists them"
            )
        return self.job_types[name]

    async def answer_form(self, request: Request) -> Response:
        """Begin a query as a job, or another kind (``TYPE``), or change one.

        ``ACTION`` abort or delete, ``JOB`` its id.
        """
        if is_cross_site(request, self.context.site.settings):
            raise ForbiddenError("a page of another site asks this", remedy="use the forms of this site")
        form_params = await services.read_params(request, self.context.site.settings.limits.upload + MAX_FORM_BYTES)
        try:
            return await self._apply_form(request, form_params)
        finally:
            form_params.close()

    async def _apply_form(self, request: Request, form_params: RequestParams) -> Response:
        headers = {"cache-control": "no-store"}
        action = form_params.read_one("ACTION")
        if action is None:
            try:
                name, cookie = await anyio.to_thread.run_sync(self._start_job, request, form_params)
            except ParamError as error:
                one = form_params.read_one("TYPE")
                kind = self.job_types.get(one or "")
                if kind is None:
                    raise
                translator = get_message_translator(build_frame(request, self.context)["said"])
                request_id = services.get_request_id(request)
                fault = {
                    "name": error.name or "",
                    "message": translator.translate_error(error, request_id),
                    "remedy": translator(error.remedy),
                }
                return await self._render_page(
                    request,
                    job_form.build_job_form(kind, self.context.identify_principal(request), form_params, fault),
                    400,
                )
            if cookie:
                headers["set-cookie"] = cookie
            next_query = {"job": name}
        else:
            next_query = await anyio.to_thread.run_sync(
                self._change_job, request, action.lower(), form_params.read_one("JOB") or ""
            )
        base = find_brand(request, self.context.site.settings).base
        next_address = f"{base}/jobs{f'?{urlencode(next_query)}' if next_query else ''}"
        return Response(status_code=303, headers={**headers, "location": next_address})

    async def send_plot(self, request: Request) -> Response:
        """Return what a plot of a result draws, as JSON.

        ``histogram`` of ``_x``, ``points`` of ``_x``, ``_y``, ``_c``.
        """
        return await anyio.to_thread.run_sync(self._build_plot, request)

    async def send_download(self, request: Request) -> Response:
        """Answer with a result in another format than it was asked in (``_as``)."""
        return await anyio.to_thread.run_sync(self._build_download, request)

    def send_error_page(self, request: Request, error: Exception) -> Response:
        """Answer with an error as a page."""
        facts = build_frame(request, self.context)
        http_status = services.find_http_status(error)
        message_translator = get_message_translator(facts["said"])
        request_id = services.get_request_id(request)
        body = render_error_page(
            facts,
            http_status,
            message_translator.translate_error(error, request_id),
        )
        error_headers = services.build_error_headers(error)
        return services.answer_with_body(
            request, body, {**PAGE_HEADERS, **error_headers}, services.find_http_status(error)
        )

    def send_json_error(self, request: Request, error: Exception) -> Response:
        """Answer with an error as JSON."""
        translator = get_message_translator(build_frame(request, self.context)["said"])
        message = translator.translate_error(error, services.get_request_id(request))
        body = orjson.dumps(
            {"message": message, "remedy": translator(error.remedy if isinstance(error, HvenError) else "")}
        )
        http_status = services.find_http_status(error)
        error_headers = services.build_error_headers(error)
        return Response(
            body,
            http_status,
            {**error_headers, **PRIVATE_HEADERS, "content-type": "application/json"},
        )

    # --- changing --------------------------------------------------------------------------------------------

    def _start_job(self, request: Request, form_params: services.RequestParams) -> tuple[str, str]:
        """Make a job, or find the same one that was sent a moment ago.

        Return its id, and a cookie for who has none yet.
        """
        requester = self._find_requester(request)
        cookie = ""
        if requester.is_ownerless and not requester.visitor:
            settings = self.context.site.settings
            cookie, visitor = create_visitor_cookie(path=settings.root_path, secure=is_https(request, settings))
            requester = JobRequester(principal=requester.principal, address=requester.address, visitor=visitor)
        one = form_params.read_one("TYPE")
        job_type = self.job_types.get(one or "")
        job_service = JobService(self.context.site, TAP_JOB_TYPE if job_type is None else job_type.name)
        files: Mapping[str, Upload] = {}
        if job_type is None:
            names = ("QUERY", "RESPONSEFORMAT", "MAXREC")
            job_params = [(name, value) for name in names for value in form_params.read_all(name) if value]
            job_params = [("REQUEST", "doQuery"), ("LANG", "ADQL"), *job_params]
        else:
            job_params, files = job_form.read_job_params(job_type, form_params)
        if job_type is None and not form_params.read_one("QUERY"):
            raise ParamError("there is no query", name="QUERY", remedy="write one at /adql")
        if not cookie and not files and (existing_job := self._find_duplicate(job_service, requester, job_params)):
            return existing_job, ""
        job = job_service.create_job(collect_params([*job_params, ("PHASE", "RUN")], files), requester)
        return job.id, cookie

    def _find_duplicate(
        self, job_service: JobService, requester: JobRequester, job_params: Sequence[tuple[str, str]]
    ) -> str | None:
        """Find the job of a button that was pressed twice."""
        since = datetime.now(UTC) - timedelta(seconds=DUPLICATE_SECONDS)
        for ref in job_service.list_jobs(collect_params([("AFTER", since.isoformat()), ("LAST", "5")]), requester):
            with contextlib.suppress(NotFoundError, ForbiddenError):
                job = job_service.get_job(ref.id, requester)
                if sorted(job.parameters) == sorted(job_params) and job.phase in {*ACTIVE_PHASES, "HELD"}:
                    return job.id
        return None

    def _change_job(self, request: Request, action: str, name: str) -> dict[str, str]:
        requester = self._find_requester(request)
        if action not in {"abort", "delete"}:
            raise ParamError(
                format_message("{name}={value} is not known", "ACTION", action[:40]),
                name="ACTION",
                remedy="abort or delete",
            )
        try:
            job_service, job = self._find_job(name, requester, to_read=action != "delete", to_change=True)
        except NotFoundError:
            if action == "delete":  # pressed twice, or from a page that is old: it is gone, as was wanted
                return {}
            raise
        if action == "delete":
            job_service.destroy_job(job)
            return {}
        job_service.change_phase(job, "ABORT")
        return {"job": job.id}

    def _find_job(
        self, name: str, requester: JobRequester, *, to_read: bool = True, to_change: bool = False
    ) -> tuple[JobService, JobRecord]:
        job = self.context.site.store.jobs.get_job(name)
        job_service = JobService(self.context.site, job.type)
        return job_service, job_service.get_job(name, requester, for_reading=to_read, for_change=to_change)

    # --- showing ---------------------------------------------------------------------------------------------

    def _build_content(self, request: Request) -> dict[str, Any]:
        requester = self._find_requester(request)
        name = request.query_params.get("job", "")
        base = services.get_base_url(request, self.context.site.settings)
        job_facts, missing_job = None, ""
        if name:
            try:
                job_service, job = self._find_job(name, requester)
                job_facts = self._describe_job_fully(job_service, job, base)
            except NotFoundError:
                missing_job = name[:80]
        job_refs: list[JobRef] = []
        list_params = [("LAST", str(MAX_LISTED_JOBS + 1)), ("BEFORE", before := request.query_params.get("before", ""))]
        # a browser without either began none: those of its address are programs
        is_known_user = not requester.is_ownerless or requester.visitor
        for kind in (TAP_JOB_TYPE, *self.job_types) if is_known_user else ():
            job_refs += JobService(self.context.site, kind).list_jobs(collect_params(list_params), requester)
        job_refs.sort(key=lambda ref: ref.id)
        job_refs.sort(key=lambda ref: ref.created, reverse=True)
        lines = []
        for ref in job_refs[:MAX_LISTED_JOBS]:
            with contextlib.suppress(NotFoundError):  # destroyed since a moment ago
                job = self.context.site.store.jobs.get_job(ref.id)
                missing_rights = recorded_rights.find_missing_rights(job.groups, requester.principal)
                is_restricted = bool(missing_rights)
                lines.append(
                    self._describe_job(replace(job, parameters=(), progress={}) if is_restricted else job, base)
                )
        if len(job_refs) > MAX_LISTED_JOBS:
            older_address = f"{base}/jobs?{urlencode({'before': format_list_position(job_refs[MAX_LISTED_JOBS - 1])})}"
        else:
            older_address = ""
        return {
            "jobs": lines,
            "older": older_address,
            "newest": f"{base}/jobs" if before else "",
            "shown": job_facts,
            "gone": missing_job,
            "types": [
                {
                    "name": kind.name,
                    "title": kind.title,
                    "description": kind.description,
                    "closed": kind.access != "public" and requester.principal.name is None,
                }
                for kind in self.job_types.values()
            ],
            "who": requester.principal.name,
            "active": any(job_entry["active"] for job_entry in (*lines, *([job_facts] if job_facts else []))),
        }

    def _describe_job(self, job: JobRecord, base: str) -> dict[str, Any]:
        """Return what the list says of a job."""
        text = next((value for name, value in job.parameters if name.upper() == "QUERY"), "") or ", ".join(
            f"{name}={value}" for name, value in job.parameters
        )
        is_ended = job.ended is not None
        if job.started is None:
            start_time = None
        else:
            start_time = datetime.fromisoformat(job.started)
        if job.ended:
            end_time = datetime.fromisoformat(job.ended)
        else:
            end_time = datetime.now(UTC)
        share = job.progress.get("share")
        return {
            "id": job.id,
            "type": job.type,
            "what": " ".join(text.split())[:160] or job.type,
            "phase": job.phase,
            "active": job.phase in {*ACTIVE_PHASES, "HELD"} and not is_ended,
            "running": job.phase == "EXECUTING",
            "created": uws_documents.format_time(job.created),
            "elapsed": None if start_time is None else _format_elapsed((end_time - start_time).total_seconds()),
            "rows": job.progress.get("rows"),
            "percent": None if not isinstance(share, int | float) else max(0, min(100, round(100 * share))),
            "bytes": sum(int(item["bytes"] or 0) for item in job.results) or None,
            "url": f"{base}/jobs?{urlencode({'job': job.id})}",
        }

    def _describe_job_fully(self, job_service: JobService, job: JobRecord, base: str) -> dict[str, Any]:
        """Return everything of a job."""
        job_address = f"{base}/{'tap/async' if job.type == TAP_JOB_TYPE else f'jobs/{job.type}'}/{job.id}"
        outlook = job_service.estimate_completion(job)
        text = next((value for name, value in job.parameters if name.upper() == "QUERY"), "")
        return {
            **self._describe_job(job, base),
            "name": job.run_id
            or _list_query_tables(text)
            or (self.job_types[job.type].title if job.type in self.job_types else ""),
            "uws": job_address,
            "query": text,
            "again": f"{base}/adql?{urlencode({'QUERY': text})}"
            if text and job.type == TAP_JOB_TYPE and len(text) < 8_000
            else "",
            "parameters": [
                (name, value[:MAX_PARAMETER_CHARACTERS] + ("…" if len(value) > MAX_PARAMETER_CHARACTERS else ""))
                for name, value in job.parameters
                if name.upper() != "QUERY"
            ],
            "format": next((value for name, value in job.parameters if name.upper() == "RESPONSEFORMAT"), ""),
            "started": uws_documents.format_time(job.started),
            "ended": uws_documents.format_time(job.ended),
            "destruction": uws_documents.format_time(job.destruction),
            "duration": job.duration,
            "place": outlook.place,
            "quote": uws_documents.format_time(outlook.quote),
            "note": outlook.note or job.progress.get("note") or "",
            "error": None if job.error is None else message_from_json(job.error.get("said") or [job.error["message"]]),
            "overflow": bool(job.progress.get("overflow")),
            "results": uws_documents.describe_results(job, job_address),
            "preview": self._build_preview(job_service, job, job_address, base) if job.phase == "COMPLETED" else None,
        }

    def _build_preview(
        self, job_service: JobService, job: JobRecord, job_address: str, base: str
    ) -> dict[str, Any] | None:
        """Read the first rows of a result, with the ways out of it; None if it is no table that can be read here."""
        result_table = self._find_result_table(job_service, job, MAX_PREVIEW_ROWS)
        if result_table is None:
            return None
        item, _, media_type, (page, table) = result_table
        address = f"{job_address}/results/{quote(item)}"
        result_format, _ = formats.select_format(media_type)
        headings = build_headings(page, table)
        return {
            "columns": headings,
            "rows": format_cells(page, table),
            "more": page.has_more,
            "here": f"{base}/jobs/shown",
            "table": address
            if result_format.name == "votable"
            else f"{base}/jobs/shown/download?{urlencode({'job': job.id, '_as': 'votable'})}"
            if result_format.read
            else "",
            "formats": [
                (label, f"{base}/jobs/shown/download?{urlencode({'job': job.id, '_as': name})}")
                for name, label in formats.list_menu_entries()
                if name != result_format.name
            ]
            if result_format.read is not None
            else [],
            "lines": _write_client_lines(address, job_address, result_format.name) if job.type == TAP_JOB_TYPE else [],
            "plotted": plots_json.axes_to_json([column for column in table.columns if is_plottable(column)]),
        }

    def _find_result_table(
        self, job_service: JobService, job: JobRecord, row_limit: int
    ) -> tuple[str, Path, str, tuple[RowPage, Table]] | None:
        """Find the first result that is a table: its name, file, media type and first rows."""
        for item in job.results:
            try:
                path, media_type = job_service.find_result(job, item["id"])
            except NotFoundError:
                continue
            first_rows_found = read_first_rows(path, media_type, row_limit)
            if first_rows_found is not None:
                return item["id"], path, media_type, first_rows_found
        return None

    def _find_requested_result(self, request: Request) -> tuple[Path, str, Table]:
        """Find the table that a plot or a download is of.

        Raises
        ------
        NotFoundError
            There is no such job, or its result is no table.
        """
        job_service, job = self._find_job(request.query_params.get("job", ""), self._find_requester(request))
        result_table = self._find_result_table(job_service, job, 1)
        if result_table is None:
            raise NotFoundError("this job has no result that is a table", remedy="run it again as VOTable")
        _, path, media_type, (_, table) = result_table
        return path, media_type, table

    def _build_plot(self, request: Request) -> Response:
        path, media_type, table = self._find_requested_result(request)
        plot_columns = []
        for name in ("_x", "_y", "_c"):
            column_name = request.query_params.get(name, "")
            if column_name:
                column = next((candidate for candidate in table.columns if candidate.name == column_name), None)
                if column is None:
                    raise ParamError(
                        format_message("there is no column {name!r}", column_name[:60]),
                        name=name,
                        remedy="choose one of the result's columns",
                    )
                plot_columns.append(column)
        if not plot_columns:
            raise ParamError("no column was named", name="_x", remedy="_x=COLUMN")
        if request.url.path.endswith("/histogram"):
            result_histogram = job_results.build_result_histogram(path, media_type, plot_columns[0])
            plot_json = plots_json.histogram_to_json(result_histogram, plot_columns[0])
        else:
            plot_points = job_results.build_result_points(path, media_type, plot_columns, table)
            if isinstance(plot_points, PlotPoints):
                plot_json = plots_json.points_to_json(plot_points, None)
            else:
                plot_json = plots_json.density_to_json(
                    plot_points, plot_columns, None if plot_points is None else int(plot_points.counts.sum())
                )
        return services.answer_with_body(
            request,
            orjson.dumps(plot_json, option=orjson.OPT_SERIALIZE_NUMPY),
            {**PRIVATE_HEADERS, "content-type": "application/json"},
        )

    def _build_download(self, request: Request) -> Response:
        path, media_type, _ = self._find_requested_result(request)
        file_format, options = formats.select_format(request.query_params.get("_as") or "votable")
        chunks = job_results.convert_result(path, media_type, file_format, options)
        first_chunk = next(chunks, b"")  # what cannot be is said before the first byte
        headers = {
            **PRIVATE_HEADERS,
            "content-disposition": f'attachment; filename="result.{file_format.extension.lstrip(".")}"',
            "x-content-type-options": "nosniff",
        }
        return StreamingResponse(
            itertools.chain((first_chunk,), chunks), media_type=file_format.media_types[0], headers=headers
        )

    # --- manners ---------------------------------------------------------------------------------------------

    def _find_requester(self, request: Request) -> JobRequester:
        principal = self.context.identify_principal(request)
        return JobRequester(
            principal=principal,
            address=get_client_address(request),
            visitor=identify_visitor(request.headers),
        )


def _write_client_lines(address: str, job_address: str, format_name: str) -> list[dict[str, str]]:
    """Write how programs take a result."""

    def build_line(name: str, text: str) -> dict[str, str]:
        url = shlex.quote(address)
        return {"name": name, "text": text.format(url=url), "url": address, "signed": text}

    lines = [
        build_line("curl", "curl -f -O -J {url}"),
        {
            "name": "pyvo",
            "text": f"import pyvo\n\njob = pyvo.dal.AsyncTAPJob({job_address!r})\ntable = job.fetch_result().to_table()",
        },
        {"name": "STILTS", "text": f"stilts tapresume joburl={shlex.quote(job_address)} ofmt=votable out=answer.vot"},
    ]
    return [
        *(lines if format_name == "votable" else lines[:1]),
        *([build_line("TOPCAT", f"topcat -f {format_name} {{url}}")] if format_name in TOPCAT_FORMATS else []),
    ]


def _list_query_tables(text: str) -> str:
    """Return the tables that a query asks, as it names them; nothing if it cannot be read."""
    try:
        if text:
            parsed = adql.parse_query(text)
        else:
            parsed = None
    except ParseError:
        return ""
    if parsed is None:
        return ""
    nodes = list(walk_tree(parsed))
    common_table_names = {node.name.name.lower() for node in nodes if isinstance(node, syntax_tree.CommonTable)}
    table_names = [
        ".".join(part.name for part in node.parts) for node in nodes if isinstance(node, syntax_tree.TableRef)
    ]
    base_table_names = [name for name in dict.fromkeys(table_names) if name.lower() not in common_table_names]
    return ", ".join(base_table_names[:MAX_NAMED_TABLES]) + (" …" if len(base_table_names) > MAX_NAMED_TABLES else "")


def _format_elapsed(duration_seconds: float) -> str:
    if duration_seconds < 60:
        return f"{max(duration_seconds, 0):.1f} s"
    minutes, remaining_seconds = divmod(round(duration_seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {remaining_seconds:02d} s"
