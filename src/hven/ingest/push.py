"""`execute_write`: rows that a client sends, by the road of every sync.

The same mapping, checks, tests, followers and publication; and a journal that keeps them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hven.descriptor.tables import FILES_SOURCE_KIND, PUSH_SOURCE_KIND
from hven.ingest._client_writes import (
    DELETE_ACTION,
    POST_ACTION,
    PUT_ACTION,
    ClientWrite,
    RowsRefusedError,
    WriteRequest,
    WriteResult,
    build_replayed_result,
    is_if_match_met,
)
from hven.ingest._file_writes import FileWrite, choose_file_path, find_file_entry, find_file_target
from hven.ingest._ingest_pipeline import create_run_id
from hven.ingest._pushed_rows import KeyTakenError, PushedRows, compute_row_state, format_first_key
from hven.ingest._staged_site import load_current_descriptor
from hven.ingest._uploaded_rows import InvalidRowsError, add_address_values, read_uploaded_rows
from hven.model import plugins
from hven.model.errors import (
    ConflictError,
    NotFoundError,
    OverloadedError,
    ParamError,
    PreconditionFailedError,
    format_message,
)
from hven.site.store import ClientPush, build_lease_name, format_current_time
from hven.sources import DELETED_COLUMN

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pyarrow as pa

    from hven.model.resource import Resource, SourceSpec, TableSpec
    from hven.site import Site
    from hven.site.auth import Principal
    from hven.site.store import Lease

LEASE_TIMEOUT_SECONDS = 20.0  # seconds to wait for another write, or an ingest
MEMORY_EXPANSION_FACTOR = 5  # times the bytes of a body: what its values may take in memory


def find_push_target(site: Site, name: str, path: str = "") -> tuple[Resource, TableSpec, SourceSpec] | None:
    """Find a table that rows, or files, can be pushed into.

    Parameters
    ----------
    site
        Where.
    name
        ``schema.table``, in any case.
    path
        Of a file that is meant.

    Returns
    -------
    found
        Its collection, itself and its source that takes them; None: there is none.
    """
    for resource in site.get_published_state().resources.values():
        for spec in resource.tables:
            if spec.table.qualified_name.lower() == name.lower():
                source = next(
                    (push_source for push_source in spec.sources if push_source.kind == PUSH_SOURCE_KIND), None
                ) or find_file_entry(spec, path)
                if source is None:
                    return None
                return (resource, spec, source)
    return None


def can_push(resource: Resource, source: SourceSpec, principal: Principal) -> bool:
    """Check whether somebody may write into a table: by name, by group, or as contributor of its project.

    Parameters
    ----------
    resource
        The collection.
    source
        Of the table, as `find_push_target` found it.
    principal
        Who asks.

    Returns
    -------
    bool
        Who has no account never may.
    """
    writers_value = source.options.get("writers") or ()
    if isinstance(writers_value, str):
        writers = {writers_value}
    else:
        writers = {*writers_value}
    if not writers and resource.project is not None:
        writers = {f"project:{resource.project}:contributor"}
    return principal.name is not None and (
        "owner" in principal.groups or principal.name in writers or bool(writers & principal.groups)
    )


def choose_upload_path(site: Site, name: str, file: str) -> str:
    """Return the path that a file gets of which a name alone is known.

    Parameters
    ----------
    site
        Where.
    name
        ``schema.table``.
    file
        Without directories.

    Returns
    -------
    path
        In the directory that the pattern of ``files:`` names; of tables that take rows, and of archives: nothing.
    """
    push_target = find_push_target(site, name)
    if push_target is not None and push_target[2].kind == FILES_SOURCE_KIND:
        return choose_file_path(push_target[1], file)
    return ""


def execute_write(site: Site, name: str, request: WriteRequest, principal: Principal) -> WriteResult:
    """Write into a table, and publish it.

    Parameters
    ----------
    site
        Where.
    name
        ``schema.table``.
    request
        What is wanted.
    principal
        Who wants it, and may (`can_push`).

    Returns
    -------
    written
        What became of it. It is published, and durable.

    Raises
    ------
    NotFoundError
        No such table, or no such row.
    SourceError, DataError, TooLargeError
        What was sent; nothing was written. `RowsRefusedError` has the report, `InvalidRowsError` the faults.
    ConflictError
        A row of that key is there; the Idempotency-Key was used for something else; the collection is held.
    PreconditionFailedError
        The state is another one than If-Match says.
    OverloadedError, StorageUnavailableError, StorageError
        Somebody else is at it for long; another source, a database or the disk is not there.
    """
    push_target = find_push_target(site, name, "/".join(request.key or ()))
    if push_target is None or principal.name is None:
        raise NotFoundError(format_message("there is no table {name!r:.120} to write to", name))
    write_class = _RowWrite if push_target[2].kind == PUSH_SOURCE_KIND else FileWrite
    client_write = write_class(site, push_target[1], push_target[0].name, request, principal.name)
    client_write.read_body(push_target[2])
    try:
        with site.store.leases.hold_lease(
            build_lease_name(push_target[0].name),
            description=f"a push into {client_write.table}",
            wait_seconds=LEASE_TIMEOUT_SECONDS,
        ) as lease:
            return client_write.write_under_lease(lease)
    except ConflictError as error:
        if isinstance(error, (KeyTakenError, PreconditionFailedError)):
            raise
        raise OverloadedError(error.message, remedy="try again later") from error


class _RowWrite(ClientWrite):
    """Rows, from what was sent to what is published."""

    sent_rows: pa.Table | None = None

    def read_body(self, source: SourceSpec) -> None:
        """Read what was sent: before anybody has to wait for it."""
        write = self.request
        limits = self.site.settings.limits
        if write.body is None:
            if write.action != DELETE_ACTION or write.key is None:
                raise ParamError("nothing was sent", remedy="send rows as JSON, CSV, VOTable, FITS or Parquet")
            return
        plugin = plugins.load_plugin("sources", PUSH_SOURCE_KIND)
        schema = plugin.Options.model_validate(dict(source.options)).schema
        columns = {item.name: item.type for item in schema if item.name != DELETED_COLUMN}
        row_limit = limits.upload_rows
        byte_limit = limits.upload * MEMORY_EXPANSION_FACTOR
        self.sent_rows = read_uploaded_rows(
            write.body,
            write.media_type,
            columns,
            row_limit=row_limit,
            byte_limit=byte_limit,
            same_columns=write.action == PUT_ACTION,
        )
        self.sent_rows = add_address_values(self.sent_rows, write.address_values, columns)
        if not self.sent_rows.num_rows:
            raise ParamError("there are no rows in what was sent", remedy="send at least one")
        if write.key is not None and self.sent_rows.num_rows != 1:
            raise ParamError(
                format_message("one row is meant, and {count:,} were sent", self.sent_rows.num_rows),
                remedy="send one, or leave the key out",
            )

    # --- under the collection's lease -----------------------------------------------------------------------------

    def write_under_lease(self, lease: Lease) -> WriteResult:
        """Do it, while nobody else writes."""
        site = self.site
        resource = load_current_descriptor(site, self.collection)
        pushed_rows = _open_pushed_rows(site, resource, self.table)
        earlier_result = self._find_earlier_result(pushed_rows)
        if earlier_result is not None:
            return earlier_result
        self.check_not_held()
        published_records = site.store.read_published_records()
        record = published_records[1].get(self.table)
        if record is None:
            raise NotFoundError(
                format_message("{table} is not published yet", self.table), remedy="its owner does that: hven ingest"
            )
        push = self._build_push(pushed_rows, record.snapshot.statistics)
        report = self.create_report(push.run)
        self.publish_push(resource, report, push, lease)
        if not self.request.dry_run:
            if not report.published:  # what is published shows nothing of it, but it was said
                site.store.pushes.commit_push(push, lease)
            site.store.pushes.compact_pieces(self.table, pushed_rows.fold_pieces, lease)
        answer = push.answer
        return WriteResult(
            run=push.run,
            ids=answer["ids"],
            rows=push.rows,
            removed_rows=push.removed,
            state=answer["state"],
            report=report,
        )

    # --- what was there, and what is to be there ----------------------------------------------------------------------

    def _find_earlier_result(self, pushed_rows: PushedRows) -> WriteResult | None:
        """Find out whether this was written before."""
        write = self.request
        earlier_push = self.site.store.pushes.find_push(self.table, token=write.idempotency_key, digest=self.digest)
        if write.idempotency_key or earlier_push is None or write.action != POST_ACTION:
            return self.find_earlier_result(earlier_push)
        if self._is_unchanged(pushed_rows, earlier_push.answer["ids"]):
            return build_replayed_result(earlier_push)
        return None

    def _is_unchanged(self, pushed_rows: PushedRows, ids: Sequence[Any]) -> bool:
        """Check whether the rows of an earlier push are as they are sent now."""
        existing_rows, missing_mask = pushed_rows.find_rows(pushed_rows.build_keys(ids))
        if self.sent_rows is None or missing_mask.any():
            return False
        names = [name for name in self.sent_rows.column_names if name != pushed_rows.generated_id_column]
        return bool(existing_rows.select(names).equals(self.sent_rows.select(names)))

    def _build_push(self, pushed_rows: PushedRows, statistics: Mapping[str, Mapping[str, object]]) -> ClientPush:
        """Make the push: its piece, and what is told of it."""
        write = self.request
        if write.key is not None:
            keys = pushed_rows.parse_key(write.key)
            for name in set(pushed_rows.key).intersection(
                self.sent_rows.column_names if self.sent_rows is not None else ()
            ):
                if (
                    self.sent_rows is not None
                    and self.sent_rows.column(name).to_pylist() != keys.column(name).to_pylist()
                ):
                    raise ParamError(
                        format_message("{name} cannot be changed: it names the row", name),
                        remedy="delete the row, and send another one",
                    )
        else:
            assert self.sent_rows is not None  # noqa: S101  (`read_body` saw to it)
            largest = statistics.get(pushed_rows.generated_id_column or "", {}).get("maximum")
            keys = pushed_rows.read_keys(self.sent_rows, largest=largest, generate_missing=write.action == POST_ACTION)
        existing_rows, missing_mask = pushed_rows.find_rows(keys)
        self._check_if_match(existing_rows, missing_mask)
        if write.action == POST_ACTION and not missing_mask.all():
            raise KeyTakenError(
                format_message("there is a row {key} already", format_first_key(keys, ~missing_mask)),
                remedy="PUT changes it",
            )
        if write.action != POST_ACTION and missing_mask.any():
            raise NotFoundError(
                format_message("there is no row {key} that was pushed", format_first_key(keys, missing_mask)),
                remedy="rows of other sources are theirs to change",
            )
        is_deletion = write.action == DELETE_ACTION
        if is_deletion:
            piece = pushed_rows.mark_as_deleted(existing_rows)
        else:
            piece = pushed_rows.complete_rows(
                keys, self.sent_rows, None if write.action == POST_ACTION else existing_rows
            )
        run = create_run_id()
        count = piece.num_rows
        if len(pushed_rows.key) == 1:
            names = keys.column(0).to_pylist()
        else:
            names = [list(row.values()) for row in keys.to_pylist()]
        if count == 1 and not is_deletion:
            state = compute_row_state(piece)
        else:
            state = run
        return ClientPush(
            run=run,
            table=self.table,
            collection=self.collection,
            at=format_current_time(),
            by=self.account_name,
            action=write.action,
            rows=0 if is_deletion else count,
            removed=count if is_deletion else 0,
            token=write.idempotency_key,
            digest=self.digest,
            top=pushed_rows.largest_id,
            answer={"ids": names, "state": state},
            piece=piece,
        )

    def _check_if_match(self, existing_rows: pa.Table, missing_mask: Any) -> None:
        """Compare what is there with what the client believes (RFC 9110, 13.1.1)."""
        match = self.request.expected_state
        if match is None:
            return
        if self.request.key is not None:
            if missing_mask.any():
                state = ""
            else:
                state = compute_row_state(existing_rows)
        else:
            state = self.site.store.pushes.find_state_name(self.table)
        if not state or not is_if_match_met(match, state):
            raise PreconditionFailedError(
                "it was changed by somebody else meanwhile" if state else "there is no such row",
                remedy="ask for it anew, and decide again",
            )


def _open_pushed_rows(site: Site, resource: Resource, table: str) -> PushedRows:
    """Open the journal of a table."""
    for spec in resource.tables:
        for source in spec.sources:
            if spec.table.qualified_name == table and source.kind == PUSH_SOURCE_KIND:
                return PushedRows(site, resource, spec, source)
    raise NotFoundError(format_message("{table} takes no rows", table))


def find_pushed_row(site: Site, name: str, key: Sequence[str]) -> tuple[dict[str, Any], str]:
    """Find a row as it was pushed.

    Parameters
    ----------
    site
        Where.
    name
        ``schema.table``.
    key
        As an address has it.

    Returns
    -------
    row, state
        Its columns; what If-Match takes.

    Raises
    ------
    NotFoundError
        There is none.
    """
    push_target = find_push_target(site, name, "/".join(key))
    if push_target is None:
        raise NotFoundError(format_message("there is no table {name!r:.120} to write to", name))
    if push_target[2].kind != PUSH_SOURCE_KIND:
        file_target = find_file_target(site, push_target[0], push_target[2], "/".join(key))
        if not file_target.digest:
            raise NotFoundError(format_message("there is no file {path!r:.120}", "/".join(key)))
        return {
            "path": "/".join(key),
            "bytes": file_target.path.stat().st_size,
            "sha256": file_target.digest,
        }, file_target.digest
    pushed_rows = _open_pushed_rows(site, push_target[0], push_target[1].table.qualified_name)
    existing_rows, missing_mask = pushed_rows.find_rows(pushed_rows.parse_key(key))
    if missing_mask.any():
        raise NotFoundError(format_message("there is no row {key!r:.120} that was pushed", "/".join(key)))
    return existing_rows.drop_columns([DELETED_COLUMN]).to_pylist()[0], compute_row_state(existing_rows)


__all__ = [
    "DELETE_ACTION",
    "POST_ACTION",
    "PUT_ACTION",
    "InvalidRowsError",
    "KeyTakenError",
    "RowsRefusedError",
    "WriteRequest",
    "WriteResult",
    "can_push",
    "choose_upload_path",
    "execute_write",
    "find_push_target",
    "find_pushed_row",
]
