"""Type: what a kind of job is. Work: a job that runs, as its type's function sees it."""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from hven.model.clock import Task
from hven.model.errors import Cancelled, UserError
from hven.model.params import collect
from hven.site import people_of
from hven.site.auth import kept_rights

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
    from pathlib import Path
    from typing import BinaryIO

    from hven.model.params import Param, Params
    from hven.site import Site
    from hven.site.auth import Policy, Reader
    from hven.site.store import Job


RULES = "rules"  # in a job's progress: who saw the tables of its results (`hven.site.auth.rules_of`)
FILES = "given"  # below a job's directory: the files that came with it, by their percent-encoded names


class Failed(UserError):
    """The work went wrong, and what it wrote until then tells why: its results stay."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """What jobs of one type may use; None: no more bounds than those of all jobs.

    Attributes
    ----------
    running
        How many run at once, in the whole site.
    waiting
        How many of one asker wait and run; further ones are HELD.
    seconds
        Time limit of a job that asks for none; also the most that one may ask for.
    """

    running: int | None = None
    waiting: int | None = None
    seconds: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Type:
    """A kind of job.

    Attributes
    ----------
    name
        As its module's, or its file's (``jobs/NAME.yaml`` of the site).
    title, description
        For people.
    params
        What it understands; others are kept, and shown as they came.
    files
        Names of parameters whose value is a file that comes with the request, by the name of its part.
    run
        Does the work; returns when it is done, raises when it cannot be. Everything it writes goes through `Work.writing` or
        `Work.taking`. A function, a `hven.jobs._command.Command` or a `hven.jobs._remote.Remote`.
    check
        Looks at what is asked for before the job may run; raises `ParamError`.
    dropped
        Called when a job that does not run is aborted or destroyed (True).
    quota
        What its jobs may use.
    access
        ``public``, or ``private``: for those who are logged in.
    served
        True if ``/jobs/NAME`` is its list of jobs; False for a type that another face serves, or none.
    """

    name: str
    title: str
    description: str | None = None
    params: Sequence[Param] = ()
    files: Sequence[str] = ()
    run: Callable[[Work], None]
    check: Callable[[Params, Collection[str]], None] | None = None
    dropped: Callable[[Site, Job, bool], None] | None = None
    quota: Quota = Quota()
    access: str = "public"
    served: bool = False


def files_in(place: Path) -> dict[str, Path]:
    """Return the files that came with a job, by the name of their part."""
    return {unquote(path.name): path for path in place.iterdir()} if place.is_dir() else {}


class Work:
    """A running job. Its type's function reads what was asked for, writes results, and says how far it is.

    Attributes
    ----------
    site, policies
        What data there are, and who may see them.
    job
        As it was when it was begun.
    stopped
        Set when nobody wants it any more.
    """

    def __init__(self, site: Site, job: Job, directory: Path, policies: Sequence[Policy]) -> None:
        self.site = site
        self.job = job
        self.policies = policies
        self.directory = directory
        self.stopped = threading.Event()
        self.why = ""  # it was stopped: gone (aborted, destroyed, taken over), time, stop (it will be run again)
        self.results: list[dict[str, Any]] = []
        self.progress: dict[str, Any] = dict(job.progress)
        self._rights: frozenset[str] = frozenset()
        self._public = False
        self._stop: Callable[[], None] | None = None
        self._afterwards: list[Callable[[], None]] = []
        self._lock = threading.Lock()

    @property
    def params(self) -> Params:
        """What was asked for."""
        return collect(self.job.parameters)

    @property
    def who(self) -> Reader:
        """Who asked: what they may see is decided when the job runs. The job relies from now on on all the rights that they have.

        Raises
        ------
        Forbidden
            The invitation by which they came has ended.
        """
        store, settings = self.site.store, self.site.settings
        who = kept_rights.restore_reader(
            self.job.owner, self.job.groups, store, settings, partial(people_of, self.site)
        )
        self._rights |= kept_rights.rights_of(who)
        return who

    @property
    def rights(self) -> list[str]:
        """What must be had by whoever reads the job: see `hven.site.auth.missing_rights`."""
        beside = {one for one in self.job.groups if one.startswith(kept_rights.NO_RIGHTS)}
        return sorted(beside if self._public else beside | self._rights)

    def tell_tables(self, names: Iterable[str]) -> None:
        """Say which tables the results have rows or files of: when one is closed later, so are the results.

        Parameters
        ----------
        names
            Qualified names.
        """
        known = self.progress.get(RULES, {})
        self.told(**{RULES: {**known, **kept_rights.rules_of(names, self.site.current().published)}})

    def tell_public(self) -> None:
        """Say that the job has nothing but what everybody may see: it relies on no rights, and stays its owner's whatever they lose."""
        self._public = True

    @property
    def files(self) -> dict[str, Path]:
        """What came with the request, by the name of its part."""
        return files_in(self.directory / FILES)

    @property
    def task(self) -> Task:
        """What long work in one call is given: to say how far it is, and whether somebody wants it still."""
        return Task(lambda share: self.told(share=round(share, 4)), self.stopped.is_set)

    def told(self, **facts: Any) -> None:
        """Report how far it is; the next beat tells it.

        Parameters
        ----------
        facts
            `rows`, `bytes`, `share` (0 to 1).
        """
        self.progress = {**self.progress, **facts}

    def lasting(self, **facts: Any) -> None:
        """Report something that must not be forgotten when this process dies: it is in the store when this returns.

        Parameters
        ----------
        facts
            As for `told`, or others.

        Raises
        ------
        Cancelled
            The job is not this worker's any more.
        """
        self.told(**facts)
        if self.site.store.jobs.beat(self.job, self.progress) is None:
            raise Cancelled("the job was stopped")

    def stoppable(self, stop: Callable[[], None]) -> None:
        """Register what stops the work that begins now, from another thread.

        Parameters
        ----------
        stop
            May be called twice.

        Raises
        ------
        Cancelled
            It is to stop at once.
        """
        with self._lock:
            self._stop = stop
            late = self.stopped.is_set()
        if late:
            raise Cancelled("the job was stopped")

    def stop(self, why: str = "gone") -> None:
        """Stop the work; may be called twice.

        Parameters
        ----------
        why
            The reason, in a word.
        """
        with self._lock:
            self.why = self.why or why
            self.stopped.set()
            stop = self._stop
        if stop is not None:
            stop()

    def afterwards(self, do: Callable[[], None]) -> None:
        """Register what is to be done when the job's end is in the store, and not before: until then another worker may have to go on with it.

        Parameters
        ----------
        do
            Called without arguments.
        """
        self._afterwards.append(do)

    def settle(self) -> None:
        """Run what was to be done afterwards."""
        while self._afterwards:
            self._afterwards.pop(0)()

    @contextmanager
    def writing(self, name: str, *, media_type: str, extension: str = "") -> Iterator[BinaryIO]:
        """Write a result; it exists, whole and on the disk, when the block has ended, or not at all.

        Parameters
        ----------
        name
            Id of the result.
        media_type
            Of its content.
        extension
            Of its file, with the dot.

        Yields
        ------
        file
            Open for writing.
        """
        made(self.directory, self.directory.parent.parent)
        path = self.directory / f"{name}-{self.job.attempts}{extension}"
        part = path.with_name(f"{path.name}.part")
        try:
            with part.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
                size = file.tell()
            part.rename(path)
            _durable(self.directory)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        self.results.append({"id": name, "file": path.name, "media_type": media_type, "bytes": size})

    def taking(self, name: str, found: Path, *, media_type: str, extension: str = "") -> None:
        """Make a file that is there already a result: it is moved, and durable.

        Parameters
        ----------
        name
            Id of the result.
        found
            The file, no symbolic link.
        media_type
            Of its content.
        extension
            Of its file, with the dot.
        """
        path = self.directory / f"{name}-{self.job.attempts}{extension}"
        handle = os.open(found, os.O_RDONLY | os.O_NOFOLLOW)
        try:
            size = os.fstat(handle).st_size
            os.fsync(handle)
        finally:
            os.close(handle)
        found.rename(path)
        _durable(self.directory)
        self.results.append({"id": name, "file": path.name, "media_type": media_type, "bytes": size})

    def discard(self) -> None:
        """Remove what this attempt wrote; another one's files stay."""
        self.results.clear()
        for path in self.directory.glob(f"*-{self.job.attempts}.*"):
            path.unlink(missing_ok=True)
        with suppress(OSError):  # not empty, or gone
            self.directory.rmdir()


def _durable(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def made(directory: Path, root: Path) -> None:
    """Create a directory of a job below the site's `root`, but not `root` itself: it may have been renamed or unmounted."""
    (root / "jobs").mkdir(exist_ok=True, mode=0o700)
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
