"""``/jobs`` as people see it: their jobs with phase, progress, parameters and results, run again, aborted, deleted; with or without an account.

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

from hven import adql, formats
from hven import services as dali
from hven.adql import tree
from hven.adql.tree import walk
from hven.jobs.desk import ACTIVE, Asker, Desk, place
from hven.model.errors import Forbidden, HvenError, NotFound, ParamError, ParseError, recorded, say
from hven.model.params import collect
from hven.portal._explore import job_results as kept
from hven.portal._explore import plots_json as told
from hven.portal._explore.cell_text import cells, headings
from hven.portal._explore.plots import Points, plotted
from hven.portal._explore.preview import first_rows
from hven.portal._pages import HUB, VARY, brand_of, error_page, faults_in, frame, guarded, written
from hven.portal._views import job_form
from hven.services import uwsdoc
from hven.services.address import caller, from_elsewhere, secure
from hven.services.params import FORM_MOST
from hven.site.auth import kept_rights
from hven.site.auth.session import visit, visitor_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from starlette.requests import Request

    from hven.jobs import Type
    from hven.model.params import Params, Upload
    from hven.model.table import Table
    from hven.portal._explore.rows import Page
    from hven.services.face import Surroundings
    from hven.site.store import Job, Ref

TAP = "tap"
LISTED = 200  # jobs of a page
PREVIEWED = 100  # rows of a result
AGAIN = 10.0  # seconds in which the same job, sent twice, is one
NAMED = 3  # tables that a job is called by
LONG = 2_000  # characters of a parameter that are shown
TOPCAT = {"votable", "fits", "csv", "parquet"}  # what it reads
UNKEPT = {"cache-control": "private, no-store", "vary": VARY}
PAGE = {**guarded(styles=True, connect=HUB), **UNKEPT}


@dataclass(frozen=True, slots=True, kw_only=True)
class JobsPage:
    """The page of jobs: `get` and `post` are its endpoints."""

    around: Surroundings
    types: Mapping[str, Type]

    async def get(self, request: Request) -> Response:
        """Show the jobs of who asks, and one of them with everything: ``?job=ID``; ``?new=TYPE`` is the form of a kind."""
        wanted = request.query_params.get("new", "")
        form = job_form.form(self._kind(wanted), self.around.reader(request)) if wanted else None
        return await self._page(request, form)

    async def _page(self, request: Request, form: Mapping[str, Any] | None, status: int = 200) -> Response:
        content = {**await anyio.to_thread.run_sync(self._content, request), "form": form, "login": ""}
        if form is not None and form["closed"]:
            base = brand_of(request, self.around.site.settings).base
            here = f"{urlsplit(base).path}/jobs?{urlencode({'new': form['kind']})}"
            content["login"] = f"{base}/login?{urlencode({'next': here})}"
        facts = frame(request, self.around)
        if content["shown"] is not None and content["shown"]["error"]:
            content["shown"]["error"] = faults_in(facts["said"])(content["shown"]["error"])
        return dali.whole(request, written("jobs.html", facts, **content), PAGE, 404 if content["gone"] else status)

    def _kind(self, name: str) -> Type:
        """Find a kind of jobs that is begun here.

        Raises
        ------
        NotFound
            There is none.
        """
        if name not in self.types:
            raise NotFound(say("there is no kind of jobs {name!r} here", name[:40]), remedy="/jobs lists them")
        return self.types[name]

    async def post(self, request: Request) -> Response:
        """Begin a query as a job, or another kind (``TYPE``), or change one: ``ACTION`` abort or delete, ``JOB`` its id."""
        if from_elsewhere(request, self.around.site.settings):
            raise Forbidden("a page of another site asks this", remedy="use the forms of this site")
        given = await dali.read(request, self.around.site.settings.limits.upload + FORM_MOST)
        try:
            return await self._done(request, given)
        finally:
            given.close()

    async def _done(self, request: Request, given: Params) -> Response:
        headers = {"cache-control": "no-store"}
        action = given.one("ACTION")
        if action is None:
            try:
                name, cookie = await anyio.to_thread.run_sync(self._begin, request, given)
            except ParamError as error:
                kind = self.types.get(given.one("TYPE") or "")
                if kind is None:
                    raise
                words = faults_in(frame(request, self.around)["said"])
                fault = {
                    "name": error.name or "",
                    "message": words.error(error, dali.request_id(request)),
                    "remedy": words(error.remedy),
                }
                return await self._page(request, job_form.form(kind, self.around.reader(request), given, fault), 400)
            if cookie:
                headers["set-cookie"] = cookie
            following = {"job": name}
        else:
            following = await anyio.to_thread.run_sync(self._change, request, action.lower(), given.one("JOB") or "")
        base = brand_of(request, self.around.site.settings).base
        there = f"{base}/jobs{f'?{urlencode(following)}' if following else ''}"
        return Response(status_code=303, headers={**headers, "location": there})

    async def plot(self, request: Request) -> Response:
        """Return what a plot of a result draws, as JSON: ``histogram`` of ``_x``, ``points`` of ``_x``, ``_y``, ``_c``."""
        return await anyio.to_thread.run_sync(self._plotted, request)

    async def download(self, request: Request) -> Response:
        """Answer with a result in another format than it was asked in (``_as``)."""
        return await anyio.to_thread.run_sync(self._again, request)

    def refused(self, request: Request, error: Exception) -> Response:
        """Answer with an error as a page."""
        facts = frame(request, self.around)
        body = error_page(facts, dali.status_of(error), faults_in(facts["said"]).error(error, dali.request_id(request)))
        return dali.whole(request, body, {**PAGE, **dali.headers_of(error)}, dali.status_of(error))

    def told(self, request: Request, error: Exception) -> Response:
        """Answer with an error as JSON."""
        words = faults_in(frame(request, self.around)["said"])
        message = words.error(error, dali.request_id(request))
        body = orjson.dumps({"message": message, "remedy": words(error.remedy if isinstance(error, HvenError) else "")})
        return Response(
            body, dali.status_of(error), {**dali.headers_of(error), **UNKEPT, "content-type": "application/json"}
        )

    # --- changing --------------------------------------------------------------------------------------------

    def _begin(self, request: Request, given: dali.Params) -> tuple[str, str]:
        """Make a job, or find the same one that was sent a moment ago: return its id, and a cookie for who has none yet."""
        who, cookie = self._who(request), ""
        if who.nobody and not who.visitor:
            settings = self.around.site.settings
            cookie, visitor = visit(path=settings.root_path, secure=secure(request, settings))
            who = Asker(reader=who.reader, address=who.address, visitor=visitor)
        other = self.types.get(given.one("TYPE") or "")
        desk = Desk(self.around.site, TAP if other is None else other.name)
        files: Mapping[str, Upload] = {}
        if other is None:
            names = ("QUERY", "RESPONSEFORMAT", "MAXREC")
            wanted = [(name, value) for name in names for value in given.all(name) if value]
            wanted = [("REQUEST", "doQuery"), ("LANG", "ADQL"), *wanted]
        else:
            wanted, files = job_form.sent(other, given)
        if other is None and not given.one("QUERY"):
            raise ParamError("there is no query", name="QUERY", remedy="write one at /adql")
        if not cookie and not files and (same := self._same(desk, who, wanted)):
            return same, ""
        return desk.create(collect([*wanted, ("PHASE", "RUN")], files), who).id, cookie

    def _same(self, desk: Desk, who: Asker, wanted: Sequence[tuple[str, str]]) -> str | None:
        """Find the job of a button that was pressed twice."""
        since = datetime.now(UTC) - timedelta(seconds=AGAIN)
        for ref in desk.listed(collect([("AFTER", since.isoformat()), ("LAST", "5")]), who):
            with contextlib.suppress(NotFound, Forbidden):
                job = desk.one(ref.id, who)
                if sorted(job.parameters) == sorted(wanted) and job.phase in {*ACTIVE, "HELD"}:
                    return job.id
        return None

    def _change(self, request: Request, action: str, name: str) -> dict[str, str]:
        who = self._who(request)
        if action not in {"abort", "delete"}:
            raise ParamError(
                say("{name}={value} is not known", "ACTION", action[:40]), name="ACTION", remedy="abort or delete"
            )
        try:
            desk, job = self._found(name, who, to_read=action != "delete", to_change=True)
        except NotFound:
            if action == "delete":  # pressed twice, or from a page that is old: it is gone, as was wanted
                return {}
            raise
        if action == "delete":
            desk.remove(job)
            return {}
        desk.move(job, "ABORT")
        return {"job": job.id}

    def _found(self, name: str, who: Asker, *, to_read: bool = True, to_change: bool = False) -> tuple[Desk, Job]:
        job = self.around.site.store.jobs.one(name)
        desk = Desk(self.around.site, job.type)
        return desk, desk.one(name, who, to_read=to_read, to_change=to_change)

    # --- showing ---------------------------------------------------------------------------------------------

    def _content(self, request: Request) -> dict[str, Any]:
        who, name = self._who(request), request.query_params.get("job", "")
        base = dali.base(request, self.around.site.settings)
        shown, gone = None, ""
        if name:
            try:
                desk, job = self._found(name, who)
                shown = self._shown(desk, job, base)
            except NotFound:
                gone = name[:80]
        found: list[Ref] = []
        wanted = [("LAST", str(LISTED + 1)), ("BEFORE", before := request.query_params.get("before", ""))]
        # a browser without either began none: those of its address are programs
        known = not who.nobody or who.visitor
        for kind in (TAP, *self.types) if known else ():
            found += Desk(self.around.site, kind).listed(collect(wanted), who)
        found.sort(key=lambda ref: ref.id)
        found.sort(key=lambda ref: ref.created, reverse=True)
        lines = []
        for ref in found[:LISTED]:
            with contextlib.suppress(NotFound):  # destroyed since a moment ago
                job = self.around.site.store.jobs.one(ref.id)
                closed = bool(kept_rights.missing_rights(job.groups, who.reader))
                lines.append(self._line(replace(job, parameters=(), progress={}) if closed else job, base))
        older = f"{base}/jobs?{urlencode({'before': place(found[LISTED - 1])})}" if len(found) > LISTED else ""
        return {
            "jobs": lines,
            "older": older,
            "newest": f"{base}/jobs" if before else "",
            "shown": shown,
            "gone": gone,
            "types": [
                {
                    "name": kind.name,
                    "title": kind.title,
                    "description": kind.description,
                    "closed": kind.access != "public" and who.reader.name is None,
                }
                for kind in self.types.values()
            ],
            "who": who.reader.name,
            "active": any(one["active"] for one in (*lines, *([shown] if shown else []))),
        }

    def _line(self, job: Job, base: str) -> dict[str, Any]:
        """Return what the list says of a job."""
        text = next((value for name, value in job.parameters if name.upper() == "QUERY"), "") or ", ".join(
            f"{name}={value}" for name, value in job.parameters
        )
        ended = job.ended is not None
        begun = None if job.started is None else datetime.fromisoformat(job.started)
        until = datetime.fromisoformat(job.ended) if job.ended else datetime.now(UTC)
        share = job.progress.get("share")
        return {
            "id": job.id,
            "type": job.type,
            "what": " ".join(text.split())[:160] or job.type,
            "phase": job.phase,
            "active": job.phase in {*ACTIVE, "HELD"} and not ended,
            "running": job.phase == "EXECUTING",
            "created": uwsdoc.time(job.created),
            "elapsed": None if begun is None else _elapsed((until - begun).total_seconds()),
            "rows": job.progress.get("rows"),
            "percent": None if not isinstance(share, int | float) else max(0, min(100, round(100 * share))),
            "bytes": sum(int(item["bytes"] or 0) for item in job.results) or None,
            "url": f"{base}/jobs?{urlencode({'job': job.id})}",
        }

    def _shown(self, desk: Desk, job: Job, base: str) -> dict[str, Any]:
        """Return everything of a job."""
        here = f"{base}/{'tap/async' if job.type == TAP else f'jobs/{job.type}'}/{job.id}"
        outlook = desk.outlook(job)
        text = next((value for name, value in job.parameters if name.upper() == "QUERY"), "")
        return {
            **self._line(job, base),
            "name": job.run_id or _tables(text) or (self.types[job.type].title if job.type in self.types else ""),
            "uws": here,
            "query": text,
            "again": f"{base}/adql?{urlencode({'QUERY': text})}"
            if text and job.type == TAP and len(text) < 8_000
            else "",
            "parameters": [
                (name, value[:LONG] + ("…" if len(value) > LONG else ""))
                for name, value in job.parameters
                if name.upper() != "QUERY"
            ],
            "format": next((value for name, value in job.parameters if name.upper() == "RESPONSEFORMAT"), ""),
            "started": uwsdoc.time(job.started),
            "ended": uwsdoc.time(job.ended),
            "destruction": uwsdoc.time(job.destruction),
            "duration": job.duration,
            "place": outlook.place,
            "quote": uwsdoc.time(outlook.quote),
            "note": outlook.note or job.progress.get("note") or "",
            "error": None if job.error is None else recorded(job.error.get("said") or [job.error["message"]]),
            "overflow": bool(job.progress.get("overflow")),
            "results": uwsdoc.results(job, here),
            "preview": self._preview(desk, job, here, base) if job.phase == "COMPLETED" else None,
        }

    def _preview(self, desk: Desk, job: Job, here: str, base: str) -> dict[str, Any] | None:
        """Read the first rows of a result, with the ways out of it; None if it is no table that can be read here."""
        found = self._table(desk, job, PREVIEWED)
        if found is None:
            return None
        item, _, media_type, (page, table) = found
        address = f"{here}/results/{quote(item)}"
        own, _ = formats.select(media_type)
        return {
            "columns": headings(page, table),
            "rows": cells(page, table),
            "more": page.more,
            "here": f"{base}/jobs/shown",
            "table": address
            if own.name == "votable"
            else f"{base}/jobs/shown/download?{urlencode({'job': job.id, '_as': 'votable'})}"
            if own.read
            else "",
            "formats": [
                (label, f"{base}/jobs/shown/download?{urlencode({'job': job.id, '_as': name})}")
                for name, label in formats.menu_entries()
                if name != own.name
            ]
            if own.read is not None
            else [],
            "lines": _lines(address, here, own.name) if job.type == TAP else [],
            "plotted": told.axes([one for one in table.columns if plotted(one)]),
        }

    def _table(self, desk: Desk, job: Job, rows: int) -> tuple[str, Path, str, tuple[Page, Table]] | None:
        """Find the first result that is a table: its name, file, media type and first rows."""
        for item in job.results:
            try:
                path, media_type = desk.result(job, item["id"])
            except NotFound:
                continue
            if (found := first_rows(path, media_type, rows)) is not None:
                return item["id"], path, media_type, found
        return None

    def _result_of(self, request: Request) -> tuple[Path, str, Table]:
        """Find the table that a plot or a download is of.

        Raises
        ------
        NotFound
            There is no such job, or its result is no table.
        """
        desk, job = self._found(request.query_params.get("job", ""), self._who(request))
        found = self._table(desk, job, 1)
        if found is None:
            raise NotFound("this job has no result that is a table", remedy="run it again as VOTable")
        _, path, media_type, (_, table) = found
        return path, media_type, table

    def _plotted(self, request: Request) -> Response:
        path, media_type, table = self._result_of(request)
        named = []
        for name in ("_x", "_y", "_c"):
            if given := request.query_params.get(name, ""):
                column = next((one for one in table.columns if one.name == given), None)
                if column is None:
                    raise ParamError(
                        say("there is no column {name!r}", given[:60]),
                        name=name,
                        remedy="choose one of the result's columns",
                    )
                named.append(column)
        if not named:
            raise ParamError("no column was named", name="_x", remedy="_x=COLUMN")
        if request.url.path.endswith("/histogram"):
            told_ = told.histogram(kept.histogram(path, media_type, named[0]), named[0])
        else:
            found = kept.points(path, media_type, named, table)
            told_ = (
                told.points(found, None)
                if isinstance(found, Points)
                else told.density(found, named, None if found is None else int(found.counts.sum()))
            )
        return dali.whole(
            request,
            orjson.dumps(told_, option=orjson.OPT_SERIALIZE_NUMPY),
            {**UNKEPT, "content-type": "application/json"},
        )

    def _again(self, request: Request) -> Response:
        path, media_type, _ = self._result_of(request)
        fmt, options = formats.select(request.query_params.get("_as") or "votable")
        chunks = kept.again(path, media_type, fmt, options)
        first = next(chunks, b"")  # what cannot be is said before the first byte
        headers = {
            **UNKEPT,
            "content-disposition": f'attachment; filename="result.{fmt.extension.lstrip(".")}"',
            "x-content-type-options": "nosniff",
        }
        return StreamingResponse(itertools.chain((first,), chunks), media_type=fmt.media_types[0], headers=headers)

    # --- manners ---------------------------------------------------------------------------------------------

    def _who(self, request: Request) -> Asker:
        return Asker(reader=self.around.reader(request), address=caller(request), visitor=visitor_of(request.headers))


def _lines(address: str, job: str, kind: str) -> list[dict[str, str]]:
    """Write how programs take a result."""

    def line(name: str, text: str) -> dict[str, str]:
        return {"name": name, "text": text.format(url=shlex.quote(address)), "url": address, "signed": text}

    lines = [
        line("curl", "curl -f -O -J {url}"),
        {
            "name": "pyvo",
            "text": f"import pyvo\n\njob = pyvo.dal.AsyncTAPJob({job!r})\ntable = job.fetch_result().to_table()",
        },
        {"name": "STILTS", "text": f"stilts tapresume joburl={shlex.quote(job)} ofmt=votable out=answer.vot"},
    ]
    return [
        *(lines if kind == "votable" else lines[:1]),
        *([line("TOPCAT", f"topcat -f {kind} {{url}}")] if kind in TOPCAT else []),
    ]


def _tables(text: str) -> str:
    """Return the tables that a query asks, as it names them; nothing if it cannot be read."""
    try:
        parsed = adql.parse(text) if text else None
    except ParseError:
        return ""
    if parsed is None:
        return ""
    nodes = list(walk(parsed))
    own = {one.name.name.lower() for one in nodes if isinstance(one, tree.CommonTable)}
    found = [".".join(part.name for part in one.parts) for one in nodes if isinstance(one, tree.TableRef)]
    named = [name for name in dict.fromkeys(found) if name.lower() not in own]
    return ", ".join(named[:NAMED]) + (" …" if len(named) > NAMED else "")


def _elapsed(seconds: float) -> str:
    if seconds < 60:
        return f"{max(seconds, 0):.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"
