"""Create, change, run, abort, list and destroy the jobs of one type, within the rights of who asks."""

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

from hven.jobs import declared_types
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
UNARCHIVED_PHASES = (*OPEN_PHASES, "COMPLETED", "ERROR", "ABORTED")  # with their results, until their destruction
CONTROL_PARAMETERS = (
    "PHASE",
    "RUNID",
    "ACTION",
    "DESTRUCTION",
    "EXECUTIONDURATION",
    "WAIT",
    "DEPENDS_ON",
    "PARENT",
)  # of the job itself, not of its work
DEFAULT_LIST_LIMIT, MAX_LIST_LIMIT = 1_000, 10_000  # jobs of a list without LAST, and with it
MAX_DEPENDENCIES = 100  # jobs that one waits for
MAX_RUN_ID_CHARACTERS = 64  # characters, as UWS recommends no more
MAX_FILE_NAME_BYTES = 200  # bytes of a file's name
MAX_PARAMETER_CHARACTERS = 4 * 1024**2  # characters of a job's parameters
READ_SCOPE_GROUP = TOKEN_SCOPE_GROUPS["read"]
_TIME_PATTERN = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?))?(Z|[+-]\d\d:?\d\d)?", re.ASCII
)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRequester:
    """The client of a job request.

    Anonymous clients of one address share a queue. They share a list of jobs, too, unless a cookie tells them apart.

    Attributes
    ----------
    principal
        Their account, if they have one.
    visitor
        Of a browser without an account: what its cookie says (`hven.site.auth.session.identify_visitor`); empty if it
        has none.
    """

    principal: Principal
    address: str
    visitor: str = ""

    @property
    def queue(self) -> str:
        """Whose turn it is when a job waits."""
        if self.principal.name is not None:
            return f"user {self.principal.name}"
        if self.principal.owner_id is None:
            return f"address {self.address}"
        return self.principal.owner_id

    @property
    def is_ownerless(self) -> bool:
        """True if no principal owns what they make: their jobs are for whoever knows their names."""
        return self.principal.owner_id is None


