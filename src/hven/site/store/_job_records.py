"""Jobs as rows: who may run them next, who runs them, how they ended. What a phase means is said in `hven.jobs`."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

from hven.model.errors import NotFound
from hven.site.store import _job_relations as kin
from hven.site.store._database import jobs, meta, now, visits
from hven.site.store._leases import dead, holder

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from hven.site.store._database import Database

REMOTE = "remote"  # in a job's progress: the address of the job elsewhere that does its work
MANY = 500  # ids in one statement
# phases that only so many jobs of a queue can be in
FEW = ("PENDING", "QUEUED", "EXECUTING", "HELD", "SUSPENDED", "UNKNOWN")
TURN = "turn"  # key of the moment at which the last job was begun


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One job (UWS 1.1 section 2.1). Times are ISO text in UTC.

    Attributes
    ----------
    id
        Cannot be guessed.
    type
        Name of the job type.
    queue
        Whose turn it is when it waits: ``user NAME`` or ``address A``.
    phase
        Of UWS 1.1, 2.1.3.
    owner
        Name of the account; None: nobody in particular.
    groups
        Of the owner, when it was made.
    run_id
        RUNID of the request.
    parent, depends_on
        Ids of other jobs.
    parameters
        Name and value, in the order given.
    created, queued, started, ended
        Times of its life.
    duration
        Seconds that it may run; 0 = as long as it takes.
    destruction
        When it will be destroyed.
    results
        ``{id, file, media_type, bytes}`` each.
    error
        ``{kind: fatal|transient, message}``, and ``said``: the message as `hven.model.errors.Said.record` keeps it.
    progress
        What is known of it while it runs: ``{rows, bytes, share}``.
    attempts
        How often it was begun.
    holder, beat
        The process that runs it; a number that grows as long as that process lives.
    """

    id: str
    type: str
    queue: str
    phase: str = "PENDING"
    owner: str | None = None
    groups: Sequence[str] = ()
    run_id: str | None = None
    parent: str | None = None
    depends_on: Sequence[str] = ()
    parameters: Sequence[tuple[str, str]] = ()
    created: str = field(default_factory=now)
    queued: str | None = None
    started: str | None = None
    ended: str | None = None
    duration: int
    destruction: str
    results: Sequence[Mapping[str, Any]] = ()
    error: Mapping[str, Any] | None = None
    progress: Mapping[str, Any] = field(default_factory=dict)
    attempts: int = 0
    holder: str | None = None
    beat: int = 0


class Ref(NamedTuple):
    """A line of a list of jobs, of which there may be a hundred thousand: a tuple is made quickest.

    Attributes
    ----------
    id, phase, created, owner, run_id
        As of `Job`.
    """

    id: str
    phase: str
    created: str
    owner: str | None
    run_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """A job that was completed: what was asked, from when to when it ran.

    Attributes
    ----------
    parameters
        Name and value, in the order given.
    started, ended
        ISO times, UTC.
    """

    parameters: Sequence[tuple[str, str]]
    started: str
    ended: str


_JSON = ("groups", "depends_on", "parameters", "results", "error", "progress")


def _packed(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: json.dumps(value) if name in _JSON and value is not None else value for name, value in values.items()}


def _job(row: Any) -> Job:
    values = {item.name: getattr(row, item.name) for item in fields(Job)}
    for name in _JSON:
        if values[name] is not None:
            values[name] = json.loads(values[name])
    values.update({name: tuple(values[name]) for name in ("groups", "depends_on", "results")})
    values["parameters"] = tuple((name, value) for name, value in values["parameters"])
    return Job(**values)


