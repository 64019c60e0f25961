"""Cache the pages of a remote source until the run ends: after a kill, the next run continues behind the last page."""

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
from hven.sources.kind_traits import find_source_kind_traits

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from hven.ingest._ledger import OpenedSource
    from hven.model.resource import SyncPolicy
    from hven.model.table import Column
    from hven.sources import InputVersion, Source

MAX_PAGE_AGE_SECONDS = 6 * 3600.0  # older pages are not used again, because the source goes on changing
RESUME_TOKEN_KEY = b"hven:after"
END_PAGE_NAME = "end"


def wrap_with_page_cache(
    source: Source, entry: OpenedSource, sync_policy: SyncPolicy | None, page_directory: Path, request: Sequence[object]
) -> Source:
    """Wrap a source that is read page by page, so that its pages are cached.

    Parameters
    ----------
    source
        The source.
    entry
        The source entry, with the kind of the source.
    sync_policy
        What the descriptor says under ``sync:``; None: nothing, and pages are not cached.
    page_directory
        The directory of the cached pages.
    request
        What identifies the request; pages of another request are not used.
    """
    if sync_policy is None or not isinstance(source, PagedSource):
        return source
    if sync_policy.page_row_count is None and not find_source_kind_traits(entry.spec.kind).has_cached_pages:
        return source
    return PageCachingSource(source, page_directory, request)


class SourceWrapper:
    """A source that gives the rows of another source, `wrapped_source`, or some of them."""

    def __init__(self, wrapped_source: Any) -> None:
        self.wrapped_source = wrapped_source

    def list_columns(self) -> list[Column]:
        """Return the columns of the whole source."""
        return self.wrapped_source.list_columns()  # type: ignore[no-any-return]

    def list_input_versions(self) -> list[InputVersion]:
        """List the inputs that the source read."""
        return self.wrapped_source.list_input_versions()  # type: ignore[no-any-return]

    def estimate_progress_total(self) -> int | None:
        """Return the number of rows to come, if it is known."""
        return self.wrapped_source.estimate_progress_total()  # type: ignore[no-any-return]


class PageCachingSource(SourceWrapper):
    """A source that writes each page to a file as it reads it.

    Attributes
    ----------
    reused_row_count
        Number of rows that come from pages of an earlier run.
    first_page_time
        Time of the first of these pages, in seconds since 1970.
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
        """Yield the cached rows, then the rows that follow.

        Raises
        ------
        StorageError
            A page cannot be written.
        """
        if row_limit is not None:
            yield from self.wrapped_source.read_batches(column_names, row_limit)
            return
        request_text = json.dumps([*self._request, list(column_names or ())], default=str)
        request_digest = hashlib.sha256(request_text.encode()).hexdigest()
        kept_pages, resume_token, is_complete = self._keep_only_reusable_pages(request_digest)
        if kept_pages:
            self.first_page_time = kept_pages[0].stat().st_mtime
        for path in kept_pages:
            for batch in _read_cached_page(path):
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

    def _keep_only_reusable_pages(self, request_digest: str) -> tuple[list[Path], str | None, bool]:
        """Return the pages that can be used again, the token to continue with, and whether they are complete.

        Without such pages, delete all pages and begin a new cache.
        """
        request_file = self._page_directory / "request.json"
        try:
            is_same_request = json.loads(request_file.read_text(encoding="utf-8")) == request_digest
            page_times = (path.stat().st_mtime for path in self._page_directory.glob("*.arrow"))
            newest_page_time = max(page_times, default=0.0)
        except (OSError, ValueError):
            is_same_request, newest_page_time = False, 0.0
        if is_same_request and 0 <= time.time() - newest_page_time < MAX_PAGE_AGE_SECONDS:
            numbered_pages = sorted(self._page_directory.glob("[0-9]*.arrow"))
            intact_pages: list[Path] = []
            following_tokens: list[str] = []
            for path in numbered_pages:
                following_token = _read_resume_token(path)
                if following_token is None or path.stem != f"{len(intact_pages):06d}":
                    break
                intact_pages.append(path)
                following_tokens.append(following_token)
            has_end_page = (self._page_directory / f"{END_PAGE_NAME}.arrow").is_file()
            if intact_pages and has_end_page and len(intact_pages) == len(numbered_pages):
                return intact_pages, None, True
            # the source can continue behind a page with a token
            while following_tokens and not following_tokens[-1]:
                following_tokens.pop()
            if following_tokens:
                reusable_pages = intact_pages[: len(following_tokens)]
                for path in self._page_directory.glob("*.arrow"):
                    if path not in reusable_pages:
                        path.unlink(missing_ok=True)
                return reusable_pages, following_tokens[-1], False
        self.delete_pages()
        try:
            self._page_directory.mkdir(parents=True, exist_ok=True)
            request_file.write_text(json.dumps(request_digest), encoding="utf-8")
        except OSError as error:
            raise StorageError(
                f"{request_file} cannot be written: {error.strerror}",
                remedy="free some space on the disk that contains var/",
            ) from error
        return [], None, False

    def _write_page(self, name: str, batch: pa.RecordBatch, resume_token: str) -> None:
        path = self._page_directory / f"{name}.arrow"
        temporary_path = self._page_directory / f"{name}.writing"
        metadata = {**(batch.schema.metadata or {}), RESUME_TOKEN_KEY: resume_token.encode()}
        page_batch = batch.replace_schema_metadata(metadata)
        try:
            with pa.OSFile(str(temporary_path), "wb") as sink, pa.ipc.new_file(sink, page_batch.schema) as writer:
                writer.write_batch(page_batch)
            temporary_path.replace(path)
        except OSError as error:
            raise StorageError(
                f"the page {path} cannot be written: {error.strerror or error}",
                remedy="free some space on the disk that contains var/",
            ) from error

    def delete_pages(self) -> None:
        """Delete all cached pages."""
        shutil.rmtree(self._page_directory, ignore_errors=True)


def _read_resume_token(path: Path) -> str | None:
    """Read the token with which the source continues behind a page; None if the page is damaged."""
    with contextlib.suppress(OSError, pa.ArrowInvalid), pa.OSFile(str(path), "rb") as source:
        metadata = pa.ipc.open_file(source).schema.metadata or {}
        if RESUME_TOKEN_KEY in metadata:
            return str(metadata[RESUME_TOKEN_KEY], "utf-8")
    return None


def _read_cached_page(path: Path) -> Iterator[pa.RecordBatch]:
    with pa.OSFile(str(path), "rb") as source:
        reader = pa.ipc.open_file(source)
        for number in range(reader.num_record_batches):
            batch = reader.get_batch(number)
            metadata = dict(batch.schema.metadata or {})
            metadata.pop(RESUME_TOKEN_KEY, None)
            yield batch.replace_schema_metadata(metadata or None)
