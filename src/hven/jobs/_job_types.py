"""The definition of a job type, and a running job as the function of its type sees it."""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from hven.engines.api.snapshots import sync_file
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


# in the progress of a job: the access rules of the tables of its results
# (`hven.site.auth.compute_access_rule_digests`)
ACCESS_RULES_KEY = "rules"
QUERY_JOB_TYPE = "tap"  # its jobs have an address of their own
INPUT_FILES_DIRECTORY = "given"  # in the directory of a job: the files of its request, by their percent-encoded names


class JobFailedError(UserError):
    """The work failed, and its results stay, because they tell why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobTypeLimits:
    """The limits of the jobs of one type; None: only the limits of all jobs.

    Attributes
    ----------
    running_limit
        Largest number of jobs that run at the same time, in the whole site.
    waiting_limit
        Largest number of jobs of one client that wait and run; further ones are HELD.
    duration_limit_seconds
        Default and largest time limit of a job.
    """

    running_limit: int | None = None
    waiting_limit: int | None = None
    duration_limit_seconds: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobDefinition:
    """The definition of a job type.

    Attributes
    ----------
    name
        Name of its module, or of what the site declares.
    title, description
        Texts for people.
    params
        Its parameters; others are stored, and shown as they came.
    files
        Names of parameters whose value is a file of the request, in the part with the same name.
    run
        Does the work: returns when it is done, and raises an error if it fails. It writes all its files by
        `RunningJob.open_result_file` or `RunningJob.adopt_file_as_result`. It is a function or
        an object that is called like one.
    check
        Checks the parameters and the names of the files before a job may run; raises `ParamError`.
    on_drop
        Called when a job that does not run is aborted (false) or destroyed (true).
    quota
        Limits of its jobs.
    access
        ``public``, or ``private``: for users who are logged in.
    is_served
        True if ``/jobs/NAME`` is its list of jobs; false if another service has that list, or none.
    page
        Path of the page that shows a job of this type, with ``{id}``; empty: the page of jobs shows it.
    row_parameter
        Name of the parameter that takes rows, also as an ADQL query; empty: the type takes none.
    """

    name: str
    title: str
    description: str | None = None
    params: Sequence[Param] = ()
    files: Sequence[str] = ()
    run: Callable[[RunningJob], None]
    check: Callable[[RequestParams, Collection[str]], None] | None = None
    on_drop: Callable[[Site, JobRecord, bool], None] | None = None
    quota: JobTypeLimits = JobTypeLimits()
    access: str = "public"
    is_served: bool = False
    page: str = ""
    row_parameter: str = ""


def list_input_files(files_directory: Path) -> dict[str, Path]:
    """Return the files of a job's request, by the name of their part."""
    if files_directory.is_dir():
        return {unquote(path.name): path for path in files_directory.iterdir()}
    return {}


