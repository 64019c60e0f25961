"""Read catalogues behind http and https: small files whole, Parquet files by ranges, through the one outward client.

Size, time and ETag identify a file; another state of it is never read.
"""

from __future__ import annotations

import datetime as dt
import io
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from hven.model.errors import HvenError, SourceError, StorageError, TextPlace, UpstreamError, format_message
from hven.model.table import FileRoot
from hven.plugins.hats import hats_catalogues as catalogues
from hven.plugins.hats import hats_layout
from hven.sources.remote_stores import (
    CHANGED_MESSAGE,
    NoRangesError,
    RemoteFileFacts,
    open_remote_store,
)

if TYPE_CHECKING:
    from hven.sources.remote_stores import WebFileStore

IDLE_TIMEOUT_SECONDS = 20.0
RANGE_TIMEOUT_SECONDS = 120.0  # for one range
MAX_SMALL_FILE_BYTES = 64 << 20  # of a file that is not Parquet
RANGES_REMEDY = (
    "configure the server to support byte ranges (HTTP 206), which Hven needs for Parquet; or download the "
    "catalogue and give its directory"
)
SLOW_MESSAGE = "{path}: its server sends data too slowly"
CHANGED_FILE_MESSAGE = "the catalogue file {path} has changed: its server states a different size, time or ETag"
REINGEST_REMEDY = "ingest the collection again, or roll back to an older snapshot"
TRUNCATED_MESSAGE = "{path} ends too early"


@dataclass(frozen=True, slots=True)
class WebHatsFolder:
    """A catalogue behind an address (`hven.plugins.hats.hats_catalogues.CatalogueFileAccess`)."""

    address: str
    store: WebFileStore

    def read_file(self, name: str) -> bytes | None:
        """See `hats_catalogues.CatalogueFileAccess.read_file`."""
        try:
            return self.store.read_small_file(name, MAX_SMALL_FILE_BYTES)
        except HvenError as error:
            why = WebHatsClient.find_cause(error)
            raise SourceError(
                format_message("the catalogue cannot be read: {why}", why.message),
                place=TextPlace(file=f"{self.address}/{name}"),
                remedy=why.remedy or "check the address",
            ) from error

    def can_have_file(self, name: str) -> bool:  # noqa: ARG002  (the contract)
        """Return True: each file is requested when its footer is read."""
        return True

    def list_parquet_files(self, partition_directory: str) -> list[str]:
        """See `hats_catalogues.CatalogueFileAccess.list_parquet_files`."""
        file = self.read_file(f"{partition_directory}/")
        return catalogues.list_linked_parquet_files(file or b"", partition_directory)


class WebHatsClient:
    """Opens catalogues behind addresses. Thread-safe.

    Parameters
    ----------
    allow_private
        True allows addresses that are not on the public internet.
    secret
        The header ``Authorization``; None: requests have none.
    """

    def __init__(self, *, allow_private: bool, secret: str | None = None) -> None:
        self._allow_private = allow_private
        self._secret = secret
        self._stores: dict[str, WebFileStore] = {}

    @staticmethod
    def find_cause(error: HvenError) -> HvenError:
        """Return the cause of an error, which curators see, but readers do not.

        Parameters
        ----------
        error
            The error, as it was raised here.
        """
        if isinstance(error.__cause__, HvenError):
            return error.__cause__
        return error

    def _find_store(self, address: str) -> WebFileStore:
        store = self._stores.get(address)
        if store is None:
            options = {}
            if self._secret is not None:
                options = {"authorization": self._secret}
            opened_store = open_remote_store(
                FileRoot(address=address, options=options),
                resolve_secret=None,
                allow_private=self._allow_private,
                timeout_seconds=IDLE_TIMEOUT_SECONDS,
            )
            store = self._stores[address] = cast("WebFileStore", opened_store)
        return store

    def open_folder(self, address: str) -> WebHatsFolder:
        """Return the catalogue behind an address.

        Parameters
        ----------
        address
            Address of a catalogue.
        """
        return WebHatsFolder(address, self._find_store(address))

    def _locate_file(self, path: str) -> tuple[WebFileStore, str]:
        """Return the server of a file, and the file's name there."""
        address, dataset, name = path.rpartition(f"/{hats_layout.DATASET_DIRECTORY}/")
        store = self._find_store(address)
        return store, f"{dataset[1:]}{name}"

    def request_file_state(self, path: str) -> tuple[int, str]:
        """Request the size of a file, and what tells that it changed.

        Parameters
        ----------
        path
            Address of the file.

        Returns
        -------
        size, stamp
            Bytes; time and tag, or empty.

        Raises
        ------
        UpstreamError
            The server is away, refuses, has no such file any more, or does not state its size.
        """
        store, name = self._locate_file(path)
        fact = store.fetch_facts(name)
        if fact.bytes is None:
            raise UpstreamError(
                format_message("the server does not state the size of {path}", path), remedy=RANGES_REMEDY
            )
        return (
            fact.bytes,
            "" if fact.modified is None and fact.tag is None else f"{fact.modified or ''}|{fact.tag or ''}",
        )

    def open_file(self, path: str, size: int, version_stamp: str) -> RangedWebFile:
        """Open a file in the state that `request_file_state` returned.

        Parameters
        ----------
        path, size, version_stamp
            Address of the file, and the state.

        Returns
        -------
        file
            The file; its ranges are requested as they are read.
        """
        store, name = self._locate_file(path)
        return RangedWebFile(store, name, path, size, version_stamp)


class RangedWebFile(io.RawIOBase):
    """A file that is read by ranges, as Arrow asks for it."""

    def __init__(self, store: WebFileStore, name: str, path: str, size: int, stamp: str) -> None:
        modified, _, tag = stamp.partition("|")
        if modified:
            when = dt.datetime.fromisoformat(modified)
        else:
            when = None
        self._store = store
        self._name = name
        self._path = path
        self._size = size
        self._position = 0
        self._fact = RemoteFileFacts(bytes=size, modified=when, tag=tag or None)

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the place of the next byte."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Move to a byte."""
        self._position = offset + (0, self._position, self._size)[whence]
        return self._position

    def read(self, size: int = -1, /) -> bytes:
        """Read bytes; fewer only at the end of the file.

        Raises
        ------
        UpstreamError
            The file ends too early, or its server is away, refuses, or is too slow.
        StorageError
            The file has changed.
        """
        begin = self._position
        if size is None or size < 0:
            end = self._size
        else:
            end = min(self._position + size, self._size)
        if end <= begin:
            return b""
        deadline_time = time.monotonic() + RANGE_TIMEOUT_SECONDS
        parts = []
        try:
            for part in self._store.read_range(self._name, begin, end, self._fact):
                parts.append(part)
                if time.monotonic() > deadline_time:
                    break
        except NoRangesError as error:
            raise NoRangesError(error.message, remedy=RANGES_REMEDY) from None
        except UpstreamError as error:
            if error.message == CHANGED_MESSAGE:
                raise StorageError(format_message(CHANGED_FILE_MESSAGE, self._path), remedy=REINGEST_REMEDY) from error
            raise
        data = b"".join(parts)
        if len(data) < end - begin:
            if time.monotonic() > deadline_time:
                why = SLOW_MESSAGE
            else:
                why = TRUNCATED_MESSAGE
            raise UpstreamError(format_message(why, self._path), remedy="try again later")
        self._position = end
        return data
