"""Records of snapshots and of moves of pointers, and their form as rows."""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from hven.engines import Snapshot
from hven.model.errors import StorageError
from hven.model.table import table_from_json, table_to_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hven.model.table import Table

_RECORD_PREFIX = '{"snapshot": '
_DECODER = json.JSONDecoder()


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotRecord:
    """A snapshot with all that is known of its origin.

    Attributes
    ----------
    table
        The structure and metadata as ingested.
    collection
        Name of the collection.
    run
        Id of the run that made the snapshot.
    created
        ISO time, UTC.
    provenance
        JSON object: ``hashes`` (descriptor and function files -> SHA-256), ``software``, ``pins`` (what was read, with
        checksums), ``inputs`` (qualified table -> snapshot it was made from), ``origins`` (column -> source columns),
        ``counts`` (read, skipped, rejected, published), ``row_id`` (columns whose values stay with a row across
        ingests), ``descriptor_directory`` (directory from which the site reads the descriptor while this is published).
    """

    snapshot: Snapshot
    table: Table
    collection: str
    run: str
    created: str
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """The snapshot's id."""
        return self.snapshot.id


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicationEvent:
    """An event that moved pointers: ``publish``, ``rollback`` or ``remove``.

    `state` is qualified table -> snapshot id after the event.

    Attributes
    ----------
    number
        Counts up.
    collection
        Name of the collection.
    at
        ISO time, UTC.
    action
        One of these words.
    run
        Id of the run that moved them; None: a command did.
    """

    number: int
    collection: str
    at: str
    action: str
    run: str | None
    state: Mapping[str, str]


def snapshot_record_to_row(record: SnapshotRecord) -> dict[str, Any]:
    """Convert a record to a row of `snapshots`.

    Parameters
    ----------
    record
        The record.

    Returns
    -------
    values
        Values by the names of the columns, without the number.
    """
    body = {"snapshot": asdict(record.snapshot), "table": table_to_json(record.table), "provenance": record.provenance}
    return {
        "id": record.id,
        "collection": record.collection,
        "table_name": record.table.qualified_name,
        "run": record.run,
        "created": record.created,
        "rows": record.snapshot.rows,
        "bytes": record.snapshot.bytes,
        "record": json.dumps(body, default=_to_json_value),
    }


def snapshot_record_from_row(row: Any) -> SnapshotRecord:
    """Convert a row of `snapshots` to a record.

    Parameters
    ----------
    row
        An object with the columns as attributes.

    Returns
    -------
    record
        The record.

    Raises
    ------
    StorageError
        A newer Hven wrote it, or it is damaged.
    """
    try:
        body = json.loads(row.record)
        snapshot_fields = dict(body["snapshot"])
        snapshot_fields["parts"] = tuple((name, count) for name, count in snapshot_fields["parts"])
        snapshot_fields["regions"] = tuple(snapshot_fields.get("regions", ()))
        snapshot = Snapshot(**snapshot_fields)
        table = table_from_json(body["table"])
    except (ValueError, KeyError, TypeError) as error:
        message = f"the record of snapshot {row.id} cannot be read: {error}"
        raise StorageError(
            message, remedy="use the version of Hven that wrote the snapshot, or ingest the collection again"
        ) from error
    return SnapshotRecord(
        snapshot=snapshot,
        table=table,
        collection=row.collection,
        run=row.run,
        created=row.created,
        provenance=body["provenance"],
    )


def parse_snapshot_engine_and_path(row: Any) -> tuple[str, str]:
    """Read engine and path from a row of `snapshots`.

    Megabytes about its sources may follow them in the record; these are not parsed.

    Raises
    ------
    StorageError
        As for `snapshot_record_from_row`.
    """
    if row.record.startswith(_RECORD_PREFIX):
        with contextlib.suppress(ValueError, KeyError, TypeError):
            snapshot_fields, _ = _DECODER.raw_decode(row.record, len(_RECORD_PREFIX))
            return str(snapshot_fields["engine"]), str(snapshot_fields["path"])
    snapshot = snapshot_record_from_row(row).snapshot
    return snapshot.engine, snapshot.path


def _to_json_value(value: object) -> object:
    """Convert a value for which JSON has no type: a numpy scalar, a date, bytes."""
    to_python = getattr(value, "item", None)
    if callable(to_python):
        return to_python()
    if isinstance(value, (set, frozenset, tuple)):
        return list(value)
    return str(value)
