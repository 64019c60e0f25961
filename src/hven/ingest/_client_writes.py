"""What a client wants to write, what became of it, and what of a write is the same for rows and files."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from hven.descriptor.tables import PUSH_SOURCE_KIND
from hven.ingest._dependencies import QUERYING_SOURCE_KINDS
from hven.ingest._ingest_pipeline import CollectionRun, RunHooks, execute_leased_run, ignore_progress
from hven.ingest._pushed_rows import KeyTakenError
from hven.ingest._report import IngestReport
from hven.ingest._rules import ERROR_SEVERITY
from hven.ingest.sync._table_sync import SyncContext, TableSync, keep_published_table
from hven.model.errors import DataError, DescriptorError, SourceError, StorageUnavailableError, format_message
from hven.site.store import format_current_time

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from hven.ingest._ledger import SourceEntry
    from hven.ingest._report import RuleFinding
    from hven.ingest._table_loader import LoadedTable
    from hven.model.resource import Resource, TableSpec
    from hven.site import Site
    from hven.site.store import ClientPush, Lease

POST_ACTION, PUT_ACTION, DELETE_ACTION = "POST", "PUT", "DELETE"


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteRequest:
    """What a client wants.

    Attributes
    ----------
    action
        ``POST``: rows that are new; ``PUT``: columns of rows that are there; ``DELETE``: rows that go.
    body
        File of what was sent; None: nothing.
    media_type
        Its media type.
    key
        Of the one row that is meant, as texts; None: the rows of the body say theirs.
    expected_state
        State of the row, or of the table, that is wanted (If-Match); None: any.
    idempotency_key
        Idempotency-Key; empty: none.
    dry_run
        Do everything but write.
    address_values
        Values, as texts, that all rows have in some columns: those that the address says.
    """

    action: str
    body: Path | None = None
    media_type: str = ""
    key: tuple[str, ...] | None = None
    expected_state: str | None = None
    idempotency_key: str = ""
    dry_run: bool = False
    address_values: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteResult:
    """What became of it.

    Attributes
    ----------
    run
        Its id: under it the history has it.
    ids
        Keys of the rows, in the order in which they came.
    rows, removed_rows
        How many came or changed; how many went.
    state
        Of the row that was meant, or of the table, as If-Match takes it.
    is_replayed
        It was written before, and nothing was done now.
    is_new_file
        It is a file that was not there.
    report
        Of what was read, checked and published; None where nothing was done.
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
    """Rows that break what the table demands of them; the report says which and why."""

    def __init__(self, message: str, report: IngestReport, **more: Any) -> None:
        super().__init__(message, **more)
        self.report = report