class JobService:
    """The jobs of one type. Every call is one short transaction of the store; none of them runs a job."""

    def __init__(self, site: Site, job_type: str) -> None:
        self.site = site
        self.job_type = job_type

    # --- making ----------------------------------------------------------------------------------------------

    def create_job(self, params: RequestParams, requester: JobRequester) -> JobRecord:
        """Create a job; PHASE=RUN lets it wait for its turn at once.

        Parameters
        ----------
        params
            Of the request; RUNID, PHASE, EXECUTIONDURATION and DESTRUCTION are the job's own, all others its work's.
        requester
            The asker, who owns it.

        Returns
        -------
        job
            PENDING, QUEUED or HELD.

        Raises
        ------
        ParamError
            One of the job's own parameters cannot be; no job was made.
        ForbiddenError
            Too many jobs of the same asker have not ended.
        """
        limits = self.site.settings.jobs
        job_definition = self._find_allowed_type(requester)
        should_run = _read_choice(params, "PHASE", ("RUN",))
        if should_run:
            self._check_parameters(job_definition, params, params.files)
        parent = params.read_one("PARENT")
        destruction = self._read_destruction(params)
        duration = self._read_duration(params)
        job = JobRecord(
            id=f"{datetime.now(UTC):%y%m%d}{secrets.token_hex(10)}",
            type=self.job_type,
            # to the millisecond, as it is shown: AFTER takes what was shown
            created=f"{format_current_time()[:23]}000Z",
            queue=requester.queue,
            owner=requester.principal.owner_id,
            groups=recorded_rights.record_rights(requester.principal, self.site.store, self.site.settings),
            run_id=_read_run_id(params),
            parameters=_collect_parameters(params),
            duration=(job_definition.quota.duration_limit_seconds or limits.seconds) if duration is None else duration,
            parent=None if parent is None else self._check_related_jobs([parent], "PARENT", requester)[0],
            depends_on=self._check_related_jobs(params.read_all("DEPENDS_ON"), "DEPENDS_ON", requester),
            destruction=destruction or format_timestamp(datetime.now(UTC) + timedelta(days=limits.keep_days)),
        )
        try:
            self._save_input_files(job.id, params)
            visitor = requester.visitor if requester.is_ownerless else ""
            is_added = self.site.store.jobs.add_job(
                job, counted_phases=OPEN_PHASES, job_limit=limits.open, visitor=visitor
            )
        except BaseException:
            job_directory = get_job_directory(self.site.settings, job.id)
            shutil.rmtree(job_directory, ignore_errors=True)
            raise
        if not is_added:
            shutil.rmtree(get_job_directory(self.site.settings, job.id), ignore_errors=True)
            message = format_message("{open:,} jobs of yours have not ended, and more are not kept", limits.open)
            raise ForbiddenError(message, remedy="let some end, or delete those that are PENDING or HELD")
        if should_run:
            self._enqueue_job(job, allowed_phases=("PENDING",))
        return job

    def _find_allowed_type(self, requester: JobRequester) -> JobDefinition:
        """Return what kind of job it is.

        Raises
        ------
        UnauthenticatedError
            It is for those who are logged in.
        """
        job_definition = declared_types.find_job_type(self.site.settings, self.job_type)
        if job_definition.access != "public" and requester.principal.name is None:
            raise UnauthenticatedError(
                format_message("jobs of the type {kind} are for those who have an account here", self.job_type),
                remedy="log in",
            )
        return job_definition

    def _check_parameters(self, job_definition: JobDefinition, params: RequestParams, files: Collection[str]) -> None:
        if job_definition.check is not None:
            job_definition.check(params, files)

    def _check_related_jobs(self, id_texts: Sequence[str], role: str, requester: JobRequester) -> list[str]:
        """Check that other jobs are there, and the asker's to name."""
        job_ids = [name for value in id_texts for name in re.split(r"[\s,]+", value) if name]
        for name in job_ids:
            try:
                job = self.site.store.jobs.get_job(name)
                self._check_access(job, requester)
            except NotFoundError:
                raise ParamError(
                    format_message("{role}={name!r:.80} is no job", role, name),
                    name=role,
                    remedy="give the id of a job, of any type",
                ) from None
        if len(job_ids) > MAX_DEPENDENCIES:
            raise ParamError(
                format_message("{role} names {count} jobs; the limit is {most}", role, len(job_ids), MAX_DEPENDENCIES),
                name=role,
            )
        return list(dict.fromkeys(job_ids))

    def _enqueue_job(self, job: JobRecord, *, allowed_phases: Sequence[str]) -> str | None:
        job_type = declared_types.find_job_type(self.site.settings, self.job_type)
        type_limit = job_type.quota.waiting_limit
        return self.site.store.jobs.enqueue_job(
            job.id, allowed_phases=allowed_phases, queue_limit=self.site.settings.jobs.queued, type_limit=type_limit
        )

    # --- looking ---------------------------------------------------------------------------------------------

    def get_job(
        self, job_id: str, requester: JobRequester, *, for_reading: bool = True, for_change: bool = False
    ) -> JobRecord:
        """Return a job. That of nobody in particular is for everybody who knows its name, which cannot be guessed.

        Parameters
        ----------
        job_id
            Its id.
        requester
            The asker.
        for_reading
            False: to destroy it, which its owner may whatever rights they have lost since.
        for_change
            True: to change, stop or destroy it.

        Returns
        -------
        job
            As the store has it now.

        Raises
        ------
        NotFoundError
            There is none.
        ForbiddenError
            It is another user's, or relies on rights that its owner has lost since; a token that may only read changes
            no job but those that such a token of the same account began.
        """
        job = self.site.store.jobs.get_job(job_id)
        if job.type != self.job_type:
            raise NotFoundError(format_message("there is no job {name!r:.80}", job_id))
        self._check_access(job, requester, for_reading=for_reading)
        if (
            for_change
            and READ_SCOPE_GROUP in requester.principal.groups
            and (READ_SCOPE_GROUP not in job.groups or job.owner != requester.principal.name)
        ):
            raise ForbiddenError(
                "this token may only read: it changes no jobs but those that it began",
                remedy="a token with the scope all may change things",
            )
        return job

    def _check_access(self, job: JobRecord, requester: JobRequester, *, for_reading: bool = True) -> None:
        job_label = format_message("the job {id}", job.id)
        recorded_rights.check_access_to_stored(
            job_label, job.owner, job.groups, requester.principal, self.site.store, for_reading=for_reading
        )
        rules = job.progress.get(ACCESS_RULES_KEY, {})
        if (
            for_reading
            and rules
            and not recorded_rights.is_still_accessible(
                rules, self.site.get_published_state().tables_by_name, requester.principal
            )
        ):
            raise ForbiddenError(
                format_message("{what} has rows of tables that were closed since", job_label),
                remedy="ask again: the answer has what you may see now",
            )

    def list_children(self, job: JobRecord) -> list[str]:
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
        return self.site.store.jobs.list_children(job.id)

    def estimate_completion(self, job: JobRecord) -> CompletionEstimate:
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
        estimate = estimate_completion(job, self.site.store.jobs, datetime.now(UTC))
        if job.phase != "HELD":
            return estimate
        queue_limit = self.site.settings.jobs.queued
        return replace(
            estimate,
            note=f"{queue_limit:,} jobs of yours wait or run already; tell this one to RUN when some of them have "
            f"ended",
        )

    def list_jobs(
        self, params: RequestParams, requester: JobRequester, *, row_limit: int = MAX_LIST_LIMIT
    ) -> list[JobRef]:
        """List the asker's jobs, the newest first (UWS 1.1, 2.2.2.1).

        Parameters
        ----------
        params
            PHASE, AFTER, LAST; and BEFORE, a time or what `format_list_position` returns.
        requester
            The asker.
        row_limit
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
        phases = [phase.upper() for phase in params.read_all("PHASE") if phase]
        for phase in phases:
            if phase not in JOB_PHASES:
                raise ParamError(
                    format_message("PHASE={phase!r:.40} is no phase", phase),
                    name="PHASE",
                    remedy=format_message("one of {names}", ", ".join(JOB_PHASES)),
                )
        after = params.read_one("AFTER")
        integer = params.read_integer("LAST", minimum=1)
        list_limit = min(integer or row_limit, row_limit)
        if after is None:
            created_after = None
        else:
            created_after = format_timestamp(parse_time(after, "AFTER"))
        visitor = requester.visitor if requester.is_ownerless else None
        one = params.read_one("BEFORE")
        before_time, _, name = (one or "").partition(",")
        if before_time:
            time = parse_time(before_time, "BEFORE")
            previous_job = (format_timestamp(time), name or None)
        else:
            previous_job = None
        return self.site.store.jobs.list_jobs(
            requester.queue,
            self.job_type,
            phases=phases,
            hidden_phases=("ARCHIVED",),
            created_after=created_after,
            previous_job=previous_job,
            row_limit=list_limit,
            visitor=visitor,
        )

    # --- changing --------------------------------------------------------------------------------------------

    def change_job(self, job: JobRecord, params: RequestParams, requester: JobRequester | None = None) -> None:
        """Add or replace parameters of a job that is PENDING; set what else the request says of the job itself.

        Parameters
        ----------
        job
            As the store has it.
        params
            Of the request.
        requester
            The asker; None: whoever owns it.

        Raises
        ------
        ParamError
            A value cannot be.
        ConflictError
            The job is beyond that phase.
        """
        new_parameters = _collect_parameters(params)
        duration = self._read_duration(params)
        destruction = self._read_destruction(params)
        phase = _read_choice(params, "PHASE", ("RUN", "ABORT"))
        values: dict[str, object] = {}
        if new_parameters:
            names = {name.upper() for name, _ in new_parameters}
            values["parameters"] = _check_parameter_size(
                [*(pair for pair in job.parameters if pair[0].upper() not in names), *new_parameters]
            )
        if params.read_one("RUNID") is not None:
            values["run_id"] = _read_run_id(params)
        if params.files and job.phase == "PENDING":
            self._save_input_files(job.id, params)
        if (values or params.files) and not self.site.store.jobs.update_job(
            job.id, allowed_phases=("PENDING",), **(values or {"run_id": job.run_id})
        ):
            raise ConflictError(
                "the parameters of a job can be changed while it is PENDING only", remedy="make another job"
            )
        if destruction is not None and not self.site.store.jobs.update_job(
            job.id, allowed_phases=UNARCHIVED_PHASES, destruction=destruction
        ):
            raise ConflictError("the job is ARCHIVED: what was to be destroyed is")
        if duration is not None and not self.site.store.jobs.update_job(
            job.id, allowed_phases=OPEN_PHASES, duration=duration
        ):
            raise ConflictError("the job has ended: there is no time left to limit")
        if params.read_all("DEPENDS_ON"):
            self._set_dependencies(job, params, requester)
        if phase is not None:
            self.change_phase(job, phase)

    def _set_dependencies(self, job: JobRecord, params: RequestParams, requester: JobRequester | None) -> None:
        if requester is None:
            raise ParamError("DEPENDS_ON cannot be changed here", name="DEPENDS_ON")
        dependency_cycle = self.site.store.jobs.set_dependencies(
            job.id,
            self._check_related_jobs(params.read_all("DEPENDS_ON"), "DEPENDS_ON", requester),
            allowed_phases=("PENDING",),
        )
        if dependency_cycle is None:
            raise ConflictError(
                "what a job waits for can be changed while it is PENDING only", remedy="make another job"
            )
        if dependency_cycle:
            raise ParamError(
                format_message("the job would wait for itself: {circle}", " -> ".join(dependency_cycle)),
                name="DEPENDS_ON",
                remedy="let one of them go without",
            )

    def change_phase(self, job: JobRecord, phase: str) -> None:
        """Run or abort a job. What has happened already is no error.

        A job that runs may be told to RUN, one that has ended to ABORT.

        Parameters
        ----------
        job
            As the store has it.
        phase
            RUN or ABORT.

        Raises
        ------
        ConflictError
            A job that has ended cannot be run again.
        """
        jobs = self.site.store.jobs
        if phase == "RUN":
            if job.phase in {"PENDING", "HELD"}:
                current_job = jobs.get_job(job.id)  # its parameters may have come with this very request
                files_directory = get_job_directory(self.site.settings, job.id) / INPUT_FILES_DIRECTORY
                job_type = declared_types.find_job_type(self.site.settings, self.job_type)
                params = collect_params(current_job.parameters)
                self._check_parameters(
                    job_type,
                    params,
                    list_input_files(files_directory),
                )
            queued_phase = self._enqueue_job(job, allowed_phases=("PENDING", "HELD"))
            if queued_phase is None and jobs.get_job(job.id).phase in FINAL_PHASES:
                raise ConflictError(
                    format_message("the job is {phase} and cannot be run again", jobs.get_job(job.id).phase),
                    remedy="make another job",
                )
        else:
            abort_values = {"phase": "ABORTED", "ended": format_current_time(), "holder": None}
            if not jobs.update_job(job.id, allowed_phases=("EXECUTING",), **abort_values) and jobs.update_job(
                job.id, allowed_phases=OPEN_PHASES, **abort_values
            ):
                with suppress(NotFoundError):  # as it is now: a worker may have put it back since it was read
                    self._notify_dropped(jobs.get_job(job.id), is_destroyed=False)

    def destroy_job(self, job: JobRecord) -> None:
        """Destroy a job and everything of it; if it runs, it is stopped.

        Parameters
        ----------
        job
            As the store has it.
        """
        with suppress(NotFoundError):
            job = self.site.store.jobs.get_job(job.id)  # as it is now: a worker may have put it back since it was read
        for name in self.site.store.jobs.delete_jobs(job.id):
            job_directory = get_job_directory(self.site.settings, name)
            shutil.rmtree(job_directory, ignore_errors=True)
        if job.phase != "EXECUTING":
            self._notify_dropped(job, is_destroyed=True)

    def _notify_dropped(self, job: JobRecord, *, is_destroyed: bool) -> None:
        """Inform its type that a job is dropped, where no worker does."""
        try:
            job_definition = declared_types.find_job_type(self.site.settings, self.job_type)
        except HvenError:  # the declaration has gone: nobody knows any more what there is to do
            return
        if job_definition.on_drop is not None:
            job_definition.on_drop(self.site, job, is_destroyed)

    # --- results ---------------------------------------------------------------------------------------------

    def find_result(self, job: JobRecord, result_name: str) -> tuple[Path, str]:
        """Return the file of a result.

        Parameters
        ----------
        job
            As the store has it.
        result_name
            Id of the result.

        Returns
        -------
        path
            On this machine.
        media_type
            Of its content.

        Raises
        ------
        NotFoundError
            There is none of that name, or not yet, or no more.
        """
        for item in job.results:
            if item["id"] == result_name:
                job_directory = get_job_directory(self.site.settings, job.id)
                path = job_directory / item["file"]
                if path.is_file():
                    return path, item["media_type"]
        raise NotFoundError(
            format_message("the job has no result {name!r:.80}", result_name),
            remedy=format_message("it is {phase}; a job has results when it is COMPLETED", job.phase),
        )

    def _save_input_files(self, job_id: str, params: RequestParams) -> None:
        """Keep the files of a request for the job, durably: its row comes after them."""
        files_directory = get_job_directory(self.site.settings, job_id) / INPUT_FILES_DIRECTORY
        for part_name, upload in params.files.items():
            encoded = quote(part_name, safe="")
            if len(encoded) > MAX_FILE_NAME_BYTES or encoded.strip(".") == "":
                raise ParamError(
                    format_message("a part of the request is called {part!r:.60}", part_name),
                    remedy="give it a short name of letters and digits",
                )
            try:
                create_job_directory(files_directory, self.site.settings.data_directory)
                with (files_directory / encoded).open("wb") as file:
                    upload.file.seek(0)
                    shutil.copyfileobj(upload.file, file, 1 << 20)
                    file.flush()
                    os.fsync(file.fileno())
            except OSError as error:
                message = format_message(
                    "the file {part!r} cannot be kept: {reason}", part_name, (error.strerror or "").lower()
                )
                raise StorageError(message, remedy="try again later") from error

    def _read_duration(self, params: RequestParams) -> int | None:
        requested_seconds = params.read_integer("EXECUTIONDURATION")
        if requested_seconds is None:
            return None
        max_seconds = min(
            self.site.settings.jobs.seconds_hard,
            declared_types.find_job_type(self.site.settings, self.job_type).quota.duration_limit_seconds or 2**31,
        )
        # 0 asks for as long as it takes (section 2.1.7)
        if requested_seconds == 0:
            return max_seconds
        return min(requested_seconds, max_seconds)

    def _read_destruction(self, params: RequestParams) -> str | None:
        text = params.read_one("DESTRUCTION")
        if text is None:
            return None
        latest = datetime.now(UTC) + timedelta(days=self.site.settings.jobs.keep_days_hard)
        return format_timestamp(min(parse_time(text, "DESTRUCTION"), latest))


def get_job_directory(settings: Settings, job_id: str) -> Path:
    """Return the directory of a job's files.

    Parameters
    ----------
    settings
        Of the site.
    job_id
        Id of the job.
    """
    return settings.data_directory / "jobs" / job_id


def parse_time(text: str, parameter_name: str) -> datetime:
    """Parse a time; without a zone it is UTC (DALI 1.1, 3.3.3).

    Parameters
    ----------
    text
        As it was sent.
    parameter_name
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
    match = _TIME_PATTERN.fullmatch(text.strip())
    if match is not None:
        date, time, zone = match.groups()
    else:
        date, time, zone = ("", None, None)
    try:
        return datetime.fromisoformat(
            f"{date}T{_truncate_to_microseconds(time or '00:00:00')}{'+00:00' if zone in {None, 'Z'} else zone}"
        ).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ParamError(
            format_message("{name}={text!r:.60} is no time", parameter_name, text),
            name=parameter_name,
            remedy="write 2026-11-20T10:30:00Z",
        ) from None


