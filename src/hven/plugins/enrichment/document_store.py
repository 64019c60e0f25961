"""Keep documents between runs: one SQLite file for each address, with the documents as they came, compressed."""

from __future__ import annotations

import json
import sqlite3
import time
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hven.model.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

STATE_HERE, STATE_OLD, STATE_WAITING = "here", "old", "waiting"
STATE_MISSING, STATE_REFUSED, STATE_BROKEN, STATE_FAILED = "missing", "refused", "broken", "failed"
IDS_PER_QUERY = 500
_CREATE_TABLES_SQL = """
CREATE TABLE IF NOT EXISTS documents (
    id TEXT PRIMARY KEY, -- value of the row's column
    modified, -- of the row for which it was fetched; no affinity: times are texts or numbers
    state TEXT NOT NULL,
    note TEXT NOT NULL DEFAULT '', -- why it is not here, or what of it could not be read
    fetched REAL, -- seconds since 1970
    tried, -- modification for which it was asked last
    due REAL, -- when to ask again; null: never
    form TEXT, -- what was taken, and how
    taken TEXT, -- values of columns, as JSON
    body BLOB -- as it came, packed by zlib
);
CREATE TEMP TABLE wanted (id TEXT PRIMARY KEY, modified, address TEXT NOT NULL);
"""
_PENDING_SQL = """
FROM wanted AS w LEFT JOIN documents AS d ON d.id = w.id
WHERE d.id IS NULL OR d.tried IS NOT w.modified OR d.due <= ?
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchedDocument:
    """The result of fetching one document.

    Attributes
    ----------
    due_time
        Time of the next attempt; None: never.
    """

    id: str
    modified: Any
    state: str
    note: str = ""
    due_time: float | None = None
    values: Sequence[Any] | None = None
    body: bytes | None = None


class DocumentStore:
    """The documents of one address.

    Parameters
    ----------
    path
        Path of the file; None: nothing is kept.
    document_form
        Description of the extracted values; values of another form are extracted again.
    """

    def __init__(self, path: Path | None, document_form: str) -> None:
        self._document_form = document_form
        self._path = path
        try:
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
            # another thread reads ahead, one at a time
            self._connection = sqlite3.connect(path or ":memory:", check_same_thread=False, isolation_level=None)
            self._connection.execute("PRAGMA synchronous = NORMAL")
            self._connection.execute("PRAGMA temp_store = FILE")
            self._connection.executescript(_CREATE_TABLES_SQL)
        except (OSError, sqlite3.Error) as error:
            raise self._build_storage_error(error) from error

    def _build_storage_error(self, error: Exception) -> StorageError:
        return StorageError(
            f"{self._path} cannot be written: {error}",
            remedy="free some space on the disk that contains var/. If the file is damaged, remove the file; Hven then "
            "fetches the documents again",
        )

    def add_document_requests(self, documents: Iterable[tuple[str, Any, str]]) -> None:
        """Record which documents the rows name: id, modification, address; the latest modification counts."""
        self._write_rows(
            "INSERT INTO wanted VALUES (?, ?, ?) ON CONFLICT (id) DO UPDATE SET modified = excluded.modified, "
            "address = excluded.address WHERE excluded.modified > wanted.modified",
            documents,
        )

    def count_pending(self) -> int:
        """Count the documents that have to be fetched."""
        return int(self._execute_query(f"SELECT count(*) {_PENDING_SQL}", time.time()).fetchone()[0])

    def iterate_pending(self) -> Iterator[tuple[str, Any, str]]:
        """Yield the documents that have to be fetched, newest first: id, modification, address."""
        pending = self._execute_query(
            f"SELECT w.id, w.modified, w.address {_PENDING_SQL} ORDER BY w.modified DESC, w.rowid DESC", time.time()
        )
        queue = self._connection.execute("CREATE TEMP TABLE IF NOT EXISTS queue (id, modified, address)")
        queue.execute("DELETE FROM queue")
        self._write_rows("INSERT INTO queue VALUES (?, ?, ?)", pending)
        last = 0
        while rows := self._execute_query(
            "SELECT rowid, id, modified, address FROM queue WHERE rowid > ? ORDER BY rowid LIMIT 1000", last
        ).fetchall():
            last = rows[-1][0]
            yield from (row[1:] for row in rows)

    def save_documents(self, documents: Sequence[FetchedDocument]) -> None:
        """Save fetched documents; a stored document stays until a newer one arrives."""
        now = time.time()
        available = [document for document in documents if document.state == STATE_HERE]
        self._write_rows(
            "INSERT OR REPLACE INTO documents VALUES (?, ?, 'here', ?, ?, ?, ?, ?, ?, ?)",
            (
                (
                    document.id,
                    document.modified,
                    document.note,
                    now,
                    document.modified,
                    document.due_time,
                    self._document_form,
                    json.dumps(document.values),
                    zlib.compress(document.body or b"", 3),
                )
                for document in available
            ),
        )
        self._write_rows(
            """INSERT INTO documents (id, modified, state, note, tried, due) VALUES (?, ?, ?, ?, ?, ?)
            ON CONFLICT (id) DO UPDATE SET note = excluded.note, tried = excluded.tried, due = excluded.due,
            state = CASE documents.state WHEN 'here' THEN 'here' ELSE excluded.state END""",
            (
                (document.id, document.modified, document.state, document.note, document.modified, document.due_time)
                for document in documents
                if document.state != STATE_HERE
            ),
        )

    def find_document_records(
        self, ids: Sequence[str]
    ) -> dict[str, tuple[str, Any, float | None, str | None, str | None]]:
        """Return what is known of documents: state, modification, time of the fetch, form and values."""
        facts_by_id = {}
        for at in range(0, len(ids), IDS_PER_QUERY):
            id_batch = ids[at : at + IDS_PER_QUERY]
            marks = ", ".join("?" * len(id_batch))
            for name, *facts in self._execute_query(
                f"SELECT id, state, modified, fetched, form, taken FROM documents WHERE id IN ({marks})", *id_batch
            ):
                facts_by_id[name] = tuple(facts)
        return facts_by_id

    def read_body(self, document_id: str) -> bytes:
        """Return a document as it was received."""
        row = self._execute_query("SELECT body FROM documents WHERE id = ?", document_id).fetchone()
        if row is None or row[0] is None:
            return b""
        return zlib.decompress(row[0])

    def update_values(self, values_by_id: Iterable[tuple[str, Sequence[Any] | None]]) -> None:
        """Save values that were extracted again."""
        self._write_rows(
            "UPDATE documents SET form = ?, taken = ? WHERE id = ?",
            ((self._document_form, json.dumps(values), name) for name, values in values_by_id),
        )

    def summarize_problems(self) -> Iterator[tuple[str, str, int, str]]:
        """Yield counts of the wanted documents that are missing or faulty.

        Each item has state, note, count and the first id.
        """
        yield from self._execute_query(
            """SELECT d.state, d.note, count(*), min(d.id) FROM wanted AS w JOIN documents AS d ON d.id = w.id
            WHERE d.note <> '' GROUP BY d.state, d.note ORDER BY count(*) DESC"""
        )

    def _execute_query(self, sql: str, *values: Any) -> sqlite3.Cursor:
        try:
            return self._connection.execute(sql, values)
        except sqlite3.Error as error:
            raise self._build_storage_error(error) from error

    def _write_rows(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        """Write rows in one transaction: after a crash all or none of them are there."""
        try:
            self._connection.execute("BEGIN")
            try:
                self._connection.executemany(sql, rows)
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise self._build_storage_error(error) from error

    def close(self) -> None:
        """Close the file."""
        self._connection.close()
