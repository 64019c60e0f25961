"""Catalogues behind http and https: small files whole, Parquet files by ranges, all through the one outward client.

A file is known by its size, its time and its ETag: of another state of it nothing is read.
"""

from __future__ import annotations

import datetime as dt
import io
import time
from dataclasses import dataclass

from hven.formats import hats_catalogues as catalogues
from hven.formats import hats_layout as layout
from hven.model.errors import FarFault, HvenError, Place, SourceError, StorageError, say
from hven.sources._stores._facts import CHANGED, Fact, Whole
from hven.sources._stores.web import Web

SILENT = 20.0  # seconds without a byte after which a server does not answer
TOTAL = 120.0  # seconds for one range
SMALL = 64 << 20  # bytes of what is not Parquet
RANGES = "its server must answer ranges of bytes (HTTP 206), by which Parquet is read; or fetch the catalogue, and name its directory"
SLOW = "{path}: its server sends too slowly"
OTHER = "the file {path} of a catalogue is another one now: its server tells another size, time or ETag"
AGAIN = "ingest the collection anew, or roll back to an older snapshot"
SHORT = "{path} ends too early"


@dataclass(frozen=True, slots=True)
class WebFolder:
    """A catalogue behind an address (`hven.formats.hats_catalogues.Folder`)."""

    address: str
    store: Web

    def read(self, name: str) -> bytes | None:
        """See `hats_catalogues.Folder.read`."""
        try:
            return self.store.whole(name, SMALL)
        except HvenError as error:
            why = WebCatalogues.reason(error)
            raise SourceError(
                say("a catalogue cannot be read: {why}", why.message),
                place=Place(file=f"{self.address}/{name}"),
                remedy=why.remedy or "look at the address",
            ) from error

    def has(self, name: str) -> bool:  # noqa: ARG002  (the contract)
        """Return True: each file is asked for when its footer is read."""
        return True

    def files(self, name: str) -> list[str]:
        """See `hats_catalogues.Folder.files`."""
        return catalogues.linked(self.read(f"{name}/") or b"", name)


class WebCatalogues:
    """Asks for catalogues behind addresses. Thread-safe.

    Parameters
    ----------
    allow_private
        Addresses that are not on the public internet may be asked.
    secret
        The header ``Authorization``; None: whoever asks is let in.
    """

    def __init__(self, *, allow_private: bool, secret: str | None = None) -> None:
        self._private, self._secret = allow_private, secret
        self._stores: dict[str, Web] = {}

    @staticmethod
    def reason(error: HvenError) -> HvenError:
        """Return what curators are told: the cause, which readers are spared.

        Parameters
        ----------
        error
            As it was raised here.
        """
        return error.__cause__ if isinstance(error.__cause__, HvenError) else error

    def _store(self, address: str) -> Web:
        found = self._stores.get(address)
        if found is None:
            found = self._stores[address] = Web(address, {} if self._secret is None else {"authorization": self._secret}, allow_private=self._private, seconds=SILENT)  # fmt: skip
        return found

    def folder(self, address: str) -> WebFolder:
        """Return what is behind an address.

        Parameters
        ----------
        address
            Of a catalogue.
        """
        return WebFolder(address, self._store(address))

    def _placed(self, path: str) -> tuple[Web, str]:
        """Return who is asked for a file, and its name there."""
        address, dataset, name = path.rpartition(f"/{layout.DATASET}/")
        return self._store(address), f"{dataset[1:]}{name}"

    def state(self, path: str) -> tuple[int, str]:
        """Ask for the size of a file, and for what tells that it changed.

        Parameters
        ----------
        path
            Its address.

        Returns
        -------
        size, stamp
            Bytes; time and tag, or empty.

        Raises
        ------
        FarFault
            Its server is away, refuses, has it no more, or does not say its size.
        """
        store, name = self._placed(path)
        fact = store.fact(name)
        if fact.bytes is None:
            raise FarFault(say("the server of {path} does not say its size", path), remedy=RANGES)
        return (
            fact.bytes,
            "" if fact.modified is None and fact.tag is None else f"{fact.modified or ''}|{fact.tag or ''}",
        )

    def opened(self, path: str, size: int, stamp: str) -> Ranges:
        """Open a file in the state that `state` told.

        Parameters
        ----------
        path, size, stamp
            Its address, and what was told.

        Returns
        -------
        file
            Asked for ranges as it is read.
        """
        store, name = self._placed(path)
        return Ranges(store, name, path, size, stamp)


class Ranges(io.RawIOBase):
    """A file that is read by ranges, as Arrow asks for it."""

    def __init__(self, store: Web, name: str, path: str, size: int, stamp: str) -> None:
        modified, _, tag = stamp.partition("|")
        when = dt.datetime.fromisoformat(modified) if modified else None
        self._store, self._name, self._path, self._size, self._at = store, name, path, size, 0
        self._fact = Fact(bytes=size, modified=when, tag=tag or None)

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the place of the next byte."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Move there."""
        self._at = offset + (0, self._at, self._size)[whence]
        return self._at

    def read(self, size: int = -1, /) -> bytes:
        """Read so many bytes; fewer at the end of the file alone.

        Raises
        ------
        FarFault
            It ends too early, or its server is away, refuses, or is too slow.
        StorageError
            It is another file now.
        """
        begin, end = self._at, self._size if size is None or size < 0 else min(self._at + size, self._size)
        if end <= begin:
            return b""
        late, parts = time.monotonic() + TOTAL, []
        try:
            for part in self._store.read(self._name, begin, end, self._fact):
                parts.append(part)
                if time.monotonic() > late:
                    break
        except Whole as error:
            raise Whole(error.message, remedy=RANGES) from None
        except FarFault as error:
            if error.message == CHANGED:
                raise StorageError(say(OTHER, self._path), remedy=AGAIN) from error
            raise
        found = b"".join(parts)
        if len(found) < end - begin:
            why = SLOW if time.monotonic() > late else SHORT
            raise FarFault(say(why, self._path), remedy="try again later")
        self._at = end
        return found


__all__ = ["Ranges", "WebCatalogues", "WebFolder"]
