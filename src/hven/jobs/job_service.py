"""Create, change, run, abort, list and destroy the jobs of one type, within the rights of the client."""

from __future__ import annotations

import logging
import os
import re
import secrets
import shutil
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import quote

from hven.jobs import type_catalogue
from hven.jobs._completion_estimate import CompletionEstimate, estimate_completion
from hven.jobs._job_types import ACCESS_RULES_KEY, INPUT_FILES_DIRECTORY, create_job_directory, list_input_files
from hven.model.errors import (
    ConflictError,
    ForbiddenError,
    HvenError,
    NotFoundError,
    ParamError,
    StorageError,
    UnauthenticatedError,
    format_message,
)
from hven.model.params import collect_params
from hven.site import CURRENT_USAGE
from hven.site.auth import recorded_rights
from hven.site.auth.local import TOKEN_SCOPE_GROUPS
from hven.site.store import JobRecord, format_current_time

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

    from hven.jobs._job_types import JobDefinition
    from hven.model.params import RequestParams
    from hven.model.settings import Settings
    from hven.site import Site
    from hven.site.auth import Principal
    from hven.site.store import JobRef

log = logging.getLogger("hven")
JOB_PHASES = (
    "PENDING",
    "QUEUED",
    "EXECUTING",
    "COMPLETED",
    "ERROR",
    "ABORTED",
    "UNKNOWN",
    "HELD",
    "SUSPENDED",
    "ARCHIVED",
)
ACTIVE_PHASES = ("PENDING", "QUEUED", "EXECUTING")  # WAIT waits in these (UWS 1.1 section 2.2.1.1)
FINAL_PHASES = ("COMPLETED", "ERROR", "ABORTED", "ARCHIVED")
OPEN_PHASES = ("PENDING", "QUEUED", "EXECUTING", "HELD", "SUSPENDED", "UNKNOWN")
UNARCHIVED_PHASES = (*OPEN_PHASES, "COMPLETED", "ERROR", "ABORTED")  # phases in which a job can have results
# parameters of the job itself, which its work does not get
CONTROL_PARAMETERS = (
    "PHASE",
    "RUNID",
    "ACTION",
    "DESTRUCTION",
    "EXECUTIONDURATION",
    "WAIT",
    "DEPENDS_ON",
    "PARENT",
)
DEFAULT_LIST_LIMIT, MAX_LIST_LIMIT = 1_000, 10_000  # jobs of a list without LAST, and with it
MAX_DEPENDENCIES = 100  # jobs that one job can wait for
MAX_RUN_ID_CHARACTERS = 64  # the length that UWS recommends
MAX_FILE_NAME_BYTES = 200
MAX_PARAMETER_CHARACTERS = 4 * 1024**2  # of all parameters of a job together
READ_SCOPE_GROUP = TOKEN_SCOPE_GROUPS["read"]
_TIME_PATTERN = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?))?(Z|[+-]\d\d:?\d\d)?", re.ASCII
)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRequester:
    """The client of a job request.

    Anonymous clients with the same address share a queue. They also share a list of jobs, unless a cookie tells them
    apart.

    Attributes
    ----------
    principal
        The account of the client, if it has one.
    address
        The network address of the client.
    visitor
        For a browser without an account, the value of its cookie (`hven.site.auth.session.compute_visitor_hash`); empty
        if it has none.
    """

    principal: Principal
    address: str
    visitor: str = ""

    @property
    def queue(self) -> str:
        """The queue in which jobs of the client wait."""
        if self.principal.name is not None:
            return f"user {self.principal.name}"
        if self.principal.owner_id is None:
            return f"address {self.address}"
        return self.principal.owner_id

    @property
    def has_ownerless_jobs(self) -> bool:
        """True if no principal owns the jobs of the client, so that everyone who knows their ids may read them."""
        return self.principal.owner_id is None


