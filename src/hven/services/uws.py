"""UWS 1.1: the resources of a job list over HTTP, for any job type, below any address.

Server processes only read and write rows; workers run the jobs. Who waits for a job (WAIT) costs a place in a table: one
task per process looks at the store's count of changes, and at the phases of the jobs that are waited for when it moved.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import anyio
import anyio.to_thread
from starlette.responses import FileResponse, Response

from hven.jobs.desk import ACTIVE, CONTROLS, MOST, PAGE, Asker, Desk, place
from hven.model.errors import Conflict, HvenError, NotFound, ParamError
from hven.model.params import collect
from hven.services import uwsdoc
from hven.services._answer import left, whole, without_body
from hven.services._user_content import SANDBOX, guard_media_type
from hven.services.address import base, caller
from hven.services.bodies import whole_body
from hven.services.errors import headers_of, json_error, message_of, request_id, status_of, votable_error
from hven.services.face import route
from hven.services.params import FORM_MOST, read
from hven.site import sends
from hven.site.auth.session import SAFE, visitor_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from starlette.requests import Request
    from starlette.routing import Route

    from hven.model.params import Params
    from hven.site import Site
    from hven.site.auth import Reader
    from hven.site.store import Job, Ref

LONGEST = 100  # seconds that a request may wait for a change: proxies give up after two minutes, and sooner
# seconds between two looks at the store while anybody waits: soon after somebody came, for short jobs
SOON, LOOK = 0.005, 0.1
THREADS = 8  # that speak with the store
TEXT = {"content-type": "text/plain; charset=utf-8", "cache-control": "no-store"}


class Waiting:
    """Those who wait for a job's phase to change, in this process; for its event loop alone."""

    def __init__(self, site: Site, limiter: anyio.CapacityLimiter) -> None:
        self._site = site
        self._limiter = limiter
        self._waiters: dict[str, list[tuple[str, asyncio.Future[None]]]] = {}
        self._task: asyncio.Task[None] | None = None
        self._came = False

    async def changed(self, name: str, phase: str) -> None:
        """Wait until a job has left a phase.

        Parameters
        ----------
        name
            Id of the job.
        phase
            Of UWS.
        """
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (phase, mine)
        self._waiters.setdefault(name, []).append(entry)
        self._came = True
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._look())
        try:
            await mine
        finally:
            left = self._waiters.get(name, [])
            if entry in left:
                left.remove(entry)
            if not left:
                self._waiters.pop(name, None)

    async def _look(self) -> None:
        version = -1
        pause = SOON
        try:
            while self._waiters:
                came, self._came = self._came, False
                try:
                    seen = await anyio.to_thread.run_sync(self._site.store.jobs.version, limiter=self._limiter)
                    if came or seen != version:  # who came may have seen a phase that was left before the last look
                        version, names = seen, set(self._waiters)
                        phases = await anyio.to_thread.run_sync(
                            self._site.store.jobs.phases, list(names), limiter=self._limiter
                        )
                        self._tell(phases, names)
                except HvenError:  # a busy store: who waits may wait on
                    version = -1
                pause = SOON if came else min(1.3 * pause, LOOK)
                await asyncio.sleep(pause)
        finally:  # nobody waits for a task that is no more
            self._tell({}, set(self._waiters))

    def _tell(self, phases: Mapping[str, str], names: set[str]) -> None:
        for name in names:
            for phase, future in self._waiters.get(name, []):
                if phases.get(name) != phase and not future.done():
                    future.set_result(None)


def routes(path: str, kind: str, site: Site, reader: Callable[[Request], Reader], *, limit: int) -> Sequence[Route]:
    """Make the routes of UWS 1.1, 2.2, for the jobs of one type.

    Parameters
    ----------
    path
        Where the list of jobs is: ``/tap/async``.
    kind
        Name of the job type.
    site
        Whose jobs.
    reader
        Who a request comes from.
    limit
        Bytes of a request at most.

    Returns
    -------
    routes
        For Starlette.
    """
    return _Resources(path, kind, site, reader, limit).routes()


