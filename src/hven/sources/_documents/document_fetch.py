"""Fetching documents, the newest first, several at once, for so long as a run may; what is left is foretold."""

from __future__ import annotations

import datetime as dt
import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hven.model.errors import Forbidden, SourceError, UserError
from hven.sources._documents.document_store import BROKEN, FAILED, HERE, MISSING, REFUSED, Fetched
from hven.sources._documents.document_values import Wrong, take
from hven.sources._reading.listing import check_link
from hven.sources._reading.service import Service, words

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path
    from typing import Any

    from hven.sources._documents.document_store import DocumentStore

ENOUGH = 20  # documents in a row that could not be fetched for the service's own reasons: it is left in peace
AHEAD = 8  # documents that are under way, for each that is fetched at a time
EVERY = 2.0  # seconds after which what came is written down
MANY = 500  # or so many
SHOWN = 10  # documents from which a rate is told
END = b"END" + b" " * 77


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """How one document is fetched and read."""

    service: Service | None
    directory: Path
    roots: Sequence[Path]
    form: str
    columns: Sequence[tuple[Sequence[str], str, bool]]
    most: int
    age: float | None
    again: float

    def one(self, name: str, modified: Any, address: str) -> Fetched:
        """Fetch a document, and take its values."""
        try:
            body = self._read(address) if self.service is None else self._asked(self.service, address)
            taken, doubt = take(body, self.form, self.columns)
        except _Not as error:
            later = time.time() + (self.again if error.state != FAILED else 0.0)
            return Fetched(id=name, modified=modified, state=error.state, note=str(error), due=later)
        except Wrong as error:
            return Fetched(id=name, modified=modified, state=BROKEN, note=str(error), due=time.time() + self.again)
        due = None if self.age is None else time.time() + self.age
        return Fetched(id=name, modified=modified, state=HERE, note=doubt, due=due, taken=taken, body=body)

    def _read(self, name: str) -> bytes:
        path = self.directory / name
        try:
            check_link(path, name, (self.directory, *self.roots))
            with path.open("rb") as file:
                return self._parts(iter(lambda: file.read(1 << 16), b""))
        except SourceError as error:
            raise _Not(REFUSED, error.message) from None
        except OSError as error:
            state = MISSING if isinstance(error, FileNotFoundError | NotADirectoryError | IsADirectoryError) else FAILED
            raise _Not(state, error.strerror or type(error).__name__) from None

    def _asked(self, service: Service, url: str) -> bytes:
        def ask() -> bytes:
            with service.asked("GET", url) as answer:
                if answer.status in {404, 410}:
                    raise _Not(MISSING, f"{service.host} answers {answer.status}")
                if answer.status != 200:
                    state = FAILED if answer.status >= 500 else REFUSED
                    raise _Not(
                        state, f"{service.host} answers {answer.status}: {words(answer)[:80] or 'it does not say why'}"
                    )
                return self._parts(answer.parts)

        try:
            return service.tried(ask)
        except Forbidden as error:  # it leads to where nobody may be led
            raise _Not(REFUSED, error.message) from None
        except UserError as error:
            raise _Not(FAILED, error.message) from None

    def _parts(self, parts: Iterable[bytes]) -> bytes:
        """Read a document; of a FITS file its first header alone."""
        found = bytearray()
        for part in parts:
            found += part
            if self.form == "header" and found.startswith(b"SIMPLE  =") and (at := _end(found)):
                return bytes(found[:at])
            if len(found) > self.most:
                raise _Not(BROKEN, f"it has more than {self.most:,} bytes")
        return bytes(found)


class _Not(Exception):
    """There is no document: its state, and why."""

    def __init__(self, state: str, why: str) -> None:
        super().__init__(why)
        self.state = state


def _end(found: bytearray) -> int:
    """Find where a header of 80 columns ends; 0: not yet, or it is one of lines."""
    at = found.find(END)
    while at >= 0 and at % 80:
        at = found.find(END, at + 1)
    return at + 80 if at >= 0 else 0


def fetch(
    store: DocumentStore,
    asking: Asking,
    *,
    at_once: int,
    seconds: float,
    most: int | None,
    tell: Callable[[str], None] | None,
    shows: Callable[[int, int], None] | None = None,
) -> Iterator[None]:
    """Fetch what is to be fetched, newest first, for so many seconds; say what came and what is left, meanwhile how far it is.

    Yields
    ------
    nothing
        Every now and then: who does not go on ends it, and what came is kept.

    Raises
    ------
    Private
        The service is not on the public internet.
    StorageError
        The disk is full.
    """
    begun, last = time.monotonic(), time.monotonic()
    came, away, done = 0, 0, list[Fetched]()
    given_up = ""
    total = store.left() if shows is not None else 0
    with ExitStack() as stack:
        if asking.service is not None:
            asking.service.check()
            stack.enter_context(asking.service.connected())
        pool = ThreadPoolExecutor(at_once, thread_name_prefix="documents")
        stack.callback(pool.shutdown, wait=True, cancel_futures=True)
        stack.callback(lambda: store.put(done))
        under_way: deque[Future[Fetched]] = deque()
        queue = iter(store.to_fetch())
        more = True
        while more or under_way:
            while more and len(under_way) < AHEAD * at_once:
                over = time.monotonic() - begun > seconds or (most is not None and came + len(under_way) >= most)
                one = None if over or given_up else next(queue, None)
                if one is None:
                    more = False
                else:
                    under_way.append(pool.submit(asking.one, *one))
            if not under_way:
                break
            found = under_way.popleft().result()
            done.append(found)
            came += 1
            away = away + 1 if found.state == FAILED else 0
            if away >= ENOUGH and not given_up:
                given_up, more = found.note, False
                for future in under_way:
                    future.cancel()
                under_way = deque(future for future in under_way if not future.cancelled())
            if len(done) >= MANY or time.monotonic() - last > EVERY:
                store.put(done)
                done.clear()
                last = time.monotonic()
                if shows is not None:
                    shows(came, total)
                yield
    if tell is not None:
        _tell(store, asking, came, time.monotonic() - begun, given_up, tell)


def _tell(
    store: DocumentStore, asking: Asking, came: int, seconds: float, given_up: str, tell: Callable[[str], None]
) -> None:
    left = store.left()
    host = asking.service.host if asking.service is not None else "the disk"
    if given_up:
        tell(f"documents: {host} is left in peace, after {ENOUGH} in a row that could not be fetched: {given_up}")
    if left:
        text = f"documents: {came:,} were fetched from {host}, {left:,} are still to come"
        if came >= SHOWN and not given_up:
            rate = came / max(seconds, 1e-6)
            end = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=min(left / rate, 3e9))
            text += f": {_long(left / rate)} of fetching at {rate:,.3g} a second, until {end:%Y-%m-%d %H:%M} UTC if it went on without a pause"
        tell(f"{text}; each sync goes on, with the newest first")
    for state, note, count, first in store.told():
        what = "1 document is" if count == 1 else f"{count:,} documents are"
        if state == HERE:
            tell(f"{what} here, but {note} (first: {first})")
        else:
            tell(f"{what} {state}: {note} (first: {first})")


def _long(seconds: float) -> str:
    for unit, length in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} s"
