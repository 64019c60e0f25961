"""The steps of a submission: files are checked, rows completed, and all is published by one push.

The submission is marked as saved in the transaction that publishes its rows. Files without rows are seen by nobody.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from hven.jobs.job_service import JobRequester, JobService
from hven.model.errors import (
    ConflictError,
    DataError,
    ForbiddenError,
    NotFoundError,
    ParamError,
    SourceError,
    TooLargeError,
    UnauthenticatedError,
    format_message,
    join_messages,
)
from hven.model.params import collect_params
from hven.model.types import parse_type
from hven.plugins.entries.contribution_tables import ContributionTable, find_contribution_table
from hven.plugins.entries.entry_forms import EntryValuesError, read_entry_values, to_plain_value
from hven.plugins.entries.entry_workflow import hash_account
from hven.plugins.entries.stored_messages import decode_message
from hven.plugins.push import client_writes
from hven.plugins.push.push_store import ClientPushStore
from hven.plugins.submissions.expired_submissions import (
    DISCARD,
    build_history_step,
    compute_expiry,
    delete_expired_data,
    find_published_folder,
    remove_unpublished_files,
)
from hven.plugins.submissions.file_checkers import (
    ERROR,
    UNREADABLE_RULE,
    WARNING,
    FileFinding,
    build_unreadable_finding,
    check_file_name,
    find_file_checker,
)
from hven.plugins.submissions.published_rows import PublishedRows, write_literal
from hven.plugins.submissions.staging import (
    PublishedFolder,
    SentFile,
    StagingArea,
    compute_sha256,
    extract_file_base_name,
    unpack_sent_files,
)
from hven.plugins.submissions.submission_keys import SUBMISSIONS_KEY
from hven.plugins.submissions.submission_section_keys import get_upload_limit
from hven.plugins.submissions.submission_store import (
    BAD_FILE,
    DISCARDED,
    GOOD_FILE,
    KNOWN_FILE,
    OPEN,
    REFUSED,
    SAVED,
    SUBMITTED,
    StagedFile,
    StagedRow,
    StepNotice,
    Submission,
    SubmissionStore,
    build_changed_submission_error,
    update_submission,
)
from hven.plugins.submissions.vizier_catalogues import BIBCODE_NAME, CATALOGUE_NAME, parse_catalogue_name
from hven.site import find_groups_and_aliases
from hven.site.api.account_users import build_principal
from hven.site.auth import OWNER_PRINCIPAL, with_known_groups_and_names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    import sqlalchemy as sa

    from hven.ingest.api.changes import IngestReport, StagedSite
    from hven.model.table import Table
    from hven.plugins.entries.entry_forms import EntryField
    from hven.plugins.entries.row_references import RowReferences
    from hven.plugins.push.push_store import ClientPush
    from hven.plugins.submissions.submission_keys import SubmissionRules
    from hven.site import Site
    from hven.site.auth import Principal

CHECK, SUBMIT, ACCEPT, REFUSE = "check", "submit", "accept", "refuse"
EDIT, REMOVE, REPAIR, FETCH = "edit", "remove", "repair", "fetch"
_EDITING_ACTIONS = (EDIT, REMOVE, REPAIR, CHECK, SUBMIT, DISCARD)
AUTHOR_ACTIONS = {OPEN: _EDITING_ACTIONS, REFUSED: _EDITING_ACTIONS, SUBMITTED: (DISCARD,)}
MODERATOR_ACTIONS = {SUBMITTED: (CHECK, ACCEPT, REFUSE)}
MAX_SUBMISSION_FILES = 5_000
MAX_SUBMISSION_ROWS = 5_000
QUOTA_FACTOR = 4  # staged files of an account may have this multiple of `limits.upload`
MAX_NOTE_CHARACTERS = 4_000
SHEET_SUFFIXES = (".csv", ".json")
CATALOGUE_JOB_TYPE = "submission_catalogue"
RUNNING_PHASES = ("QUEUED", "HELD", "EXECUTING", "SUSPENDED")  # of jobs that fetch catalogues
CATALOGUE_VALUE_NAMES = {CATALOGUE_NAME, BIBCODE_NAME}
MAX_CATALOGUES = 20  # that a submission fetches
REPORTED_ROWS = 10  # of a finding
MAX_REFERENCE_FINDINGS = 100


class BlockedSubmissionError(DataError):
    """A submission that cannot be saved yet; its report says why."""


@dataclass(slots=True)
class _RowPlan:
    """The rows that a submission publishes, what each changes, and the number of rows that the table has already."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    preview: list[dict[str, Any]] = field(default_factory=list)
    unchanged_count: int = 0


class SubmissionTable(ContributionTable):
    """A table that takes submissions, as a user sees it."""

    __slots__ = ()
    key = SUBMISSIONS_KEY
    author_actions = AUTHOR_ACTIONS
    moderator_actions = MODERATOR_ACTIONS

    @property
    def rules(self) -> SubmissionRules:
        """The rules of its submissions."""
        rules: SubmissionRules = self.table.extensions[self.key]
        return rules


