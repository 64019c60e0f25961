"""Jobs as rows: who may run them next, who runs them, how they ended. What a phase means is said in `hven.jobs`."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from hven.errors import NotFound
from hven.store.database import jobs, meta, now
from hven.store.leases import dead, holder

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from hven.store.database import Database

MANY = 500  # ids in one statement


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One job (UWS 1.1 section 2.1). Times are ISO text in UTC.

    Attributes
    ----------
    queue
        Whose turn it is when it waits: ``user NAME`` or ``address A``.
    parent, depends_on
        Ids of other jobs.
    parameters
        Name and value, in the order given.
    duration
        Seconds that it may run; 0 = as long as it takes.
    results
        ``{id, file, media_type, bytes}`` each.
    error
        ``{kind: fatal|transient, message}``.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Ref:
    """A line of a list of jobs."""

    id: str
    phase: str
    created: str
    owner: str | None
    run_id: str | None


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
    """The jobs of a store. Thread-safe."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def version(self) -> int:
        """Count of changes of phases so far: cheap enough to ask ten times a second."""
        with self._database.reading() as connection:
            return int(connection.execute(sa.select(meta.c.value).where(meta.c.key == "jobs")).scalar_one())

    def add(self, job: Job) -> None:
        """Keep a new job."""
        with self._database.writing() as connection:
            connection.execute(sa.insert(jobs).values(**_packed(asdict(job))))
            _moved(connection)

    def one(self, name: str) -> Job:
        """Give a job.

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
        """Give the phases of many jobs; those that are no more are left out."""
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
        last: int | None = None,
    ) -> list[Ref]:
        """List the jobs of a user or address, the newest first.

        Parameters
        ----------
        phases
            Only these; empty: all but the `hidden` ones.
        after
            Only those created later.
        last
            Only so many.
        """
        columns = (jobs.c.id, jobs.c.phase, jobs.c.created, jobs.c.owner, jobs.c.run_id)
        query = sa.select(*columns).where(jobs.c.queue == queue, jobs.c.type == kind)
        query = query.where(jobs.c.phase.in_(phases) if phases else jobs.c.phase.not_in(hidden))
        if after is not None:
            query = query.where(jobs.c.created > after)
        query = query.order_by(jobs.c.created.desc(), jobs.c.id).limit(last)
        with self._database.reading() as connection:
            return [Ref(id=row[0], phase=row[1], created=row[2], owner=row[3], run_id=row[4]) for row in connection.execute(query)]

    def change(self, name: str, *, among: Sequence[str], **values: Any) -> bool:
        """Change a job if its phase is `among` these; say whether it was."""
        with self._database.writing() as connection:
            done = connection.execute(sa.update(jobs).where(jobs.c.id == name, jobs.c.phase.in_(among)).values(**_packed(values)))
            if done.rowcount and "phase" in values:
                _moved(connection)
            return bool(done.rowcount)

    def enqueue(self, name: str, *, among: Sequence[str], most: int) -> str | None:
        """Let a job wait for its turn: QUEUED, or HELD if `most` of the same queue do so or run already. Gives the phase; None: it was not `among` these."""
        with self._database.writing() as connection:
            row = connection.execute(sa.select(jobs.c.queue).where(jobs.c.id == name, jobs.c.phase.in_(among))).first()
            if row is None:
                return None
            same = sa.select(sa.func.count()).where(jobs.c.queue == row.queue, jobs.c.phase.in_(("QUEUED", "EXECUTING")))
            phase = "QUEUED" if int(connection.execute(same).scalar_one()) < most else "HELD"
            connection.execute(sa.update(jobs).where(jobs.c.id == name).values(phase=phase, queued=now()))
            _moved(connection)
            return phase

    def remove(self, name: str) -> None:
        """Forget a job; who runs it notices."""
        with self._database.writing() as connection:
            connection.execute(sa.delete(jobs).where(jobs.c.id == name))
            _moved(connection)

    # --- running ---------------------------------------------------------------------------------------------

    def waiting(self) -> int:
        """Count the jobs that wait for their turn."""
        with self._database.reading() as connection:
            return int(connection.execute(sa.select(sa.func.count()).where(jobs.c.phase == "QUEUED")).scalar_one())

    def claim(self) -> Job | None:
        """Take the next job for this process: of the queue with the fewest running jobs that was served longest ago, the oldest."""
        with self._database.writing() as connection:
            waiting = list(
                connection.execute(
                    sa.select(jobs.c.queue, sa.func.min(jobs.c.queued)).where(jobs.c.phase == "QUEUED").group_by(jobs.c.queue)
                )
            )
            if not waiting:
                return None
            query = sa.select(jobs.c.queue, sa.func.count()).where(jobs.c.phase == "EXECUTING").group_by(jobs.c.queue)
            running: dict[str, int] = {row[0]: row[1] for row in connection.execute(query)}

            def turn(row: Any) -> tuple[int, str, str]:
                served = connection.execute(sa.select(sa.func.max(jobs.c.started)).where(jobs.c.queue == row[0])).scalar()
                return running.get(row[0], 0), served or "", row[1]

            fewest = min(running.get(row[0], 0) for row in waiting)
            queue = min((row for row in waiting if running.get(row[0], 0) == fewest), key=turn)[0]
            query_one = sa.select(jobs).where(jobs.c.phase == "QUEUED", jobs.c.queue == queue).order_by(jobs.c.queued, jobs.c.id).limit(1)
            job = _job(connection.execute(query_one).one())
            values = {"phase": "EXECUTING", "started": now(), "holder": holder(), "attempts": job.attempts + 1, "progress": {}}
            connection.execute(sa.update(jobs).where(jobs.c.id == job.id).values(**_packed(values)))
            _moved(connection)
            return _job(connection.execute(sa.select(jobs).where(jobs.c.id == job.id)).one())

    def beat(self, job: Job, progress: Mapping[str, Any] | None = None) -> int | None:
        """Say that the holder lives. Gives the seconds that the job may run, as they are set now; None: it is not ours to run any more."""
        values: dict[str, Any] = {"beat": jobs.c.beat + 1}
        if progress is not None:
            values["progress"] = json.dumps(progress)
        with self._database.writing() as connection:
            done = connection.execute(sa.update(jobs).where(_mine(job)).values(**values))
            if not done.rowcount:
                return None
            return int(connection.execute(sa.select(jobs.c.duration).where(jobs.c.id == job.id)).scalar_one())

    def mine(self, job: Job) -> int | None:
        """As `beat`, without a word to others: cheap."""
        with self._database.reading() as connection:
            found = connection.execute(sa.select(jobs.c.duration).where(_mine(job))).scalar()
        return None if found is None else int(found)

    def finish(self, job: Job, phase: str, **values: Any) -> bool:
        """End a job that this process runs; False: it is not ours any more, and nothing was changed."""
        with self._database.writing() as connection:
            changes = _packed({"ended": now(), **values, "phase": phase, "holder": None})
            done = connection.execute(sa.update(jobs).where(_mine(job)).values(**changes))
            if done.rowcount:
                _moved(connection)
            return bool(done.rowcount)

    def requeue(self, job: Job, *, counts: bool) -> bool:
        """Put a job back that its holder will not end; `counts`: the attempt was one."""
        values: dict[str, Any] = {"phase": "QUEUED", "holder": None, "started": None, "progress": "{}"}
        if not counts:
            values["attempts"] = job.attempts - 1
        with self._database.writing() as connection:
            done = connection.execute(sa.update(jobs).where(_mine(job)).values(**values))
            if done.rowcount:
                _moved(connection)
            return bool(done.rowcount)

    def executing(self) -> list[Job]:
        """Every job that somebody holds."""
        with self._database.reading() as connection:
            return [_job(row) for row in connection.execute(sa.select(jobs).where(jobs.c.phase == "EXECUTING"))]

    def abandoned(self, job: Job) -> bool:
        """Tell that the holder of a job is certainly dead: it ran on this machine."""
        return job.holder is None or dead(job.holder)

    def place(self, job: Job) -> int:
        """Estimate a waiting job's place, 1 = next: queues take turns."""
        same = sa.select(sa.func.count()).where(jobs.c.phase == "QUEUED", jobs.c.queue == job.queue, jobs.c.queued < job.queued)
        others = sa.select(sa.func.count()).where(jobs.c.phase == "QUEUED", jobs.c.queue != job.queue).group_by(jobs.c.queue)
        with self._database.reading() as connection:
            before = int(connection.execute(same).scalar_one())
            return 1 + before + sum(min(before + 1, int(count)) for count in connection.execute(others).scalars())

    # --- the end ---------------------------------------------------------------------------------------------

    def due(self, moment: str, *, hidden: Sequence[str] = ()) -> list[Job]:
        """Jobs whose destruction is at `moment` or earlier, those in `hidden` phases aside; a thousand at a time."""
        query = sa.select(jobs).where(jobs.c.destruction <= moment, jobs.c.phase.not_in(hidden)).order_by(jobs.c.destruction).limit(1000)
        with self._database.reading() as connection:
            return [_job(row) for row in connection.execute(query)]

    def known(self, names: Sequence[str]) -> set[str]:
        """Give those ids that are jobs."""
        return set(self.phases(names))


def _mine(job: Job) -> sa.ColumnElement[bool]:
    return sa.and_(jobs.c.id == job.id, jobs.c.phase == "EXECUTING", jobs.c.holder == job.holder, jobs.c.attempts == job.attempts)


def _moved(connection: sa.Connection) -> None:
    number = sa.cast(sa.cast(meta.c.value, sa.BigInteger) + 1, sa.Text)
    connection.execute(sa.update(meta).where(meta.c.key == "jobs").values(value=number))


def _chunks(names: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(names), MANY):
        yield names[start : start + MANY]
