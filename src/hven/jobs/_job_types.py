"""Type: what a kind of job is. Work: a job that runs, as its type's function sees it."""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from hven.model.deadlines import ProgressMonitor
from hven.model.errors import OperationCancelledError, UserError
from hven.model.params import collect_params
from hven.site import find_groups_and_aliases
from hven.site.auth import recorded_rights

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
    from pathlib import Path
    from typing import BinaryIO

    from hven.model.params import Param, RequestParams
    from hven.site import Site
    from hven.site.auth import AccessPolicy, Principal
    from hven.site.store import JobRecord


# in a job's progress: who saw the tables of its results (`hven.site.auth.compute_access_rule_digests`)
ACCESS_RULES_KEY = "rules"
INPUT_FILES_DIRECTORY = "given"  # below a job's directory: the files that came with it, by their percent-encoded names


class JobFailedError(UserError):
    """The work went wrong, and what it wrote until then tells why: its results stay."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobQuota:
    """What jobs of one type may use; None: no more bounds than those of all jobs.

    Attributes
    ----------
    running_limit
        How many run at once, in the whole site.
    waiting_limit
        How many of one asker wait and run; further ones are HELD.
    duration_limit_seconds
        Time limit of a job that asks for none; also the most that one may ask for.
    """

    running_limit: int | None = None
    waiting_limit: int | None = None
    duration_limit_seconds: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobDefinition:
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
        Does the work; returns when it is done, raises when it cannot be. Everything it writes goes through
        `RunningJob.write_result` or `RunningJob.adopt_file_as_result`. A function, a `hven.jobs._command.ProgramRunner`
        or a `hven.jobs._remote_jobs.RemoteJobRunner`.
    check
        Looks at what is asked for before the job may run; raises `ParamError`.
    on_drop
        Called when a job that does not run is aborted or destroyed (True).
    quota
        What its jobs may use.
    access
        ``public``, or ``private``: for those who are logged in.
    is_served
        True if ``/jobs/NAME`` is its list of jobs; False for a type that another face serves, or none.
    """

    name: str
    title: str
    description: str | None = None
    params: Sequence[Param] = ()
    files: Sequence[str] = ()
    run: Callable[[RunningJob], None]
    check: Callable[[RequestParams, Collection[str]], None] | None = None
    on_drop: Callable[[Site, JobRecord, bool], None] | None = None
    quota: JobQuota = JobQuota()
    access: str = "public"
    is_served: bool = False


def list_input_files(files_directory: Path) -> dict[str, Path]:
    """Return the files that came with a job, by the name of their part."""
    if files_directory.is_dir():
        return {unquote(path.name): path for path in files_directory.iterdir()}
    return {}