def find_submission_table(site: Site, table: Table) -> SubmissionTable | None:
    """Find how a table takes submissions; None: it takes none.

    Parameters
    ----------
    site
        The site.
    table
        The table as the user sees it.
    """
    return find_contribution_table(SubmissionTable, site, table)


class SubmissionWorkflow:
    """Take the steps of the submissions to one table for one user.

    Parameters
    ----------
    site
        The site.
    submission_table
        The table.
    principal
        The user.
    entry_fields
        Fields of the columns that the user may fill.
    references
        The foreign keys of the table, for this user; None: they are not checked.
    """

    def __init__(
        self,
        site: Site,
        submission_table: SubmissionTable,
        principal: Principal,
        entry_fields: Sequence[EntryField],
        references: RowReferences | None = None,
    ) -> None:
        self._references = references
        self._site = site
        self._submission_table = submission_table
        self._rules = submission_table.rules
        self._published_rows = PublishedRows(site, submission_table.table, submission_table.rules.sha256)
        self._principal = principal
        self._account = principal.name or ""
        computed_columns = self._rules.list_computed_columns()
        self.fields = [entry_field for entry_field in entry_fields if entry_field.name not in computed_columns]
        shared_names = self._rules.shared
        self.shared_fields = [entry_field for entry_field in self.fields if entry_field.name in shared_names]
        self.row_fields = [entry_field for entry_field in self.fields if entry_field.name not in shared_names]
        self._source_names = {self._find_source_name(entry_field) for entry_field in self.fields}
        self.store = site.store.get_or_create(SubmissionStore)

    def check_submitter(self) -> None:
        """Refuse users who may not submit files.

        Raises
        ------
        UnauthenticatedError, ForbiddenError
            The user has no account, or no right.
        """
        if self._principal.name is None:
            raise UnauthenticatedError("only users with an account can submit files", remedy="log in at /login")
        if not self._submission_table.can_submit(self._principal):
            raise ForbiddenError(
                format_message("your account may not submit files to {table}", self._submission_table.name),
                remedy="ask the curators of the collection to add you to `submitters`",
            )

    def find_submission(self, number: int) -> Submission:
        """Return a submission that the user may see: their own, or as a moderator those that are no longer open.

        Raises
        ------
        NotFoundError
            There is no such submission for this user.
        """
        submission = self.store.find_submission(number)
        if submission is not None and submission.table == self._submission_table.name and self.can_see(submission):
            return submission
        message = format_message("there is no submission {number} here", number)
        raise NotFoundError(message, remedy="find your submissions at /submissions")

    def can_see(self, submission: Submission) -> bool:
        """Return whether the user sees a submission to this table."""
        if not self._account:
            return False
        is_moderator = self._submission_table.can_moderate(self._principal)
        can_decide = is_moderator and submission.state in {SUBMITTED, SAVED}
        return can_decide or submission.author == self._account

    def create_submission(self, token: str) -> tuple[Submission, bool]:
        """Begin a submission; return it, and False if the request came before.

        Parameters
        ----------
        token
            Token of the request; empty: none.
        """
        self.check_submitter()
        delete_expired_data(self._site)
        submission = Submission(
            table=self._submission_table.name,
            author=self._account,
            expires=compute_expiry(),
            steps=[build_history_step(self._account, OPEN, "")],
            token=token,
        )
        return self.store.add_submission(submission)

    # --- files ------------------------------------------------------------------------------------------------------

    @property
    def file_kind(self) -> str:
        """The kind of the files that the table takes."""
        return self._rules.files

    def add_files(
        self, submission: Submission, sent_files: Iterable[SentFile], more_values: Mapping[str, Any] | None = None
    ) -> Submission:
        """Stage files that the user sent, check them, and read their rows.

        A file that cannot be read stops none of the others.

        Parameters
        ----------
        submission
            The submission.
        sent_files
            Files in a directory of their own; ZIP archives are unpacked.
        more_values
            Name -> value of each row that has no value of this name.

        Raises
        ------
        TooLargeError
            The files exceed the quota of the account, or are too many.
        ConflictError
            The submission cannot be changed any more.
        """
        self.require_action(submission, EDIT)
        upload_limit = get_upload_limit(self._site.settings)
        unpacked_files = list(unpack_sent_files(sent_files, upload_limit))
        if not unpacked_files:
            raise ParamError("the request has no file", remedy="choose a file, or enter an address")
        staged_files = self.store.list_files(submission.number)
        if len(unpacked_files) + len(staged_files) > MAX_SUBMISSION_FILES:
            message = format_message("a submission may have at most {most:,} files", MAX_SUBMISSION_FILES)
            raise TooLargeError(message, remedy="begin another submission")
        digests = [compute_sha256(file.path) for file in unpacked_files]
        known_places = self._published_rows.find_known_digests(digests)
        # the files that were left out are checked again: the rules may have changed
        good_files = [file for file in staged_files if file.state == GOOD_FILE]
        known_places |= {file.sha256: format_message("this submission") for file in good_files}
        new_files = []
        row_count = len(self.store.list_rows(submission.number))
        with self._open_staging_area(submission.number) as area:
            for file, digest in zip(unpacked_files, digests, strict=True):
                size = file.path.stat().st_size
                staged_file = StagedFile(name=file.name, sha256=digest, bytes=size, state=KNOWN_FILE)
                rows: list[StagedRow] = []
                if digest in known_places:
                    message = format_message("the content of the file is already in {place}", known_places[digest])
                    finding = FileFinding(rule="known", severity="info", message=message)
                    staged_file = replace(staged_file, findings=[finding.to_json()])
                else:
                    path = area.stage_file(file, digest)
                    staged_file, rows = self._check_file(staged_file, path, more_values or {}, file.fault)
                    if staged_file.state == GOOD_FILE:
                        known_places[digest] = format_message("this submission")
                row_count += len(rows)
                if row_count > MAX_SUBMISSION_ROWS:
                    message = format_message("a submission may have at most {most:,} rows", MAX_SUBMISSION_ROWS)
                    raise TooLargeError(message, remedy="begin another submission")
                new_files.append((staged_file, rows))
            return self.store.add_files(submission, new_files, byte_limit=upload_limit * QUOTA_FACTOR)

    @contextmanager
    def _open_staging_area(self, number: int) -> Iterator[StagingArea]:
        """Open the staging area of a submission; after an error, delete the new files that it does not have."""
        area = StagingArea(self._site, number)
        try:
            yield area
        except BaseException:
            area.remove_new_files({file.sha256 for file in self.store.list_files(number)})
            raise

    def _check_file(
        self, staged_file: StagedFile, path: Path, more_values: Mapping[str, Any], fault: str = ""
    ) -> tuple[StagedFile, list[StagedRow]]:
        if fault:
            finding = FileFinding(rule=UNREADABLE_RULE, severity=ERROR, message=fault)
            return replace(staged_file, state=BAD_FILE, findings=[finding.to_json()]), []
        checker = find_file_checker(self._rules.files, staged_file.name)
        if not self._rules.path and not _is_sheet(staged_file):
            checker = replace(checker, extensions=SHEET_SUFFIXES)
        findings = check_file_name(checker, staged_file.name)
        has_wrong_name = bool(findings)
        findings += checker.check_file(path, self._rules.profile)
        rows: list[StagedRow] = []
        is_readable = all(finding.rule != UNREADABLE_RULE for finding in findings)
        try:
            unused_names: dict[str, None] = {}
            rows_by_fault: dict[tuple[str, str], list[int]] = {}
            for number, values in enumerate(checker.read_rows(path) if is_readable else (), 1):
                row_values, faults = self._read_file_values({**more_values, **values})
                unused_names |= dict.fromkeys(values.keys() - self._source_names)
                rows.append(StagedRow(file_values=row_values))
                for value_fault in faults.items():
                    rows_by_fault.setdefault(value_fault, []).append(number)
            findings += [
                FileFinding(
                    rule="value",
                    severity=WARNING,
                    message=message,
                    place=column,
                    count=len(numbers),
                    rows=numbers[:REPORTED_ROWS],
                )
                for (column, message), numbers in rows_by_fault.items()
            ]
            if unused_names and _is_sheet(staged_file):  # other files have many names beside those of the table
                names = ", ".join(map(str, unused_names))
                message = format_message("the table does not accept values for {names:.200}", names)
                findings.append(FileFinding(rule="column", severity="info", message=message))
        except SourceError as error:
            if all(finding.severity != ERROR for finding in findings):  # they say it better
                findings.append(build_unreadable_finding(error))
        is_blocking = self._rules.errors == "block" and not self._rules.level  # whose value may still change
        has_blocking_errors = is_blocking and any(finding.severity == ERROR for finding in findings)
        is_bad = not rows or has_wrong_name or has_blocking_errors
        state = BAD_FILE if is_bad else GOOD_FILE
        if is_bad:
            rows = []
        return replace(staged_file, state=state, findings=[finding.to_json() for finding in findings]), rows

    def _read_file_values(self, values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
        """Read the values of a row of a file; return them, and the message of each column that has none for it."""
        row_values: dict[str, Any] = {}
        faults: dict[str, str] = {}
        for entry_field in self.fields:
            value = values.get(self._find_source_name(entry_field))
            if value is None or value != value:  # noqa: PLR0124  (NaN)
                continue
            try:
                row_values |= read_entry_values([entry_field], {entry_field.name: value})
            except EntryValuesError as error:
                faults |= error.faults
        return row_values, faults

    def _find_source_name(self, entry_field: EntryField) -> str:
        """Return the name that the values of a column have in files."""
        return self._rules.values.get(entry_field.name, entry_field.name)

    def remove_files(self, submission: Submission, numbers: Sequence[int]) -> Submission:
        """Remove files from a submission."""
        self.require_action(submission, REMOVE)
        files = self.store.list_files(submission.number)
        digests = {file.sha256 for file in files if file.number in numbers and file.state == GOOD_FILE}
        copies = [file.number for file in files if file.state == KNOWN_FILE and file.sha256 in digests]
        numbers = [*numbers, *copies]  # they are known by the content that goes
        changed_submission = self.store.remove_files(submission, numbers)
        self._remove_staged_files(submission.number, files, numbers)
        return changed_submission

    def replace_by_repaired_files(self, submission: Submission, numbers: Sequence[int]) -> Submission:
        """Replace files by copies without the faults that can be repaired; each copy has its own checksum."""
        self.require_action(submission, REPAIR)
        files = self.store.list_files(submission.number)
        old_rows: dict[int, list[StagedRow]] = {}
        for row in self.store.list_rows(submission.number):
            old_rows.setdefault(row.file, []).append(row)
        repaired_files = []
        with (
            self._open_staging_area(submission.number) as area,
            tempfile.TemporaryDirectory(prefix="hven-submission-", ignore_cleanup_errors=True) as directory,
        ):
            for file in files:
                checker = find_file_checker(self._rules.files, file.name)
                is_repairable = any(finding.get("repairable") for finding in file.findings)
                if file.number not in numbers or not is_repairable or checker.write_repaired_file is None:
                    continue
                name = file.name.removesuffix(".gz")
                copy = SentFile(name, Path(directory) / str(file.number))
                rules = checker.write_repaired_file(area.find_path(file.sha256, file.name), copy.path)
                digest, size = compute_sha256(copy.path), copy.path.stat().st_size
                path = area.stage_file(copy, digest)
                staged_file = StagedFile(name=name, sha256=digest, bytes=size, state=GOOD_FILE)
                own_rows = old_rows.get(file.number, [])
                staged_file, rows = self._check_file(staged_file, path, self._list_catalogue_values(own_rows))
                message = format_message("a copy of {digest}, repaired by {rules}", file.sha256, ", ".join(rules))
                notes = [FileFinding(rule=REPAIR, severity="info", message=message)]
                if len(rows) == len(own_rows):
                    rows = [
                        replace(row, own_values=old_row.own_values) for row, old_row in zip(rows, own_rows, strict=True)
                    ]
                elif any(row.own_values for row in own_rows):
                    message = format_message("the copy has different rows, so enter their values again")
                    notes.append(FileFinding(rule=REPAIR, severity=WARNING, message=message))
                findings = [*staged_file.findings, *(note.to_json() for note in notes)]
                repaired_files.append((file.number, replace(staged_file, findings=findings), rows))
            if not repaired_files:
                raise ParamError("there is nothing to repair in these files", remedy="see the report of each file")
            replaced_numbers = [number for number, _, _ in repaired_files]
            # one transaction, so that a killed process loses neither the file nor its copy
            changed_submission = self.store.add_files(
                submission,
                [(file, rows) for _, file, rows in repaired_files],
                byte_limit=get_upload_limit(self._site.settings) * QUOTA_FACTOR,
                replaced_numbers=replaced_numbers,
            )
        self._remove_staged_files(submission.number, files, replaced_numbers)
        return changed_submission

    def _list_catalogue_values(self, rows: Sequence[StagedRow]) -> dict[str, Any]:
        """List the values that the rows of a file have from its catalogue, not from the file."""
        names = {entry_field.name: self._find_source_name(entry_field) for entry_field in self.fields}
        values = rows[0].file_values if rows else {}
        return {names[name]: value for name, value in values.items() if names.get(name) in CATALOGUE_VALUE_NAMES}

    def _remove_staged_files(self, number: int, files: Iterable[StagedFile], removed_numbers: Sequence[int]) -> None:
        """Delete the contents of files that a submission no longer has."""
        area = StagingArea(self._site, number)
        kept_digests = {file.sha256 for file in self.store.list_files(number) if file.state != KNOWN_FILE}
        for file in files:
            if file.number in removed_numbers and file.sha256 not in kept_digests:
                area.remove_file(file.sha256)

    # --- catalogues -------------------------------------------------------------------------------------------------

    def request_catalogue(self, submission: Submission, text: str, address: str) -> Submission:
        """Let a job fetch the files or rows of a catalogue of VizieR, and return the changed submission.

        Parameters
        ----------
        submission
            The submission.
        text
            Name of the catalogue.
        address
            Network address of the client.

        Raises
        ------
        ParamError, ConflictError, ForbiddenError
            It is no catalogue; the submission cannot be changed; or the account has too many jobs.
        """
        self.require_action(submission, EDIT)
        name = parse_catalogue_name(text)
        if sum(step["action"] == FETCH for step in submission.steps) >= MAX_CATALOGUES:
            message = format_message("a submission may fetch at most {most} catalogues", MAX_CATALOGUES)
            raise TooLargeError(message, remedy="begin another submission")
        job_service = JobService(self._site, CATALOGUE_JOB_TYPE)
        parameters = {"TABLE": submission.table, "SUBMISSION": str(submission.number), "CATALOGUE": name}
        requester = JobRequester(principal=self._principal, address=address)
        job = job_service.create_job(collect_params(list(parameters.items())), requester)
        step = build_history_step(self._account, FETCH, name) | {"job": job.id}
        changes = {"steps": [*submission.steps, step], "expires": compute_expiry()}
        try:
            changed_submission = self.store.change_submission(submission, changes)
        except BaseException:
            job_service.destroy_job(job)
            raise
        job_service.run_or_abort_job(job, "RUN")  # not before, so that its change of the submission comes second
        return changed_submission

    def list_unfinished_catalogues(self, submission: Submission) -> list[dict[str, str]]:
        """List the catalogues that a submission fetches or could not fetch: their names, phases and faults."""
        steps = [step for step in submission.steps if step["action"] == FETCH and "job" in step]
        jobs = self._site.store.jobs.find_jobs([step["job"] for step in steps]) if steps else {}
        catalogues = []
        for step in steps:
            job = jobs.get(step["job"])
            if job is not None and job.phase != "COMPLETED":
                error = job.error or {}
                stored_message = error.get("said") or error.get("message", "")  # with its template, if it has one
                fault = decode_message(stored_message)
                catalogues.append({"name": step["reason"], "phase": job.phase, "fault": fault})
        return catalogues

    # --- values -----------------------------------------------------------------------------------------------------

    def change_values(
        self,
        submission: Submission,
        *,
        shared_values: Mapping[str, object],
        row_values: Mapping[int, Mapping[str, object]],
        note: str | None,
    ) -> Submission:
        """Change values of a submission.

        Parameters
        ----------
        submission
            The submission.
        shared_values
            Column -> value of all rows.
        row_values
            Number of a row -> column -> value.
        note
            Note for the moderators; None: it stays.

        Raises
        ------
        EntryValuesError, ParamError
            Values do not fit their columns, or there is no such row or column. Nothing is changed.
        """
        self.require_action(submission, EDIT)
        changes: dict[str, Any] = {"expires": compute_expiry()}
        if note is not None:
            if len(note) > MAX_NOTE_CHARACTERS:
                message = format_message("a note may have at most {most:,} characters", MAX_NOTE_CHARACTERS)
                raise ParamError(message, remedy="shorten the note")
            changes["note"] = note.strip()
        if shared_values:
            new_values = read_entry_values(self.shared_fields, shared_values)
            changes["shared_values"] = {**submission.shared_values, **new_values}
        rows = {row.number: row for row in self.store.list_rows(submission.number)} if row_values else {}
        own_values: dict[int, dict[str, Any]] = {}
        for number, values in row_values.items():
            row = rows.get(number)
            if row is None:
                message = format_message("the submission has no row {number}", number)
                raise ParamError(message, remedy="open the submission again")
            entered_values = {**row.own_values, **read_entry_values(self.row_fields, values)}
            own_values[number] = {
                name: value for name, value in entered_values.items() if value != row.file_values.get(name)
            }
        return self.store.change_submission(submission, changes, own_values)

    # --- decisions --------------------------------------------------------------------------------------------------

    def take_step(self, submission: Submission, action: str, reason: str) -> Submission:
        """Check, submit, accept, refuse or discard a submission, and return it as it is then.

        Parameters
        ----------
        submission
            The submission.
        action
            The step.
        reason
            Why, for a refusal.

        Raises
        ------
        ConflictError, ParamError
            The state or the rights of the user do not allow the step, or the reason is missing.
        BlockedSubmissionError
            The submission cannot be saved yet; its report says why.
        """
        if action == SUBMIT and submission.state in {SUBMITTED, SAVED} and submission.author == self._account:
            return submission  # the request came twice
        self.require_action(submission, action)
        step = build_history_step(self._account, action, reason.strip())
        changes: dict[str, Any] = {"steps": [*submission.steps, step]}
        notice = StepNotice(by=self._account, moderators=self._submission_table.moderators)
        if action == REFUSE:
            if not step["reason"]:
                raise ParamError("give a reason", remedy="write what is wrong, so that the author can correct it")
            changes |= {"state": REFUSED, "expires": compute_expiry()}
            return self.store.change_submission(submission, changes, notice=notice)
        if action == DISCARD:
            discarded = self.store.change_submission(submission, {**changes, "state": DISCARDED})
            remove_unpublished_files(self._site, submission)
            return discarded
        submission = self.check_submission(submission)
        if action == CHECK:
            return submission
        if submission.report["obstacles"]:
            message = join_messages("{one}; {other}", submission.report["obstacles"])
            raise BlockedSubmissionError(message, remedy="correct the submission, and submit it again; nothing is lost")
        if action == SUBMIT and self._rules.moderated and not self._submission_table.can_moderate(self._principal):
            return self.store.change_submission(submission, {**changes, "state": SUBMITTED}, notice=notice)
        return self._publish(submission, changes, notice)

    def require_action(self, submission: Submission, action: str) -> None:
        """Refuse a step that the user may not take now.

        Raises
        ------
        ConflictError
            The state of the submission or the rights of the user do not allow it.
        """
        if action not in self._submission_table.list_actions(submission, self._principal):
            message = format_message("you cannot {action} a submission that is {state}", action, submission.state)
            raise ConflictError(message, remedy="open the submission to see which steps are possible")

    # --- check and publication --------------------------------------------------------------------------------------

    def build_rows(self, submission: Submission) -> list[dict[str, Any]]:
        """Build the rows that a submission publishes, in the order of its rows."""
        files = {file.number: file for file in self.store.list_files(submission.number)}
        names = _choose_published_names(files.values())
        # a form also sends the fields that its user left empty: there, the files' values stay
        shared_values = {name: value for name, value in submission.shared_values.items() if value is not None}
        rows = []
        for row in self.store.list_rows(submission.number):
            file = files[row.file]
            values = {**row.file_values, **row.own_values, **shared_values}
            if self._rules.sha256:
                values[self._rules.sha256] = file.sha256
            if not _is_sheet(file):
                values[self._rules.path] = f"{self._rules.to}/{submission.number}/{names[file.number]}"
            rows.append(values)
        return rows

    def check_submission(self, submission: Submission) -> Submission:
        """Check a submission as its publication would, and store the report.

        The report has findings, obstacles, and for each row whether it is new, what changes, and its release date.
        """
        plan = self._plan_rows(submission)
        rows, preview = plan.rows, plan.preview
        files = self.store.list_files(submission.number)
        findings: list[dict[str, Any]] = []
        obstacles: list[str] = []
        if rows:
            release_dates: list[str] = []
            try:
                result = self._push_rows(
                    submission,
                    rows,
                    on_check=lambda staged: release_dates.extend(self._read_release_dates(staged, rows)),
                )
            except client_writes.RowsRefusedError as error:
                findings = self._list_findings(error.report, preview)
                message = format_message("rows break rules of the table")
                if not findings:
                    message = format_message("rows break rules of the table: {message}", error.message)
                obstacles.append(message)
            else:
                if result.report is not None:
                    findings = self._list_findings(result.report, preview)
                for item, release_date in zip(preview, release_dates, strict=False):
                    item["released"] = release_date
        else:
            obstacles.append(format_message("the submission has no rows to publish"))
        reference_findings = self._find_unknown_references(plan)
        if reference_findings:
            obstacles.append(format_message("rows refer to rows that do not exist"))
        findings += reference_findings
        good_files = [file for file in files if file.state == GOOD_FILE]
        severities = Counter(finding["severity"] for file in good_files for finding in file.findings)
        severities.update(finding["severity"] for finding in findings)
        obstacles += self._find_obstacles(submission, good_files, has_warnings=severities[WARNING] > 0)
        report = {
            "revision": submission.revision + 1,
            "counts": dict(severities),
            "files": dict(Counter(file.state for file in files)),
            "findings": findings,
            "obstacles": obstacles,
            "unchanged": plan.unchanged_count,
            "rows": preview,
        }
        return self.store.change_submission(submission, {"report": report})

    def _find_obstacles(
        self, submission: Submission, good_files: Sequence[StagedFile], *, has_warnings: bool
    ) -> Iterator[str]:
        """Find what prevents the publication of files, apart from rules for their rows."""
        known_places = self._published_rows.find_known_digests([file.sha256 for file in good_files])
        for file in good_files:
            if file.sha256 in known_places:
                yield format_message(
                    "{file:.80} is already in the table: remove the file from the submission", file.name
                )
        yield from self._find_blocking_errors(submission, good_files)
        running_names = [
            catalogue["name"]
            for catalogue in self.list_unfinished_catalogues(submission)
            if catalogue["phase"] in RUNNING_PHASES
        ]
        if running_names:
            names = ", ".join(running_names)
            yield format_message("{names} is still being fetched: submit again in a moment", names)
        if has_warnings and self._rules.warnings == "block":
            yield format_message("the files have warnings")
        if has_warnings and self._rules.warnings == "note" and not submission.note:
            yield format_message("the files have warnings: explain in the note why the warnings are acceptable")

    def _find_unknown_references(self, plan: _RowPlan) -> list[dict[str, Any]]:
        """Find values that refer to rows that do not exist, or that the user does not see."""
        if self._references is None:
            return []
        names = [entry_field.name for entry_field in self.fields if entry_field.is_published]
        faults = self._references.find_unknown_rows([{name: row.get(name) for name in names} for row in plan.rows])
        return [
            FileFinding(
                rule="reference",
                severity=ERROR,
                message=message,
                place=column,
                count=len(numbers),
                rows=[plan.preview[number]["row"] for number in numbers[:REPORTED_ROWS]],
            ).to_json()
            for (column, message), numbers in list(faults.items())[:MAX_REFERENCE_FINDINGS]
        ]

    def _find_blocking_errors(self, submission: Submission, files: Sequence[StagedFile]) -> Iterator[str]:
        """Find the files whose errors block their rows, because the level of the rows is not 0."""
        if not self._rules.level or self._rules.errors != "block":
            return
        levels_by_file: dict[int, set[object]] = {}
        for staged_row, row in zip(self.store.list_rows(submission.number), self.build_rows(submission), strict=True):
            levels_by_file.setdefault(staged_row.file, set()).add(row.get(self._rules.level))
        for file in files:
            has_errors = any(finding["severity"] == ERROR for finding in file.findings)
            if has_errors and levels_by_file.get(file.number) != {0}:
                yield format_message("{file:.80} has errors, so the level of its rows can only be 0", file.name)

    def _plan_rows(self, submission: Submission) -> _RowPlan:
        """Plan which rows are published, with the numbers of their versions, and describe what each of them changes."""
        plan = _RowPlan()
        rows = self.build_rows(submission)
        identity, version_column = self._rules.identity, self._rules.version
        visible_rows: dict[tuple[str, ...], list[dict[str, Any]]] = {}
        shown_rows = visible_rows
        versions: Counter[tuple[str, ...]] = Counter()
        if identity and rows and self._published_rows.has_columns(*identity, version_column):
            key_columns = ", ".join(f'"{name}"' for name in identity)
            version = f'MAX("{version_column}")' if version_column else "COUNT(*)"
            select = f"SELECT {key_columns}, {version} AS latest_version"
            for row in self._published_rows.query_rows(
                select, rows, identity, OWNER_PRINCIPAL, f"GROUP BY {key_columns}"
            ):
                versions[self._build_identity(row)] = row["latest_version"] or 0
            shown_rows = visible_rows = self._find_earlier_rows(rows, self._principal)
            if submission.author not in {"", self._account}:  # the author reads the report, too
                shown_rows = self._find_earlier_rows(rows, _build_account_principal(self._site, submission.author))
        for row, staged_row in zip(rows, self.store.list_rows(submission.number), strict=True):
            key = self._build_identity(row)
            is_known = any(not self._list_differences(earlier_row, row) for earlier_row in visible_rows.get(key, ()))
            if is_known and self._rules.path not in row:  # a row without a file that the table has already
                plan.unchanged_count += 1
                continue
            versions[key] += 1
            item: dict[str, Any] = {"row": staged_row.number, "version": versions[key], "changes": {}}
            if version_column:
                row[version_column] = versions[key]
            if earlier_rows := shown_rows.get(key):
                item["replaces"] = [earlier_rows[-1].get(name) for name in self._submission_table.table.primary]
                item["changes"] = self._list_differences(earlier_rows[-1], row)
            plan.rows.append(row)
            plan.preview.append(item)
        return plan

    def _find_earlier_rows(
        self, rows: Sequence[Mapping[str, Any]], principal: Principal
    ) -> dict[tuple[str, ...], list[dict[str, Any]]]:
        """Find the published rows with the identities of some rows, as a user sees them; the latest version last."""
        identity, version_column = self._rules.identity, self._rules.version
        names = {entry_field.name for entry_field in self.fields} | {*identity, version_column}
        names |= {*self._submission_table.table.primary}
        visible_names = [column.name for column in self._submission_table.table.columns if column.name in names]
        select = "SELECT " + ", ".join(f'"{name}"' for name in visible_names)
        earlier_rows: dict[tuple[str, ...], list[dict[str, Any]]] = {}
        for row in self._published_rows.query_rows(select, rows, identity, principal):
            earlier_rows.setdefault(self._build_identity(row), []).append(row)
        for versions in earlier_rows.values():
            versions.sort(key=lambda row: row.get(version_column) or 0)
        return earlier_rows

    def _build_identity(self, row: Mapping[str, Any]) -> tuple[str, ...]:
        """Build a key of what a row is about, which is equal for the published and the entered form of its values."""
        types = self._submission_table.options.columns
        names = self._rules.identity
        return tuple(str(to_plain_value(row.get(name), parse_type(types[name]))) for name in names)

    def _list_differences(self, old_row: Mapping[str, Any], new_row: Mapping[str, Any]) -> dict[str, list[Any]]:
        """List the columns in which rows differ, with both values."""
        differences = {}
        for entry_field in self.fields:
            name = entry_field.name
            old_value, new_value = old_row.get(name), new_row.get(name)
            if name in old_row and not _is_same_value(old_value, new_value):
                differences[name] = [None if old_value is None else str(old_value), new_value]
        return differences

    def _read_release_dates(self, staged_site: StagedSite, rows: Sequence[Mapping[str, Any]]) -> list[str]:
        """Read the release dates of the rows, as they would be published, in the order of the rows.

        Rows that Hven numbers are in the order of their numbers. If Hven gives them random names, a date is only
        known if all rows of the file have the same.
        """
        spec = self._submission_table.spec
        digest_column, ids = self._rules.sha256, self._submission_table.options.ids
        if spec.embargo is None or not digest_column or not self._published_rows.has_columns(digest_column):
            return []
        key_names = [digest_column, *(name for name in spec.table.primary if name != ids)]
        digests = ", ".join(write_literal(digest) for digest in dict.fromkeys(row[digest_column] for row in rows))
        columns = ", ".join(f'"{name}"' for name in (spec.embargo.column, *key_names))
        query = f'SELECT {columns} FROM {spec.table.qualified_name} WHERE "{digest_column}" IN ({digests})'
        if spec.table.primary:
            query += " ORDER BY " + ", ".join(f'"{name}"' for name in spec.table.primary)
        dates_by_key: dict[tuple[str, ...], list[str]] = {}
        with ExitStack() as stack:
            for batch in staged_site.answer_query_and_record_inputs(query, {}, stack):
                for date, *key_values in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                    dates = dates_by_key.setdefault(_build_text_key(key_values), [])
                    dates.append("" if date is None else str(date)[:19])
        keys = [_build_text_key([row.get(name) for name in key_names]) for row in rows]
        counts = Counter(keys)
        is_numbered = ids is not None and spec.table.find_column(ids).type.is_integer
        for key, dates in dates_by_key.items():
            if len(dates) != counts[key] or (not is_numbered and len({*dates}) > 1):
                dates[:] = [""] * counts[key]
        return [dates_by_key[key].pop(0) if key in dates_by_key else "" for key in keys]

    def _list_findings(self, report: IngestReport, preview: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """List what the rules of the table find, with the numbers of the rows."""
        findings = []
        table_report = report.tables.get(self._submission_table.name)
        for finding in table_report.findings.values() if table_report is not None else ():
            if not finding.count or finding.severity == "info":
                continue
            indices = [row.row for row in finding.offenders if row.row is not None and 0 < row.row <= len(preview)]
            found = FileFinding(
                rule=finding.rule,
                severity=finding.severity,
                message=finding.message,
                count=finding.count,
                rows=[preview[index - 1]["row"] for index in indices],
            )
            findings.append(found.to_json())
        return findings

    def _push_rows(
        self,
        submission: Submission,
        rows: Sequence[Mapping[str, Any]],
        *,
        on_check: Callable[[StagedSite], None] | None = None,
        on_commit: Callable[[sa.Connection, ClientPush], None] | None = None,
        expected_state: str | None = None,
    ) -> client_writes.ClientWriteResult:
        """Push the rows; without `on_commit` in a dry run."""
        is_dry_run = on_commit is None
        with tempfile.TemporaryDirectory(prefix="hven-submission-", ignore_cleanup_errors=True) as directory:
            body = Path(directory) / "rows.json"
            body.write_bytes(orjson.dumps(rows))
            request = client_writes.ClientWriteRequest(
                action=client_writes.POST_ACTION,
                body=body,
                media_type="application/json",
                idempotency_key="" if is_dry_run else f"submission-{submission.etag}-{hash_account(self._account)}",
                dry_run=is_dry_run,
                expected_state=expected_state,
                on_commit=on_commit,
                on_check=on_check,
                is_awaited=True,  # as for entries
            )
            return client_writes.execute_client_write(self._site, self._submission_table.name, request, self._principal)

    def _publish(self, submission: Submission, changes: Mapping[str, Any], notice: StepNotice) -> Submission:
        """Publish the files and rows of a submission, and mark it as saved in the same transaction."""
        state_name = self._site.store.get_or_create(ClientPushStore).find_state_name(self._submission_table.name)
        rows = self._plan_rows(submission).rows
        files = self.store.list_files(submission.number)
        names = _choose_published_names(files)
        area = StagingArea(self._site, submission.number)
        folder = PublishedFolder(find_published_folder(self._submission_table.resource, self._rules, submission))
        saved_submissions: list[Submission] = []

        def mark_as_saved(connection: sa.Connection, push: ClientPush) -> None:
            values = {**changes, "state": SAVED, "keys": list(push.answer["ids"])}
            saved_submissions.append(update_submission(connection, submission, values, notice))

        try:
            for file in files:
                if file.number in names:
                    folder.add_file(area.find_path(file.sha256, file.name), names[file.number])
            folder.sync_to_disk()
            # other rows may have come since the plan, which would make its versions wrong
            self._push_rows(submission, rows, on_commit=mark_as_saved, expected_state=f'"{state_name}"')
        finally:
            stored_submission = self.store.find_submission(submission.number)
            is_saved = stored_submission is not None and stored_submission.state == SAVED
            if not is_saved:
                folder.remove_files()
        if not is_saved or stored_submission is None:
            raise build_changed_submission_error()
        area.remove_all()
        return stored_submission


def _build_account_principal(site: Site, account: str) -> Principal:
    """Return the user of an account, with the present groups."""
    principal = build_principal(account, site.store, site.settings)
    find_people = partial(find_groups_and_aliases, site)
    return with_known_groups_and_names(principal, site.settings, site.store.grants, find_people)


def _is_sheet(file: StagedFile) -> bool:
    return file.name.lower().endswith(SHEET_SUFFIXES)


def _choose_published_names(files: Iterable[StagedFile]) -> dict[int, str]:
    """Choose the names of the files that are published, by their numbers; equal names get a part of the SHA-256."""
    names: dict[int, str] = {}
    for file in files:
        if file.state != GOOD_FILE or _is_sheet(file):
            continue
        name = extract_file_base_name(file.name)
        if name in names.values():
            name = f"{file.sha256[:12]}-{name}"
        names[file.number] = name
    return names


def _is_same_value(old_value: object, new_value: object) -> bool:
    if isinstance(old_value, datetime):
        old_value = old_value.isoformat()
    if isinstance(old_value, float) and isinstance(new_value, float):
        return abs(old_value - new_value) <= 1e-6 * abs(new_value)
    return old_value == new_value


def _build_text_key(values: Iterable[object]) -> tuple[str, ...]:
    return tuple(value.isoformat() if isinstance(value, datetime) else str(value) for value in values)