class Jobs:
    """The jobs of a store. Thread-safe.

    Common
    ------
    name, names
        Id of a job, or several.
    kind
        Name of a job type.
    queue
        Name of a queue: whose jobs they are.
    job
        Its record, as this process read it last.
    among
        Phases: nothing happens to a job that is in another one.
    hidden
        Phases to leave out.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def version(self) -> int:
        """Count of changes of phases so far: cheap enough to ask ten times a second."""
        return self._database.counter("jobs")

    def add(self, job: Job, *, among: Sequence[str] = (), most: int | None = None, visitor: str = "") -> bool:
        """Insert a new job, unless there are too many.

        Parameters
        ----------
        job
            With an id of its own.
        among
            Phases.
        most
            Of the same queue that may be in these phases; None: any number.
        visitor
            Whose it is, of those without an account: then it is on their list alone.

        Returns
        -------
        added
            Whether it was.
        """
        same = sa.select(sa.func.count()).where(jobs.c.queue == job.queue, jobs.c.phase.in_(among))
        with self._database.writing() as connection:
            if most is not None and int(connection.execute(same).scalar_one()) >= most:
                return False
            connection.execute(sa.insert(jobs).values(**_packed(asdict(job))))
            if visitor:
                connection.execute(sa.insert(visits).values(job=job.id, visitor=visitor))
            _moved(connection)
            return True

    def one(self, name: str) -> Job:
        """Return a job.

        Returns
        -------
        job
            As it is now.

        Raises
        ------
        NotFound
            There is none of that id.
        """
        with self._database.reading() as connection:
            row = connection.execute(sa.select(jobs).where(jobs.c.id == name)).first()
        if row is None:
            raise NotFound(f"there is no job {name!r:.80}", remedy="it may have been destroyed")
        return _job(row)

    def phases(self, names: Sequence[str]) -> dict[str, str]:
        """Return the phases of many jobs; those that are no more are left out."""
        found: dict[str, str] = {}
        with self._database.reading() as connection:
            for some in _chunks(names):
                query = sa.select(jobs.c.id, jobs.c.phase).where(jobs.c.id.in_(some))
                found.update({row[0]: row[1] for row in connection.execute(query)})
        return found

    def listed(
        self,
        queue: str,
        kind: str,
        *,
        phases: Sequence[str] = (),
        hidden: Sequence[str] = (),
        after: str | None = None,
        before: tuple[str, str | None] | None = None,
        last: int | None = None,
        visitor: str | None = None,
    ) -> list[Ref]:
        """List jobs of a queue, the newest first.

        Parameters
        ----------
        phases
            Only these; empty: all.
        after
            Created later than this time.
        before
            Created earlier than this time, or at it with a smaller id.
        last
            How many at most; None: all.
        visitor
            Of those without an account, only theirs.

        Returns
        -------
        jobs
            Short records.
        """
        columns = (jobs.c.id, jobs.c.phase, jobs.c.created, jobs.c.owner, jobs.c.run_id)
        if phases and not set(phases) - set(FEW) and not visitor:
            found = self._few(queue, kind, columns, phases, visitor)
            return [ref for ref in found if (after is None or ref.created > after) and _behind(ref, before)][:last]
        query = sa.select(*columns).where(jobs.c.type == kind)
        if visitor:
            query = query.where(jobs.c.id.in_(sa.select(visits.c.job).where(visits.c.visitor == visitor)))
        else:
            query = query.where(jobs.c.queue == queue, *_nobodys(visitor))
        query = query.where(jobs.c.phase.in_(phases) if phases else jobs.c.phase.not_in(hidden))
        if after is not None:
            query = query.where(jobs.c.created > after)
        if before is not None:
            behind = sa.and_(jobs.c.created == before[0], jobs.c.id > before[1]) if before[1] else sa.false()
            query = query.where(jobs.c.created <= before[0], sa.or_(jobs.c.created < before[0], behind))
        query = query.order_by(jobs.c.created.desc(), jobs.c.id).limit(last)
        with self._database.reading() as connection:
            return list(map(Ref._make, connection.execute(query).all()))

    def _few(
        self,
        queue: str,
        kind: str,
        columns: Sequence[sa.Column[Any]],
        phases: Sequence[str],
        visitor: str | None,
    ) -> list[Ref]:
        """List jobs of phases that few are in, by the index of phases: the index of times has all the others in between."""
        rows: list[Any] = []
        with self._database.reading() as connection:
            for phase in sorted(set(phases)):  # in the order of the index, so that it is taken
                query = sa.select(*columns, jobs.c.type).where(
                    jobs.c.phase == phase, jobs.c.queue == queue, *_nobodys(visitor)
                )
                query = query.order_by(jobs.c.queued)
                rows += [row for row in connection.execute(query) if row[5] == kind]
        rows.sort(key=lambda row: row[0])
        rows.sort(key=lambda row: row[2], reverse=True)
        return [Ref._make(row[:5]) for row in rows]

    def change(self, name: str, *, among: Sequence[str], **values: Any) -> bool:
        """Update a job if it is in one of some phases.

        Parameters
        ----------
        values
            Columns and their new values.

        Returns
        -------
        changed
            Whether it was.
        """
        with self._database.writing() as connection:
            done = connection.execute(
                sa.update(jobs).where(jobs.c.id == name, jobs.c.phase.in_(among)).values(**_packed(values))
            )
            if done.rowcount and "phase" in values:
                if values["phase"] == "ABORTED":
                    kin.abort(connection, name)
                _moved(connection)
            return bool(done.rowcount)

    def depend(self, name: str, others: Sequence[str], *, among: Sequence[str]) -> list[str] | None:
        """Make a job wait for others.

        Parameters
        ----------
        others
            Ids.

        Returns
        -------
        circle
            The one that this would make, if it would; None: its phase was not `among` these.
        """
        with self._database.writing() as connection:
            found = kin.circle(connection, name, others)
            if found:
                return found
            which = sa.and_(jobs.c.id == name, jobs.c.phase.in_(among))
            done = connection.execute(sa.update(jobs).where(which).values(depends_on=json.dumps(list(others))))
            return [] if done.rowcount else None

    def children(self, name: str) -> list[str]:
        """List the jobs that are part of another.

        Returns
        -------
        ids
            The oldest first.
        """
        with self._database.reading() as connection:
            return list(
                connection.execute(
                    sa.select(jobs.c.id).where(jobs.c.parent == name).order_by(jobs.c.created, jobs.c.id)
                ).scalars()
            )

    def enqueue(self, name: str, *, among: Sequence[str], most: int, alike: int | None = None) -> str | None:
        """Queue a job: QUEUED, or HELD if there are too many.

        What waits for other jobs first has no time since when it is queued: it has no turn yet.

        Parameters
        ----------
        most
            Of the same queue that may wait or run.
        alike
            Of its type that may wait or run; None: any number.

        Returns
        -------
        phase
            None: it was not `among` these.
        """
        columns = (jobs.c.queue, jobs.c.type, jobs.c.depends_on)
        with self._database.writing() as connection:
            row = connection.execute(sa.select(*columns).where(jobs.c.id == name, jobs.c.phase.in_(among))).first()
            if row is None:
                return None
            same = sa.select(sa.func.count()).where(
                jobs.c.queue == row.queue, jobs.c.phase.in_(("QUEUED", "EXECUTING"))
            )
            fits = int(connection.execute(same).scalar_one()) < most
            if fits and alike is not None:
                fits = int(connection.execute(same.where(jobs.c.type == row.type)).scalar_one()) < alike
            phase = "QUEUED" if fits else "HELD"
            last = connection.execute(
                sa.select(sa.func.max(jobs.c.queued)).where(jobs.c.queue == row.queue, jobs.c.phase == "QUEUED")
            )
            queued = None if phase == "QUEUED" and row.depends_on != "[]" else _later(last.scalar() or "")
            connection.execute(sa.update(jobs).where(jobs.c.id == name).values(phase=phase, queued=queued))
            if queued is None:
                kin.settle(connection)
            _moved(connection)
            return phase

    def remove(self, *names: str) -> list[str]:
        """Delete jobs and what is part of them; who runs them notices.

        Returns
        -------
        ids
            Of all that were deleted.
        """
        with self._database.writing() as connection:
            gone = [*names, *kin.below(connection, names)]
            connection.execute(sa.delete(jobs).where(jobs.c.id.in_(gone)))
            connection.execute(sa.delete(visits).where(visits.c.job.in_(gone)))
            _moved(connection)
            return gone

    # --- running ---------------------------------------------------------------------------------------------

    def waiting(self) -> int:
        """Count the jobs that wait for their turn; those that wait for other jobs first are looked after here.

        Returns
        -------
        count
            Of those that may be claimed.
        """
        ready = sa.select(sa.func.count()).where(jobs.c.phase == "QUEUED", jobs.c.queued.is_not(None))
        with self._database.reading() as connection:
            found = int(connection.execute(ready).scalar_one())
            bound = connection.execute(sa.select(jobs.c.id).where(sa.text(kin.BOUND)).limit(1)).first()
        if bound is None:
            return found
        with self._database.writing() as connection:
            if kin.settle(connection):
                _moved(connection)
            return int(connection.execute(ready).scalar_one())

    def claim(self, most: Mapping[str, int] | None = None) -> Job | None:
        """Claim the next job for this process: of the queue with the fewest running jobs that was served longest ago, the oldest.

        Parameters
        ----------
        most
            Job type -> how many of it may run at once; types that are not named are not limited.

        Returns
        -------
        job
            EXECUTING, held by this process; None: none waits.
        """
        with self._database.writing() as connection:
            if kin.settle(connection):
                _moved(connection)
            full = _full(connection, most or {})
            waiting = list(connection.execute(_turns(tuple(full))))
            if not waiting:
                return None
            running: dict[str, int] = {row[0]: row[1] for row in connection.execute(_RUNNING)}
            fewest = min(running.get(row[0], 0) for row in waiting)
            turns = [(row[2] or "", row[1], row[0]) for row in waiting if running.get(row[0], 0) == fewest]
            queue = min(turns)[2]
            query_one = (
                sa.select(jobs)
                .where(_ready(jobs, full), jobs.c.queue == queue)
                .order_by(jobs.c.queued, jobs.c.id)
                .limit(1)
            )
            job = _job(connection.execute(query_one).one())
            values = {
                "phase": "EXECUTING",
                "started": _turn(connection),
                "holder": holder(),
                "attempts": job.attempts + 1,
                "progress": _lasting(job.progress),
            }
            connection.execute(sa.update(jobs).where(jobs.c.id == job.id).values(**_packed(values)))
            _moved(connection)
            return _job(connection.execute(sa.select(jobs).where(jobs.c.id == job.id)).one())

    def beat(self, job: Job, progress: Mapping[str, Any] | None = None) -> int | None:
        """Record that the holder lives.

        Parameters
        ----------
        job
            Held by this process.
        progress
            To be told; None: as it was.

        Returns
        -------
        seconds
            That the job may run, as they are set now; None: it is not ours to run any more.
        """
        values: dict[str, Any] = {"beat": jobs.c.beat + 1}
        if progress is not None:
            values["progress"] = json.dumps(progress)
        with self._database.writing() as connection:
            done = connection.execute(sa.update(jobs).where(_mine(job)).values(**values))
            if not done.rowcount:
                return None
            return int(connection.execute(sa.select(jobs.c.duration).where(jobs.c.id == job.id)).scalar_one())

    def mine(self, job: Job) -> int | None:
        """Return what `beat` does, without a word to others: cheap.

        Parameters
        ----------
        job
            Held by this process.
        """
        with self._database.reading() as connection:
            found = connection.execute(sa.select(jobs.c.duration).where(_mine(job))).scalar()
        return None if found is None else int(found)

    def finish(self, job: Job, phase: str, **values: Any) -> bool:
        """End a job that this process runs.

        Parameters
        ----------
        job
            Held by this process.
        phase
            COMPLETED, ERROR or ABORTED.
        values
            Further columns and their values.

        Returns
        -------
        ended
            False: it is not ours any more, and nothing was changed.
        """
        with self._database.writing() as connection:
            changes = _packed({"ended": _later(job.started or ""), **values, "phase": phase, "holder": None})
            done = connection.execute(sa.update(jobs).where(_mine(job)).values(**changes))
            if done.rowcount:
                if phase == "ABORTED":
                    kin.abort(connection, job.id)
                _moved(connection)
            return bool(done.rowcount)

    def requeue(self, job: Job, *, counts: bool) -> bool:
        """Requeue a job that its holder will not end.

        Parameters
        ----------
        counts
            The attempt was one.

        Returns
        -------
        done
            False: somebody else has it.
        """
        values: dict[str, Any] = {"phase": "QUEUED", "holder": None, "started": None}
        if not counts:
            values["attempts"] = job.attempts - 1
        with self._database.writing() as connection:
            told = connection.execute(sa.select(jobs.c.progress).where(_mine(job))).scalar()
            values["progress"] = json.dumps(_lasting(json.loads(told or "{}")))
            done = connection.execute(sa.update(jobs).where(_mine(job)).values(**values))
            if done.rowcount:
                _moved(connection)
            return bool(done.rowcount)

    def executing(self) -> list[Job]:
        """List every job that somebody holds.

        Returns
        -------
        jobs
            Of all queues.
        """
        with self._database.reading() as connection:
            return [_job(row) for row in connection.execute(sa.select(jobs).where(jobs.c.phase == "EXECUTING"))]

    def abandoned(self, job: Job) -> bool:
        """Return whether the holder of a job is certainly dead: it ran on this machine."""
        return job.holder is None or dead(job.holder)

    def ahead(self, job: Job) -> dict[str, int]:
        """Estimate how many jobs of each queue will be begun before a job that waits, or would wait from now on: queues take turns.

        Returns
        -------
        counts
            By queue.
        """
        earlier = jobs.c.queued < job.queued if job.phase == "QUEUED" and job.queued is not None else sa.true()
        same = sa.select(sa.func.count()).where(jobs.c.phase == "QUEUED", jobs.c.queue == job.queue, earlier)
        others = (
            sa.select(jobs.c.queue, sa.func.count())
            .where(jobs.c.phase == "QUEUED", jobs.c.queue != job.queue)
            .group_by(jobs.c.queue)
        )
        with self._database.reading() as connection:
            before = int(connection.execute(same).scalar_one())
            found = {row[0]: min(before + 1, int(row[1])) for row in connection.execute(others)}
        return {job.queue: before, **found} if before else found

    def place(self, job: Job) -> int:
        """Estimate a waiting job's place.

        Parameters
        ----------
        job
            QUEUED.

        Returns
        -------
        place
            1 = next.
        """
        return 1 + sum(self.ahead(job).values())

    def running(self) -> dict[str, int]:
        """Count the jobs of each queue that run.

        Returns
        -------
        counts
            By queue.
        """
        query = sa.select(jobs.c.queue, sa.func.count()).where(jobs.c.phase == "EXECUTING").group_by(jobs.c.queue)
        with self._database.reading() as connection:
            return {row[0]: int(row[1]) for row in connection.execute(query)}

    def past(self, queue: str, kind: str, *, most: int) -> list[Past]:
        """List the jobs of a queue that were completed.

        Parameters
        ----------
        most
            How many.

        Returns
        -------
        jobs
            Those that waited last first.
        """
        columns = (jobs.c.parameters, jobs.c.started, jobs.c.ended)
        query = sa.select(*columns).where(jobs.c.phase == "COMPLETED", jobs.c.queue == queue, jobs.c.type == kind)
        query = query.order_by(jobs.c.queued.desc()).limit(most)
        with self._database.reading() as connection:
            found = list(connection.execute(query))
        pairs = ((json.loads(row[0]), row[1], row[2]) for row in found)
        return [
            Past(parameters=tuple((name, value) for name, value in given), started=a, ended=b)
            for given, a, b in pairs
            if a and b
        ]

    # --- the end ---------------------------------------------------------------------------------------------

    def due(self, moment: str, *, hidden: Sequence[str] = ()) -> list[Job]:
        """List jobs that are to be destroyed; a thousand at a time.

        Parameters
        ----------
        moment
            The time of now, as the store writes it.

        Returns
        -------
        jobs
            Those due longest first.
        """
        query = (
            sa.select(jobs)
            .where(jobs.c.destruction <= moment, jobs.c.phase.not_in(hidden))
            .order_by(jobs.c.destruction)
            .limit(1000)
        )
        with self._database.reading() as connection:
            return [_job(row) for row in connection.execute(query)]

    def known(self, names: Sequence[str]) -> set[str]:
        """Return those ids that are jobs."""
        return set(self.phases(names))


def _nobodys(visitor: str | None) -> Sequence[sa.ColumnElement[bool]]:
    return () if visitor is None else (~sa.exists().where(visits.c.job == jobs.c.id),)


def _behind(ref: Ref, before: tuple[str, str | None] | None) -> bool:
    """Return whether a job is listed behind another one, of which time and id are given."""
    return (
        before is None
        or ref.created < before[0]
        or (ref.created == before[0] and before[1] is not None and ref.id > before[1])
    )


def _mine(job: Job) -> sa.ColumnElement[bool]:
    return sa.and_(
        jobs.c.id == job.id, jobs.c.phase == "EXECUTING", jobs.c.holder == job.holder, jobs.c.attempts == job.attempts
    )


def _lasting(progress: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is known of a job beyond one attempt: the job elsewhere that does its work."""
    return {name: value for name, value in progress.items() if name == REMOTE}


