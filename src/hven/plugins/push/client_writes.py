"""`execute_client_write`: write the rows or the file that a client sends into a table.

A push uses the mapping, checks, tests, dependent tables and publication of a sync, and a journal that stores the rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hven.ingest.api.changes import create_run_id, load_current_descriptor
from hven.jobs.hang_detector import compute_load_factor
from hven.model.errors import (
    ConflictError,
    NotFoundError,
    OverloadedError,
    ParamError,
    PreconditionFailedError,
    format_message,
)
from hven.plugins.push import PUSH_SOURCE_KIND
from hven.plugins.push.file_writes import (
    FILES_SOURCE_KIND,
    ClientFileWrite,
    choose_file_path,
    find_file_target,
    find_source_for_file,
)
from hven.plugins.push.push_store import ClientPush
from hven.plugins.push.pushed_rows import (
    KeyTakenError,
    PushedRows,
    compute_row_state_digest,
    format_first_masked_key,
)
from hven.plugins.push.served_runs import wait_until_served
from hven.plugins.push.source import DELETED_COLUMN, Options
from hven.plugins.push.uploaded_rows import InvalidRowsError, add_address_values, read_uploaded_rows
from hven.plugins.push.write_requests import (
    DELETE_ACTION,
    POST_ACTION,
    PUT_ACTION,
    ClientWrite,
    ClientWriteRequest,
    ClientWriteResult,
    RowsRefusedError,
    build_replayed_result,
    is_if_match_met,
)
from hven.plugins.push.write_turns import WriteTurns
from hven.site.store import format_current_time
from hven.sources.kind_traits import list_source_queries

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pyarrow as pa

    from hven.ingest.api.changes import OpenedSource
    from hven.model.resource import CollectionSpec, SourceSpec, TableSpec
    from hven.site import Site
    from hven.site.auth import Principal
    from hven.site.store import Lease

# a push waits this long for other writes or an ingest, on a busy machine up to six times as long
LEASE_TIMEOUT_SECONDS = 20.0
MEMORY_EXPANSION_FACTOR = 5  # the values of a body may take this multiple of its bytes in memory


def find_push_target(
    site: Site, table_name: str, file_path: str = ""
) -> tuple[CollectionSpec, TableSpec, SourceSpec] | None:
    """Find a table that takes rows or files of clients.

    Parameters
    ----------
    site
        The site that publishes the table.
    table_name
        ``schema.table``, in any case.
    file_path
        Path of the file to write; empty for rows.

    Returns
    -------
    push_target
        The collection, the table and its source that takes the rows or files; None: there is none.
    """
    for resource in site.get_published_state().resources.values():
        for spec in resource.tables:
            if spec.table.qualified_name.lower() != table_name.lower():
                continue
            push_sources = (source for source in spec.sources if source.kind == PUSH_SOURCE_KIND)
            source = next(push_sources, None) or find_source_for_file(spec, file_path)
            if source is None:
                return None
            return (resource, spec, source)
    return None


def can_push(resource: CollectionSpec, source: SourceSpec, principal: Principal) -> bool:
    """Return whether a user may write into a table: by name, by group, or as a contributor of its project.

    Parameters
    ----------
    resource
        The collection.
    source
        The source of the table that takes rows, as `find_push_target` returns it.
    principal
        The user.

    Returns
    -------
    bool
        Always false for users without an account.
    """
    writers = list_writers(resource, source)
    if principal.name is None:
        return False
    return "owner" in principal.groups or principal.name in writers or bool(writers & principal.groups)


def list_writers(resource: CollectionSpec, source: SourceSpec) -> frozenset[str]:
    """List the accounts and groups that may write into a table, apart from the owner of the site.

    Parameters
    ----------
    resource, source
        As for `can_push`.
    """
    writers_value = source.options.get("writers") or ()
    if isinstance(writers_value, str):
        writers = {writers_value}
    else:
        writers = {*writers_value}
    if not writers and resource.project is not None:
        writers = {f"project:{resource.project}:contributor"}
    return frozenset(writers)


def choose_upload_path(site: Site, table_name: str, file_name: str) -> str:
    """Return the path for a file of which only the name is known.

    Parameters
    ----------
    site
        The site that publishes the table.
    table_name
        ``schema.table``.
    file_name
        Name of the file, without directories.

    Returns
    -------
    path
        A path in the directory that the pattern of ``files:`` names; empty for tables of rows and of archives.
    """
    push_target = find_push_target(site, table_name)
    if push_target is not None and push_target[2].kind == FILES_SOURCE_KIND:
        return choose_file_path(push_target[1], file_name)
    return ""


def execute_client_write(
    site: Site, table_name: str, request: ClientWriteRequest, principal: Principal
) -> ClientWriteResult:
    """Write into a table, and publish it.

    Parameters
    ----------
    site
        The site that publishes the table.
    table_name
        ``schema.table``.
    request
        The rows or the file, and what to do with them.
    principal
        The user, who must be allowed to write (`can_push`).

    Returns
    -------
    result
        What was written. It is published and durable.

    Raises
    ------
    NotFoundError
        The table or the row does not exist.
    SourceError, DataError, TooLargeError
        The body has faults; nothing was written. `RowsRefusedError` has the report, `InvalidRowsError` the faults.
    ConflictError
        The key of a row exists already; the Idempotency-Key was used for another request; the collection is held.
    PreconditionFailedError
        The state does not match If-Match.
    OverloadedError, StorageUnavailableError, StorageError
        Another run takes too long; another source, a database or the disk failed.
    """
    push_target = find_push_target(site, table_name, "/".join(request.key or ()))
    if push_target is None or principal.name is None:
        raise NotFoundError(format_message("there is no table {name!r:.120} to write to", table_name))
    resource, spec, source = push_target
    write_class = _ClientRowWrite if source.kind == PUSH_SOURCE_KIND else ClientFileWrite
    client_write = write_class(site, spec, resource.name, request, principal.name)
    client_write.read_request_body(source)
    description = f"a push into {client_write.table}"
    wait_seconds = LEASE_TIMEOUT_SECONDS * compute_load_factor()
    try:
        with site.get_or_create(WriteTurns, site).hold_lease(resource.name, description, wait_seconds) as lease:
            result = client_write.write_under_lease(lease)
    except ConflictError as error:
        if isinstance(error, (KeyTakenError, PreconditionFailedError)):
            raise
        raise OverloadedError(error.message, remedy="try again later") from error
    if request.is_awaited and result.report is not None and result.report.published:
        wait_until_served(site, client_write.table, result.run)
    return result


class _ClientRowWrite(ClientWrite):
    """A write of rows, from the body to the publication."""

    sent_rows: pa.Table | None = None

    def may_change_source(self, entry: OpenedSource) -> bool:
        """Return whether the write may change a source: rows of clients, and lists of files that come from rows."""
        is_file_list = entry.spec.kind == FILES_SOURCE_KIND and bool(list_source_queries(entry.spec))
        return is_file_list or super().may_change_source(entry)

    def read_request_body(self, source: SourceSpec) -> None:
        """Read the rows of the body, before other writes have to wait for this one."""
        write = self.request
        limits = self.site.settings.limits
        if write.body is None:
            if write.action != DELETE_ACTION or write.key is None:
                raise ParamError("the request has no body", remedy="send rows as JSON, CSV, VOTable, FITS or Parquet")
            return
        schema = Options.model_validate(dict(source.options)).schema
        columns = {column.name: column.type for column in schema if column.name != DELETED_COLUMN}
        body_rows = read_uploaded_rows(
            write.body,
            write.media_type,
            columns,
            row_limit=limits.upload_rows,
            byte_limit=limits.upload * MEMORY_EXPANSION_FACTOR,
            requires_same_columns=write.action == PUT_ACTION,
        )
        self.sent_rows = add_address_values(body_rows, write.address_values, columns)
        if not self.sent_rows.num_rows:
            raise ParamError("the request body contains no rows", remedy="send at least one row")
        if write.key is not None and self.sent_rows.num_rows != 1:
            raise ParamError(
                format_message(
                    "the address names one row, but the request contains {count:,} rows", self.sent_rows.num_rows
                ),
                remedy="send one row, or leave the key out of the address",
            )

    # --- under the collection's lease -----------------------------------------------------------------------------

    def write_under_lease(self, lease: Lease) -> ClientWriteResult:
        """Write and publish the rows, under the lease of the collection."""
        site = self.site
        resource = load_current_descriptor(site, self.collection)
        pushed_rows = _open_pushed_rows(site, resource, self.table)
        earlier_result = self._find_earlier_result(pushed_rows)
        if earlier_result is not None:
            return earlier_result
        self.check_collection_not_held()
        published_records = site.store.read_published_records()[1]
        record = published_records.get(self.table)
        if record is None:
            raise NotFoundError(
                format_message("{table} is not published yet", self.table),
                remedy="run `hven ingest` to publish the table",
            )
        push = self._build_push(pushed_rows, record.snapshot.statistics)
        report = self.create_report(push.run)
        self.publish_push(resource, report, push, lease)
        if not self.request.dry_run:
            if not report.published:  # the journal keeps the rows, even if they change no published row
                self.push_store.commit_push(push, lease)
            self.push_store.compact_pieces(self.table, pushed_rows.merge_journal_pieces, lease)
        answer = push.answer
        return ClientWriteResult(
            run=push.run,
            ids=answer["ids"],
            rows=push.rows,
            removed_rows=push.removed,
            state=answer["state"],
            report=report,
        )

    # --- the rows in the journal, and the new ones ------------------------------------------------------------------

    # --- what was there, and what is to be there ----------------------------------------------------------------------

    def _find_earlier_result(self, pushed_rows: PushedRows) -> ClientWriteResult | None:
        """Return the result of an earlier push of the same request; None: there was none."""
        write = self.request
        earlier_push = self.push_store.find_push(self.table, token=write.idempotency_key, digest=self.digest)
        if write.idempotency_key or earlier_push is None or write.action != POST_ACTION:
            return self.find_earlier_result(earlier_push)
        if self._has_same_rows(pushed_rows, earlier_push.answer["ids"]):
            return build_replayed_result(earlier_push)
        return None

    def _has_same_rows(self, pushed_rows: PushedRows, ids: Sequence[Any]) -> bool:
        """Return whether the rows of an earlier push equal the rows of this request."""
        existing_rows, missing_mask = pushed_rows.find_rows_by_key(pushed_rows.build_key_table(ids))
        if self.sent_rows is None or missing_mask.any():
            return False
        names = [name for name in self.sent_rows.column_names if name != pushed_rows.generated_id_column]
        return bool(existing_rows.select(names).equals(self.sent_rows.select(names)))

    def _build_push(self, pushed_rows: PushedRows, statistics: Mapping[str, Mapping[str, object]]) -> ClientPush:
        """Build the push: the rows for the journal, and the answer to the client."""
        write = self.request
        is_post = write.action == POST_ACTION
        if write.key is not None:
            keys = pushed_rows.parse_key(write.key)
            self._check_key_unchanged(keys, pushed_rows)
        else:
            assert self.sent_rows is not None  # noqa: S101  (`read_request_body` saw to it)
            largest_id = statistics.get(pushed_rows.generated_id_column or "", {}).get("maximum")
            keys = pushed_rows.extract_row_keys(self.sent_rows, largest_id=largest_id, generate_missing=is_post)
        existing_rows, missing_mask = pushed_rows.find_rows_by_key(keys)
        self._check_if_match(existing_rows, missing_mask)
        if is_post and not missing_mask.all():
            raise KeyTakenError(
                format_message(
                    "a row with the key ({key}) already exists", format_first_masked_key(keys, ~missing_mask)
                ),
                remedy="use PUT to change the row",
            )
        if not is_post and missing_mask.any():
            raise NotFoundError(
                format_message(
                    "no client has sent a row with the key ({key}), or the row has been deleted",
                    format_first_masked_key(keys, missing_mask),
                ),
                remedy="use POST to add the row; if the row comes from another source of the table, change "
                "the row in the other source",
            )
        is_deletion = write.action == DELETE_ACTION
        if is_deletion:
            piece = pushed_rows.mark_as_deleted(existing_rows)
        else:
            piece = pushed_rows.complete_rows(keys, self.sent_rows, None if is_post else existing_rows)
        run = create_run_id()
        row_count = piece.num_rows
        if len(pushed_rows.key) == 1:
            ids = keys.column(0).to_pylist()
        else:
            ids = [list(row.values()) for row in keys.to_pylist()]
        state = run
        if row_count == 1 and not is_deletion:
            state = compute_row_state_digest(piece)
        return ClientPush(
            run=run,
            table=self.table,
            collection=self.collection,
            at=format_current_time(),
            by=self.account_name,
            action=write.action,
            rows=0 if is_deletion else row_count,
            removed=row_count if is_deletion else 0,
            token=write.idempotency_key,
            digest=self.digest,
            top=pushed_rows.largest_id,
            answer={"ids": ids, "state": state},
            piece=piece,
            on_commit=write.on_commit,
        )

    def _check_key_unchanged(self, keys: pa.Table, pushed_rows: PushedRows) -> None:
        """Refuse rows that would change the key in the address of the request."""
        if self.sent_rows is None:
            return
        for name in set(pushed_rows.key).intersection(self.sent_rows.column_names):
            if self.sent_rows.column(name).to_pylist() != keys.column(name).to_pylist():
                raise ParamError(
                    format_message("the value of {name!r} cannot be changed, because it identifies the row", name),
                    remedy="delete the row, and send a new one",
                )

    def _check_if_match(self, existing_rows: pa.Table, missing_mask: Any) -> None:
        """Compare the present state with the state that the client expects (RFC 9110, 13.1.1)."""
        expected_state = self.request.expected_state
        if expected_state is None:
            return
        if self.request.key is None:
            state = self.push_store.find_state_name(self.table)
        elif missing_mask.any():
            state = ""
        else:
            state = compute_row_state_digest(existing_rows)
        if not state or not is_if_match_met(expected_state, state):
            raise PreconditionFailedError(
                "another client has changed the row in the meantime" if state else "the row does not exist",
                remedy="request the row again, and check whether your change still applies",
            )


def _open_pushed_rows(site: Site, resource: CollectionSpec, table: str) -> PushedRows:
    """Open the journal of a table that takes rows."""
    for spec in resource.tables:
        for source in spec.sources:
            if spec.table.qualified_name == table and source.kind == PUSH_SOURCE_KIND:
                return PushedRows(site, resource, spec, source)
    raise NotFoundError(format_message("{table} does not accept rows from clients", table))


def find_pushed_row_or_file(site: Site, table_name: str, key: Sequence[str]) -> tuple[dict[str, Any], str]:
    """Find a row in the journal, or a file, by its key.

    Parameters
    ----------
    site
        The site that publishes the table.
    table_name
        ``schema.table``.
    key
        The parts of the key in the address.

    Returns
    -------
    row, state
        Its columns; and its state, for If-Match.

    Raises
    ------
    NotFoundError
        The table, the row or the file does not exist.
    """
    path = "/".join(key)
    push_target = find_push_target(site, table_name, path)
    if push_target is None:
        raise NotFoundError(format_message("there is no table {name!r:.120} to write to", table_name))
    resource, spec, source = push_target
    if source.kind != PUSH_SOURCE_KIND:
        file_target = find_file_target(site, resource, source, path)
        if not file_target.digest:
            raise NotFoundError(format_message("there is no file {path!r:.120}", path))
        size_bytes = file_target.path.stat().st_size
        return {"path": path, "bytes": size_bytes, "sha256": file_target.digest}, file_target.digest
    pushed_rows = _open_pushed_rows(site, resource, spec.table.qualified_name)
    existing_rows, missing_mask = pushed_rows.find_rows_by_key(pushed_rows.parse_key(key))
    if missing_mask.any():
        raise NotFoundError(
            format_message("no client has sent a row with the key {key!r:.120}, or the row has been deleted", path)
        )
    row = existing_rows.drop_columns([DELETED_COLUMN]).to_pylist()[0]
    return row, compute_row_state_digest(existing_rows)


__all__ = [
    "DELETE_ACTION",
    "POST_ACTION",
    "PUT_ACTION",
    "ClientWriteRequest",
    "ClientWriteResult",
    "InvalidRowsError",
    "KeyTakenError",
    "RowsRefusedError",
    "can_push",
    "choose_upload_path",
    "execute_client_write",
    "find_push_target",
    "find_pushed_row_or_file",
]
