"""The request of a client to write, its result, and the steps that are the same for rows and files."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from hven.ingest.api.changes import ERROR_SEVERITY, IngestReport, publish_collection_change
from hven.model.errors import DataError, DescriptorError, SourceError, StorageUnavailableError, format_message
from hven.plugins.push import PUSH_SOURCE_KIND
from hven.plugins.push.push_store import ClientPushStore
from hven.plugins.push.pushed_rows import KeyTakenError
from hven.site.store import format_current_time

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    import sqlalchemy as sa

    from hven.ingest.api.changes import OpenedSource, RuleFinding, StagedSite
    from hven.model.resource import CollectionSpec, TableSpec
    from hven.plugins.push.push_store import ClientPush
    from hven.site import Site
    from hven.site.store import Lease

POST_ACTION, PUT_ACTION, DELETE_ACTION = "POST", "PUT", "DELETE"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientWriteRequest:
    """The request of a client to write rows or files.

    Attributes
    ----------
    action
        ``POST``: new rows; ``PUT``: columns of existing rows; ``DELETE``: rows to delete.
    body
        File with the body of the request; None: it has none.
    media_type
        Media type of the body.
    key
        Key of the one row to write, as texts; None: the rows of the body have keys.
    expected_state
        Expected state of the row or the table (If-Match); None: any.
    idempotency_key
        Idempotency-Key; empty: none.
    dry_run
        Do everything but write.
    address_values
        Texts of values in the address, which all rows have, by the names of columns.
    on_commit
        Writes records of another package in the transaction that commits the rows; an error of it cancels the push.
        None: nothing else is written.
    on_check
        Reads the tables as they would be published, also in a dry run; an error of it cancels the push. None: nothing
        else is checked.
    is_awaited
        Return only when all processes of the server serve the rows, or after some seconds.
    """

    action: str
    body: Path | None = None
    media_type: str = ""
    key: tuple[str, ...] | None = None
    expected_state: str | None = None
    idempotency_key: str = ""
    dry_run: bool = False
    address_values: Mapping[str, str] = field(default_factory=dict)
    on_commit: Callable[[sa.Connection, ClientPush], None] | None = None
    on_check: Callable[[StagedSite], None] | None = None
    is_awaited: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientWriteResult:
    """The result of a write.

    Attributes
    ----------
    run
        Id of the run, under which the history lists it.
    ids
        Keys of the rows, in the order of the request.
    rows, removed_rows
        Number of rows that were added or changed, and of those that were deleted.
    state
        State of the row or of the table, for If-Match.
    is_replayed
        True if the same request was written before, so that nothing was done now.
    is_new_file
        True if the request created a file.
    report
        Report of the run; None if nothing was done.
    """

    run: str
    ids: Sequence[Any] = ()
    rows: int = 0
    removed_rows: int = 0
    state: str = ""
    is_replayed: bool = False
    is_new_file: bool = False
    report: IngestReport | None = field(default=None, compare=False)


class RowsRefusedError(DataError):
    """Rows break the rules of the table; the report says which and why."""

    def __init__(self, message: str, report: IngestReport, **more: Any) -> None:
        super().__init__(message, **more)
        self.report = report


class ClientWrite:
    """One write of a client: the steps that are the same for rows and files."""

    def __init__(
        self, site: Site, spec: TableSpec, collection: str, request: ClientWriteRequest, account_name: str
    ) -> None:
        self.site = site
        self.collection = collection
        self.request = request
        self.account_name = account_name
        self.table = spec.table.qualified_name
        self.push_store = site.store.get_or_create(ClientPushStore)
        self.digest = compute_write_digest(request, account_name)

    def may_change_source(self, entry: OpenedSource) -> bool:
        """Return whether the write may change a source."""
        return entry.spec.kind == PUSH_SOURCE_KIND

    def may_change_table(self, spec: TableSpec) -> bool:
        """Return whether the write may change a table."""
        return spec.table.qualified_name == self.table

    def list_request_errors(self, report: IngestReport) -> list[RuleFinding]:
        """List the errors in the rows of the request."""
        table_report = report.tables.get(self.table)
        if table_report is None:
            return []
        findings = table_report.findings.values()
        return [finding for finding in findings if finding.severity == ERROR_SEVERITY and finding.count]

    def check_collection_not_held(self) -> None:
        """Refuse to write while the collection is held after a rollback."""
        if self.collection in self.site.store.map_hold_start_times():
            raise KeyTakenError(
                format_message("the collection {collection!r} is on hold after a rollback", self.collection),
                remedy="ask the site's operators to resume the collection with `hven schedule resume`",
            )

    def create_report(self, run: str) -> IngestReport:
        """Create the report of the run that publishes the write."""
        return IngestReport(
            collection=self.collection,
            run=run,
            started=format_current_time(),
            dry_run=self.request.dry_run,
            kind="push",
            accepted=True,
            by=self.account_name,
        )

    def find_earlier_result(self, earlier_push: ClientPush | None) -> ClientWriteResult | None:
        """Return the result of an earlier request with the same Idempotency-Key; None: there was none."""
        write = self.request
        if earlier_push is None or not write.idempotency_key:
            return None
        if earlier_push.digest != self.digest or earlier_push.by != self.account_name:
            raise KeyTakenError(
                format_message(
                    "the Idempotency-Key {token!r:.60} was already used for another request", write.idempotency_key
                ),
                remedy="use a new Idempotency-Key for each new request",
            )
        return build_replayed_result(earlier_push)

    def publish_push(self, resource: CollectionSpec, report: IngestReport, push: ClientPush, lease: Lease) -> None:
        """Map, check, test and publish the rows by a run."""
        try:
            publish_collection_change(self.site, resource, report, lease, self, pending_writes=(push,))
        except (SourceError, DescriptorError) as error:  # another source or the descriptor has a fault, not the client
            raise StorageUnavailableError(
                format_message(
                    "the collection {collection!r} cannot be published at the moment: {message}",
                    self.collection,
                    error.message,
                ),
                remedy="ask the site's operators to run `hven check` and `hven ingest`",
            ) from error
        except DataError as error:
            if isinstance(error, RowsRefusedError):
                raise
            raise RowsRefusedError(error.message, report, remedy="correct the rows; nothing was written") from error

    def check_report(self, report: IngestReport, staged_site: StagedSite) -> None:
        """Refuse the write if any row would be rejected: a client relies on the answer that its rows are written."""
        faults = self.list_request_errors(report)
        if not faults:
            if self.request.on_check is not None:
                self.request.on_check(staged_site)
            return
        first_fault = faults[0]
        first_offender = ""
        if first_fault.offenders:
            first_offender = f" (first: {first_fault.offenders[0]})"
        raise RowsRefusedError(
            format_message(
                "Hven would reject rows in the request: {message}{first}", first_fault.message, first_offender
            ),
            report,
            remedy="correct the rows and send them again; nothing was written",
        )


def build_replayed_result(earlier_push: ClientPush) -> ClientWriteResult:
    """Build the result of a request that was written before."""
    answer = earlier_push.answer
    return ClientWriteResult(
        run=earlier_push.run,
        ids=answer["ids"],
        rows=earlier_push.rows,
        removed_rows=earlier_push.removed,
        state=answer["state"],
        is_replayed=True,
    )


def is_if_match_met(if_match: str, state: str) -> bool:
    """Return whether a state meets If-Match (RFC 9110, 13.1.1)."""
    if if_match.strip() == "*":
        return True
    return state in {etag.strip().strip('"') for etag in if_match.split(",")}


def compute_write_digest(write: ClientWriteRequest, account_name: str) -> str:
    """Return a digest of a request and its user."""
    digested_values: list[object] = [write.action, write.key, account_name]
    if write.address_values:
        digested_values.append(sorted(write.address_values.items()))
    digest = hashlib.sha256(orjson.dumps(digested_values))
    if write.body is not None:
        with write.body.open("rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()
