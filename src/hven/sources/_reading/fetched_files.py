"""Read a file behind an address: its beginning as a stream, all of it after one fetch; its tag identifies it."""

from __future__ import annotations

import datetime as dt
import io
import os
import tempfile
import weakref
from contextlib import ExitStack
from email.utils import parsedate_to_datetime
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from hven.model import split_address
from hven.model.errors import SourceError, StorageError
from hven.sources import InputVersion
from hven.sources._reading.data_files import CHUNK_BYTES, DataFile, DecompressedStream
from hven.sources._reading.service_client import BrokenAnswerError, ServiceClient, extract_error_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from hven.sources.http_client import StreamedAnswer


class FetchedFile(DataFile):
    """A file that a server sends by http.

    The version that `request_version_without_reading` describes is never newer than the content that is read
    afterwards: a change between the two is read again the next time.
    """

    is_local = False

    def __init__(self, service: ServiceClient) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="hven-far-", ignore_cleanup_errors=True)
        weakref.finalize(self, self._directory.cleanup)
        last = PurePosixPath(unquote(split_address(service.url).path)).name
        super().__init__(path=Path(self._directory.name, last.replace("\0", "")[:200] or "data"), name=service.url)
        self._service = service
        self._headers: Mapping[str, str] | None = None

    def open_stream(self) -> DecompressedStream:
        """Fetch the file, unless it is here, and open it."""
        if not self.path.exists():
            self._service.retry(self._download)
        return super().open_stream()

    def open_unhashed(self, buffer_bytes: int = CHUNK_BYTES) -> DecompressedStream:
        """Open the beginning of the file; only what is read is fetched."""
        if self.path.exists():
            return super().open_unhashed(buffer_bytes)
        return self._service.retry(
            lambda: DecompressedStream(self, _AnswerStream(self._service, self._adopt_valid_answer), buffer_bytes)
        )

    def copy_unread(self) -> FetchedFile:
        """Return the same file: within one run it is fetched once."""
        return self

    def find_file_fact(self, name: str) -> object:
        """Return a fact of the file as the value of a column."""
        if name == "file.url":
            return self.name
        return super().find_file_fact(name)

    @property
    def size(self) -> int:
        """Bytes, as far as they are known."""
        length = (self._headers or {}).get("content-length", "")
        if self.path.exists():
            return self.path.stat().st_size
        if length.isdigit():
            return int(length)
        return 0

    def request_version_without_reading(self) -> InputVersion:
        """Request size, time and tag, unless they came with the beginning."""
        if self._headers is None:
            self._service.retry(self._request_headers)
        headers = self._headers or {}
        length = headers.get("content-length", "")
        moment = _parse_last_modified(headers)
        return InputVersion(
            name=self.name,
            bytes=int(length) if length.isdigit() and "content-encoding" not in headers else None,
            modified=None if moment is None else moment.isoformat(timespec="seconds"),
            detail=headers.get("etag"),
        )

    def build_input_version(self) -> InputVersion:
        """Describe what was read, for the record of the run."""
        tag = (self._headers or {}).get("etag")
        if not self.path.exists():
            return InputVersion(name=self.name, detail=tag)
        version = super().build_input_version()
        if self._headers and _parse_last_modified(self._headers) is not None:
            modified = version.modified
        else:
            modified = None
        return InputVersion(
            name=version.name, bytes=version.bytes, modified=modified, sha256=version.sha256, detail=tag
        )

    def _request_headers(self) -> None:
        with self._service.request("HEAD", self._service.url) as answer:
            if answer.status < 400:
                self._headers = answer.headers
                return
        with self._service.request("GET", self._service.url) as answer:  # some say 405 to HEAD
            self._adopt_valid_answer(answer)

    def _download(self) -> None:
        part = self.path.with_name(".part")
        try:
            with self._service.request("GET", self._service.url) as answer:
                self._adopt_valid_answer(answer)
                with part.open("wb") as file:
                    for data in answer.parts:
                        file.write(data)
            length = answer.headers.get("content-length", "")
            is_complete = (
                "content-encoding" in answer.headers or not length.isdigit() or part.stat().st_size == int(length)
            )
            if not is_complete:
                raise BrokenAnswerError(f"the response ended after {part.stat().st_size:,} of {int(length):,} bytes")
            moment = _parse_last_modified(answer.headers)
            if moment:
                os.utime(part, (moment.timestamp(), moment.timestamp()))
            part.replace(self.path)
        except OSError as error:
            raise StorageError(
                f"{self.name} could not be saved: {error.strerror}", remedy="free some space for temporary files"
            ) from error

    def _adopt_valid_answer(self, answer: StreamedAnswer) -> None:
        """Take the facts of the file from an answer; an answer without the file is an error."""
        if answer.status in {500, 408}:
            raise BrokenAnswerError(f"the service returned status {answer.status}: {extract_error_text(answer)}")
        if answer.status != 200:
            remedy = {
                401: "set `token` or `login` to a secret with access to the service",
                403: "ask the operators of the service",
                404: "check the address",
            }
            raise SourceError(
                f"{self.name} returned status {answer.status}: {extract_error_text(answer) or 'no reason given'}",
                remedy=remedy.get(answer.status, "open the address in a browser to see what it returns"),
            )
        self._headers = answer.headers


class _AnswerStream(io.RawIOBase):
    """The bytes of an answer as they come; closing it stops the fetch."""

    def __init__(self, service: ServiceClient, check_answer: Any) -> None:
        self._stack = ExitStack()
        answer = self._stack.enter_context(service.request("GET", service.url))
        try:
            check_answer(answer)
        except BaseException:
            self._stack.close()
            raise
        self._parts: Iterator[bytes] = answer.parts
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        while not self._rest:
            self._rest = next(self._parts, b"")
            if not self._rest:
                return 0
        count = min(len(buffer), len(self._rest))
        buffer[:count], self._rest = self._rest[:count], self._rest[count:]
        return count

    def close(self) -> None:
        self._stack.close()
        super().close()


def _parse_last_modified(headers: Mapping[str, str]) -> dt.datetime | None:
    try:
        return parsedate_to_datetime(headers["last-modified"]).astimezone(dt.UTC)
    except (KeyError, ValueError, OverflowError):
        return None
