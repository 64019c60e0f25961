"""Submissions in the system state: their staged files, their rows, and each step.

A change names the revision that it found, so that two changes never overlap.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import sqlalchemy as sa

from hven.model.errors import PreconditionFailedError, TooLargeError, TooManyRequestsError, format_message
from hven.plugins.entries.stored_messages import decode_findings, decode_message, encode_findings, encode_message
from hven.plugins.submissions.store_tables import submission_files, submission_rows, submissions
from hven.site.api.events import SiteEvent, notify_accounts
from hven.site.api.store_tables import get_next_number
from hven.site.store import format_current_time

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from hven.site.api.store_tables import StateDatabase

OPEN, SUBMITTED, SAVED, REFUSED, DISCARDED = "open", "submitted", "saved", "refused", "discarded"
STAGED_STATES = (OPEN, SUBMITTED, REFUSED)  # states in which files are staged
MAX_OPEN_SUBMISSIONS = 50  # of an account
LISTED_SUBMISSIONS = 100
SUBMITTED_KIND, DECIDED_KIND = "submissions.submitted", "submissions.decided"  # of events
GOOD_FILE, BAD_FILE, KNOWN_FILE = "good", "bad", "known"  # a known file is in the archive already
_JSON_COLUMNS = ("shared_values", "report", "steps", "keys", "findings", "file_values", "own_values")


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """Files and rows that a user submits together.

    Attributes
    ----------
    number
        Its number in the site; 0: it is not stored yet.
    table
        ``schema.table``.
    author
        The account; empty: it was removed.
    state
        ``open``, ``submitted``, ``saved``, ``refused`` or ``discarded``.
    revision
        Grows with each change.
    created, changed, expires
        When it was made and changed, and when Hven discards it; ISO, UTC.
    note
        Note of the author.
    shared_values
        Column -> value of all rows.
    report
        Result of the last check; empty: none.
    steps
        Who did what, when and why.
    keys
        Keys of the published rows.
    token
        Token of the request that made it.
    """

    number: int = 0
    table: str
    author: str
    state: str = OPEN
    revision: int = 1
    created: str = ""
    changed: str = ""
    expires: str = ""
    note: str = ""
    shared_values: Mapping[str, Any] = field(default_factory=dict)
    report: Mapping[str, Any] = field(default_factory=dict)
    steps: Sequence[Mapping[str, str]] = ()
    keys: Sequence[Any] = ()
    token: str = ""

    @property
    def etag(self) -> str:
        """The name of its state, for If-Match."""
        return f"{self.number}-{self.revision}"


@dataclass(frozen=True, slots=True, kw_only=True)
class StagedFile:
    """A file of a submission.

    Attributes
    ----------
    number
        Its number in the site.
    name
        Its name, without folders.
    sha256, bytes
        Checksum and size of its content.
    state
        ``good``, ``bad`` (it cannot be read) or ``known`` (the archive has this content).
    findings
        What its checker found.
    """

    number: int = 0
    name: str
    sha256: str
    bytes: int
    state: str
    findings: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StagedRow:
    """A row of a submission.

    Attributes
    ----------
    number, file
        Its number in the site, and that of its file.
    file_values, own_values
        Column -> value: what the file gives, and what the user entered instead.
    """

    number: int = 0
    file: int = 0
    file_values: Mapping[str, Any]
    own_values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepNotice:
    """Who takes a step of a submission, and who learns of it.

    Attributes
    ----------
    by
        The account; empty: nobody, because the time of the submission is over.
    moderators
        Accounts and groups that decide on the submission.
    """

    by: str = ""
    moderators: Collection[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StagedTotal:
    """What an account has staged.

    Attributes
    ----------
    account
        The account.
    bytes, submissions
        Size of the staged files, and number of submissions that are neither published nor discarded.
    oldest
        When the first of these submissions was made; ISO, UTC.
    expires
        When Hven discards the first of them; empty: none, because all wait for a moderator.
    """

    account: str
    bytes: int
    submissions: int
    oldest: str
    expires: str


class SubmissionStore:
    """The submissions of a site."""

    def __init__(self, database: StateDatabase) -> None:
        self._database = database

    def add_submission(self, submission: Submission) -> tuple[Submission, bool]:
        """Store a new submission; return it, and False if the account sent its token before.

        Raises
        ------
        TooManyRequestsError
            The account has too many open submissions.
        """
        is_own = submissions.c.author == submission.author
        with self._database.begin_write() as connection:
            if submission.token:
                is_same = is_own & (submissions.c.token == submission.token)
                row = connection.execute(sa.select(submissions).where(is_same)).first()
                if row is not None:
                    return _submission_from_row(row), False
            is_open = is_own & submissions.c.state.in_(STAGED_STATES)
            count_query = sa.select(sa.func.count()).select_from(submissions).where(is_open)
            if connection.execute(count_query).scalar_one() >= MAX_OPEN_SUBMISSIONS:
                message = format_message("you already have {count} open submissions", MAX_OPEN_SUBMISSIONS)
                raise TooManyRequestsError(message, remedy="submit or discard some of them")
            now = format_current_time()
            number = get_next_number(connection, submissions)
            stored_submission = replace(submission, number=number, created=now, changed=now)
            connection.execute(sa.insert(submissions).values(_submission_to_row(stored_submission)))
        return stored_submission, True

    def remove_empty_submission(self, number: int) -> bool:
        """Delete an open submission without files and steps, and return whether it was one."""
        is_unchanged = (submissions.c.number == number) & (submissions.c.revision == 1)
        with self._database.begin_write() as connection:
            return bool(connection.execute(sa.delete(submissions).where(is_unchanged)).rowcount)

    def find_submission(self, number: int) -> Submission | None:
        """Find a submission by its number."""
        with self._database.begin_read() as connection:
            row = connection.execute(sa.select(submissions).where(submissions.c.number == number)).first()
        return None if row is None else _submission_from_row(row)

    def list_submissions(
        self,
        *,
        tables: Collection[str] | None = None,
        author: str | None = None,
        states: Collection[str] = (),
        before_number: int | None = None,
    ) -> list[Submission]:
        """List submissions of tables, an author and states, before a number, the newest first."""
        conditions: list[sa.ColumnElement[bool]] = []
        if tables is not None:
            conditions.append(submissions.c.table_name.in_(tables))
        if author is not None:
            conditions.append(submissions.c.author == author)
        if states:
            conditions.append(submissions.c.state.in_(states))
        if before_number is not None:
            conditions.append(submissions.c.number < before_number)
        query = sa.select(submissions).where(*conditions).order_by(submissions.c.number.desc())
        with self._database.begin_read() as connection:
            return [_submission_from_row(row) for row in connection.execute(query.limit(LISTED_SUBMISSIONS))]

    def list_expired(self, now: str) -> list[Submission]:
        """List open submissions whose time is over."""
        is_expired = submissions.c.state.in_((OPEN, REFUSED)) & (submissions.c.expires < now)
        with self._database.begin_read() as connection:
            return [_submission_from_row(row) for row in connection.execute(sa.select(submissions).where(is_expired))]

    def list_expiring(self, author: str, before: str) -> list[Submission]:
        """List the open submissions of an account whose time is over at a moment, the first of them first."""
        is_expiring = submissions.c.state.in_((OPEN, REFUSED)) & (submissions.c.expires < before)
        query = sa.select(submissions).where(is_expiring, submissions.c.author == author)
        with self._database.begin_read() as connection:
            rows = connection.execute(query.order_by(submissions.c.expires).limit(LISTED_SUBMISSIONS))
            return [_submission_from_row(row) for row in rows]

    def list_files(self, number: int) -> list[StagedFile]:
        """List the files of a submission."""
        query = sa.select(submission_files).where(submission_files.c.submission == number)
        with self._database.begin_read() as connection:
            rows = connection.execute(query.order_by(submission_files.c.number))
            return [StagedFile(**_read_columns(row)) for row in rows]

    def list_file_names(self, numbers: Collection[int]) -> dict[int, list[str]]:
        """List the names of the files of submissions, by the numbers of the submissions."""
        query = sa.select(submission_files.c.submission, submission_files.c.name)
        query = query.where(submission_files.c.submission.in_(numbers)).order_by(submission_files.c.number)
        names_by_submission: dict[int, list[str]] = {}
        with self._database.begin_read() as connection:
            for number, name in connection.execute(query):
                names_by_submission.setdefault(number, []).append(name)
        return names_by_submission

    def list_rows(self, number: int) -> list[StagedRow]:
        """List the rows of a submission."""
        query = sa.select(submission_rows).where(submission_rows.c.submission == number)
        with self._database.begin_read() as connection:
            rows = connection.execute(query.order_by(submission_rows.c.number))
            return [StagedRow(**_read_columns(row)) for row in rows]

    def list_staged_totals(self) -> list[StagedTotal]:
        """List the accounts with staged files, the account with the most bytes first."""
        is_staged = submissions.c.state.in_(STAGED_STATES)
        own_files = (submission_files.c.submission == submissions.c.number) & (submission_files.c.state != KNOWN_FILE)
        byte_count = sa.func.coalesce(sa.func.sum(submission_files.c.bytes), 0)
        first_expiry = sa.func.min(sa.case((submissions.c.state.in_((OPEN, REFUSED)), submissions.c.expires)))
        query = (
            sa.select(
                submissions.c.author,
                byte_count,
                sa.func.count(sa.distinct(submissions.c.number)),
                sa.func.min(submissions.c.created),
                first_expiry,
            )
            .outerjoin(submission_files, own_files)
            .where(is_staged)
            .group_by(submissions.c.author)
            .order_by(byte_count.desc(), submissions.c.author)
        )
        with self._database.begin_read() as connection:
            return [
                StagedTotal(account=author, bytes=int(size), submissions=count, oldest=oldest, expires=expires or "")
                for author, size, count, oldest, expires in connection.execute(query)
            ]

    def add_files(
        self,
        submission: Submission,
        new_files: Iterable[tuple[StagedFile, Sequence[StagedRow]]],
        byte_limit: int,
        replaced_numbers: Collection[int] = (),
    ) -> Submission:
        """Add files with their rows, in place of others, and return the changed submission.

        Raises
        ------
        TooLargeError
            The staged files of the author exceed the limit.
        """
        with self._database.begin_write() as connection:
            changed_submission = update_submission(connection, submission, {})
            _delete_files(connection, submission, replaced_numbers)
            file_number = get_next_number(connection, submission_files)
            row_number = get_next_number(connection, submission_rows)
            file_records: list[dict[str, Any]] = []
            row_records: list[dict[str, Any]] = []
            for staged_file, rows in new_files:
                names = ("name", "sha256", "bytes", "state")
                record: dict[str, Any] = {name: getattr(staged_file, name) for name in names}
                record |= {"number": file_number, "submission": submission.number}
                record["findings"] = json.dumps(encode_findings(staged_file.findings))
                file_records.append(record)
                for row in rows:
                    row_records.append(
                        {
                            "number": row_number,
                            "submission": submission.number,
                            "file": file_number,
                            "file_values": json.dumps(dict(row.file_values)),
                            "own_values": json.dumps(dict(row.own_values)),
                        }
                    )
                    row_number += 1
                file_number += 1
            if file_records:
                connection.execute(sa.insert(submission_files), file_records)
            if _count_staged_bytes(connection, submission.author) > byte_limit:
                message = format_message("your open submissions may have at most {most:,} bytes in total", byte_limit)
                raise TooLargeError(message, remedy="submit or discard some of them")
            if row_records:
                connection.execute(sa.insert(submission_rows), row_records)
        return changed_submission

    def remove_files(self, submission: Submission, numbers: Collection[int]) -> Submission:
        """Remove files with their rows, and return the changed submission."""
        with self._database.begin_write() as connection:
            changed_submission = update_submission(connection, submission, {})
            _delete_files(connection, submission, numbers)
        return changed_submission

    def change_submission(
        self,
        submission: Submission,
        changes: Mapping[str, Any],
        own_values: Mapping[int, Mapping[str, Any]] | None = None,
        *,
        notice: StepNotice | None = None,
    ) -> Submission:
        """Change attributes of a submission, and the values that the user entered in rows."""
        with self._database.begin_write() as connection:
            changed_submission = update_submission(connection, submission, changes, notice)
            for number, values in (own_values or {}).items():
                is_row = (submission_rows.c.number == number) & (submission_rows.c.submission == submission.number)
                text = json.dumps(dict(values))
                connection.execute(sa.update(submission_rows).where(is_row).values(own_values=text))
        return changed_submission

    def remove_author_data(self, account: str) -> list[int]:
        """Delete the unpublished submissions of an account and its name elsewhere; return the numbers of the former."""
        with self._database.begin_write() as connection:
            if not sa.inspect(connection).has_table(submissions.name):
                return []
            is_own = submissions.c.author == account
            query = sa.select(submissions.c.number).where(is_own, submissions.c.state != SAVED)
            numbers = [row.number for row in connection.execute(query)]
            for table in (submission_files, submission_rows):
                connection.execute(sa.delete(table).where(table.c.submission.in_(numbers)))
            connection.execute(sa.delete(submissions).where(submissions.c.number.in_(numbers)))
            is_named = is_own | submissions.c.steps.contains(json.dumps(account))
            for row in connection.execute(sa.select(submissions).where(is_named)).all():
                submission = _submission_from_row(row)
                steps = [{**step, "by": "" if step["by"] == account else step["by"]} for step in submission.steps]
                author = "" if submission.author == account else submission.author
                values = {"steps": json.dumps(steps), "author": author}
                connection.execute(sa.update(submissions).where(submissions.c.number == row.number).values(values))
        return numbers


def _count_staged_bytes(connection: sa.Connection, author: str) -> int:
    is_staged = (submissions.c.author == author) & submissions.c.state.in_(STAGED_STATES)
    query = (
        sa.select(sa.func.coalesce(sa.func.sum(submission_files.c.bytes), 0))
        .join(submissions, submissions.c.number == submission_files.c.submission)
        .where(is_staged, submission_files.c.state != KNOWN_FILE)
    )
    return int(connection.execute(query).scalar_one())


def _delete_files(connection: sa.Connection, submission: Submission, numbers: Collection[int]) -> None:
    for table, column in ((submission_files, "number"), (submission_rows, "file")):
        is_removed = (table.c.submission == submission.number) & table.c[column].in_(numbers)
        connection.execute(sa.delete(table).where(is_removed))


def update_submission(
    connection: sa.Connection, submission: Submission, changes: Mapping[str, Any], notice: StepNotice | None = None
) -> Submission:
    """Write changes of a submission in the caller's transaction, and return the changed submission.

    Parameters
    ----------
    connection
        The connection of the transaction.
    submission
        The submission as the change found it.
    changes
        Attributes that change.
    notice
        Who takes the step, if others learn of it.

    Raises
    ------
    PreconditionFailedError
        Another change came first.
    """
    changed_submission = replace(submission, revision=submission.revision + 1, changed=format_current_time(), **changes)
    is_unchanged = (submissions.c.number == submission.number) & (submissions.c.revision == submission.revision)
    update = sa.update(submissions).where(is_unchanged).values(_submission_to_row(changed_submission))
    if not connection.execute(update).rowcount:
        raise build_changed_submission_error()
    if notice is not None:
        _notify_of_step(connection, changed_submission, notice)
    return changed_submission


def _notify_of_step(connection: sa.Connection, submission: Submission, notice: StepNotice) -> None:
    """Announce a submission to the moderators, and a step of somebody else to the author."""
    kind, accounts = DECIDED_KIND, [submission.author]
    if submission.state == SUBMITTED:
        kind, accounts = SUBMITTED_KIND, list(notice.moderators)
    elif notice.by == submission.author or not submission.author:
        return
    state = format_message(submission.state)
    message = format_message("submission {number} to {table} is {state}", submission.number, submission.table, state)
    path = f"/submissions/{quote(submission.table, safe='')}/{submission.number}"
    event = SiteEvent(kind=kind, accounts=accounts, message=message, path=path, table=submission.table)
    notify_accounts(connection, event)


def build_changed_submission_error() -> PreconditionFailedError:
    """Build the error of a change that comes too late."""
    return PreconditionFailedError(
        "the submission was changed in the meantime", remedy="open the submission again, and repeat your change"
    )


def _submission_to_row(submission: Submission) -> dict[str, Any]:
    values: dict[str, Any] = {name: getattr(submission, name) for name in Submission.__slots__}
    values["table_name"] = values.pop("table")
    for name in _JSON_COLUMNS:
        if name == "report":
            values[name] = _map_report_messages(values[name], encode_findings, encode_message)
        if name in values:
            values[name] = json.dumps(values[name], default=str)
    return values


def _map_report_messages(
    report: Mapping[str, Any],
    map_findings: Callable[[Iterable[Mapping[str, Any]]], list[dict[str, Any]]],
    map_message: Callable[[Any], object],
) -> dict[str, Any]:
    """Encode or decode the messages of a report; an empty one stays empty."""
    if not report:
        return {}
    obstacles = [map_message(message) for message in report["obstacles"]]
    return {**report, "findings": map_findings(report["findings"]), "obstacles": obstacles}


def _submission_from_row(row: Any) -> Submission:
    values = _read_columns(row)
    values["table"] = values.pop("table_name")
    return Submission(**values)


def _read_columns(row: Any) -> dict[str, Any]:
    """Read the columns of a stored row, without the number of its submission."""
    values = dict(row._mapping)  # noqa: SLF001  (SQLAlchemy's name of the mapping of a row)
    values.pop("submission", None)
    for name in _JSON_COLUMNS:
        if name in values:
            values[name] = json.loads(values[name])
    if "findings" in values:
        values["findings"] = decode_findings(values["findings"])
    if "report" in values:
        values["report"] = _map_report_messages(values["report"], decode_findings, decode_message)
    return values