class ClientWrite:
    """One write: what of it is the same for rows and files."""

    def __init__(self, site: Site, spec: TableSpec, collection: str, request: WriteRequest, account_name: str) -> None:
        self.site = site
        self.collection = collection
        self.request = request
        self.account_name = account_name
        self.table = spec.table.qualified_name
        self.digest = compute_write_digest(request, account_name)

    def may_change_source(self, entry: SourceEntry) -> bool:
        """Tell which sources may have changed by it."""
        return entry.spec.kind == PUSH_SOURCE_KIND

    def may_change_table(self, spec: TableSpec) -> bool:
        """Tell which tables may."""
        return spec.table.qualified_name == self.table

    def list_faults(self, run: CollectionRun) -> list[RuleFinding]:
        """List what is wrong with what was sent."""
        findings = run.report.tables[self.table].findings.values() if self.table in run.report.tables else ()
        return [finding for finding in findings if finding.severity == ERROR_SEVERITY and finding.count]

    def check_not_held(self) -> None:
        """Refuse to go on while somebody's word is that the collection rests."""
        if self.collection in self.site.store.list_held_collections():
            raise KeyTakenError(
                format_message("{collection} is held as a rollback left it", self.collection),
                remedy="its owner ends that: hven schedule resume",
            )

    def create_report(self, run: str) -> IngestReport:
        return IngestReport(
            collection=self.collection,
            run=run,
            started=format_current_time(),
            dry_run=self.request.dry_run,
            kind="push",
            accepted=True,
            by=self.account_name,
        )

    def find_earlier_result(self, earlier_push: ClientPush | None) -> WriteResult | None:
        """Answer as before what was asked under the same Idempotency-Key."""
        write = self.request
        if earlier_push is None or not write.idempotency_key:
            return None
        if earlier_push.digest != self.digest or earlier_push.by != self.account_name:
            raise KeyTakenError(
                format_message("the Idempotency-Key {token!r:.60} was used for another request", write.idempotency_key),
                remedy="take a new one for each new request",
            )
        return build_replayed_result(earlier_push)

    def publish_push(self, resource: Resource, report: IngestReport, push: ClientPush, lease: Lease) -> None:
        """Have it mapped, checked, tested and published by a run."""
        sync_context = SyncContext(reads_everything=False)
        steps = RunHooks(
            make_table=lambda run, spec: self._make_table(sync_context, run, spec),
            should_publish=lambda run, filled: self._should_publish(sync_context, run, filled),
            record_changes=sync_context.store_change_sets,
            may_have_changed=self.may_change_source,
            pending_pushes=(push,),
        )
        try:
            execute_leased_run(
                self.site,
                report,
                lambda: CollectionRun(self.site, resource, report, lease, progress=ignore_progress, hooks=steps),
            )
        except (SourceError, DescriptorError) as error:  # of another source, or of the descriptor: not the client's
            raise StorageUnavailableError(
                format_message("{collection} cannot be published now: {message}", self.collection, error.message),
                remedy="its owner is to look at hven check and hven ingest",
            ) from error
        except DataError as error:
            if isinstance(error, RowsRefusedError):
                raise
            raise RowsRefusedError(error.message, report, remedy="nothing was written") from error

    def _make_table(self, sync_context: SyncContext, run: CollectionRun, spec: TableSpec) -> LoadedTable:
        """Make the table, and those that are made from others; all else stays."""
        base_records = sync_context.find_base_records(run)
        published_record = base_records.get(spec.table.qualified_name)
        if (
            published_record is None
            or self.may_change_table(spec)
            or any(source.kind in QUERYING_SOURCE_KINDS for source in spec.sources)
        ):
            return TableSync(sync_context, run, spec).make_table()
        return keep_published_table(run.report, published_record)

    def _should_publish(
        self, sync_context: SyncContext, run: CollectionRun, loaded_tables: Sequence[LoadedTable]
    ) -> bool:
        """Refuse rows that would be kept aside: a client that is told `written` believes it."""
        faults = self.list_faults(run)
        if faults:
            if faults[0].offenders:
                first_offender = f" (first: {faults[0].offenders[0]})"
            else:
                first_offender = ""
            raise RowsRefusedError(
                format_message("rows would be kept aside: {message}{first}", faults[0].message, first_offender),
                run.report,
                remedy="nothing was written: correct the rows and send them again",
            )
        return sync_context.should_publish(run, loaded_tables)


def build_replayed_result(earlier_push: ClientPush) -> WriteResult:
    """Answer what was written before."""
    answer = earlier_push.answer
    return WriteResult(
        run=earlier_push.run,
        ids=answer["ids"],
        rows=earlier_push.rows,
        removed_rows=earlier_push.removed,
        state=answer["state"],
        is_replayed=True,
    )


def is_if_match_met(if_match: str, state: str) -> bool:
    """Compare If-Match with a state (RFC 9110, 13.1.1)."""
    return if_match.strip() == "*" or state in {etag.strip().strip('"') for etag in if_match.split(",")}


def compute_write_digest(write: WriteRequest, account_name: str) -> str:
    """Sum up what is asked, and by whom."""
    digested_values = [write.action, write.key, account_name]
    digest = hashlib.sha256(
        orjson.dumps(
            [*digested_values, sorted(write.address_values.items())] if write.address_values else digested_values
        )
    )
    if write.body is not None:
        with write.body.open("rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()