def _truncate_to_microseconds(time: str) -> str:
    whole_seconds, dot, fraction = time.partition(".")
    if dot:
        return f"{whole_seconds}.{fraction[:6]:0<6}"
    return whole_seconds


def format_list_position(job_ref: JobRef) -> str:
    """Name a place in a list of jobs: BEFORE takes it, and lists what is behind.

    Parameters
    ----------
    job_ref
        The last job that was listed.

    Returns
    -------
    place
        Opaque text.
    """
    return f"{job_ref.created},{job_ref.id}"


def format_timestamp(time_value: datetime) -> str:
    """Format a time as the store does: sorts as text.

    Parameters
    ----------
    time_value
        Aware.

    Returns
    -------
    time
        UTC, to the microsecond, with Z.
    """
    return time_value.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _read_choice(params: RequestParams, parameter_name: str, allowed: Sequence[str]) -> str | None:
    text = params.read_one(parameter_name)
    if text is None:
        return None
    if text.upper() not in allowed:
        raise ParamError(
            format_message("{name}={text!r:.40} cannot be asked for", parameter_name, text),
            name=parameter_name,
            remedy=format_message("{name}={values}", parameter_name, " or ".join(allowed)),
        )
    return text.upper()


def _read_run_id(params: RequestParams) -> str | None:
    text = params.read_one("RUNID")
    if text is None:
        return None
    if len(text) > MAX_RUN_ID_CHARACTERS or not text.isprintable():
        raise ParamError(
            format_message("RUNID={text!r:.40} cannot be a name of a run", text),
            name="RUNID",
            remedy=format_message("up to {most} printable characters", MAX_RUN_ID_CHARACTERS),
        )
    return text


def _collect_parameters(params: RequestParams) -> list[tuple[str, str]]:
    return _check_parameter_size(
        [(name, value) for name, values in params.values.items() if name not in CONTROL_PARAMETERS for value in values]
    )


def _check_parameter_size(pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
    size = sum(len(name) + len(value) for name, value in pairs)
    if size > MAX_PARAMETER_CHARACTERS:
        raise ParamError(
            format_message(
                "the parameters have {size:,} characters; the limit is {most:,}", size, MAX_PARAMETER_CHARACTERS
            ),
            remedy="upload long lists as a table",
        )
    return pairs
