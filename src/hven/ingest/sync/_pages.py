"""Pages that were read are kept until the run ends: who was killed goes on behind the last one."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import time
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from hven.model.errors import StorageError
from hven.sources import Pages

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from hven.ingest._ledger import Entry
    from hven.model.resource import Sync
    from hven.model.table import Column
    from hven.sources import Pin, Source

REMOTE = ("tap", "hven")  # kinds that are asked over the network, and read slowly
FRESH = 6 * 3600.0  # seconds for which pages may be used again: the source goes on changing
AFTER = b"hven:after"
END = "end"


def paged(source: Source, entry: Entry, said: Sync | None, place: Path, request: Sequence[object]) -> Source:
    """Wrap a source that is asked page by page, so that its pages are kept.

    Parameters
    ----------
    place
        Where pages are kept.
    request
        What is asked: pages of another request are not used.
    """
    wanted = said is not None and (said.page is not None or entry.spec.kind in REMOTE)
    return Paged(source, place, request) if wanted and isinstance(source, Pages) else source


class Part:
    """A source by way of another one, `whole`: as it is, or some of its rows."""

    def __init__(self, whole: Any) -> None:
        self.whole = whole

    def columns(self) -> list[Column]:
        """Return the columns of the whole source."""
        return self.whole.columns()  # type: ignore[no-any-return]

    def pins(self) -> list[Pin]:
        """List what was asked."""
        return self.whole.pins()  # type: ignore[no-any-return]

    def size(self) -> int | None:
        """Count the rows to come, if that is known."""
        return self.whole.size()  # type: ignore[no-any-return]


class Paged(Part):
    """A source whose pages are written down as they are read.

    Attributes
    ----------
    again
        Rows that an earlier run had read.
    since
        When it read the first of them, in seconds since 1970.
    """

    def __init__(self, source: Any, place: Path, request: Sequence[object]) -> None:
        super().__init__(source)
        self._place, self._request = place, request
        self.again, self.since = 0, 0.0

    def batches(self, columns: Sequence[str] | None = None, limit: int | None = None) -> Iterator[pa.RecordBatch]:
        """Yield what is kept, then what follows.

        Raises
        ------
        StorageError
            A page cannot be written.
        """
        if limit is not None:
            yield from self.whole.batches(columns, limit)
            return
        asked = hashlib.sha256(json.dumps([*self._request, list(columns or ())], default=str).encode()).hexdigest()
        kept, after, ended = self._kept(asked)
        if kept:
            self.since = kept[0].stat().st_mtime
        for path in kept:
            for batch in _read(path):
                self.again += batch.num_rows
                yield batch
        if ended:
            return
        number = len(kept)
        for batch, behind in self.whole.pages(columns, after):
            self._write(f"{number:06d}", batch, behind)
            number += 1
            yield batch
        self._write(END, pa.record_batch({"end": pa.array([], pa.null())}), "")

    def _kept(self, asked: str) -> tuple[list[Path], str | None, bool]:
        """Find the pages that can be used again, and what to say to go on; else make room for new ones."""
        mark = self._place / "request.json"
        try:
            same = json.loads(mark.read_text(encoding="utf-8")) == asked
            newest = max((path.stat().st_mtime for path in self._place.glob("*.arrow")), default=0.0)
        except (OSError, ValueError):
            same, newest = False, 0.0
        if same and 0 <= time.time() - newest < FRESH:
            found: list[Path] = []
            behind: list[str] = []
            for path in sorted(self._place.glob("[0-9]*.arrow")):
                after = _after(path)
                if after is None or path.stem != f"{len(found):06d}":
                    break
                found.append(path)
                behind.append(after)
            if (
                found
                and (self._place / f"{END}.arrow").is_file()
                and len(found) == len(list(self._place.glob("[0-9]*.arrow")))
            ):
                return found, None, True
            last = next((number for number in reversed(range(len(found))) if behind[number]), None)
            if last is not None:
                for path in self._place.glob("*.arrow"):
                    if path not in found[: last + 1]:
                        path.unlink(missing_ok=True)
                return found[: last + 1], behind[last], False
        self.over()
        try:
            self._place.mkdir(parents=True, exist_ok=True)
            mark.write_text(json.dumps(asked), encoding="utf-8")
        except OSError as error:
            raise StorageError(
                f"{mark} cannot be written: {error.strerror}", remedy="make room on the disk of var/"
            ) from error
        return [], None, False

    def _write(self, name: str, batch: pa.RecordBatch, after: str) -> None:
        path = self._place / f"{name}.arrow"
        beside = self._place / f"{name}.writing"
        plain = batch.replace_schema_metadata({**(batch.schema.metadata or {}), AFTER: after.encode()})
        try:
            with pa.OSFile(str(beside), "wb") as sink, pa.ipc.new_file(sink, plain.schema) as writer:
                writer.write_batch(plain)
            beside.replace(path)
        except OSError as error:
            raise StorageError(
                f"the page {path} cannot be written: {error.strerror or error}", remedy="make room on the disk of var/"
            ) from error

    def over(self) -> None:
        """Forget the pages."""
        shutil.rmtree(self._place, ignore_errors=True)


def _after(path: Path) -> str | None:
    """Read what to say to go on behind a page; None if the page is damaged."""
    with contextlib.suppress(OSError, pa.ArrowInvalid), pa.OSFile(str(path), "rb") as source:
        metadata = pa.ipc.open_file(source).schema.metadata or {}
        return metadata[AFTER].decode() if AFTER in metadata else None
    return None


def _read(path: Path) -> Iterator[pa.RecordBatch]:
    with pa.OSFile(str(path), "rb") as source:
        reader = pa.ipc.open_file(source)
        for number in range(reader.num_record_batches):
            batch = reader.get_batch(number)
            rest = {key: value for key, value in (batch.schema.metadata or {}).items() if key != AFTER}
            yield batch.replace_schema_metadata(rest or None)