class JobService:
    """The jobs of one type. Each call is one short transaction of the store; no call runs a job."""

    def __init__(self, site: Site, job_type: str) -> None:
        self.site = site
        self.job_type = job_type

    # --- create ----------------------------------------------------------------------------------------------

    def create_job(self, params: RequestParams, requester: JobRequester) -> JobRecord:
        """Create a job; PHASE=RUN enqueues it at once.

        Parameters
        ----------
        params
            Parameters of the request. RUNID, PHASE, EXECUTIONDURATION and DESTRUCTION are for the job itself, and the
            others for its work.
        requester
            The client, who will own the job.

        Returns
        -------
        job
            The job, which is PENDING, QUEUED or HELD.

        Raises
        ------
        ParamError
            A parameter of the job itself is invalid; no job was created.
        ForbiddenError
            The client has too many jobs that have not ended.
        """
        limits = self.site.settings.jobs
        job_definition = self._find_allowed_definition(requester)
        should_run = _read_choice(params, "PHASE", ("RUN",))
        if should_run:
            self._check_parameters(job_definition, params, params.files)
        parent_text = params.read_one("PARENT")
        destruction = self._read_destruction_time(params)
        if destruction is None:
            destruction = format_sortable_timestamp(datetime.now(UTC) + timedelta(days=limits.keep_days))
        duration = self._read_limited_duration(params)
        if duration is None:
            duration = job_definition.quota.duration_limit_seconds or limits.seconds
        groups = recorded_rights.list_rights_to_record(requester.principal, self.site.store, self.site.settings)
        run_id = _read_run_id(params)
        parameters = _collect_work_parameters(params)
        parent: str | None = None
        if parent_text is not None:
            parent = self._parse_and_check_related_job_ids([parent_text], "PARENT", requester)[0]
        dependencies = self._parse_and_check_related_job_ids(params.read_all("DEPENDS_ON"), "DEPENDS_ON", requester)
        usage = CURRENT_USAGE.get()
        job = JobRecord(
            id=f"{datetime.now(UTC):%y%m%d}{secrets.token_hex(10)}",
            type=self.job_type,
            # to the millisecond, as answers show it, because AFTER takes the shown time
            created=f"{format_current_time()[:23]}000Z",
            queue=requester.queue,
            owner=requester.principal.owner_id,
            groups=groups,
            run_id=run_id,
            parameters=parameters,
            duration=duration,
            parent=parent,
            depends_on=dependencies,
            destruction=destruction,
            request_id=usage.request_id if usage is not None else None,
        )
        job_directory = get_job_directory(self.site.settings, job.id)
        try:
            self._save_input_files(job.id, params)
            visitor = requester.visitor if requester.has_ownerless_jobs else ""
            is_added = self.site.store.jobs.add_job(
                job, counted_phases=OPEN_PHASES, job_limit=limits.open, visitor=visitor
            )
        except BaseException:
            shutil.rmtree(job_directory, ignore_errors=True)
            raise
        if not is_added:
            shutil.rmtree(job_directory, ignore_errors=True)
            message = format_message("you have reached the limit of {open:,} unfinished jobs", limits.open)
            raise ForbiddenError(
                message, remedy="wait until some jobs have ended, or delete jobs that are PENDING or HELD"
            )
        # in JSON, this line has the id of the request; messages about the job have both ids
        log.info("a request has created the job %s of type %s", job.id, job.type)
        if should_run:
            self._enqueue_job(job, allowed_phases=("PENDING",))
        return job

    def _find_allowed_definition(self, requester: JobRequester) -> JobDefinition:
        """Return the definition of the job type.

        Raises
        ------
        UnauthenticatedError
            The type is only for users who are logged in.
        """
        job_definition = type_catalogue.find_job_type(self.site.settings, self.job_type)
        if job_definition.access != "public" and requester.principal.name is None:
            raise UnauthenticatedError(
                format_message(
                    "only users with an account on this site can run jobs of the type {kind}", self.job_type
                ),
                remedy="log in",
            )
        return job_definition

    def _check_parameters(self, job_definition: JobDefinition, params: RequestParams, files: Collection[str]) -> None:
        if job_definition.check is not None:
            job_definition.check(params, files)

    def _parse_and_check_related_job_ids(
        self, id_texts: Sequence[str], parameter_name: str, requester: JobRequester
    ) -> list[str]:
        """Check that some jobs exist and that the client may name them; return their ids."""
        job_ids: list[str] = []
        for text in id_texts:
            job_ids += [job_id for job_id in re.split(r"[\s,]+", text) if job_id]
        for job_id in job_ids:
            try:
                job = self.site.store.jobs.get_job(job_id)
                self._check_access(job, requester)
            except NotFoundError:
                raise ParamError(
                    format_message("{role}={name!r:.80} is not a job", parameter_name, job_id),
                    name=parameter_name,
                    remedy="give the id of a job of any type",
                ) from None
        if len(job_ids) > MAX_DEPENDENCIES:
            raise ParamError(
                format_message(
                    "{role} lists {count} jobs; the limit is {most}", parameter_name, len(job_ids), MAX_DEPENDENCIES
                ),
                name=parameter_name,
            )
        return list(dict.fromkeys(job_ids))

    def _enqueue_job(self, job: JobRecord, *, allowed_phases: Sequence[str]) -> str | None:
        job_type = type_catalogue.find_job_type(self.site.settings, self.job_type)
        type_limit = job_type.quota.waiting_limit
        return self.site.store.jobs.enqueue_job(
            job.id, allowed_phases=allowed_phases, queue_limit=self.site.settings.jobs.queued, type_limit=type_limit
        )

    # --- read ------------------------------------------------------------------------------------------------

    def get_job(
        self, job_id: str, requester: JobRequester, *, for_reading: bool = True, for_change: bool = False
    ) -> JobRecord:
        """Return a job. Everyone who knows its id may read an ownerless job, because the id cannot be guessed.

        Parameters
        ----------
        job_id
            Id of the job.
        requester
            The client.
        for_reading
            False: to destroy the job, which its owner may do with any rights.
        for_change
            True: to change, stop or destroy the job.

        Returns
        -------
        job
            The job as the store has it now.

        Raises
        ------
        NotFoundError
            There is no such job.
        ForbiddenError
            The job belongs to another user, or needs rights that its owner has lost. A token that may only read changes
            no jobs except those that such a token of the same account created.
        """
        job = self.site.store.jobs.get_job(job_id)
        if job.type != self.job_type:
            raise NotFoundError(format_message("there is no job {name!r:.80}", job_id))
        self._check_access(job, requester, for_reading=for_reading)
        principal = requester.principal
        if for_change and READ_SCOPE_GROUP in principal.groups:
            is_own_job = READ_SCOPE_GROUP in job.groups and job.owner == principal.name
            if not is_own_job:
                raise ForbiddenError(
                    "this token is read-only, except for the jobs that it started",
                    remedy="use a token with the scope `all`",
                )
        return job

    def _check_access(self, job: JobRecord, requester: JobRequester, *, for_reading: bool = True) -> None:
        job_label = format_message("the job {id}", job.id)
        recorded_rights.check_access_to_stored_object(
            job_label, job.owner, job.groups, requester.principal, self.site.store, is_for_reading=for_reading
        )
        rules = job.progress.get(ACCESS_RULES_KEY, {})
        if not for_reading or not rules:
            return
        tables = self.site.get_published_state().tables_by_name
        if not recorded_rights.is_still_accessible(rules, tables, requester.principal):
            raise ForbiddenError(
                format_message("{what} contains rows of tables to which you no longer have access", job_label),
                remedy="run the query again; the new result will contain only rows to which you have access",
            )

    def list_child_job_ids(self, job: JobRecord) -> list[str]:
        """List the jobs that are part of a job.

        Parameters
        ----------
        job
            The job.

        Returns
        -------
        ids
            Ids of the jobs, the oldest first.
        """
        return self.site.store.jobs.list_children(job.id)

    def estimate_completion(self, job: JobRecord) -> CompletionEstimate:
        """Estimate the place of a job in the queue, and the time at which it will be done.

        Parameters
        ----------
        job
            The job.

        Returns
        -------
        estimate
            The estimate, with a note to the owner if the job is held.
        """
        estimate = estimate_completion(job, self.site.store.jobs, datetime.now(UTC))
        if job.phase != "HELD":
            return estimate
        queue_limit = self.site.settings.jobs.queued
        note = (
            f"you already have {queue_limit:,} waiting or running jobs; set this job to RUN when some of them "
            "have ended"
        )
        return replace(estimate, note=note)

    def list_jobs(
        self, params: RequestParams, requester: JobRequester, *, row_limit: int = MAX_LIST_LIMIT
    ) -> list[JobRef]:
        """List the jobs of the client, the newest first (UWS 1.1, 2.2.2.1).

        Parameters
        ----------
        params
            PHASE, AFTER, LAST; and BEFORE, a time or a result of `format_job_list_position`.
        requester
            The client.
        row_limit
            Largest number of jobs, whatever LAST says.

        Returns
        -------
        jobs
            Short records.

        Raises
        ------
        ParamError
            A filter is invalid.
        """
        phases = [phase.upper() for phase in params.read_all("PHASE") if phase]
        for phase in phases:
            if phase not in JOB_PHASES:
                raise ParamError(
                    format_message("PHASE={phase!r:.40} is not a phase", phase),
                    name="PHASE",
                    remedy=format_message("use one of {names}", ", ".join(JOB_PHASES)),
                )
        after_text = params.read_one("AFTER")
        requested_count = params.read_integer("LAST", minimum=1)
        created_after: str | None = None
        if after_text is not None:
            created_after = format_sortable_timestamp(parse_time_parameter(after_text, "AFTER"))
        before_time, _, job_id = (params.read_one("BEFORE") or "").partition(",")
        previous_job: tuple[str, str | None] | None = None
        if before_time:
            previous_job = (format_sortable_timestamp(parse_time_parameter(before_time, "BEFORE")), job_id or None)
        return self.site.store.jobs.list_jobs(
            requester.queue,
            self.job_type,
            phases=phases,
            hidden_phases=("ARCHIVED",),
            created_after=created_after,
            previous_job=previous_job,
            row_limit=min(requested_count or row_limit, row_limit),
            visitor=requester.visitor if requester.has_ownerless_jobs else None,
        )

    # --- change ----------------------------------------------------------------------------------------------

    def change_job(self, job: JobRecord, params: RequestParams, requester: JobRequester | None = None) -> None:
        """Add or replace parameters of a PENDING job, and change what the request sets of the job itself.

        Parameters
        ----------
        job
            The job as the store has it.
        params
            Parameters of the request.
        requester
            The client; None: the owner of the job.

        Raises
        ------
        ParamError
            A value is invalid.
        ConflictError
            The phase of the job does not allow the change.
        """
        jobs = self.site.store.jobs
        new_parameters = _collect_work_parameters(params)
        duration = self._read_limited_duration(params)
        destruction = self._read_destruction_time(params)
        phase = _read_choice(params, "PHASE", ("RUN", "ABORT"))
        changes = _collect_changes_of_pending_job(job, params, new_parameters)
        if params.files and job.phase == "PENDING":
            self._save_input_files(job.id, params)
        if changes and not jobs.update_job(job.id, allowed_phases=("PENDING",), **changes):
            raise ConflictError(
                "the parameters of a job can be changed only while the job is PENDING", remedy="create a new job"
            )
        if destruction is not None:
            is_changed = jobs.update_job(job.id, allowed_phases=UNARCHIVED_PHASES, destruction=destruction)
            if not is_changed:
                raise ConflictError("the job is ARCHIVED: its results have already been destroyed")
        if duration is not None:
            is_changed = jobs.update_job(job.id, allowed_phases=OPEN_PHASES, duration=duration)
            if not is_changed:
                raise ConflictError("the job has ended, so its time limit cannot be changed")
        if params.read_all("DEPENDS_ON"):
            self._set_dependencies(job, params, requester)
        if phase is not None:
            self.run_or_abort_job(job, phase)

    def _set_dependencies(self, job: JobRecord, params: RequestParams, requester: JobRequester | None) -> None:
        if requester is None:
            raise ParamError("DEPENDS_ON cannot be changed here", name="DEPENDS_ON")
        dependencies = self._parse_and_check_related_job_ids(params.read_all("DEPENDS_ON"), "DEPENDS_ON", requester)
        dependency_cycle = self.site.store.jobs.set_dependencies_or_find_cycle(
            job.id, dependencies, allowed_phases=("PENDING",)
        )
        if dependency_cycle is None:
            raise ConflictError(
                "the dependencies of a job can be changed only while the job is PENDING", remedy="create a new job"
            )
        if dependency_cycle:
            raise ParamError(
                format_message("the job would wait for itself: {circle}", " -> ".join(dependency_cycle)),
                name="DEPENDS_ON",
                remedy="remove one of these dependencies",
            )

    def run_or_abort_job(self, job: JobRecord, phase: str) -> None:
        """Run or abort a job.

        It is no error to RUN a job that runs, or to ABORT a job that has ended.

        Parameters
        ----------
        job
            The job as the store has it.
        phase
            RUN or ABORT.

        Raises
        ------
        ConflictError
            A job that has ended cannot be run again.
        """
        if phase == "RUN":
            self._check_and_enqueue_job(job)
            return
        jobs = self.site.store.jobs
        abort_values = {"phase": "ABORTED", "ended": format_current_time(), "holder": None}
        if jobs.update_job(job.id, allowed_phases=("EXECUTING",), **abort_values):
            return  # its worker notices the abort
        if jobs.update_job(job.id, allowed_phases=OPEN_PHASES, **abort_values):
            with suppress(NotFoundError):
                current_job = jobs.get_job(job.id)  # a worker may have changed it since the caller read it
                self._call_on_drop(current_job, is_destroyed=False)

    def _check_and_enqueue_job(self, job: JobRecord) -> None:
        """Check the parameters of a job, and enqueue it."""
        jobs = self.site.store.jobs
        if job.phase in {"PENDING", "HELD"}:
            current_job = jobs.get_job(job.id)  # its parameters may have come with this request
            files_directory = get_job_directory(self.site.settings, job.id) / INPUT_FILES_DIRECTORY
            job_definition = type_catalogue.find_job_type(self.site.settings, self.job_type)
            params = collect_params(current_job.parameters)
            self._check_parameters(job_definition, params, list_input_files(files_directory))
        queued_phase = self._enqueue_job(job, allowed_phases=("PENDING", "HELD"))
        if queued_phase is None:
            current_phase = jobs.get_job(job.id).phase
            if current_phase in FINAL_PHASES:
                raise ConflictError(
                    format_message("the job is {phase} and cannot be run again", current_phase),
                    remedy="create a new job",
                )

    def destroy_job(self, job: JobRecord) -> None:
        """Destroy a job and all its files; if it runs, stop it.

        Parameters
        ----------
        job
            The job as the store has it.
        """
        with suppress(NotFoundError):
            job = self.site.store.jobs.get_job(job.id)  # a worker may have changed it since the caller read it
        for job_id in self.site.store.jobs.delete_jobs_and_descendants(job.id):
            job_directory = get_job_directory(self.site.settings, job_id)
            shutil.rmtree(job_directory, ignore_errors=True)
        if job.phase != "EXECUTING":
            self._call_on_drop(job, is_destroyed=True)

    def _call_on_drop(self, job: JobRecord, *, is_destroyed: bool) -> None:
        """Inform the job type that a job is dropped while no worker has it."""
        try:
            job_definition = type_catalogue.find_job_type(self.site.settings, self.job_type)
        except HvenError:  # the declaration of the type is gone, and with it what there is to do
            return
        if job_definition.on_drop is not None:
            job_definition.on_drop(self.site, job, is_destroyed)

    # --- results ---------------------------------------------------------------------------------------------

    def find_result_file(self, job: JobRecord, result_name: str) -> tuple[Path, str]:
        """Return the file of a result.

        Parameters
        ----------
        job
            The job as the store has it.
        result_name
            Id of the result.

        Returns
        -------
        path
            Path of the file on this machine.
        media_type
            Media type of the file.

        Raises
        ------
        NotFoundError
            The job has no such result, or not yet, or not any more.
        """
        for result in job.results:
            if result["id"] == result_name:
                path = get_job_directory(self.site.settings, job.id) / result["file"]
                if path.is_file():
                    return path, result["media_type"]
        raise NotFoundError(
            format_message("the job has no result {name!r:.80}", result_name),
            remedy=format_message("a job has results only when it is COMPLETED; this job is {phase}", job.phase),
        )

    def _save_input_files(self, job_id: str, params: RequestParams) -> None:
        """Store the files of a request durably, before the job that needs them is added."""
        files_directory = get_job_directory(self.site.settings, job_id) / INPUT_FILES_DIRECTORY
        for part_name, upload in params.files.items():
            encoded_name = quote(part_name, safe="")
            if len(encoded_name) > MAX_FILE_NAME_BYTES or encoded_name.strip(".") == "":
                raise ParamError(
                    format_message("{part!r:.60} is not a valid name for a part of the request", part_name),
                    remedy="give the part a short name that contains only letters and digits",
                )
            try:
                create_job_directory(files_directory, self.site.settings.data_directory)
                with (files_directory / encoded_name).open("wb") as file:
                    upload.file.seek(0)
                    shutil.copyfileobj(upload.file, file, 1 << 20)
                    file.flush()
                    os.fsync(file.fileno())
            except OSError as error:
                message = format_message(
                    "the file {part!r} could not be saved: {reason}", part_name, (error.strerror or "").lower()
                )
                raise StorageError(message, remedy="try again later") from error

    def _read_limited_duration(self, params: RequestParams) -> int | None:
        requested_seconds = params.read_integer("EXECUTIONDURATION")
        if requested_seconds is None:
            return None
        job_definition = type_catalogue.find_job_type(self.site.settings, self.job_type)
        type_limit = job_definition.quota.duration_limit_seconds or 2**31
        max_seconds = min(self.site.settings.jobs.seconds_hard, type_limit)
        # 0 asks for the longest time (section 2.1.7)
        if requested_seconds == 0:
            return max_seconds
        return min(requested_seconds, max_seconds)

    def _read_destruction_time(self, params: RequestParams) -> str | None:
        text = params.read_one("DESTRUCTION")
        if text is None:
            return None
        latest = datetime.now(UTC) + timedelta(days=self.site.settings.jobs.keep_days_hard)
        return format_sortable_timestamp(min(parse_time_parameter(text, "DESTRUCTION"), latest))


