"""What two sites send each other in a promotion: the manifest of a collection, and the hashes of its rows."""

from __future__ import annotations

import hashlib
import json
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from hven.engines import Snapshot
from hven.model.errors import SourceError
from hven.model.table import table_from_json, table_to_json
from hven.plugins.promotion.pinned_directories import is_place_in_collection, is_plain_path, locate_link
from hven.plugins.promotion.row_copies import BLOCK_COUNT, BlockRows, RowHashes
from hven.site.store import SnapshotRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from hven.model.table import Table
    from hven.plugins.promotion.collection_states import CollectionState
    from hven.plugins.promotion.row_copies import Flags

MANIFEST_FORMAT = 2  # increased when the manifest, the blocks or the hashes of rows change
MANIFEST_MEDIA_TYPE = "application/json"
BINARY_MEDIA_TYPE = "application/octet-stream"
ROWS_MEDIA_TYPE = "application/vnd.apache.arrow.stream"
MAX_CHECKSUM_BYTES = 1 << 20  # larger files are compared by size and time
BLOCKS_BYTES = BLOCK_COUNT * 16
CHANGED_MEANWHILE_REMEDY = (
    "run the command again, because the collection may have changed meanwhile; if this happens again, use the same "
    "version of Hven on both sites; nothing was published"
)
ROW_HASH_BYTES = 24  # position, key and values of a row


def write_manifest(collection: CollectionState) -> bytes:
    """Write what a site says of a collection before rows and files are sent.

    Parameters
    ----------
    collection
        What the site publishes.
    """
    document = {
        "format": MANIFEST_FORMAT,
        "site": collection.site_id,
        "collection": collection.name,
        "files": {name: describe_file(name, path) for name, path in collection.files.items()},
        "records": {
            name: write_record_json(record) | {"table": table_to_json(record.table)}
            for name, record in collection.records.items()
        },
        "tables": {name: table_to_json(table) for name, table in collection.tables.items()},
        "descriptions": collection.compute_description_digests(),
    }
    return json.dumps(document, default=to_json_value).encode()


def to_json_value(value: object) -> object:
    """Convert a value for which JSON has no type: a scalar of numpy, a tuple, or a date.

    Parameters
    ----------
    value
        The value.
    """
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, (set, frozenset, tuple)):
        return list(value)
    return str(value)


def describe_file(name: str, path: Path) -> dict[str, Any]:
    """Describe a file: where a link leads, or size, time and, of a small file, the checksum.

    Parameters
    ----------
    name
        Path of the file in the directory of the collection.
    path
        A file or a symbolic link.
    """
    if path.is_symlink():
        return {"link": locate_link(name, path)}
    status = path.stat()
    facts: dict[str, Any] = {"size": status.st_size, "modified": status.st_mtime_ns}
    if status.st_size <= MAX_CHECKSUM_BYTES:
        facts["checksum"] = hashlib.sha256(path.read_bytes()).hexdigest()
    return facts


def write_record_json(record: SnapshotRecord) -> dict[str, Any]:
    """Return for JSON what a record says of a snapshot, without its table.

    Parameters
    ----------
    record
        Record of a snapshot.
    """
    return {
        "id": record.id,
        "run": record.run,
        "created": record.created,
        "rows": record.snapshot.rows,
        "bytes": record.snapshot.bytes,
        "provenance": record.provenance,
    }


class Manifest:
    """The manifest of a collection of another site.

    Parameters
    ----------
    data
        As `write_manifest` writes it.
    collection
        Name of the collection.
    url
        Address of the manifest, for messages.

    Raises
    ------
    SourceError
        It is no manifest of the collection, or says what cannot be true.
    """

    def __init__(self, data: bytes, collection: str, url: str) -> None:
        try:
            document = json.loads(data)
            if document["format"] != MANIFEST_FORMAT:
                raise SourceError(
                    f"{url} has the format {document['format']!r:.20}; this Hven reads the format {MANIFEST_FORMAT}",
                    remedy="use the same version of Hven on both sites",
                )
            self.site_id = str(document["site"])
            self.files: dict[str, dict[str, Any]] = {
                name: _check_file(name, facts) for name, facts in document["files"].items()
            }
            _check_parents(self.files)
            _check_inner_links(self.files)
            self.records = {
                name: read_record_json(facts, table_from_json(facts["table"]), collection)
                for name, facts in document["records"].items()
            }
            self.tables: dict[str, Table] = {name: table_from_json(facts) for name, facts in document["tables"].items()}
            self.descriptions = {str(name): str(digest) for name, digest in document["descriptions"].items()}
            names = {record.table.qualified_name: record.collection for record in self.records.values()}
            is_consistent = document["collection"] == collection and names.keys() == self.records.keys()
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise SourceError(
                f"{url} is not the manifest of a collection: {type(error).__name__} {error!s:.100}",
                remedy="write the address of a Hven site that has the package promotion",
            ) from error
        is_own = all(table.schema == collection for table in (*self.tables.values(), *self._list_record_tables()))
        if not is_consistent or not is_own or f"{collection}.yaml" not in self.files:
            raise SourceError(
                f"{url} is not the manifest of {collection}, or contradicts itself",
                remedy=CHANGED_MEANWHILE_REMEDY,
            )

    def _list_record_tables(self) -> list[Table]:
        return [record.table for record in self.records.values()]


