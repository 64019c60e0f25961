"""The steps of an entry: who may take them, what they check, and how an accepted entry is published.

A moderator's decision is one push: the row and the state of the entry are committed in one transaction.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from hven.model.errors import (
    ConflictError,
    DataError,
    ForbiddenError,
    NotFoundError,
    ParamError,
    PreconditionFailedError,
    UnauthenticatedError,
    format_message,
)
from hven.plugins.entries.contribution_tables import ContributionTable, find_contribution_table
from hven.plugins.entries.entry_forms import EntryValuesError, find_missing_values, to_plain_value
from hven.plugins.entries.entry_keys import ENTRIES_KEY
from hven.plugins.entries.entry_store import (
    ACCEPTED,
    DRAFT,
    REFUSED,
    SUBMITTED,
    WITHDRAWN,
    EntryStep,
    EntryStore,
    TableEntry,
    build_changed_entry_error,
    count_accepted_versions,
    write_step_and_notify,
)
from hven.plugins.push import client_writes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import sqlalchemy as sa

    from hven.ingest.api.changes import IngestReport
    from hven.model.table import Table
    from hven.plugins.entries.entry_forms import EntryField
    from hven.plugins.entries.entry_keys import EntryRules
    from hven.plugins.entries.row_references import RowReferences
    from hven.plugins.push.push_store import ClientPush
    from hven.site import Site
    from hven.site.auth import Principal

SAVE, SUBMIT, ACCEPT, REFUSE, WITHDRAW = "save", "submit", "accept", "refuse", "withdraw"
AUTHOR_ACTIONS = {
    DRAFT: (SAVE, SUBMIT, WITHDRAW),
    SUBMITTED: (SAVE, WITHDRAW),
    REFUSED: (SAVE, SUBMIT, WITHDRAW),
    ACCEPTED: (WITHDRAW,),
}
MODERATOR_ACTIONS = {SUBMITTED: (ACCEPT, REFUSE), ACCEPTED: (WITHDRAW,)}
MAX_REASON_CHARACTERS = 4_000
WARNING_SEVERITY = "warning"


class RuleFindingsError(DataError):
    """An entry breaks rules of its table.

    Attributes
    ----------
    findings
        Messages of the rules.
    """

    def __init__(self, message: str, findings: Sequence[str], remedy: str) -> None:
        super().__init__(message, remedy=remedy)
        self.findings = list(findings)


class EntryTable(ContributionTable):
    """A table that takes entries, as a user sees it."""

    __slots__ = ()
    key = ENTRIES_KEY
    author_actions = AUTHOR_ACTIONS
    moderator_actions = MODERATOR_ACTIONS

    @property
    def rules(self) -> EntryRules:
        """The rules of its entries."""
        rules: EntryRules = self.table.extensions[self.key]
        return rules


def find_entry_table(site: Site, table: Table) -> EntryTable | None:
    """Find how a table takes entries; None: it takes none.

    Parameters
    ----------
    site
        The site.
    table
        The table as the user sees it.
    """
    return find_contribution_table(EntryTable, site, table)


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryStepRequest:
    """The request of a user to take a step.

    Attributes
    ----------
    action
        ``save``, ``submit``, ``accept``, ``refuse`` or ``withdraw``.
    values
        New values of ``save`` and ``submit``; None: they stay.
    reason
        Why.
    etag
        State of the entry that the user saw.
    """

    action: str
    values: Mapping[str, Any] | None = None
    reason: str = ""
    etag: str = ""

    def compute_digest(self, account: str) -> str:
        """Return a digest of the request and its user."""
        document = [self.action, None if self.values is None else dict(self.values), self.reason, self.etag, account]
        return hashlib.sha256(orjson.dumps(document, option=orjson.OPT_SORT_KEYS)).hexdigest()


class EntryWorkflow:
    """Take the steps of the entries of one table for one user.

    Parameters
    ----------
    site
        The site.
    entry_table
        The table.
    principal
        The user.
    entry_fields
        Fields of the table's form.
    references
        The foreign keys of the table, for this user; None: they are not checked.
    """

    def __init__(
        self,
        site: Site,
        entry_table: EntryTable,
        principal: Principal,
        entry_fields: Sequence[EntryField],
        references: RowReferences | None = None,
    ) -> None:
        self._site = site
        self._entry_table = entry_table
        self._principal = principal
        self._fields = entry_fields
        self._references = references
        self._account = principal.name or ""
        self.store = site.store.get_or_create(EntryStore)

    def check_submitter(self) -> None:
        """Refuse users who may not propose rows.

        Raises
        ------
        UnauthenticatedError, ForbiddenError
            The user has no account, or no right.
        """
        if self._principal.name is None:
            raise UnauthenticatedError("only users with an account can enter rows", remedy="log in at /login")
        if not self._entry_table.can_submit(self._principal):
            raise ForbiddenError(
                format_message("your account may not enter rows into {table}", self._entry_table.name),
                remedy="ask the curators of the collection to add you to `submitters`",
            )

    def find_entry(self, number: int) -> TableEntry:
        """Return an entry that the user may see: their own, or as a moderator those that are no drafts.

        Raises
        ------
        NotFoundError
            There is no such entry for this user.
        """
        entry = self.store.find_entry(self._entry_table.name, number)
        if entry is not None and self._principal.name is not None:
            is_own = entry.author == self._principal.name
            if is_own or (entry.state != DRAFT and self._entry_table.can_moderate(self._principal)):
                return entry
        message = format_message("there is no entry {number} here", number)
        raise NotFoundError(message, remedy="find your entries at /entries")

    def read_row(self, row_key: str) -> tuple[dict[str, Any], str]:
        """Return the values of a row as they were entered, and the state of the row, for If-Match.

        Parameters
        ----------
        row_key
            Key of the row as JSON text, as in addresses of rows.

        Raises
        ------
        NotFoundError
            No client or user entered such a row.
        """
        row, state = client_writes.find_pushed_row_or_file(self._site, self._entry_table.name, parse_row_key(row_key))
        values = {}
        for entry_field in self._fields:
            values[entry_field.name] = to_plain_value(row.get(entry_field.name), entry_field.type)
        return values, state

    def create_entry(self, values: Mapping[str, Any], row_key: str, token: str) -> tuple[TableEntry, bool]:
        """Store a draft: of a new row, or of a change of a row.

        Parameters
        ----------
        values
            Column -> value.
        row_key
            Key of the row that the draft changes; empty: a new row.
        token
            Token of the request, by which a request that comes twice is recognised.

        Returns
        -------
        entry, is_new
            The draft; and False if the request came before.
        """
        self.check_submitter()
        entry = TableEntry(table=self._entry_table.name, author=self._account, row_values=values, token=token)
        if row_key:
            base_values, base_state = self.read_row(row_key)
            own_names = self.list_changeable_columns()
            shown_values = {name: value for name, value in base_values.items() if name in own_names}
            self._check_changed_columns(values, shown_values)
            entry = replace(
                entry,
                row_key=row_key,
                row_values={**shown_values, **values},
                base_values=shown_values,
                base_state=base_state,
            )
        return self.store.add_entry(entry, EntryStep(by=self._account, action=SAVE, state=DRAFT))

    def list_changeable_columns(self) -> set[str]:
        """List the columns that the user may read and change in existing rows."""
        is_moderator = self._entry_table.can_moderate(self._principal)
        return {entry_field.name for entry_field in self._fields if is_moderator or entry_field.is_published}

    def _check_changed_columns(self, values: Mapping[str, Any], base_values: Mapping[str, Any]) -> None:
        """Refuse changes of the key, and of columns that the user does not see."""
        for name in values.keys() - base_values.keys():
            raise ForbiddenError(
                format_message("you cannot change {name!r} in an existing row", name),
                remedy="ask a moderator to correct the value",
            )
        for entry_field in self._fields:
            name = entry_field.name
            if entry_field.is_key and name in values and values[name] != base_values.get(name):
                message = format_message("the value of {name!r} identifies the row, so it cannot change", name)
                raise ParamError(message, remedy="enter a new row")

    def take_step(self, entry: TableEntry, request: EntryStepRequest) -> TableEntry:
        """Take a step of an entry, and return the changed entry.

        Parameters
        ----------
        entry
            The entry, as `find_entry` returns it.
        request
            The step.

        Raises
        ------
        ForbiddenError, ConflictError
            The user may not take the step, or the state of the entry does not allow it.
        PreconditionFailedError
            Somebody else has changed the entry or the row.
        EntryValuesError, RuleFindingsError
            Values are missing, or break rules of the table. New values are kept in the draft.
        """
        digest = request.compute_digest(self._account)
        if request.etag != entry.etag:
            last_step = self.store.list_steps(entry.number)[-1]
            if last_step.digest != digest:
                raise build_changed_entry_error()
            if last_step.action == request.action:  # the request came twice
                return entry
        if request.action not in self._entry_table.list_actions(entry, self._principal):
            raise ConflictError(
                format_message("you cannot {action} an entry that is {state}", request.action, entry.state),
                remedy="open the entry to see which steps are possible",
            )
        if len(request.reason) > MAX_REASON_CHARACTERS:
            message = format_message("a reason may have at most {most:,} characters", MAX_REASON_CHARACTERS)
            raise ParamError(message, name="REASON", remedy="shorten the reason")
        is_withdrawn_row = request.action == WITHDRAW and entry.state == ACCEPTED
        is_reason_required = self._entry_table.rules.is_reason_required and request.action in {SUBMIT, ACCEPT}
        if (request.action == REFUSE or is_withdrawn_row or is_reason_required) and not request.reason.strip():
            raise ParamError("give a reason", name="REASON", remedy="write why, so that others understand the step")
        step = EntryStep(
            by=self._account,
            action=request.action,
            state={SAVE: DRAFT, SUBMIT: SUBMITTED, ACCEPT: ACCEPTED, REFUSE: REFUSED, WITHDRAW: WITHDRAWN}[
                request.action
            ],
            reason=request.reason.strip(),
            digest=digest,
            moderators=self._entry_table.moderators,
        )
        if request.action in {SAVE, SUBMIT}:
            return self._save_or_submit(entry, request, step)
        if request.action == ACCEPT:
            return self._publish_values(entry, step)
        if is_withdrawn_row:
            return self._restore_values_before_entry(entry, step)
        return self.store.add_step(entry, step)

    def _save_or_submit(self, entry: TableEntry, request: EntryStepRequest, step: EntryStep) -> TableEntry:
        values = self._select_existing_columns(entry.row_values)
        if request.values is not None:
            values |= request.values
            if entry.base_values is not None:
                self._check_changed_columns(request.values, entry.base_values)
        if step.action == SAVE:
            return self.store.add_step(entry, replace(step, changes={"row_values": values}))
        if values != entry.row_values or entry.state != DRAFT:  # the values are kept, whatever the checks find
            save_step = replace(step, action=SAVE, state=DRAFT, changes={"row_values": values})
            entry = self.store.add_step(entry, save_step)
        warnings = self._check_values(entry)
        return self.store.add_step(entry, replace(step, changes={"warnings": warnings}))

    def _select_existing_columns(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the values without columns that the descriptor has lost since: nothing could be written there."""
        return {name: value for name, value in values.items() if name in self._entry_table.options.columns}

    def _check_values(self, entry: TableEntry) -> list[str]:
        """Check an entry as its publication would, and list the warnings."""
        checked_fields = [
            entry_field
            for entry_field in self._fields
            if entry.base_values is None or entry_field.name in entry.base_values
        ]
        faults = find_missing_values(checked_fields, entry.row_values)
        if faults:
            raise EntryValuesError(faults)
        self._check_references(entry)
        report = self._push_values(entry, entry.row_values, entry.base_state, dry_run=True).report
        warnings = []
        if report is not None:
            warnings = self._list_findings(report, is_warning=True)
        if warnings and self._entry_table.rules.are_warnings_blocking:
            message = format_message("the values of the entry cause warnings")
            raise RuleFindingsError(message, warnings, "correct the values; the draft is saved")
        return warnings

    def _check_references(self, entry: TableEntry) -> None:
        """Refuse an entry that refers to a row that does not exist."""
        if self._references is None:
            return
        entered_names = {entry_field.name for entry_field in self._fields if entry_field.is_published}
        entered_values = {name: value for name, value in entry.row_values.items() if name in entered_names}
        faults = self._references.find_unknown_rows([entered_values])
        if faults:
            raise EntryValuesError(dict(list(faults)))

    def _list_findings(self, report: IngestReport, *, is_warning: bool) -> list[str]:
        table_report = report.tables.get(self._entry_table.name)
        if table_report is None:
            return []
        return [
            finding.message
            for finding in table_report.findings.values()
            if finding.count and (finding.severity == WARNING_SEVERITY) == is_warning and finding.severity != "info"
        ]

    # --- publication ----------------------------------------------------------------------------------------------

    def _publish_values(self, entry: TableEntry, step: EntryStep) -> TableEntry:
        """Publish the values of an entry, and mark it as accepted in the same transaction."""
        lost_names = sorted(entry.row_values.keys() - self._select_existing_columns(entry.row_values).keys())
        if lost_names:
            raise ConflictError(
                format_message("the table no longer has columns of the entry: {names}", ", ".join(lost_names)),
                remedy="refuse the entry, so that its author can submit it again with the columns of the table",
            )
        if self._entry_table.rules.are_warnings_blocking:
            self._check_values(entry)  # the rules, or what they compare with, may have changed
        else:
            self._check_references(entry)
        accepted_entries = []

        def mark_as_accepted(connection: sa.Connection, push: ClientPush) -> None:
            row_key = entry.row_key or format_row_key(push.answer["ids"][0])
            version = count_accepted_versions(connection, entry.table, row_key) + 1
            changes = {"row_key": row_key, "version": version, "row_state": push.answer["state"]}
            accepted_entries.append(write_step_and_notify(connection, entry, replace(step, changes=changes)))

        self._push_values(entry, entry.row_values, entry.base_state, on_commit=mark_as_accepted)
        return self._get_entry_after_push(entry, accepted_entries)

    def _restore_values_before_entry(self, entry: TableEntry, step: EntryStep) -> TableEntry:
        """Delete the row of an accepted entry, or give it the values from before the entry."""
        withdrawn_entries = []
        versions = self.store.list_entries([entry.table], states=(ACCEPTED,), row_key=entry.row_key)
        later_version = max(versions, key=lambda version: version.version, default=entry)
        if later_version.version > entry.version:
            raise PreconditionFailedError(
                format_message("a later version of the row is in the table: entry {number}", later_version.number),
                remedy="withdraw that entry first, or ask a moderator to do so",
            )

        def mark_as_withdrawn(connection: sa.Connection, _: ClientPush) -> None:
            withdrawn_entries.append(write_step_and_notify(connection, entry, step))

        self._push_values(entry, entry.base_values, entry.row_state, on_commit=mark_as_withdrawn)
        return self._get_entry_after_push(entry, withdrawn_entries)

    def _get_entry_after_push(self, entry: TableEntry, changed_entries: Sequence[TableEntry]) -> TableEntry:
        """Return the entry after its publication; if the push came twice, read it again."""
        if changed_entries:
            return changed_entries[-1]
        stored_entry = self.store.find_entry(entry.table, entry.number)
        return entry if stored_entry is None else stored_entry

    def _push_values(
        self,
        entry: TableEntry,
        values: Mapping[str, Any] | None,
        expected_state: str,
        *,
        dry_run: bool = False,
        on_commit: Callable[[sa.Connection, ClientPush], None] | None = None,
    ) -> client_writes.ClientWriteResult:
        """Push the row of an entry; None as values deletes it."""
        key = parse_row_key(entry.row_key) if entry.row_key else None
        key_names = {entry_field.name for entry_field in self._fields if entry_field.is_key}
        action = client_writes.POST_ACTION if key is None else client_writes.PUT_ACTION
        document: dict[str, Any] = dict(values or {})
        if key is not None:
            document = {name: value for name, value in document.items() if name not in key_names}
        with tempfile.TemporaryDirectory(prefix="hven-entry-", ignore_cleanup_errors=True) as directory:
            body: Path | None = Path(directory) / "row.json"
            if values is None:
                action, body = client_writes.DELETE_ACTION, None
            else:
                Path(directory, "row.json").write_bytes(orjson.dumps(document))
            request = client_writes.ClientWriteRequest(
                action=action,
                body=body,
                media_type="application/json",
                key=key,
                idempotency_key="" if dry_run else f"entry-{entry.etag}-{hash_account(self._account)}",
                expected_state=f'"{expected_state}"' if expected_state else None,
                dry_run=dry_run,
                on_commit=on_commit,
                is_awaited=True,  # whoever accepts a row sees it at once, whichever process answers
            )
            try:
                return client_writes.execute_client_write(self._site, self._entry_table.name, request, self._principal)
            except client_writes.RowsRefusedError as error:
                findings = self._list_findings(error.report, is_warning=False) or [error.message]
                message = format_message("the values of the entry break rules of the table")
                raise RuleFindingsError(message, findings, "correct the values") from error
            except PreconditionFailedError as error:
                if error.message == build_changed_entry_error().message:
                    raise
                raise PreconditionFailedError(
                    "the row has changed since this entry was begun",
                    remedy="open the row again, and repeat the correction",
                ) from error
            except client_writes.KeyTakenError as error:
                self._check_entry_revision(entry)
                raise ConflictError(
                    format_message("the row cannot be published: {message}", error.message),
                    remedy="if a row with this key exists, correct that row",
                ) from error

    def _check_entry_revision(self, entry: TableEntry) -> None:
        """Raise an error if another step came first."""
        stored_entry = self.store.find_entry(entry.table, entry.number)
        if stored_entry is not None and stored_entry.revision != entry.revision:
            raise build_changed_entry_error()


def hash_account(account: str) -> str:
    """Return a short text for the name of an account, which may have any characters.

    Parameters
    ----------
    account
        The name.
    """
    return hashlib.sha256(account.encode()).hexdigest()[:16]


def parse_row_key(row_key: str) -> tuple[str, ...]:
    """Parse the key of a row in an address into the texts of its parts.

    Parameters
    ----------
    row_key
        A JSON list.

    Raises
    ------
    NotFoundError
        It is no key.
    """
    try:
        parts = json.loads(row_key)
    except ValueError:
        parts = None
    if not isinstance(parts, list) or not parts:
        raise NotFoundError(
            format_message("there is no row {key!r:.120}", row_key), remedy="open the table, and choose a row there"
        )
    return tuple(str(part) for part in parts)


def format_row_key(key: object) -> str:
    """Write the key of a row as in addresses of rows.

    Parameters
    ----------
    key
        The value of the key, or the list of its parts.
    """
    parts = key if isinstance(key, list) else [key]
    return json.dumps(parts, ensure_ascii=False, separators=(",", ":"), default=str)
