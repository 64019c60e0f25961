"""Desk: everything that may be asked of the jobs of one type - made, changed, run, aborted, listed, destroyed - by whom."""

from __future__ import annotations

import os
import re
import secrets
import shutil
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import quote

from hven.jobs import declared
from hven.jobs._quote import Outlook, outlook
from hven.jobs._types import FILES, RULES, files_in, made
from hven.model.errors import Conflict, Forbidden, HvenError, NotFound, ParamError, StorageError, Unauthenticated, say
from hven.model.params import collect
from hven.site.auth import kept_rights
from hven.site.auth.local import SCOPES
from hven.site.store import Job, now

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

    from hven.jobs._types import Type
    from hven.model.params import Params
    from hven.model.settings import Settings
    from hven.site import Site
    from hven.site.auth import Reader
    from hven.site.store import Ref

PHASES = ("PENDING", "QUEUED", "EXECUTING", "COMPLETED", "ERROR", "ABORTED", "UNKNOWN", "HELD", "SUSPENDED", "ARCHIVED")
ACTIVE = ("PENDING", "QUEUED", "EXECUTING")  # WAIT waits in these (UWS 1.1 section 2.2.1.1)
FINAL = ("COMPLETED", "ERROR", "ABORTED", "ARCHIVED")
OPEN = ("PENDING", "QUEUED", "EXECUTING", "HELD", "SUSPENDED", "UNKNOWN")
KEPT = (*OPEN, "COMPLETED", "ERROR", "ABORTED")  # with their results, until their destruction
CONTROLS = (
    "PHASE",
    "RUNID",
    "ACTION",
    "DESTRUCTION",
    "EXECUTIONDURATION",
    "WAIT",
    "DEPENDS_ON",
    "PARENT",
)  # of the job itself, not of its work
PAGE, MOST = 1_000, 10_000  # jobs of a list without LAST, and with it
KIN = 100  # jobs that one waits for
RUN_ID = 64  # characters, as UWS recommends no more
LONGEST = 200  # bytes of a file's name
VALUES = 4 * 1024**2  # characters of a job's parameters
READING = SCOPES["read"]
_TIME = re.compile(r"(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?))?(Z|[+-]\d\d:?\d\d)?", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asker:
    """Who asks, and from where: the anonymous ones of an address share a queue, and a list unless a cookie tells them apart.

    Attributes
    ----------
    reader
        Their account, if they have one.
    visitor
        Of a browser without an account: what its cookie says (`hven.site.auth.session.visitor_of`); empty if it has none.
    """

    reader: Reader
    address: str
    visitor: str = ""

    @property
    def queue(self) -> str:
        """Whose turn it is when a job waits."""
        if self.reader.name is not None:
            return f"user {self.reader.name}"
        return f"address {self.address}" if self.reader.principal is None else self.reader.principal

    @property
    def nobody(self) -> bool:
        """True if no principal owns what they make: their jobs are for whoever knows their names."""
        return self.reader.principal is None


class Desk:
    """The jobs of one type. Every call is one short transaction of the store; none of them runs a job."""

    def __init__(self, site: Site, kind: str) -> None:
        self.site = site
        self.kind = kind

    # --- making ----------------------------------------------------------------------------------------------

    def create(self, params: Params, who: Asker) -> Job:
        """Create a job; PHASE=RUN lets it wait for its turn at once.

        Parameters
        ----------
        params
            Of the request; RUNID, PHASE, EXECUTIONDURATION and DESTRUCTION are the job's own, all others its work's.
        who
            The asker, who owns it.

        Returns
        -------
        job
            PENDING, QUEUED or HELD.

        Raises
        ------
        ParamError
            One of the job's own parameters cannot be; no job was made.
        Forbidden
            Too many jobs of the same asker have not ended.
        """
        limits = self.site.settings.jobs
        kind = self._type(who)
        run = _wanted(params, "PHASE", ("RUN",))
        if run:
            self._check(kind, params, params.files)
        parent = params.one("PARENT")
        destruction = self._destruction(params)
        duration = self._duration(params)
        job = Job(
            id=f"{datetime.now(UTC):%y%m%d}{secrets.token_hex(10)}",
            type=self.kind,
            created=f"{now()[:23]}000Z",  # to the millisecond, as it is shown: AFTER takes what was shown
            queue=who.queue,
            owner=who.reader.principal,
            groups=kept_rights.record_rights(who.reader, self.site.store, self.site.settings),
            run_id=_run_id(params),
            parameters=_kept(params),
            duration=(kind.quota.seconds or limits.seconds) if duration is None else duration,
            parent=None if parent is None else self._kin([parent], "PARENT", who)[0],
            depends_on=self._kin(params.all("DEPENDS_ON"), "DEPENDS_ON", who),
            destruction=destruction or stamp(datetime.now(UTC) + timedelta(days=limits.keep_days)),
        )
        try:
            self._keep(job.id, params)
            visitor = who.visitor if who.nobody else ""
            kept = self.site.store.jobs.add(job, among=OPEN, most=limits.open, visitor=visitor)
        except BaseException:
            shutil.rmtree(directory(self.site.settings, job.id), ignore_errors=True)
            raise
        if not kept:
            shutil.rmtree(directory(self.site.settings, job.id), ignore_errors=True)
            message = say("{open:,} jobs of yours have not ended, and more are not kept", limits.open)
            raise Forbidden(message, remedy="let some end, or delete those that are PENDING or HELD")
        if run:
            self._enqueue(job, among=("PENDING",))
        return job

    def _type(self, who: Asker) -> Type:
        """Return what kind of job it is.

        Raises
        ------
        Unauthenticated
            It is for those who are logged in.
        """
        found = declared.of(self.site.settings, self.kind)
        if found.access != "public" and who.reader.name is None:
            raise Unauthenticated(
                say("jobs of the type {kind} are for those who have an account here", self.kind), remedy="log in"
            )
        return found

    def _check(self, kind: Type, params: Params, files: Collection[str]) -> None:
        if kind.check is not None:
            kind.check(params, files)

    def _kin(self, names: Sequence[str], role: str, who: Asker) -> list[str]:
        """Check that other jobs are there, and the asker's to name."""
        found = [name for value in names for name in re.split(r"[\s,]+", value) if name]
        for name in found:
            try:
                self._allowed(self.site.store.jobs.one(name), who)
            except NotFound:
                raise ParamError(
                    say("{role}={name!r:.80} is no job", role, name),
                    name=role,
                    remedy="give the id of a job, of any type",
                ) from None
        if len(found) > KIN:
            raise ParamError(say("{role} names {count} jobs; the limit is {most}", role, len(found), KIN), name=role)
        return list(dict.fromkeys(found))

    def _enqueue(self, job: Job, *, among: Sequence[str]) -> str | None:
        alike = declared.of(self.site.settings, self.kind).quota.waiting
        return self.site.store.jobs.enqueue(job.id, among=among, most=self.site.settings.jobs.queued, alike=alike)

    # --- looking ---------------------------------------------------------------------------------------------

    def one(self, name: str, who: Asker, *, to_read: bool = True, to_change: bool = False) -> Job:
        """Return a job. That of nobody in particular is for everybody who knows its name, which cannot be guessed.

        Parameters
        ----------
        name
            Its id.
        who
            The asker.
        to_read
            False: to destroy it, which its owner may whatever rights they have lost since.
        to_change
            True: to change, stop or destroy it.

        Returns
        -------
        job
            As the store has it now.

        Raises
        ------
        NotFound
            There is none.
        Forbidden
            It is another user's, or relies on rights that its owner has lost since; a token that may only read changes no job but those that such a token
            of the same account began.
        """
        job = self.site.store.jobs.one(name)
        if job.type != self.kind:
            raise NotFound(say("there is no job {name!r:.80}", name))
        self._allowed(job, who, to_read=to_read)
        if to_change and READING in who.reader.groups and (READING not in job.groups or job.owner != who.reader.name):
            raise Forbidden(
                "this token may only read: it changes no jobs but those that it began",
                remedy="a token with the scope all may change things",
            )
        return job

    def _allowed(self, job: Job, who: Asker, *, to_read: bool = True) -> None:
        what = say("the job {id}", job.id)
        kept_rights.check_kept(what, job.owner, job.groups, who.reader, self.site.store, to_read=to_read)
        rules = job.progress.get(RULES, {})
        if to_read and rules and not kept_rights.is_open_still(rules, self.site.current().published, who.reader):
            raise Forbidden(
                say("{what} has rows of tables that were closed since", what),
                remedy="ask again: the answer has what you may see now",
            )

    def children(self, job: Job) -> list[str]:
        """List the jobs that are part of a job.

        Parameters
        ----------
        job
            Any.

        Returns
        -------
        ids
            The oldest first.
        """
        return self.site.store.jobs.children(job.id)

    def outlook(self, job: Job) -> Outlook:
        """Estimate what is to be expected of a job: its place in the queue, and when it will be done.

        Parameters
        ----------
        job
            Any.

        Returns
        -------
        outlook
            With a note to its owner if it is held.
        """
        found = outlook(job, self.site.store.jobs, datetime.now(UTC))
        if job.phase != "HELD":
            return found
        most = self.site.settings.jobs.queued
        return replace(
            found, note=f"{most:,} jobs of yours wait or run already; tell this one to RUN when some of them have ended"
        )

    def listed(self, params: Params, who: Asker, *, most: int = MOST) -> list[Ref]:
        """List the asker's jobs, the newest first (UWS 1.1, 2.2.2.1).

        Parameters
        ----------
        params
            PHASE, AFTER, LAST; and BEFORE, a time or what `place` returns.
        who
            The asker.
        most
            How many at most, whatever LAST says.

        Returns
        -------
        jobs
            Short records.

        Raises
        ------
        ParamError
            A filter cannot be.
        """
        phases = [phase.upper() for phase in params.all("PHASE") if phase]
        for phase in phases:
            if phase not in PHASES:
                raise ParamError(
                    say("PHASE={phase!r:.40} is no phase", phase),
                    name="PHASE",
                    remedy=say("one of {names}", ", ".join(PHASES)),
                )
        after = params.one("AFTER")
        last = min(params.whole("LAST", minimum=1) or most, most)
        since = None if after is None else stamp(moment(after, "AFTER"))
        visitor = who.visitor if who.nobody else None
        given, _, name = (params.one("BEFORE") or "").partition(",")
        before = (stamp(moment(given, "BEFORE")), name or None) if given else None
        return self.site.store.jobs.listed(
            who.queue,
            self.kind,
            phases=phases,
            hidden=("ARCHIVED",),
            after=since,
            before=before,
            last=last,
            visitor=visitor,
        )

    # --- changing --------------------------------------------------------------------------------------------

    def change(self, job: Job, params: Params, who: Asker | None = None) -> None:
        """Add or replace parameters of a job that is PENDING; set what else the request says of the job itself.

        Parameters
        ----------
        job
            As the store has it.
        params
            Of the request.
        who
            The asker; None: whoever owns it.

        Raises
        ------
        ParamError
            A value cannot be.
        Conflict
            The job is beyond that phase.
        """
        given = _kept(params)
        duration, destruction = self._duration(params), self._destruction(params)
        phase = _wanted(params, "PHASE", ("RUN", "ABORT"))
        values: dict[str, object] = {}
        if given:
            names = {name.upper() for name, _ in given}
            values["parameters"] = _bounded(
                [*(pair for pair in job.parameters if pair[0].upper() not in names), *given]
            )
        if params.one("RUNID") is not None:
            values["run_id"] = _run_id(params)
        if params.files and job.phase == "PENDING":
            self._keep(job.id, params)
        if (values or params.files) and not self.site.store.jobs.change(
            job.id, among=("PENDING",), **(values or {"run_id": job.run_id})
        ):
            raise Conflict("the parameters of a job can be changed while it is PENDING only", remedy="make another job")
        if destruction is not None and not self.site.store.jobs.change(job.id, among=KEPT, destruction=destruction):
            raise Conflict("the job is ARCHIVED: what was to be destroyed is")
        if duration is not None and not self.site.store.jobs.change(job.id, among=OPEN, duration=duration):
            raise Conflict("the job has ended: there is no time left to limit")
        if params.all("DEPENDS_ON"):
            self._depend(job, params, who)
        if phase is not None:
            self.move(job, phase)

    def _depend(self, job: Job, params: Params, who: Asker | None) -> None:
        if who is None:
            raise ParamError("DEPENDS_ON cannot be changed here", name="DEPENDS_ON")
        circle = self.site.store.jobs.depend(
            job.id, self._kin(params.all("DEPENDS_ON"), "DEPENDS_ON", who), among=("PENDING",)
        )
        if circle is None:
            raise Conflict("what a job waits for can be changed while it is PENDING only", remedy="make another job")
        if circle:
            raise ParamError(
                say("the job would wait for itself: {circle}", " -> ".join(circle)),
                name="DEPENDS_ON",
                remedy="let one of them go without",
            )

    def move(self, job: Job, phase: str) -> None:
        """Run or abort a job. What has happened already is no error: a job that runs may be told to RUN, one that has ended to ABORT.

        Parameters
        ----------
        job
            As the store has it.
        phase
            RUN or ABORT.

        Raises
        ------
        Conflict
            A job that has ended cannot be run again.
        """
        jobs = self.site.store.jobs
        if phase == "RUN":
            if job.phase in {"PENDING", "HELD"}:
                now_ = jobs.one(job.id)  # its parameters may have come with this very request
                kept = directory(self.site.settings, job.id) / FILES
                self._check(declared.of(self.site.settings, self.kind), collect(now_.parameters), files_in(kept))
            done = self._enqueue(job, among=("PENDING", "HELD"))
            if done is None and jobs.one(job.id).phase in FINAL:
                raise Conflict(
                    say("the job is {phase} and cannot be run again", jobs.one(job.id).phase), remedy="make another job"
                )
        else:
            ended = {"phase": "ABORTED", "ended": now(), "holder": None}
            if not jobs.change(job.id, among=("EXECUTING",), **ended) and jobs.change(job.id, among=OPEN, **ended):
                with suppress(NotFound):  # as it is now: a worker may have put it back since it was read
                    self._drop(jobs.one(job.id), destroyed=False)

    def remove(self, job: Job) -> None:
        """Destroy a job and everything of it; if it runs, it is stopped.

        Parameters
        ----------
        job
            As the store has it.
        """
        with suppress(NotFound):
            job = self.site.store.jobs.one(job.id)  # as it is now: a worker may have put it back since it was read
        for name in self.site.store.jobs.remove(job.id):
            shutil.rmtree(directory(self.site.settings, name), ignore_errors=True)
        if job.phase != "EXECUTING":
            self._drop(job, destroyed=True)

    def _drop(self, job: Job, *, destroyed: bool) -> None:
        """Inform its type that a job is dropped, where no worker does."""
        try:
            kind = declared.of(self.site.settings, self.kind)
        except HvenError:  # the declaration has gone: nobody knows any more what there is to do
            return
        if kind.dropped is not None:
            kind.dropped(self.site, job, destroyed)

    # --- results ---------------------------------------------------------------------------------------------

    def result(self, job: Job, name: str) -> tuple[Path, str]:
        """Return the file of a result.

        Parameters
        ----------
        job
            As the store has it.
        name
            Id of the result.

        Returns
        -------
        path
            On this machine.
        media_type
            Of its content.

        Raises
        ------
        NotFound
            There is none of that name, or not yet, or no more.
        """
        for item in job.results:
            if item["id"] == name:
                path = directory(self.site.settings, job.id) / item["file"]
                if path.is_file():
                    return path, item["media_type"]
        raise NotFound(
            say("the job has no result {name!r:.80}", name),
            remedy=say("it is {phase}; a job has results when it is COMPLETED", job.phase),
        )

    def _keep(self, name: str, params: Params) -> None:
        """Keep the files of a request for the job, durably: its row comes after them."""
        place = directory(self.site.settings, name) / FILES
        for part, upload in params.files.items():
            encoded = quote(part, safe="")
            if len(encoded) > LONGEST or encoded.strip(".") == "":
                raise ParamError(
                    say("a part of the request is called {part!r:.60}", part),
                    remedy="give it a short name of letters and digits",
                )
            try:
                made(place, self.site.settings.kept)
                with (place / encoded).open("wb") as file:
                    upload.file.seek(0)
                    shutil.copyfileobj(upload.file, file, 1 << 20)
                    file.flush()
                    os.fsync(file.fileno())
            except OSError as error:
                message = say("the file {part!r} cannot be kept: {reason}", part, (error.strerror or "").lower())
                raise StorageError(message, remedy="try again later") from error

    def _duration(self, params: Params) -> int | None:
        asked = params.whole("EXECUTIONDURATION")
        if asked is None:
            return None
        hard = min(
            self.site.settings.jobs.seconds_hard, declared.of(self.site.settings, self.kind).quota.seconds or 2**31
        )
        return hard if asked == 0 else min(asked, hard)  # 0 asks for as long as it takes (section 2.1.7)

    def _destruction(self, params: Params) -> str | None:
        text = params.one("DESTRUCTION")
        if text is None:
            return None
        latest = datetime.now(UTC) + timedelta(days=self.site.settings.jobs.keep_days_hard)
        return stamp(min(moment(text, "DESTRUCTION"), latest))


def directory(settings: Settings, name: str) -> Path:
    """Return the directory of a job's files.

    Parameters
    ----------
    settings
        Of the site.
    name
        Id of the job.
    """
    return settings.kept / "jobs" / name


def moment(text: str, name: str) -> datetime:
    """Parse a time; without a zone it is UTC (DALI 1.1, 3.3.3).

    Parameters
    ----------
    text
        As it was sent.
    name
        Of the parameter, for the message.

    Returns
    -------
    time
        Aware, UTC.

    Raises
    ------
    ParamError
        It is none.
    """
    found = _TIME.fullmatch(text.strip())
    date, time, zone = found.groups() if found is not None else ("", None, None)
    try:
        return datetime.fromisoformat(
            f"{date}T{_micro(time or '00:00:00')}{'+00:00' if zone in {None, 'Z'} else zone}"
        ).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ParamError(
            say("{name}={text!r:.60} is no time", name, text), name=name, remedy="write 2026-11-20T10:30:00Z"
        ) from None


def _micro(time: str) -> str:
    whole, dot, part = time.partition(".")
    return f"{whole}.{part[:6]:0<6}" if dot else whole


def place(ref: Ref) -> str:
    """Name a place in a list of jobs: BEFORE takes it, and lists what is behind.

    Parameters
    ----------
    ref
        The last job that was listed.

    Returns
    -------
    place
        Opaque text.
    """
    return f"{ref.created},{ref.id}"


def stamp(when: datetime) -> str:
    """Format a time as the store does: sorts as text.

    Parameters
    ----------
    when
        Aware.

    Returns
    -------
    time
        UTC, to the microsecond, with Z.
    """
    return when.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _wanted(params: Params, name: str, allowed: Sequence[str]) -> str | None:
    text = params.one(name)
    if text is None:
        return None
    if text.upper() not in allowed:
        raise ParamError(
            say("{name}={text!r:.40} cannot be asked for", name, text),
            name=name,
            remedy=say("{name}={values}", name, " or ".join(allowed)),
        )
    return text.upper()


def _run_id(params: Params) -> str | None:
    text = params.one("RUNID")
    if text is None:
        return None
    if len(text) > RUN_ID or not text.isprintable():
        raise ParamError(
            say("RUNID={text!r:.40} cannot be a name of a run", text),
            name="RUNID",
            remedy=say("up to {most} printable characters", RUN_ID),
        )
    return text


def _kept(params: Params) -> list[tuple[str, str]]:
    return _bounded(
        [(name, value) for name, values in params.values.items() if name not in CONTROLS for value in values]
    )


def _bounded(pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
    size = sum(len(name) + len(value) for name, value in pairs)
    if size > VALUES:
        raise ParamError(
            say("the parameters have {size:,} characters; the limit is {most:,}", size, VALUES),
            remedy="upload long lists as a table",
        )
    return pairs
