"""UWS 1.1: the resources of a job list over HTTP, for any job type, at any address.

Server processes only read and write records; workers run the jobs. A request that waits for a job (WAIT) costs little:
one task per process polls the version of the store, and reads the phases of awaited jobs when it has changed.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import anyio
import anyio.to_thread
from starlette.responses import FileResponse, Response

from hven.jobs.job_service import (
    ACTIVE_PHASES,
    CONTROL_PARAMETERS,
    DEFAULT_LIST_LIMIT,
    MAX_LIST_LIMIT,
    JobRequester,
    JobService,
    format_job_list_position,
)
from hven.model.errors import ConflictError, HvenError, NotFoundError, ParamError
from hven.model.params import collect_params
from hven.services import uws_documents
from hven.services._responses import answer_head_request, answer_with_body, wait_for_disconnect
from hven.services._user_content import SANDBOX_HEADERS, choose_safe_media_type
from hven.services.addresses import get_base_url, get_client_address
from hven.services.errors import (
    build_retry_after_header,
    find_http_status,
    log_error_and_write_message,
    write_json_error,
    write_votable_error,
)
from hven.services.face import create_route
from hven.services.params import MAX_FORM_BYTES, get_request_id, read_params
from hven.services.request_bodies import read_body
from hven.site import record_sent_data
from hven.site.auth.session import SAFE_METHODS, compute_visitor_hash

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from starlette.requests import Request
    from starlette.routing import Route

    from hven.model.params import RequestParams
    from hven.site import Site
    from hven.site.auth import Principal
    from hven.site.store import JobRecord, JobRef

MAX_WAIT_SECONDS = 100  # longest WAIT: proxies give up after two minutes, and sooner
# seconds between two polls of the store while requests wait: short after a new one, for short jobs
FIRST_POLL_SECONDS = 0.005
MAX_POLL_SECONDS = 0.1
STORE_THREADS = 8  # threads that use the store
LOG_RESULTS = ("stdout", "stderr")  # results that clients of OPUS ask for beside the phase of a job
TEXT_HEADERS = {"content-type": "text/plain; charset=utf-8", "cache-control": "no-store"}


class PhaseChangeWaiter:
    """Lets requests wait until the phase of a job changes. One for each process, for its event loop only."""

    def __init__(self, site: Site, limiter: anyio.CapacityLimiter) -> None:
        self._site = site
        self._limiter = limiter
        self._waiters: dict[str, list[tuple[str, asyncio.Future[None]]]] = {}
        self._task: asyncio.Task[None] | None = None
        self._has_new_waiter = False

    async def wait_for_change(self, job_id: str, phase: str) -> None:
        """Wait until a job has left a phase.

        Parameters
        ----------
        job_id
            Id of the job.
        phase
            A phase of UWS.
        """
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiter = (phase, future)
        self._waiters.setdefault(job_id, []).append(waiter)
        self._has_new_waiter = True
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._watch_job_phases())
        try:
            await future
        finally:
            remaining_waiters = self._waiters.get(job_id, [])
            if waiter in remaining_waiters:
                remaining_waiters.remove(waiter)
            if not remaining_waiters:
                self._waiters.pop(job_id, None)

    async def _watch_job_phases(self) -> None:
        jobs = self._site.store.jobs
        version = -1
        pause = FIRST_POLL_SECONDS
        try:
            while self._waiters:
                has_new_waiter = self._has_new_waiter
                self._has_new_waiter = False
                try:
                    store_version = await anyio.to_thread.run_sync(jobs.get_phase_change_count, limiter=self._limiter)
                    # a new waiter may wait for the end of a phase that was over before the last poll
                    if has_new_waiter or store_version != version:
                        version = store_version
                        job_ids = set(self._waiters)
                        phases = await anyio.to_thread.run_sync(jobs.find_phases, list(job_ids), limiter=self._limiter)
                        self._notify_waiters(phases, job_ids)
                except HvenError:  # the store is busy: wait on
                    version = -1
                pause = min(1.3 * pause, MAX_POLL_SECONDS)
                if has_new_waiter:
                    pause = FIRST_POLL_SECONDS
                await asyncio.sleep(pause)
        finally:  # no request waits for a task that has ended
            self._notify_waiters({}, set(self._waiters))

    def _notify_waiters(self, phases: Mapping[str, str], job_ids: set[str]) -> None:
        for name in job_ids:
            for phase, future in self._waiters.get(name, []):
                if phases.get(name) != phase and not future.done():
                    future.set_result(None)


def build_job_routes(
    path: str, job_type: str, site: Site, identify_principal: Callable[[Request], Principal], *, byte_limit: int
) -> Sequence[Route]:
    """Build the routes of UWS 1.1 (section 2.2) for the jobs of one type.

    Parameters
    ----------
    path
        Address of the list of jobs: ``/tap/async``.
    job_type
        Name of the job type.
    site
        Site of the jobs.
    identify_principal
        Returns the principal of a request.
    byte_limit
        Maximum bytes of a request.

    Returns
    -------
    routes
        Routes for Starlette.
    """
    return _UwsJobResources(path, job_type, site, identify_principal, byte_limit).build_routes()


class _UwsJobResources:
    def __init__(
        self, path: str, job_type: str, site: Site, identify_principal: Callable[[Request], Principal], byte_limit: int
    ) -> None:
        self._path = path
        self._site = site
        self._set_scope_principal = identify_principal
        self._byte_limit = byte_limit
        self._job_service = JobService(site, job_type)
        self._limiter = anyio.CapacityLimiter(STORE_THREADS)
        self._phase_waiter = PhaseChangeWaiter(site, self._limiter)

    def build_routes(self) -> Sequence[Route]:
        job_path = f"{self._path}/{{job}}"
        routes = [
            create_route(self._path, self._list_or_create_jobs, _respond_to_error, ("GET", "POST")),
            create_route(job_path, self._answer_job, _respond_to_error, ("GET", "POST", "DELETE")),
            create_route(
                f"{job_path}/parameters/{{name}}", self._answer_parameter, _respond_to_error, ("GET", "POST", "PUT")
            ),
            create_route(f"{job_path}/results/{{name}}", self._answer_result, _respond_to_error),
        ]
        for name in ("phase", "executionduration", "destruction", "parameters"):
            endpoint = self._create_part_endpoint(name)
            routes.append(create_route(f"{job_path}/{name}", endpoint, _respond_to_error, ("GET", "POST")))
        for name in ("quote", "owner", "error", "results"):
            endpoint = self._create_part_endpoint(name)
            routes.append(create_route(f"{job_path}/{name}", endpoint, _respond_to_error))
        for name in LOG_RESULTS:
            endpoint = partial(self._answer_result, result_name=name)
            routes.append(create_route(f"{job_path}/{name}", endpoint, _respond_to_error))
        return routes

    async def _call_in_thread(self, call: Callable[..., Any], *args: Any) -> Any:
        return await anyio.to_thread.run_sync(call, *args, limiter=self._limiter)

    def _build_url(self, request: Request, *path_parts: str) -> str:
        return "/".join([f"{get_base_url(request, self._site.settings)}{self._path}", *path_parts])

    def _identify_requester(self, request: Request) -> JobRequester:
        principal = self._set_scope_principal(request)
        return JobRequester(
            principal=principal,
            address=get_client_address(request),
            visitor=compute_visitor_hash(request.headers),
        )

    async def _find_job(self, request: Request, *, is_for_reading: bool = True) -> JobRecord:
        find_job = partial(
            self._job_service.get_job,
            request.path_params["job"],
            self._identify_requester(request),
            for_reading=is_for_reading,
            for_change=request.method not in SAFE_METHODS,
        )
        job: JobRecord = await self._call_in_thread(find_job)
        return job

    def _redirect_to(self, request: Request, *path_parts: str) -> Response:
        headers = {"location": self._build_url(request, *path_parts), "cache-control": "no-store"}
        return Response(status_code=303, headers=headers)

    # --- the list --------------------------------------------------------------------------------------------

    async def _list_or_create_jobs(self, request: Request) -> Response:
        params = await read_params(request, self._byte_limit)
        if request.method == "POST":
            try:
                job = await self._call_in_thread(
                    self._job_service.create_job, params, self._identify_requester(request)
                )
            finally:
                params.close()
            return self._redirect_to(request, job.id)
        list_url = self._build_url(request)

        def write_list() -> tuple[bytes, str]:
            page_rows = DEFAULT_LIST_LIMIT
            if params.read_one("LAST"):
                page_rows = MAX_LIST_LIMIT
            job_refs = self._job_service.list_jobs(params, self._identify_requester(request), row_limit=page_rows + 1)
            next_url = ""
            if len(job_refs) > page_rows:  # UWS has no paging: the next page is a link of HTTP (RFC 8288)
                del job_refs[page_rows:]
                next_url = self._build_next_page_url(list_url, params, job_refs[-1])
            if not _is_json_requested(request):
                return uws_documents.write_job_refs_xml(job_refs, list_url), next_url
            document: dict[str, Any] = {"jobs": uws_documents.describe_job_refs(job_refs, list_url)}
            if next_url:
                document["next"] = next_url
            return uws_documents.write_json(document), next_url

        body, next_url = await self._call_in_thread(write_list)
        headers = _build_content_headers(request)
        if next_url:
            headers["link"] = f'<{next_url}>; rel="next"'
        return answer_with_body(request, body, headers)

    def _build_next_page_url(self, list_url: str, params: RequestParams, last_ref: JobRef) -> str:
        """Return the address of the jobs after one, with the same filters."""
        query_params: list[tuple[str, str]] = []
        for name in ("PHASE", "AFTER"):
            query_params += [(name, value) for value in params.read_all(name)]
        last_limit = params.read_integer("LAST", minimum=1)
        if last_limit is not None:
            query_params.append(("LAST", str(last_limit - MAX_LIST_LIMIT)))
        query_params.append(("BEFORE", format_job_list_position(last_ref)))
        return f"{list_url}?{urlencode(query_params)}"

    # --- a job -----------------------------------------------------------------------------------------------

    async def _answer_job(self, request: Request) -> Response:
        if request.method not in {"POST", "DELETE"}:
            return await self._answer_job_document(request)
        job = await self._find_job(request, is_for_reading=False)  # its owner may destroy it without rights to read it
        if request.method == "DELETE":
            await self._call_in_thread(self._job_service.destroy_job, job)
            return self._redirect_to(request)
        params = await read_params(request, self._byte_limit)
        action = params.read_one("ACTION")
        if action is None:
            await self._change_job(request, params)
            return self._redirect_to(request, job.id)
        if action.upper() != "DELETE":
            raise ParamError(f"ACTION={action!r:.40} is not valid", name="ACTION", remedy="write ACTION=DELETE")
        await self._call_in_thread(self._job_service.destroy_job, job)
        return self._redirect_to(request)

    async def _answer_job_document(self, request: Request) -> Response:
        """Answer with the description of a job, which one call in a thread reads: such calls take most of the time."""
        job_id = request.path_params["job"]
        requester = self._identify_requester(request)

        def read_job() -> tuple[JobRecord, Any, Sequence[str]]:
            job = self._job_service.get_job(job_id, requester)
            return job, self._job_service.estimate_completion(job), self._job_service.list_child_job_ids(job)

        job, outlook, children = await self._call_in_thread(read_job)
        params = await read_params(request, self._byte_limit)
        wait = params.read_integer("WAIT", minimum=-1)
        phase = params.read_one("PHASE")
        if wait and job.phase in ACTIVE_PHASES and (phase is None or phase.upper() == job.phase):
            if wait < 0:
                wait_seconds = MAX_WAIT_SECONDS
            else:
                wait_seconds = min(wait, MAX_WAIT_SECONDS)
            await self._wait_for_change(request, job, wait_seconds)
            job, outlook, children = await self._call_in_thread(read_job)
        job_description = uws_documents.describe_job(
            job,
            self._build_url(request, job.id),
            queue_place=outlook.place,
            expected_end=outlook.quote,
            note=outlook.note,
            children=children,
        )
        if _is_json_requested(request):
            body = uws_documents.write_json(job_description)
        else:
            body = uws_documents.write_job_xml(job_description)
        return answer_with_body(request, body, _build_content_headers(request))

    async def _change_job(self, request: Request, params: RequestParams) -> None:
        try:
            job = await self._find_job(request)
            requester = self._identify_requester(request)
            await self._call_in_thread(self._job_service.change_job, job, params, requester)
        finally:
            params.close()

    async def _wait_for_change(self, request: Request, job: JobRecord, timeout_seconds: float) -> None:
        """Wait until the job changes, the time is over, or the client disconnects."""
        waits = (self._phase_waiter.wait_for_change(job.id, job.phase), wait_for_disconnect(request))
        tasks = [asyncio.ensure_future(wait) for wait in waits]
        try:
            await asyncio.wait(tasks, timeout=timeout_seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()

    def _create_part_endpoint(self, part_name: str) -> Callable[[Request], Awaitable[Response]]:
        """Create the endpoint of a resource below a job: a text, or a list."""

        async def answer_part(request: Request) -> Response:
            job = await self._find_job(request)
            if request.method == "POST":
                await self._change_job(request, await self._read_part_params(request, part_name))
                return self._redirect_to(request, job.id)
            if part_name in {"parameters", "results"}:
                job_description = uws_documents.describe_job(job, self._build_url(request, job.id))
                if _is_json_requested(request):
                    body = uws_documents.write_json(job_description[part_name])
                elif part_name == "parameters":
                    body = uws_documents.write_parameters_xml(job_description)
                else:
                    body = uws_documents.write_results_xml(job_description)
                return answer_with_body(request, body, _build_content_headers(request))
            if part_name == "error":
                return self._answer_error(request, job)
            if part_name == "quote":
                outlook = await self._call_in_thread(self._job_service.estimate_completion, job)
                text = uws_documents.format_time(outlook.quote) or ""
            else:
                text = _get_job_property_text(job, part_name)
            return answer_with_body(request, text.encode(), TEXT_HEADERS)

        return answer_part

    async def _read_part_params(self, request: Request, part_name: str) -> RequestParams:
        """Read the parameters that are posted to a resource below a job."""
        params = await read_params(request, self._byte_limit)
        if part_name == "parameters":
            return params
        value = params.read_one(part_name.upper())
        if value is None:
            raise ParamError(
                f"{part_name.upper()} is missing", name=part_name.upper(), remedy=_PARAMETER_EXAMPLES[part_name]
            )
        return collect_params([(part_name, value)])

    def _answer_error(self, request: Request, job: JobRecord) -> Response:
        if job.phase != "ERROR" or job.error is None:
            raise NotFoundError(f"the job has no error: its phase is {job.phase}")
        return answer_with_body(
            request,
            write_votable_error(job.error["message"]),
            {"content-type": "application/x-votable+xml", "cache-control": "no-store"},
        )

    async def _answer_parameter(self, request: Request) -> Response:
        job = await self._find_job(request)
        name = request.path_params["name"].upper()
        if request.method in {"POST", "PUT"}:
            if name in CONTROL_PARAMETERS:
                raise ParamError(
                    f"{name!r} cannot be set here", name=name, remedy=f"send {name}=... to the job with POST"
                )
            await self._change_job(request, collect_params([(name, await self._read_value(request, name))]))
            return self._redirect_to(request, job.id)
        values = [value for param_name, value in job.parameters if param_name.upper() == name]
        if not values:
            raise NotFoundError(f"the job has no parameter {name!r:.80}")
        return answer_with_body(request, "\n".join(values).encode(), TEXT_HEADERS)

    async def _read_value(self, request: Request, name: str) -> str:
        """Read the value that a parameter gets: the body of PUT (UWS 1.1), or VALUE of POST (UWS 1.0, OPUS)."""
        if request.method == "POST":
            params = await read_params(request, self._byte_limit)
            try:
                value = params.read_one("VALUE")
            finally:
                params.close()
            if value is None:
                raise ParamError("VALUE is missing", name="VALUE", remedy=f"write VALUE=..., with the value of {name}")
            return value
        body = await read_body(request, min(self._byte_limit, MAX_FORM_BYTES))
        try:
            return body.decode()
        except UnicodeDecodeError:
            raise ParamError(f"the value of {name!r} is not UTF-8", name=name) from None

    async def _answer_result(self, request: Request, result_name: str = "") -> Response:
        job = await self._find_job(request)
        name = result_name or request.path_params["name"]
        path, media_type = await self._call_in_thread(self._job_service.find_result_file, job, name)
        safe_type, must_download = choose_safe_media_type(media_type)  # job programs and other servers choose theirs
        headers = {"cache-control": "private, no-cache", **SANDBOX_HEADERS}
        if must_download:
            headers["content-disposition"] = "attachment"
        headers["content-type"] = safe_type
        if request.method == "HEAD":
            headers |= {"content-length": str(path.stat().st_size), "accept-ranges": "bytes"}
            return answer_head_request(headers)
        record_sent_data(rows_by_table=dict.fromkeys(job.progress.get("tables", ()), job.progress.get("rows", 0)))
        return FileResponse(path, headers=headers)


def _respond_to_error(request: Request, error: Exception) -> Response:
    # UWS answers 403 where the phase of a job does not allow a request
    if isinstance(error, ConflictError):
        status = 403
    else:
        status = find_http_status(error)
    message = log_error_and_write_message(error, get_request_id(request))
    if _is_json_requested(request):
        return Response(
            write_json_error(message, status),
            status,
            build_retry_after_header(error),
            media_type=uws_documents.JSON_MEDIA_TYPE,
        )
    return Response(
        write_votable_error(message), status, build_retry_after_header(error), media_type="application/x-votable+xml"
    )


_PARAMETER_EXAMPLES = {
    "phase": "write PHASE=RUN or PHASE=ABORT",
    "executionduration": "write EXECUTIONDURATION=600",
    "destruction": "write DESTRUCTION=2026-11-27T10:00:00Z",
}


def _get_job_property_text(job: JobRecord, property_name: str) -> str:
    atoms = {
        "phase": job.phase,
        "executionduration": str(job.duration),
        "destruction": uws_documents.format_time(job.destruction),
    }
    return atoms.get(property_name, job.owner) or ""


def _is_json_requested(request: Request) -> bool:
    return "application/json" in request.headers.get("accept", "").lower()


def _build_content_headers(request: Request) -> dict[str, str]:
    return {
        "content-type": uws_documents.JSON_MEDIA_TYPE if _is_json_requested(request) else uws_documents.XML_MEDIA_TYPE,
        "cache-control": "no-store",
        "vary": "accept",
    }
