"""Serve ``/job-lists/ID``: the rows of a list as a table, with their jobs, and what users can do with several of them.

The page shows some rows at a time. Its script fetches only these again, and only if they have changed.
"""

from __future__ import annotations

import tarfile
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import anyio.to_thread
import orjson
from starlette.responses import Response, StreamingResponse

from hven import services
from hven.jobs import build_job_path, type_catalogue
from hven.jobs.job_service import FINAL_PHASES, JobRequester, JobService, get_job_directory
from hven.model.errors import ForbiddenError, NotFoundError, ParamError
from hven.model.params import collect_params
from hven.plugins.fanout.child_jobs import compute_child_id, name_child_queue
from hven.plugins.fanout.list_map import (
    describe_map,
    find_position_params,
    find_worst_row_phases,
    locate_list_rows,
    locate_results,
)
from hven.plugins.fanout.list_rows import LIST_PARAMETER, TABLE_PARAMETER, write_lines
from hven.plugins.fanout.list_runner import ListRunner, find_list_jobs, load_stored_rows
from hven.plugins.fanout.list_steps import write_child_name
from hven.portal.api.pages import (
    VARY_HEADERS,
    PortalPages,
    TemplateContext,
    build_error_responder,
    build_page_frame,
    build_page_security_headers,
    find_package_page_address,
    find_portal_brand,
    load_page_translations,
    render_page,
    render_page_part,
)
from hven.portal.api.search_forms import build_map_header_options
from hven.services.addresses import get_client_address, is_cross_site_change_request
from hven.services.face import create_route
from hven.site.auth.session import compute_visitor_hash

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from starlette.requests import Request
    from starlette.routing import Route

    from hven.model.params import RequestParams
    from hven.plugins.fanout.list_steps import StepJob
    from hven.services.face import ServiceContext
    from hven.site.store import JobRecord

PAGE_ROWS = 50
MAX_VALUE_CHARACTERS = 60  # of a cell
PHASE_ORDER = ("EXECUTING", "QUEUED", "COMPLETED", "ERROR", "ABORTED")
PRIVATE_HEADERS = {"cache-control": "private, no-cache", "vary": VARY_HEADERS}
ACTIONS = ("abort", "delete", "remove", "rerun")