def _ready(table: sa.FromClause, full: Sequence[str]) -> sa.ColumnElement[bool]:
    """Write that a job may begin: it waits for its turn and for nothing else, and its type is not one of these."""
    found = sa.and_(table.c.phase == "QUEUED", table.c.queued.is_not(None))
    return sa.and_(found, table.c.type.not_in(full)) if full else found


@lru_cache(maxsize=32)  # to put the words together takes longer than to ask
def _turns(full: tuple[str, ...]) -> sa.Select[Any]:
    """Build the query of which queues wait, since when, and when each was served last: from queue to queue by the index, however many jobs wait."""
    first, after, oldest, last = (jobs.alias(name) for name in ("first", "after", "oldest", "last"))
    queues = (
        sa.select(sa.func.min(first.c.queue).label("queue")).where(_ready(first, full)).cte("queues", recursive=True)
    )
    further = (
        sa.select(sa.func.min(after.c.queue))
        .where(_ready(after, full), after.c.queue > queues.c.queue)
        .scalar_subquery()
    )
    queues = queues.union_all(sa.select(further).where(queues.c.queue.is_not(None)))
    return sa.select(
        queues.c.queue,
        sa.select(sa.func.min(oldest.c.queued))
        .where(_ready(oldest, full), oldest.c.queue == queues.c.queue)
        .scalar_subquery(),
        sa.select(sa.func.max(last.c.started)).where(last.c.queue == queues.c.queue).scalar_subquery(),
    ).where(queues.c.queue.is_not(None))


