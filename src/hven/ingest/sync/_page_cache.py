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
from hven.sources import PagedSource

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from hven.ingest._ledger import SourceEntry
    from hven.model.resource import SyncPolicy
    from hven.model.table import Column
    from hven.sources import InputVersion, Source

REMOTE_KINDS = ("tap", "hven")  # kinds that are asked over the network, and read slowly
MAX_PAGE_AGE_SECONDS = 6 * 3600.0  # seconds for which pages may be used again: the source goes on changing
RESUME_TOKEN_KEY = b"hven:after"
END_PAGE_NAME = "end"


def cache_source_pages(
    source: Source, entry: SourceEntry, sync_policy: SyncPolicy | None, page_directory: Path, request: Sequence[object]
) -> Source:
    """Wrap a source that is asked page by page, so that its pages are kept.

    Parameters
    ----------
    page_directory
        Where pages are kept.
    request
        What is asked: pages of another request are not used.
    """
    is_cacheable = sync_policy is not None and (
        sync_policy.page_row_count is not None or entry.spec.kind in REMOTE_KINDS
    )
    if is_cacheable and isinstance(source, PagedSource):
        return PageCachingSource(source, page_directory, request)
    return source


class SourceWrapper:
    """A source by way of another one, `wrapped_source`: as it is, or some of its rows."""

    def __init__(self, wrapped_source: Any) -> None:
        self.wrapped_source = wrapped_source

    def list_columns(self) -> list[Column]:
        """Return the columns of the whole source."""
        return self.wrapped_source.list_columns()  # type: ignore[no-any-return]

    def list_input_versions(self) -> list[InputVersion]:
        """List what was asked."""
        return self.wrapped_source.list_input_versions()  # type: ignore[no-any-return]

    def estimate_size(self) -> int | None:
        """Count the rows to come, if that is known."""
        return self.wrapped_source.estimate_size()  # type: ignore[no-any-return]


class PageCachingSource(SourceWrapper):
    """A source whose pages are written down as they are read.

    Attributes
    ----------
    reused_row_count
        Rows that an earlier run had read.
    first_page_time
        When it read the first of them, in seconds since 1970.
    """

    def __init__(self, source: Any, page_directory: Path, request: Sequence[object]) -> None:
        super().__init__(source)
        self._page_directory = page_directory
        self._request = request
        self.reused_row_count = 0
        self.first_page_time = 0.0

    def read_batches(
        self, column_names: Sequence[str] | None = None, row_limit: int | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Yield what is kept, then what follows.

        Raises
        ------
        StorageError
            A page cannot be written.
        """
        if row_limit is not None:
            yield from self.wrapped_source.read_batches(column_names, row_limit)
            return
        request_digest = hashlib.sha256(
            json.dumps([*self._request, list(column_names or ())], default=str).encode()
        ).hexdigest()
        kept_pages, resume_token, is_complete = self._find_reusable_pages(request_digest)
        if kept_pages:
            self.first_page_time = kept_pages[0].stat().st_mtime
        for path in kept_pages:
            for batch in _read_page(path):
                self.reused_row_count += batch.num_rows
                yield batch
        if is_complete:
            return
        number = len(kept_pages)
        for batch, following_token in self.wrapped_source.read_pages(column_names, resume_token):
            self._write_page(f"{number:06d}", batch, following_token)
            number += 1
            yield batch
        self._write_page(END_PAGE_NAME, pa.record_batch({"end": pa.array([], pa.null())}), "")

    def _find_reusable_pages(self, request_digest: str) -> tuple[list[Path], str | None, bool]:
        """Find the pages that can be used again, and what to say to go on; else make room for new ones."""
        request_file = self._page_directory / "request.json"
        try:
            is_same_request = json.loads(request_file.read_text(encoding="utf-8")) == request_digest
            newest_page_time = max((path.stat().st_mtime for path in self._page_directory.glob("*.arrow")), default=0.0)
        except (OSError, ValueError):
            is_same_request, newest_page_time = False, 0.0
        if is_same_request and 0 <= time.time() - newest_page_time < MAX_PAGE_AGE_SECONDS:
            reusable_pages: list[Path] = []
            following_tokens: list[str] = []
            for path in sorted(self._page_directory.glob("[0-9]*.arrow")):
                following_token = _read_resume_token(path)
                if following_token is None or path.stem != f"{len(reusable_pages):06d}":
                    break
                reusable_pages.append(path)
                following_tokens.append(following_token)
            if (
                reusable_pages
                and (self._page_directory / f"{END_PAGE_NAME}.arrow").is_file()
                and len(reusable_pages) == len(list(self._page_directory.glob("[0-9]*.arrow")))
            ):
                return reusable_pages, None, True
            last_resumable = next(
                (number for number in reversed(range(len(reusable_pages))) if following_tokens[number]), None
            )
            if last_resumable is not None:
                for path in self._page_directory.glob("*.arrow"):
                    if path not in reusable_pages[: last_resumable + 1]:
                        path.unlink(missing_ok=True)
                return reusable_pages[: last_resumable + 1], following_tokens[last_resumable], False
        self.delete_pages()
        try:
            self._page_directory.mkdir(parents=True, exist_ok=True)
            request_file.write_text(json.dumps(request_digest), encoding="utf-8")
        except OSError as error:
            raise StorageError(
                f"{request_file} cannot be written: {error.strerror}", remedy="make room on the disk of var/"
            ) from error
        return [], None, False

    def _write_page(self, name: str, batch: pa.RecordBatch, resume_token: str) -> None:
        path = self._page_directory / f"{name}.arrow"
        temporary_path = self._page_directory / f"{name}.writing"
        page_batch = batch.replace_schema_metadata(
            {**(batch.schema.metadata or {}), RESUME_TOKEN_KEY: resume_token.encode()}
        )
        try:
            with pa.OSFile(str(temporary_path), "wb") as sink, pa.ipc.new_file(sink, page_batch.schema) as writer:
                writer.write_batch(page_batch)
            temporary_path.replace(path)
        except OSError as error:
            raise StorageError(
                f"the page {path} cannot be written: {error.strerror or error}", remedy="make room on the disk of var/"
            ) from error

    def delete_pages(self) -> None:
        """Forget the pages."""
        shutil.rmtree(self._page_directory, ignore_errors=True)


def _read_resume_token(path: Path) -> str | None:
    """Read what to say to go on behind a page; None if the page is damaged."""
    with contextlib.suppress(OSError, pa.ArrowInvalid), pa.OSFile(str(path), "rb") as source:
        metadata = pa.ipc.open_file(source).schema.metadata or {}
        return metadata[RESUME_TOKEN_KEY].decode() if RESUME_TOKEN_KEY in metadata else None
    return None


def _read_page(path: Path) -> Iterator[pa.RecordBatch]:
    with pa.OSFile(str(path), "rb") as source:
        reader = pa.ipc.open_file(source)
        for number in range(reader.num_record_batches):
            batch = reader.get_batch(number)
            other_metadata = {
                key: value for key, value in (batch.schema.metadata or {}).items() if key != RESUME_TOKEN_KEY
            }
            yield batch.replace_schema_metadata(other_metadata or None)