class _Resources:
    def __init__(self, path: str, kind: str, site: Site, reader: Callable[[Request], Reader], limit: int) -> None:
        self._path = path
        self._site = site
        self._reader = reader
        self._limit = limit
        self._desk = Desk(site, kind)
        self._limiter = anyio.CapacityLimiter(THREADS)
        self._waiting = Waiting(site, self._limiter)

    def routes(self) -> Sequence[Route]:
        job = f"{self._path}/{{job}}"
        made = [
            route(self._path, self._jobs, _told, ("GET", "POST")),
            route(job, self._job, _told, ("GET", "POST", "DELETE")),
            route(f"{job}/parameters/{{name}}", self._parameter, _told, ("GET", "PUT")),
            route(f"{job}/results/{{name}}", self._result, _told),
        ]
        made += [
            route(f"{job}/{name}", self._part(name), _told, ("GET", "POST"))
            for name in ("phase", "executionduration", "destruction", "parameters")
        ]
        return made + [
            route(f"{job}/{name}", self._part(name), _told) for name in ("quote", "owner", "error", "results")
        ]

    async def _call(self, call: Callable[..., Any], *args: Any) -> Any:
        return await anyio.to_thread.run_sync(call, *args, limiter=self._limiter)

    def _here(self, request: Request, *steps: str) -> str:
        return "/".join([f"{base(request, self._site.settings)}{self._path}", *steps])

    def _who(self, request: Request) -> Asker:
        return Asker(reader=self._reader(request), address=caller(request), visitor=visitor_of(request.headers))

    async def _found(self, request: Request, *, to_read: bool = True) -> Job:
        name, changes = request.path_params["job"], request.method not in SAFE
        find = partial(self._desk.one, name, self._who(request), to_read=to_read, to_change=changes)
        job: Job = await self._call(find)
        return job

    def _see(self, request: Request, *steps: str) -> Response:
        return Response(status_code=303, headers={"location": self._here(request, *steps), "cache-control": "no-store"})

    # --- the list --------------------------------------------------------------------------------------------

    async def _jobs(self, request: Request) -> Response:
        params = await read(request, self._limit)
        if request.method == "POST":
            try:
                job = await self._call(self._desk.create, params, self._who(request))
            finally:
                params.close()
            return self._see(request, job.id)
        here = self._here(request)

        def write() -> tuple[bytes, str]:
            most = MOST if params.one("LAST") else PAGE
            found = self._desk.listed(params, self._who(request), most=most + 1)
            more = ""
            if len(found) > most:  # UWS has no word for it: the way to the rest is HTTP's (RFC 8288)
                del found[most:]
                more = self._rest(here, params, found[-1])
            told = {"jobs": uwsdoc.refs(found, here), **({"next": more} if more else {})} if _json(request) else None
            return uwsdoc.refs_xml(found, here) if told is None else uwsdoc.json(told), more

        body, more = await self._call(write)
        return whole(request, body, {**_kind(request), **({"link": f'<{more}>; rel="next"'} if more else {})})

    def _rest(self, here: str, params: Params, last: Ref) -> str:
        """Return the address of what is listed behind a job, by the same filters."""
        kept = [(name, value) for name in ("PHASE", "AFTER") for value in params.all(name)]
        wanted = params.whole("LAST", minimum=1)
        left = [("LAST", str(wanted - MOST))] if wanted is not None else []
        return f"{here}?{urlencode([*kept, *left, ('BEFORE', place(last))])}"

    # --- a job -----------------------------------------------------------------------------------------------

    async def _job(self, request: Request) -> Response:
        if request.method not in {"POST", "DELETE"}:
            return await self._shown(request)
        job = await self._found(request, to_read=False)  # its owner may destroy it whatever rights they have lost
        if request.method == "DELETE":
            await self._call(self._desk.remove, job)
            return self._see(request)
        params = await read(request, self._limit)
        action = params.one("ACTION")
        if action is None:
            await self._change(request, params)
            return self._see(request, job.id)
        if action.upper() != "DELETE":
            raise ParamError(f"ACTION={action!r:.40} is not known", name="ACTION", remedy="ACTION=DELETE")
        await self._call(self._desk.remove, job)
        return self._see(request)

    async def _shown(self, request: Request) -> Response:
        """Answer with everything of a job, which is found and looked at in one go: ways to a thread and back are what such a small answer costs."""
        name, who = request.path_params["job"], self._who(request)
        look = partial(
            self._call, lambda: (job := self._desk.one(name, who), self._desk.outlook(job), self._desk.children(job))
        )
        job, outlook, children = await look()
        params = await read(request, self._limit)
        wait = params.whole("WAIT", minimum=-1)
        phase = params.one("PHASE")
        if wait and job.phase in ACTIVE and (phase is None or phase.upper() == job.phase):
            await self._wait(request, job, LONGEST if wait < 0 else min(wait, LONGEST))
            job, outlook, children = await look()
        told = uwsdoc.facts(
            job,
            self._here(request, job.id),
            place=outlook.place,
            quote=outlook.quote,
            note=outlook.note,
            children=children,
        )
        return whole(request, uwsdoc.json(told) if _json(request) else uwsdoc.job_xml(told), _kind(request))

    async def _change(self, request: Request, params: Params) -> None:
        try:
            await self._call(self._desk.change, await self._found(request), params, self._who(request))
        finally:
            params.close()

    async def _wait(self, request: Request, job: Job, seconds: float) -> None:
        """Wait for a change, for the time to be over, or for the reader to leave."""
        tasks = [
            asyncio.ensure_future(self._waiting.changed(job.id, job.phase)),
            asyncio.ensure_future(left(request)),
        ]
        try:
            await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()

    def _part(self, name: str) -> Callable[[Request], Awaitable[Response]]:
        """Make a resource below a job: an atom of text, or a list."""

        async def answer(request: Request) -> Response:
            job = await self._found(request)
            if request.method == "POST":
                params = await read(request, self._limit)
                if name != "parameters":
                    value = params.one(name.upper())
                    if value is None:
                        raise ParamError(f"{name.upper()} is missing", name=name.upper(), remedy=_EXAMPLES[name])
                    params = collect([(name, value)])
                await self._change(request, params)
                return self._see(request, job.id)
            if name in {"parameters", "results"}:
                told = uwsdoc.facts(job, self._here(request, job.id))
                write = uwsdoc.parameters_xml if name == "parameters" else uwsdoc.results_xml
                return whole(request, uwsdoc.json(told[name]) if _json(request) else write(told), _kind(request))
            if name == "error":
                return self._error(request, job)
            if name == "quote":
                outlook = await self._call(self._desk.outlook, job)
                return whole(request, (uwsdoc.time(outlook.quote) or "").encode(), TEXT)
            return whole(request, _atom(job, name).encode(), TEXT)

        return answer

    def _error(self, request: Request, job: Job) -> Response:
        if job.phase != "ERROR" or job.error is None:
            raise NotFound(f"the job has no error: it is {job.phase}")
        return whole(
            request,
            votable_error(job.error["message"]),
            {"content-type": "application/x-votable+xml", "cache-control": "no-store"},
        )

    async def _parameter(self, request: Request) -> Response:
        job = await self._found(request)
        name = request.path_params["name"].upper()
        if request.method == "PUT":
            if name in CONTROLS:
                raise ParamError(
                    f"{name} is no parameter of the job's work", name=name, remedy=f"POST it to the job: {name}=..."
                )
            body = await whole_body(request, min(self._limit, FORM_MOST))
            try:
                value = body.decode()
            except UnicodeDecodeError:
                raise ParamError(f"the value of {name} is not UTF-8", name=name) from None
            await self._change(request, collect([(name, value)]))
            return self._see(request, job.id)
        values = [value for given, value in job.parameters if given.upper() == name]
        if not values:
            raise NotFound(f"the job has no parameter {name!r:.80}")
        return whole(request, "\n".join(values).encode(), TEXT)

    async def _result(self, request: Request) -> Response:
        job = await self._found(request)
        path, media_type = await self._call(self._desk.result, job, request.path_params["name"])
        media_type, loaded = guard_media_type(media_type)  # programs, and services elsewhere, say what theirs are
        headers = {
            "cache-control": "private, no-cache",
            **SANDBOX,
            **({"content-disposition": "attachment"} if loaded else {}),
        }
        sends(tables=dict.fromkeys(job.progress.get("tables", ()), job.progress.get("rows", 0)))
        if request.method == "HEAD":
            size = path.stat().st_size
            return without_body(
                {**headers, "content-type": media_type, "content-length": str(size), "accept-ranges": "bytes"}
            )
        return FileResponse(path, headers={**headers, "content-type": media_type})


def _told(request: Request, error: Exception) -> Response:
    # what a job's phase does not allow is forbidden, as UWS says it
    status = 403 if isinstance(error, Conflict) else status_of(error)
    message = message_of(error, request_id(request))
    if _json(request):
        return Response(json_error(message, status), status, headers_of(error), media_type=uwsdoc.JSON)
    return Response(votable_error(message), status, headers_of(error), media_type="application/x-votable+xml")


_EXAMPLES = {
    "phase": "PHASE=RUN or PHASE=ABORT",
    "executionduration": "EXECUTIONDURATION=600",
    "destruction": "DESTRUCTION=2026-11-27T10:00:00Z",
}


def _atom(job: Job, name: str) -> str:
    atoms = {"phase": job.phase, "executionduration": str(job.duration), "destruction": uwsdoc.time(job.destruction)}
    return atoms.get(name, job.owner) or ""


def _json(request: Request) -> bool:
    return "application/json" in request.headers.get("accept", "").lower()


def _kind(request: Request) -> dict[str, str]:
    return {
        "content-type": uwsdoc.JSON if _json(request) else uwsdoc.XML,
        "cache-control": "no-store",
        "vary": "accept",
    }