def _full(connection: sa.Connection, most: Mapping[str, int]) -> list[str]:
    """Return the types of which as many run as may."""
    if not most:
        return []
    query = (
        sa.select(jobs.c.type, sa.func.count())
        .where(jobs.c.phase == "EXECUTING", jobs.c.type.in_(list(most)))
        .group_by(jobs.c.type)
    )
    return [row[0] for row in connection.execute(query) if row[1] >= most[row[0]]]


def _later(before: str) -> str:
    """Return the time now; after a clock was set back, the moment after `before`."""
    moment = now()
    if moment > before:
        return moment
    return (
        (datetime.fromisoformat(before) + timedelta(microseconds=1))
        .isoformat(timespec="microseconds")
        .replace("+00:00", "Z")
    )


def _turn(connection: sa.Connection) -> str:
    """Return the time now as that of a turn: who was served later counts as such, whatever was done to the clock meanwhile."""
    last = connection.execute(sa.select(meta.c.value).where(meta.c.key == TURN)).scalar()
    if last is None:
        last = connection.execute(sa.select(sa.func.max(jobs.c.started))).scalar() or ""
        connection.execute(sa.insert(meta).values(key=TURN, value=last))
    moment = _later(last)
    connection.execute(sa.update(meta).where(meta.c.key == TURN).values(value=moment))
    return moment


_RUNNING = sa.select(jobs.c.queue, sa.func.count()).where(jobs.c.phase == "EXECUTING").group_by(jobs.c.queue)
_ONE_MORE = (
    sa.update(meta).where(meta.c.key == "jobs").values(value=sa.cast(sa.cast(meta.c.value, sa.BigInteger) + 1, sa.Text))
)


def _moved(connection: sa.Connection) -> None:
    connection.execute(_ONE_MORE)


def forget(connection: sa.Connection, which: sa.ColumnElement[bool]) -> list[str]:
    """Forget jobs, and return their ids; part of the caller's transaction."""
    gone = list(connection.execute(sa.select(jobs.c.id).where(which)).scalars())
    connection.execute(sa.delete(visits).where(visits.c.job.in_(sa.select(jobs.c.id).where(which))))
    connection.execute(sa.delete(jobs).where(which))
    if gone:
        _moved(connection)
    return gone


def _chunks(names: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(names), MANY):
        yield names[start : start + MANY]