def get_job_directory(settings: Settings, job_id: str) -> Path:
    """Return the directory of a job's files.

    Parameters
    ----------
    settings
        Settings of the site.
    job_id
        Id of the job.
    """
    return settings.data_directory / "jobs" / job_id


def parse_time_parameter(text: str, parameter_name: str) -> datetime:
    """Parse a time; a time without a zone is in UTC (DALI 1.1, 3.3.3).

    Parameters
    ----------
    text
        Text of the time.
    parameter_name
        Name of the parameter, for the message.

    Returns
    -------
    time
        The time with its zone, UTC.

    Raises
    ------
    ParamError
        The text is no time.
    """
    match = _TIME_PATTERN.fullmatch(text.strip())
    time = None
    if match is not None:
        time = _build_utc_time(*match.groups())
    if time is None:
        raise ParamError(
            format_message("{name}={text!r:.60} is not a time", parameter_name, text),
            name=parameter_name,
            remedy="write a time such as 2026-11-20T10:30:00Z",
        )
    return time


def _build_utc_time(date: str, time: str | None, zone: str | None) -> datetime | None:
    """Build a time from its parts; None: there is no such time."""
    clock_time = _truncate_to_microseconds(time or "00:00:00")
    offset = zone
    if zone in {None, "Z"}:
        offset = "+00:00"
    try:
        return datetime.fromisoformat(f"{date}T{clock_time}{offset}").astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _truncate_to_microseconds(time_text: str) -> str:
    whole_seconds, dot, fraction = time_text.partition(".")
    if dot:
        return f"{whole_seconds}.{fraction[:6]:0<6}"
    return whole_seconds