def read_record_json(facts: Mapping[str, Any], table: Table, collection: str) -> SnapshotRecord:
    """Read what `write_record_json` wrote; the snapshot is in no engine of this site.

    Parameters
    ----------
    facts
        What another site says of the snapshot.
    table
        Its table.
    collection
        Name of the collection.

    Raises
    ------
    KeyError, TypeError, ValueError
        A value is missing, or cannot be true.
    """
    row_count, byte_count = int(facts["rows"]), int(facts["bytes"])
    if row_count < 0 or byte_count < 0:
        raise ValueError("a negative number of rows or bytes")
    snapshot = Snapshot(
        id=str(facts["id"]), table=table.qualified_name, path="", rows=row_count, bytes=byte_count, engine=""
    )
    return SnapshotRecord(
        snapshot=snapshot,
        table=table,
        collection=collection,
        run=str(facts["run"]),
        created=str(facts["created"]),
        provenance=dict(facts["provenance"]),
    )


def _check_file(name: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Refuse paths that lead out of the directory, hidden ones, and other spellings of a path."""
    _check_path(name)
    if "link" in facts:
        if not str(facts["link"]).startswith("/"):
            _check_path(str(facts["link"]))
        return {"link": str(facts["link"])}
    if int(facts["size"]) < 0:
        raise ValueError(f"the size of {name!r:.80} is negative")
    return {"size": int(facts["size"]), "modified": int(facts["modified"]), "checksum": facts.get("checksum")}


def _check_path(name: str) -> None:
    if not is_plain_path(name):
        raise ValueError(f"the path {name!r:.80} is not allowed")


def _check_inner_links(files: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse links within the directory that lead to no file or to another link, because links may lead in a circle."""
    real_names = [name for name, facts in files.items() if "link" not in facts]
    for name, facts in files.items():
        place = facts.get("link", "/")
        if not place.startswith("/") and not is_place_in_collection(place, real_names):
            raise ValueError(f"the link {name!r:.80} leads to {place!r:.80}, which is not a file")


def _check_parents(files: Mapping[str, Any]) -> None:
    """Refuse a file below another file or below a link, because a link may lead to any directory of this machine."""
    for name in files:
        for parent in PurePosixPath(name).parents:
            if str(parent) in files:
                raise ValueError(f"the file {name!r:.80} is below {str(parent)!r:.80}, which is not a directory")


def write_blocks(hashes: RowHashes) -> bytes:
    """Write the number of rows and the sum of each block.

    Parameters
    ----------
    hashes
        Hashes of a snapshot.
    """
    return hashes.block_rows.astype("<i8").tobytes() + hashes.block_sums.astype("<u8").tobytes()


def read_blocks(data: bytes, row_count: int, fetch_rows: Callable[[Flags, int], bytes], url: str) -> RowHashes:
    """Read what `write_blocks` wrote.

    Parameters
    ----------
    data
        The bytes.
    row_count
        Number of rows of the snapshot.
    fetch_rows
        Fetches the hashes of the rows of some blocks, from a mask of the blocks and the number of bytes.
    url
        Address of the other site, for messages.

    Raises
    ------
    SourceError
        The bytes do not fit to the snapshot.
    """
    if len(data) != BLOCKS_BYTES:
        raise SourceError(
            f"{url} sent {len(data):,} bytes instead of {BLOCKS_BYTES:,} bytes",
            remedy=CHANGED_MEANWHILE_REMEDY,
        )
    block_rows = np.frombuffer(data, "<i8", BLOCK_COUNT).astype(np.int64)
    block_sums = np.frombuffer(data, "<u8", BLOCK_COUNT, BLOCK_COUNT * 8).astype(np.uint64)
    if (block_rows < 0).any() or (block_rows > row_count).any() or int(block_rows.sum()) != row_count:
        raise SourceError(
            f"{url} has blocks with other numbers of rows than its manifest",
            remedy=CHANGED_MEANWHILE_REMEDY,
        )

    def select_blocks(mask: Flags) -> BlockRows:
        expected_rows = int(block_rows[mask].sum())
        return _read_block_rows(fetch_rows(mask, expected_rows * ROW_HASH_BYTES), expected_rows, row_count, url)

    return RowHashes(block_rows=block_rows, block_sums=block_sums, select_blocks=select_blocks)


def write_block_rows(rows: BlockRows) -> bytes:
    """Write positions, keys and values of the rows of some blocks.

    Parameters
    ----------
    rows
        The rows.
    """
    parts = (rows.positions.astype("<i8"), rows.keys.astype("<u8"), rows.values.astype("<u8"))
    return b"".join(part.tobytes() for part in parts)


def _read_block_rows(data: bytes, count: int, row_count: int, url: str) -> BlockRows:
    if len(data) != count * ROW_HASH_BYTES:
        raise SourceError(
            f"{url} sent the hashes of {len(data) // ROW_HASH_BYTES:,} instead of {count:,} rows",
            remedy=CHANGED_MEANWHILE_REMEDY,
        )
    positions = np.frombuffer(data, "<i8", count).astype(np.int64)
    if count and (positions[0] < 0 or positions[-1] >= row_count or (np.diff(positions) <= 0).any()):
        raise SourceError(
            f"{url} sent the hashes of rows that its snapshot does not have",
            remedy=CHANGED_MEANWHILE_REMEDY,
        )
    keys = np.frombuffer(data, "<u8", count, count * 8).astype(np.uint64)
    values = np.frombuffer(data, "<u8", count, count * 16).astype(np.uint64)
    return BlockRows(positions=positions, keys=keys, values=values)
