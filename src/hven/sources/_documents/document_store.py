"""Where documents are kept between runs: one file of SQLite for each address, texts packed as they came."""

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

HERE, OLD, WAITING = "here", "old", "waiting"
MISSING, REFUSED, BROKEN, FAILED = "missing", "refused", "broken", "failed"
AT_ONCE = 500  # ids of one question
_SCHEMA = """
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
_TO_FETCH = """
FROM wanted AS w LEFT JOIN documents AS d ON d.id = w.id
WHERE d.id IS NULL OR d.tried IS NOT w.modified OR d.due <= ?
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """What came of one document.

    Attributes
    ----------
    due
        When to ask again; None: never.
    """

    id: str
    modified: Any
    state: str
    note: str = ""
    due: float | None = None
    taken: Sequence[Any] | None = None
    body: bytes | None = None


class DocumentStore:
    """The documents of one address.

    Parameters
    ----------
    path
        Of the file; None: nothing is kept.
    form
        What is taken of each document, and how, in words: what was taken otherwise is taken anew.
    """

    def __init__(self, path: Path | None, form: str) -> None:
        self._form, self._path = form, path
        try:
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
            # another thread reads ahead, one at a time
            self._file = sqlite3.connect(path or ":memory:", check_same_thread=False, isolation_level=None)
            self._file.execute("PRAGMA synchronous = NORMAL")
            self._file.execute("PRAGMA temp_store = FILE")
            self._file.executescript(_SCHEMA)
        except (OSError, sqlite3.Error) as error:
            raise self._fault(error) from error

    def _fault(self, error: Exception) -> StorageError:
        return StorageError(
            f"{self._path} cannot be written: {error}",
            remedy="make room on the disk of var/; if the file is damaged, remove it: its documents are fetched again",
        )

    def want(self, wanted: Iterable[tuple[str, Any, str]]) -> None:
        """Say which documents the rows name: id, modification, address; of several modifications the latest counts."""
        self._write(
            "INSERT INTO wanted VALUES (?, ?, ?) ON CONFLICT (id) DO UPDATE SET modified = excluded.modified, address = excluded.address WHERE excluded.modified > wanted.modified",
            wanted,
        )

    def left(self) -> int:
        """Count the documents that are to be fetched."""
        return int(self._read(f"SELECT count(*) {_TO_FETCH}", time.time()).fetchone()[0])

    def to_fetch(self) -> Iterator[tuple[str, Any, str]]:
        """Yield what is to be fetched, newest first, as it is known now: id, modification, address."""
        found = self._read(
            f"SELECT w.id, w.modified, w.address {_TO_FETCH} ORDER BY w.modified DESC, w.rowid DESC", time.time()
        )
        queue = self._file.execute("CREATE TEMP TABLE IF NOT EXISTS queue (id, modified, address)")
        queue.execute("DELETE FROM queue")
        self._write("INSERT INTO queue VALUES (?, ?, ?)", found)
        last = 0
        while rows := self._read(
            "SELECT rowid, id, modified, address FROM queue WHERE rowid > ? ORDER BY rowid LIMIT 1000", last
        ).fetchall():
            last = rows[-1][0]
            yield from (row[1:] for row in rows)

    def put(self, some: Sequence[Fetched]) -> None:
        """Write down what came; a document that is here stays so until a newer one is."""
        now = time.time()
        good = [one for one in some if one.state == HERE]
        self._write(
            "INSERT OR REPLACE INTO documents VALUES (?, ?, 'here', ?, ?, ?, ?, ?, ?, ?)",
            (
                (one.id, one.modified, one.note, now, one.modified, one.due, self._form, json.dumps(one.taken), zlib.compress(one.body or b"", 3))
                for one in good
            ),
        )  # fmt: skip
        self._write(
            """INSERT INTO documents (id, modified, state, note, tried, due) VALUES (?, ?, ?, ?, ?, ?)
            ON CONFLICT (id) DO UPDATE SET note = excluded.note, tried = excluded.tried, due = excluded.due,
            state = CASE documents.state WHEN 'here' THEN 'here' ELSE excluded.state END""",
            ((one.id, one.modified, one.state, one.note, one.modified, one.due) for one in some if one.state != HERE),
        )

    def known(self, ids: Sequence[str]) -> dict[str, tuple[str, Any, float | None, str | None, str | None]]:
        """Return what is known of documents: state, modification, when it was fetched, what was taken and how."""
        found = {}
        for at in range(0, len(ids), AT_ONCE):
            some = ids[at : at + AT_ONCE]
            marks = ", ".join("?" * len(some))
            for name, *facts in self._read(
                f"SELECT id, state, modified, fetched, form, taken FROM documents WHERE id IN ({marks})", *some
            ):
                found[name] = tuple(facts)
        return found

    def body(self, name: str) -> bytes:
        """Return a document as it came."""
        row = self._read("SELECT body FROM documents WHERE id = ?", name).fetchone()
        return b"" if row is None or row[0] is None else zlib.decompress(row[0])

    def retaken(self, some: Iterable[tuple[str, Sequence[Any] | None]]) -> None:
        """Write down values that were taken anew."""
        self._write(
            "UPDATE documents SET form = ?, taken = ? WHERE id = ?",
            ((self._form, json.dumps(taken), name) for name, taken in some),
        )

    def told(self) -> Iterator[tuple[str, str, int, str]]:
        """Yield how many of the wanted documents are not here, or not as they should be: state, note, count, first id."""
        yield from self._read(
            """SELECT d.state, d.note, count(*), min(d.id) FROM wanted AS w JOIN documents AS d ON d.id = w.id
            WHERE d.note <> '' GROUP BY d.state, d.note ORDER BY count(*) DESC"""
        )

    def _read(self, text: str, *values: Any) -> sqlite3.Cursor:
        try:
            return self._file.execute(text, values)
        except sqlite3.Error as error:
            raise self._fault(error) from error

    def _write(self, text: str, rows: Iterable[Sequence[Any]]) -> None:
        """Write rows in one transaction: after a crash all of them are there, or none."""
        try:
            self._file.execute("BEGIN")
            try:
                self._file.executemany(text, rows)
            except BaseException:
                self._file.execute("ROLLBACK")
                raise
            self._file.execute("COMMIT")
        except sqlite3.Error as error:
            raise self._fault(error) from error

    def close(self) -> None:
        """Close the file."""
        self._file.close()