def format_job_list_position(job_ref: JobRef) -> str:
    """Format the position of a job in a list; with BEFORE it lists the jobs behind.

    Parameters
    ----------
    job_ref
        The last job of a list.

    Returns
    -------
    position
        An opaque text.
    """
    return f"{job_ref.created},{job_ref.id}"


def format_sortable_timestamp(time_value: datetime) -> str:
    """Format a time as the store does, so that the texts sort by time.

    Parameters
    ----------
    time_value
        A time with its zone.

    Returns
    -------
    time
        UTC, to the microsecond, with Z.
    """
    return time_value.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _read_choice(params: RequestParams, parameter_name: str, allowed_words: Sequence[str]) -> str | None:
    text = params.read_one(parameter_name)
    if text is None:
        return None
    if text.upper() not in allowed_words:
        raise ParamError(
            format_message("{name}={text!r:.40} is not valid", parameter_name, text),
            name=parameter_name,
            remedy=format_message("write {name}={values}", parameter_name, " or ".join(allowed_words)),
        )
    return text.upper()


def _read_run_id(params: RequestParams) -> str | None:
    text = params.read_one("RUNID")
    if text is None:
        return None
    if len(text) > MAX_RUN_ID_CHARACTERS or not text.isprintable():
        raise ParamError(
            format_message("RUNID={text!r:.40} is not valid", text),
            name="RUNID",
            remedy=format_message("use at most {most} printable characters", MAX_RUN_ID_CHARACTERS),
        )
    return text