@dataclass(frozen=True, slots=True, kw_only=True)
class StepEntry:
    """The job of a step of a row.

    Attributes
    ----------
    id, phase, url
        Its id and phase, and the address of its page.
    elapsed, percent, place
        How long it has run, its progress, and its place in the queue.
    results
        Name and address of each result.
    preview, pictures
        Addresses of its preview, and of the results that are pictures; empty: none.
    error
        Why it failed.
    """

    id: str
    phase: str
    url: str
    elapsed: str
    percent: int | None
    place: int | None
    results: Sequence[tuple[str, str]]
    preview: str
    pictures: Sequence[str]
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RowEntry:
    """A row of a list: its number, the texts of its values, and its steps."""

    number: int
    values: Sequence[str]
    steps: Sequence[StepEntry | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobListRows(TemplateContext):
    """The rows of a list that a page shows, and how far the list is.

    Attributes
    ----------
    phase, active
        Phase of the list job, and whether it is unfinished.
    percent, note, error
        Its progress, a note about failed rows, and why it failed.
    results
        Name and address of its results.
    columns, step_names
        Headings of the values and of the steps.
    rows
        The rows.
    counts
        Phase and number of jobs, the address of the rows with such jobs, and whether it is shown.
    first, last, total
        Numbers of the first and the last shown row among those that fit, and how many fit.
    previous, following
        Addresses of the rows before and behind.
    """

    template = "fanout/job_list_rows.html"
    phase: str
    active: bool
    percent: int
    note: str
    error: str
    results: Sequence[tuple[str, str]]
    columns: Sequence[str]
    step_names: Sequence[str]
    rows: Sequence[RowEntry]
    counts: Sequence[tuple[str, int, str, bool]]
    first: int
    last: int
    total: int
    previous: str
    following: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ListJobPage(JobListRows):
    """The page of a list.

    Attributes
    ----------
    heading, url, uws, clone
        Title of its type; address of the page; address of the job for programs; address of the form with its
        parameters, which is empty if there is none.
    shown_rows
        Address of the shown rows by themselves.
    has_map, surveys
        Whether the rows have positions on the sky; addresses of the map's surveys, separated by spaces.
    """

    template = "fanout/job_list.html"
    heading: str
    url: str
    uws: str
    clone: str
    shown_rows: str
    has_map: bool
    surveys: str


@dataclass(frozen=True, kw_only=True)
class _OpenListJob:
    """A list job with the function of its type and its rows."""

    service: JobService
    job: JobRecord
    runner: ListRunner
    title: str
    rows: Sequence[Sequence[str]]

    @cached_property
    def last_jobs(self) -> Mapping[tuple[str, int], StepJob]:
        """The last jobs of all steps: a list can have 10,000 rows, so that they take a tenth of a second."""
        return find_list_jobs(self.service.site.store.jobs, self.job.id, self.runner.steps)

    def count_jobs_by_phase(self) -> Mapping[str, int]:
        """Count the last jobs by their phases."""
        if self.runner.retry_count:
            return Counter(step_job.phase for step_job in self.last_jobs.values())
        return self.service.site.store.jobs.count_by_phase(name_child_queue(self.job.id))

    def find_last_job_id(self, step_name: str, row: int) -> str | None:
        """Find the last job of a step for a row; None: there is none yet."""
        if not self.runner.retry_count:
            return compute_child_id(self.job.id, write_child_name(step_name, row, 1))
        step_job = self.last_jobs.get((step_name, row))
        if step_job is None:
            return None
        return step_job.id

    @property
    def is_active(self) -> bool:
        return self.job.phase not in FINAL_PHASES

    def find_result_file(self, name: str) -> Path | None:
        """Return the file of a result of the list; None if there is none."""
        files = [item["file"] for item in self.job.results if item["id"] == name]
        path = get_job_directory(self.service.site.settings, self.job.id) / files[0] if files else None
        return path if path is not None and path.is_file() else None

    def select_rows(self, phase: str) -> Sequence[int]:
        """Return the numbers of the rows with a job in a phase; empty: of all rows."""
        if not phase:
            return range(1, len(self.rows) + 1)
        return sorted({row for (_, row), job in self.last_jobs.items() if job.phase == phase})


@dataclass(frozen=True, slots=True, kw_only=True)
class ListPageEndpoints:
    """The answers of the pages of lists; all but `answer_form` take some time, and run in threads."""

    context: ServiceContext

    def show_list(self, request: Request) -> Response:
        """Show some rows of a list as a page."""
        open_list = self._open_list(request)
        job = open_list.job
        base = self._find_base(request)
        clone = ""
        job_page = find_package_page_address("job_list_path", base)
        if job_page:
            clone = f"{job_page}?{urlencode({'new': job.type, 'from': job.id})}"
        part = self._describe_rows(request, open_list)
        facts = {item.name: getattr(part, item.name) for item in fields(part)}
        url = f"{base}/job-lists/{job.id}"
        page = ListJobPage(
            **facts,
            heading=open_list.title,
            url=url,
            uws=base + build_job_path(job.type, job.id),
            clone=clone,
            shown_rows=f"{url}/rows?{request.url.query}",
            has_map=find_position_params(open_list.runner.schema.columns) is not None,
            surveys=" ".join(self.context.site.settings.surveys),
        )
        frame = build_page_frame(request, self.context)
        headers = build_page_security_headers(**build_map_header_options(self.context.site.settings))
        return self._build_response_with_etag(request, render_page(page, frame), headers)

    def send_rows(self, request: Request) -> Response:
        """Send the shown rows by themselves; status 304 if they have not changed."""
        part = self._describe_rows(request, self._open_list(request))
        return self._build_response_with_etag(
            request, render_page_part(part, build_page_frame(request, self.context).said).encode(), {}
        )

    def send_places(self, request: Request) -> Response:
        """Send where the rows and their results are on the sky, for the map; status 304 if nothing has changed."""
        open_list = self._open_list(request)
        columns = open_list.runner.schema.columns
        jobs = [(row, step_job.phase) for (_, row), step_job in open_list.last_jobs.items()]
        result_path = open_list.find_result_file("parquet")
        row_positions = locate_list_rows(columns, open_list.rows)
        document = describe_map(
            row_positions,
            row_positions.copy_without_positions()
            if result_path is None
            else locate_results(result_path, 1 + len(columns)),
            find_worst_row_phases(len(open_list.rows), jobs, "QUEUED" if open_list.is_active else "ABORTED"),
            [_shorten(" ".join(filter(None, row))) for row in open_list.rows],
            load_page_translations(build_page_frame(request, self.context).said),
        )
        return self._build_response_with_etag(request, orjson.dumps(document), {"content-type": "application/json"})

    def send_archive(self, request: Request) -> Response:
        """Send the results of all rows as one TAR archive."""
        open_list = self._open_list(request)
        headers = {
            **PRIVATE_HEADERS,
            "content-disposition": f'attachment; filename="{open_list.job.type}-{open_list.job.id}.tar"',
        }
        return StreamingResponse(self._write_archive(open_list), media_type="application/x-tar", headers=headers)

    async def answer_form(self, request: Request) -> Response:
        """Abort or delete a list, remove rows, or run rows again as a new list."""
        if is_cross_site_change_request(request, self.context.site.settings):
            raise ForbiddenError("the request comes from a page on another site", remedy="use the forms of this site")
        params = await services.read_params(request, self.context.site.settings.limits.upload)
        try:
            address = await anyio.to_thread.run_sync(self._apply_action, request, params)
        finally:
            params.close()
        return Response(status_code=303, headers={"location": address, "cache-control": "no-store"})

    # --- describing ------------------------------------------------------------------------------------------

    def _find_base(self, request: Request) -> str:
        return find_portal_brand(request, self.context.site.settings).base

    def _find_requester(self, request: Request) -> JobRequester:
        return JobRequester(
            principal=self.context.identify_principal(request),
            address=get_client_address(request),
            visitor=compute_visitor_hash(request.headers),
        )

    def _open_list(self, request: Request, *, for_change: bool = False) -> _OpenListJob:
        """Find a list with the rights of the user.

        Raises
        ------
        NotFoundError
            There is no such list.
        """
        site = self.context.site
        job = site.store.jobs.get_job(request.path_params["list"])
        service = JobService(site, job.type)
        job = service.get_job(job.id, self._find_requester(request), for_change=for_change)
        job_type = type_catalogue.find_job_type(site.settings, job.type)
        if not isinstance(job_type.run, ListRunner):
            raise NotFoundError(f"the job {job.id} is not a list", remedy="see the list of your jobs at /jobs")
        return _OpenListJob(
            service=service,
            job=job,
            runner=job_type.run,
            title=job_type.title,
            rows=load_stored_rows(get_job_directory(site.settings, job.id)) or [],
        )

    def _describe_rows(self, request: Request, open_list: _OpenListJob) -> JobListRows:
        job, runner = open_list.job, open_list.runner
        base = self._find_base(request)
        shown_phase = request.query_params.get("phase", "")
        numbers = open_list.select_rows(shown_phase)
        offset_text = request.query_params.get("from", "0")
        offset = 0
        if offset_text.isdecimal() and len(offset_text) < 9:
            offset = min(int(offset_text), len(numbers))
        shown_numbers = numbers[offset : offset + PAGE_ROWS]

        def build_address(phase: str, new_offset: int) -> str:
            pairs = {name: text for name, text in (("phase", phase), ("from", str(new_offset or ""))) if text}
            return f"{base}/job-lists/{job.id}" + (f"?{urlencode(pairs)}" if pairs else "")

        phase_counts = open_list.count_jobs_by_phase()
        counts = [("", len(open_list.rows), build_address("", 0), not shown_phase)]
        counts += [
            (phase, phase_counts.get(phase, 0), build_address(phase, 0), phase == shown_phase)
            for phase in PHASE_ORDER
            if phase_counts.get(phase)
        ]
        last = offset + len(shown_numbers)
        share = 1.0
        if job.phase != "COMPLETED":
            share = float(job.progress.get("share") or 0)
        return JobListRows(
            phase=job.phase,
            active=open_list.is_active,
            percent=round(100 * share),
            note=str(job.progress.get("note") or ""),
            error=str(job.error["message"]) if job.error else "",
            results=[(item["id"], _build_result_url(base, job, item["id"])) for item in job.results],
            columns=[column.name for column in runner.schema.columns],
            step_names=[step.name for step in runner.steps],
            rows=self._describe_list_rows(shown_numbers, open_list, base),
            counts=counts,
            first=offset + 1,
            last=last,
            total=len(numbers),
            previous=build_address(shown_phase, max(0, offset - PAGE_ROWS)) if offset else "",
            following=build_address(shown_phase, last) if last < len(numbers) else "",
        )

    def _describe_list_rows(self, numbers: Sequence[int], open_list: _OpenListJob, base: str) -> list[RowEntry]:
        """Describe rows with their last jobs, which are read at once."""
        store = self.context.site.store.jobs
        step_names = [step.name for step in open_list.runner.steps]
        ids_by_row = {
            number: [open_list.find_last_job_id(step_name, number) for step_name in step_names] for number in numbers
        }
        # those that are not created yet, or destroyed, are left out
        jobs_by_id = store.find_jobs([job_id for ids in ids_by_row.values() for job_id in ids if job_id is not None])
        places = store.find_queue_places(list(jobs_by_id.values()))
        steps_by_id = {job_id: self._describe_step(job, places.get(job_id), base) for job_id, job in jobs_by_id.items()}
        return [
            RowEntry(
                number=number,
                values=[_shorten(text) for text in open_list.rows[number - 1]],
                steps=[None if job_id is None else steps_by_id.get(job_id) for job_id in ids],
            )
            for number, ids in ids_by_row.items()
        ]

    def _describe_step(self, job: JobRecord, place: int | None, base: str) -> StepEntry:
        job_page = find_package_page_address("job_list_path", base)
        preview_page = find_package_page_address("job_preview_path", base)
        share = job.progress.get("share")
        is_running = job.phase == "EXECUTING"
        pictures = [item["id"] for item in job.results if str(item["media_type"]).startswith("image/")]
        return StepEntry(
            id=job.id,
            phase=job.phase,
            url=f"{job_page}?{urlencode({'job': job.id})}" if job_page else base + build_job_path(job.type, job.id),
            elapsed=_format_elapsed(job),
            percent=round(100 * share) if is_running and isinstance(share, int | float) else None,
            place=place,
            results=[(item["id"], _build_result_url(base, job, item["id"])) for item in job.results],
            preview=f"{preview_page}?{urlencode({'job': job.id})}" if job.results and preview_page else "",
            pictures=[_build_result_url(base, job, name) for name in pictures],
            error=_shorten(job.error["message"], 200) if job.error else "",
        )

    def _build_response_with_etag(self, request: Request, body: bytes, headers: Mapping[str, str]) -> Response:
        etag = services.compute_etag(body)
        all_headers = {"content-type": "text/html; charset=utf-8", **headers, **PRIVATE_HEADERS, "etag": etag}
        if services.is_unchanged(request, etag):
            return Response(status_code=304, headers=all_headers)
        return services.answer_with_body(request, body, all_headers)

    def _write_archive(self, open_list: _OpenListJob) -> Iterator[bytes]:
        """Write the results of the list and of its rows, file by file; those that vanish meanwhile are left out."""
        settings = self.context.site.settings
        jobs = [("", open_list.job.id)]
        jobs += [(f"{row:05d}-{step_name}/", job.id) for (step_name, row), job in sorted(open_list.last_jobs.items())]
        for folder, job_id in jobs:
            with suppress(NotFoundError):
                job = self.context.site.store.jobs.get_job(job_id)
                for item in job.results:
                    path = get_job_directory(settings, job.id) / item["file"]
                    with suppress(FileNotFoundError):
                        yield from _write_archive_member(f"{folder}{item['id']}{path.suffix}", path)
        yield bytes(2 * tarfile.BLOCKSIZE)

    # --- changing --------------------------------------------------------------------------------------------

    def _apply_action(self, request: Request, params: RequestParams) -> str:
        """Apply an action of the form, and return the address of the page to show then."""
        action = (params.read_one("ACTION") or "").lower()
        if action not in ACTIONS:
            raise ParamError(
                f"ACTION={action!r:.40} is not valid", name="ACTION", remedy=f"write one of {', '.join(ACTIONS)}"
            )
        open_list = self._open_list(request, for_change=True)
        base = self._find_base(request)
        rows = [int(text) for text in params.read_all("ROW") if text.isdecimal() and len(text) < 9]
        rows = [row for row in rows if 1 <= row <= len(open_list.rows)]
        if action == "delete":
            open_list.service.destroy_job(open_list.job)
            return find_package_page_address("job_list_path", base) or f"{base}/"
        if action == "abort":
            open_list.service.run_or_abort_job(open_list.job, "ABORT")
        elif action == "remove":
            self._remove_rows(open_list, rows)
        else:
            new_job = self._create_list_to_retry_rows(open_list, rows, self._find_requester(request))
            return f"{base}/job-lists/{new_job.id}"
        return f"{base}/job-lists/{open_list.job.id}"

    def _remove_rows(self, open_list: _OpenListJob, rows: Sequence[int]) -> None:
        """Destroy the jobs of rows; an unfinished list would create them again, so its jobs are only aborted."""
        if not rows:
            raise ParamError("no row is selected", name="ROW", remedy="tick the rows to remove")
        for (_, row), step_job in open_list.last_jobs.items():
            if row not in rows:
                continue
            with suppress(NotFoundError):
                job = self.context.site.store.jobs.get_job(step_job.id)
                service = JobService(self.context.site, job.type)
                if open_list.is_active:
                    service.run_or_abort_job(job, "ABORT")
                else:
                    service.destroy_job(job)

    def _create_list_to_retry_rows(
        self, open_list: _OpenListJob, rows: Sequence[int], requester: JobRequester
    ) -> JobRecord:
        """Create a list of some rows, or of those that failed, with the parameters of the old one."""
        numbers = sorted(set(rows) or {*open_list.select_rows("ERROR"), *open_list.select_rows("ABORTED")})
        if not numbers:
            raise ParamError("no row has failed", name="ROW", remedy="tick the rows to run again")
        text = write_lines(open_list.runner.schema.columns, [open_list.rows[number - 1] for number in numbers])
        excluded_names = {LIST_PARAMETER, TABLE_PARAMETER}
        pairs = [(name, value) for name, value in open_list.job.parameters if name.upper() not in excluded_names]
        return open_list.service.create_job(
            collect_params([*pairs, (LIST_PARAMETER, text), ("PHASE", "RUN")]), requester
        )


def _build_result_url(base: str, job: JobRecord, result_name: str) -> str:
    return base + build_job_path(job.type, job.id, "results", result_name)


def _shorten(text: str, max_characters: int = MAX_VALUE_CHARACTERS) -> str:
    if len(text) <= max_characters:
        return text
    return f"{text[: max_characters - 1]}…"


def _format_elapsed(job: JobRecord) -> str:
    if job.started is None:
        return ""
    if job.ended:
        end_time = datetime.fromisoformat(job.ended)
    else:
        end_time = datetime.now(UTC)
    seconds = max(0.0, (end_time - datetime.fromisoformat(job.started)).total_seconds())
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s"


def _write_archive_member(name: str, path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        member = tarfile.TarInfo(name)
        member.size = path.stat().st_size
        member.mtime = int(path.stat().st_mtime)
        yield member.tobuf(tarfile.GNU_FORMAT)
        while chunk := file.read(1 << 20):
            yield chunk
        yield bytes(-member.size % tarfile.BLOCKSIZE)


def build_routes(context: ServiceContext) -> Sequence[Route]:
    """Route the page of a list, its rows by themselves, their positions, and the archive of its results."""
    pages = ListPageEndpoints(context=context)
    respond_to_error = build_error_responder(context)

    def build_route(path: str, answer: Callable[[Request], Response]) -> Route:
        async def answer_request(request: Request) -> Response:
            return await anyio.to_thread.run_sync(answer, request)

        return create_route(path, answer_request, respond_to_error)

    return [
        build_route("/job-lists/{list}", pages.show_list),
        create_route("/job-lists/{list}", pages.answer_form, respond_to_error, ["POST"]),
        build_route("/job-lists/{list}/rows", pages.send_rows),
        build_route("/job-lists/{list}/places", pages.send_places),
        build_route("/job-lists/{list}/results.tar", pages.send_archive),
    ]


PAGES = PortalPages(build_routes=build_routes, template_directory=Path(__file__).parent / "pages")
