"""A file behind an address: looked at in a stream, fetched once for all of it, known again by its tag."""

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
from hven.sources import Pin
from hven.sources._reading.files import CHUNK, DataFile, Stream
from hven.sources._reading.service import Broken, Service, words

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from hven.sources.remote import Streamed


class FetchedFile(DataFile):
    """A file that a server gives by http.

    What is said of it (`listing`) is never newer than what is read of it afterwards: a change between the two is read again the next time.
    """

    def __init__(self, service: Service) -> None:
        self._home = tempfile.TemporaryDirectory(prefix="hven-far-", ignore_cleanup_errors=True)
        weakref.finalize(self, self._home.cleanup)
        last = PurePosixPath(unquote(split_address(service.url).path)).name
        super().__init__(path=Path(self._home.name, last.replace("\0", "")[:200] or "data"), name=service.url)
        self._service = service
        self._said: Mapping[str, str] | None = None

    def open(self) -> Stream:
        """Fetch it, unless it is here, and open it."""
        if not self.path.exists():
            self._service.tried(self._fetch)
        return super().open()

    def glance(self, lot: int = CHUNK) -> Stream:
        """Open its beginning: what is not read is not fetched, where it is not here."""
        if self.path.exists():
            return super().glance(lot)
        return self._service.tried(lambda: Stream(self, _Answer(self._service, self._answered), lot))

    def fresh(self) -> FetchedFile:
        """Return the same file: within one run it is fetched once."""
        return self

    def fact(self, name: str) -> object:
        """Return a fact of the file as the value of a column."""
        return self.name if name == "file.url" else super().fact(name)

    @property
    def size(self) -> int:
        """Bytes, as far as they are known."""
        length = (self._said or {}).get("content-length", "")
        return self.path.stat().st_size if self.path.exists() else int(length) if length.isdigit() else 0

    def listing(self) -> Pin:
        """Ask for size, time and tag, unless they were said when its beginning was read."""
        if self._said is None:
            self._service.tried(self._look)
        said = self._said or {}
        length, moment = said.get("content-length", ""), _moment(said)
        return Pin(
            name=self.name,
            bytes=int(length) if length.isdigit() and "content-encoding" not in said else None,
            modified=None if moment is None else moment.isoformat(timespec="seconds"),
            detail=said.get("etag"),
        )

    def pin(self) -> Pin:
        """Describe what was read, for the record."""
        tag = (self._said or {}).get("etag")
        if not self.path.exists():
            return Pin(name=self.name, detail=tag)
        found = super().pin()
        modified = found.modified if self._said and _moment(self._said) is not None else None
        return Pin(name=found.name, bytes=found.bytes, modified=modified, sha256=found.sha256, detail=tag)

    def _look(self) -> None:
        with self._service.asked("HEAD", self._service.url) as answer:
            if answer.status < 400:
                self._said = answer.headers
                return
        with self._service.asked("GET", self._service.url) as answer:  # some say 405 to HEAD
            self._answered(answer)

    def _fetch(self) -> None:
        part = self.path.with_name(".part")
        try:
            with self._service.asked("GET", self._service.url) as answer:
                self._answered(answer)
                with part.open("wb") as file:
                    for data in answer.parts:
                        file.write(data)
            length = answer.headers.get("content-length", "")
            whole = "content-encoding" in answer.headers or not length.isdigit() or part.stat().st_size == int(length)
            if not whole:
                raise Broken(f"broke off after {part.stat().st_size:,} of {int(length):,} bytes")
            if moment := _moment(answer.headers):
                os.utime(part, (moment.timestamp(), moment.timestamp()))
            part.replace(self.path)
        except OSError as error:
            raise StorageError(
                f"{self.name} cannot be kept: {error.strerror}", remedy="make room for temporary files"
            ) from error

    def _answered(self, answer: Streamed) -> None:
        """Take what an answer says of the file; others than the file are errors."""
        if answer.status in {500, 408}:
            raise Broken(f"answers {answer.status}: {words(answer)}")
        if answer.status != 200:
            remedy = {
                401: "say `token` or `login`: a secret that lets us in",
                403: "ask its owners",
                404: "look at the address",
            }
            raise SourceError(
                f"{self.name} answers {answer.status}: {words(answer) or 'it does not say why'}",
                remedy=remedy.get(answer.status, "open it in a browser and look"),
            )
        self._said = answer.headers


class _Answer(io.RawIOBase):
    """The bytes of an answer as they come; closed, the rest is not fetched."""

    def __init__(self, service: Service, look: Any) -> None:
        self._stack = ExitStack()
        answer = self._stack.enter_context(service.asked("GET", service.url))
        try:
            look(answer)
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


def _moment(said: Mapping[str, str]) -> dt.datetime | None:
    try:
        return parsedate_to_datetime(said["last-modified"]).astimezone(dt.UTC)
    except (KeyError, ValueError, OverflowError):
        return None