def _collect_work_parameters(params: RequestParams) -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    for name, values in params.values.items():
        if name not in CONTROL_PARAMETERS:
            pairs += [(name, value) for value in values]
    return _check_parameter_size(pairs)


def _collect_changes_of_pending_job(
    job: JobRecord, params: RequestParams, new_parameters: Sequence[tuple[str, str]]
) -> dict[str, object]:
    """Collect the changes of a job that are only allowed while it is PENDING."""
    changes: dict[str, object] = {}
    if new_parameters:
        changes["parameters"] = _replace_parameters(job.parameters, new_parameters)
    if params.read_one("RUNID") is not None:
        changes["run_id"] = _read_run_id(params)
    if params.files and not changes:
        changes["run_id"] = job.run_id  # no change, but the store checks the phase
    return changes


def _replace_parameters(
    parameters: Sequence[tuple[str, str]], new_parameters: Sequence[tuple[str, str]]
) -> list[tuple[str, str]]:
    """Return the parameters of a job with new ones, which replace those of the same names."""
    new_names = {name.upper() for name, _ in new_parameters}
    kept_parameters = [(name, value) for name, value in parameters if name.upper() not in new_names]
    return _check_parameter_size([*kept_parameters, *new_parameters])


def _check_parameter_size(pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
    size = sum(len(name) + len(value) for name, value in pairs)
    if size > MAX_PARAMETER_CHARACTERS:
        raise ParamError(
            format_message(
                "the parameters have {size:,} characters; the limit is {most:,}", size, MAX_PARAMETER_CHARACTERS
            ),
            remedy="upload a long list as a table",
        )
    return pairs