class RunningJob:
    """A running job: the function of its type reads its parameters, writes results, and reports progress.

    Attributes
    ----------
    site, policies
        The site, and its access policies.
    job
        The job as it was when it was claimed.
    stopped
        Set when the work must end.
    """

    def __init__(self, site: Site, job: JobRecord, directory: Path, policies: Sequence[AccessPolicy]) -> None:
        self.site = site
        self.job = job
        self.policies = policies
        self.directory = directory
        self.stopped = threading.Event()
        # why it was stopped: gone (aborted, destroyed, claimed by another worker), time, stop (it will run again)
        self.stop_reason = ""
        self.pause_seconds: float | None = None  # the job waits for its children: see `suspend_until_children_end`
        self.results: list[dict[str, Any]] = []
        self.progress: dict[str, Any] = dict(job.progress)
        self._rights: frozenset[str] = frozenset()
        self._public = False
        self._stop_work: Callable[[], None] | None = None
        self._final_actions: list[Callable[[], None]] = []
        self._lock = threading.Lock()

    @property
    def params(self) -> RequestParams:
        """The parameters of the job."""
        return collect_params(self.job.parameters)

    @property
    def principal(self) -> Principal:
        """The owner of the job, with the rights that they have while the job runs.

        From now on, a reader of the job needs all these rights.

        Raises
        ------
        ForbiddenError
            The invitation of the owner has ended.
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
        """The rights that a reader of the job needs: see `hven.site.auth.find_missing_rights`."""
        non_rights = {right for right in self.job.groups if right.startswith(recorded_rights.NON_RIGHT_PREFIXES)}
        return sorted(non_rights if self._public else non_rights | self._rights)

    def record_result_tables(self, table_names: Iterable[str]) -> None:
        """Record the tables whose rows or files are in the results: if one is closed later, so are the results.

        Parameters
        ----------
        table_names
            Qualified names.
        """
        tables = self.site.get_published_state().tables_by_name
        recorded_rules = self.progress.get(ACCESS_RULES_KEY, {})
        new_rules = recorded_rights.compute_access_rule_digests(table_names, tables)
        self.report_progress(**{ACCESS_RULES_KEY: {**recorded_rules, **new_rules}})

    def mark_results_public(self) -> None:
        """Record that the results have nothing but what everybody may see.

        The job then needs no rights, and stays readable for its owner whatever rights they lose.
        """
        self._public = True

    @property
    def input_files(self) -> dict[str, Path]:
        """The files of the request, by the name of their part."""
        return list_input_files(self.directory / INPUT_FILES_DIRECTORY)

    @property
    def progress_monitor(self) -> ProgressMonitor:
        """A monitor for a long call, which reports progress to it and asks it whether to stop."""
        return ProgressMonitor(lambda share: self.report_progress(share=round(share, 4)), self.stopped.is_set)

    def report_progress(self, **facts: Any) -> None:
        """Report progress; the next heartbeat stores it.

        Parameters
        ----------
        facts
            `rows`, `bytes`, `share` (0 to 1).
        """
        self.progress = {**self.progress, **facts}

    def save_progress(self, **facts: Any) -> None:
        """Store facts at once, so that they survive the end of this process.

        Parameters
        ----------
        facts
            As for `report_progress`, or others.

        Raises
        ------
        OperationCancelledError
            The job does not belong to this worker any more.
        """
        self.report_progress(**facts)
        if self.site.store.jobs.record_heartbeat_and_read_duration(self.job, self.progress) is None:
            raise OperationCancelledError("the job was stopped")

    def suspend_until_children_end(self, *, pause_seconds: float) -> None:
        """Suspend the job when its function returns; the function runs again when the children have ended.

        Meanwhile the job is EXECUTING, but no worker has it. It keeps its progress and its files, but no results.

        Parameters
        ----------
        pause_seconds
            After this time, the function runs again in any case.
        """
        self.pause_seconds = pause_seconds

    def set_stop_function(self, stop_work: Callable[[], None]) -> None:
        """Register the function that stops the present work, from another thread.

        Parameters
        ----------
        stop_work
            The function; it may be called twice.

        Raises
        ------
        OperationCancelledError
            The job is stopped already.
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
            The reason, one of those of `stop_reason`.
        """
        with self._lock:
            self.stop_reason = self.stop_reason or reason
            self.stopped.set()
            stop_function = self._stop_work
        if stop_function is not None:
            stop_function()

    def add_final_action(self, action: Callable[[], None]) -> None:
        """Register an action that runs after the end of the job is stored.

        Until then, another worker may have to continue with the job.

        Parameters
        ----------
        action
            A function without arguments.
        """
        self._final_actions.append(action)

    def run_final_actions(self) -> None:
        """Run the registered actions."""
        while self._final_actions:
            action = self._final_actions.pop(0)
            action()

    @contextmanager
    def open_result_file(self, result_name: str, *, media_type: str, extension: str = "") -> Iterator[BinaryIO]:
        """Open a result for writing; after the block it is complete and durable, or it does not exist.

        Parameters
        ----------
        result_name
            Id of the result.
        media_type
            Media type of the file.
        extension
            Extension of the file, with the dot.

        Yields
        ------
        file
            The open file.
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
            sync_file(self.directory)
        except BaseException:
            partial_path.unlink(missing_ok=True)
            raise
        self.results.append({"id": result_name, "file": path.name, "media_type": media_type, "bytes": size})

    def adopt_file_as_result(
        self, result_name: str, source_path: Path, *, media_type: str, extension: str = ""
    ) -> None:
        """Move an existing file to the results, and make it durable.

        Parameters
        ----------
        result_name
            Id of the result.
        source_path
            Path of the file, which must not be a symbolic link.
        media_type
            Media type of the file.
        extension
            Extension of the file, with the dot.
        """
        path = self.directory / f"{result_name}-{self.job.attempts}{extension}"
        handle = os.open(source_path, os.O_RDONLY | os.O_NOFOLLOW)
        try:
            size = os.fstat(handle).st_size
            os.fsync(handle)
        finally:
            os.close(handle)
        source_path.rename(path)
        sync_file(self.directory)
        self.results.append({"id": result_name, "file": path.name, "media_type": media_type, "bytes": size})

    def discard_results(self) -> None:
        """Delete the files of this attempt; the files of other attempts stay."""
        self.results.clear()
        for path in self.directory.glob(f"*-{self.job.attempts}.*"):
            path.unlink(missing_ok=True)
        with suppress(OSError):  # the directory is not empty, or gone
            self.directory.rmdir()


def create_job_directory(directory: Path, root: Path) -> None:
    """Create a directory of a job below the site's `root`, but not `root` itself, which may be unmounted or renamed."""
    (root / "jobs").mkdir(exist_ok=True, mode=0o700)
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)


def build_job_path(type_name: str, *parts: str) -> str:
    """Build the path of the jobs of a type as a UWS service, or of one of them.

    Parameters
    ----------
    type_name
        Name of the type.
    parts
        The id of a job, and what is below it.

    Returns
    -------
    path
        ``/jobs/echo/26112``, or ``/tap/async/26112`` for a query.
    """
    list_path = "/tap/async" if type_name == QUERY_JOB_TYPE else f"/jobs/{quote(type_name, safe='')}"
    return "/".join([list_path, *(quote(part, safe="") for part in parts)])