class RunningJob:
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

    def __init__(self, site: Site, job: JobRecord, directory: Path, policies: Sequence[AccessPolicy]) -> None:
        self.site = site
        self.job = job
        self.policies = policies
        self.directory = directory
        self.stopped = threading.Event()
        self.stop_reason = (
            ""  # it was stopped: gone (aborted, destroyed, taken over), time, stop (it will be run again)
        )
        self.results: list[dict[str, Any]] = []
        self.progress: dict[str, Any] = dict(job.progress)
        self._rights: frozenset[str] = frozenset()
        self._public = False
        self._stop_work: Callable[[], None] | None = None
        self._final_actions: list[Callable[[], None]] = []
        self._lock = threading.Lock()

    @property
    def params(self) -> RequestParams:
        """What was asked for."""
        return collect_params(self.job.parameters)

    @property
    def principal(self) -> Principal:
        """Who asked: what they may see is decided when the job runs.

        The job relies from now on on all the rights that they have.

        Raises
        ------
        ForbiddenError
            The invitation by which they came has ended.
        """
        store = self.site.store
        settings = self.site.settings
        restored = recorded_rights.restore_principal(
            self.job.owner, self.job.groups, store, settings, partial(find_groups_and_aliases, self.site)
        )
        self._rights |= recorded_rights.list_rights(restored)
        return restored

    @property
    def required_rights(self) -> list[str]:
        """What must be had by whoever reads the job: see `hven.site.auth.find_missing_rights`."""
        non_rights = {right for right in self.job.groups if right.startswith(recorded_rights.NON_RIGHT_PREFIXES)}
        return sorted(non_rights if self._public else non_rights | self._rights)

    def record_tables(self, table_names: Iterable[str]) -> None:
        """Say which tables the results have rows or files of: when one is closed later, so are the results.

        Parameters
        ----------
        table_names
            Qualified names.
        """
        recorded_rules = self.progress.get(ACCESS_RULES_KEY, {})
        access_rule_digests = recorded_rights.compute_access_rule_digests(
            table_names, self.site.get_published_state().tables_by_name
        )
        self.report_progress(
            **{
                ACCESS_RULES_KEY: {
                    **recorded_rules,
                    **access_rule_digests,
                }
            }
        )

    def mark_public(self) -> None:
        """Say that the job has nothing but what everybody may see.

        It relies on no rights, and stays its owner's whatever they lose.
        """
        self._public = True

    @property
    def input_files(self) -> dict[str, Path]:
        """What came with the request, by the name of its part."""
        return list_input_files(self.directory / INPUT_FILES_DIRECTORY)

    @property
    def progress_monitor(self) -> ProgressMonitor:
        """What long work in one call is given: to say how far it is, and whether somebody wants it still."""
        return ProgressMonitor(lambda share: self.report_progress(share=round(share, 4)), self.stopped.is_set)

    def report_progress(self, **facts: Any) -> None:
        """Report how far it is; the next beat tells it.

        Parameters
        ----------
        facts
            `rows`, `bytes`, `share` (0 to 1).
        """
        self.progress = {**self.progress, **facts}

    def save_progress(self, **facts: Any) -> None:
        """Report something that must not be forgotten when this process dies: it is in the store when this returns.

        Parameters
        ----------
        facts
            As for `report_progress`, or others.

        Raises
        ------
        OperationCancelledError
            The job is not this worker's any more.
        """
        self.report_progress(**facts)
        if self.site.store.jobs.record_heartbeat(self.job, self.progress) is None:
            raise OperationCancelledError("the job was stopped")

    def set_stop_function(self, stop_work: Callable[[], None]) -> None:
        """Register what stops the work that begins now, from another thread.

        Parameters
        ----------
        stop_work
            May be called twice.

        Raises
        ------
        OperationCancelledError
            It is to stop at once.
        """
        with self._lock:
            self._stop_work = stop_work
            is_stopped = self.stopped.is_set()
        if is_stopped:
            raise OperationCancelledError("the job was stopped")

    def stop_work(self, reason: str = "gone") -> None:
        """Stop the work; may be called twice.

        Parameters
        ----------
        reason
            The reason, in a word.
        """
        with self._lock:
            self.stop_reason = self.stop_reason or reason
            self.stopped.set()
            stop_function = self._stop_work
        if stop_function is not None:
            stop_function()

    def add_final_action(self, action: Callable[[], None]) -> None:
        """Register what is to be done when the job's end is in the store, and not before.

        Until then another worker may have to go on with it.

        Parameters
        ----------
        action
            Called without arguments.
        """
        self._final_actions.append(action)

    def run_final_actions(self) -> None:
        """Run what was to be done afterwards."""
        while self._final_actions:
            self._final_actions.pop(0)()

    @contextmanager
    def write_result(self, result_name: str, *, media_type: str, extension: str = "") -> Iterator[BinaryIO]:
        """Write a result; it exists, whole and on the disk, when the block has ended, or not at all.

        Parameters
        ----------
        result_name
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
        create_job_directory(self.directory, self.directory.parent.parent)
        path = self.directory / f"{result_name}-{self.job.attempts}{extension}"
        partial_path = path.with_name(f"{path.name}.part")
        try:
            with partial_path.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
                size = file.tell()
            partial_path.rename(path)
            _sync_directory(self.directory)
        except BaseException:
            partial_path.unlink(missing_ok=True)
            raise
        self.results.append({"id": result_name, "file": path.name, "media_type": media_type, "bytes": size})

    def adopt_file_as_result(
        self, result_name: str, source_path: Path, *, media_type: str, extension: str = ""
    ) -> None:
        """Make a file that is there already a result: it is moved, and durable.

        Parameters
        ----------
        result_name
            Id of the result.
        source_path
            The file, no symbolic link.
        media_type
            Of its content.
        extension
            Of its file, with the dot.
        """
        path = self.directory / f"{result_name}-{self.job.attempts}{extension}"
        handle = os.open(source_path, os.O_RDONLY | os.O_NOFOLLOW)
        try:
            size = os.fstat(handle).st_size
            os.fsync(handle)
        finally:
            os.close(handle)
        source_path.rename(path)
        _sync_directory(self.directory)
        self.results.append({"id": result_name, "file": path.name, "media_type": media_type, "bytes": size})

    def discard_results(self) -> None:
        """Remove what this attempt wrote; another one's files stay."""
        self.results.clear()
        for path in self.directory.glob(f"*-{self.job.attempts}.*"):
            path.unlink(missing_ok=True)
        with suppress(OSError):  # not empty, or gone
            self.directory.rmdir()


def _sync_directory(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def create_job_directory(directory: Path, root: Path) -> None:
    """Create a directory of a job below the site's `root`, but not `root` itself.

    It may have been renamed or unmounted.
    """
    (root / "jobs").mkdir(exist_ok=True, mode=0o700)
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
