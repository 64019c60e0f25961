"""Where baskets are kept: a file for each reader who is logged in, files for those that are shared, by what is in them; others in the reader's cookie."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import secrets
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from hven.model.errors import ParamError, StorageError
from hven.portal._explore import baskets
from hven.portal._explore.baskets import Basket

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

BASKETS = "baskets"  # below what the site keeps
COOKIE = "hven_basket"  # entries and token, of who is not logged in
YEAR = 365 * 86_400.0  # seconds
DAY = 86_400.0
ROOM = 256 * 1024**2  # bytes of those that are shared
KNOWN = 4096  # readers whose number of entries a process remembers
_TOKEN = re.compile(r"[0-9a-f]{40}")
_COOKIE = re.compile(r"(\d{1,6})\.(~[\w-]{1,1600}|[0-9a-f]{40})", re.ASCII)


class Shelf:
    """The baskets of a site; of all processes, whose changes wait for each other. Thread-safe.

    Parameters
    ----------
    place
        A directory, made when something is kept.
    """

    def __init__(self, place: Path) -> None:
        self._own, self._shared = place / "own", place / "shared"
        self._entries: dict[str, tuple[str, int]] = {}
        self._swept = 0.0

    def own(self, name: str) -> Basket:
        """Return a reader's basket; one that cannot be read is empty."""
        try:
            return baskets.read(self._file(name).read_bytes())
        except (FileNotFoundError, ParamError):
            return Basket()

    def counted(self, name: str) -> tuple[int, str]:
        """Return how many entries a reader's basket has, and which state that is; cheap, every page tells it."""
        try:
            found = self._file(name).stat()
        except OSError:
            return 0, ""
        state = f"{found.st_mtime_ns:x}-{found.st_size:x}"
        known = self._entries.get(name)
        if known is None or known[0] != state:
            if len(self._entries) >= KNOWN:
                self._entries.clear()
            known = self._entries[name] = state, self.own(name).entries
        return known[1], state

    def change(self, name: str, make: Callable[[Basket], Basket]) -> Basket:
        """Change a reader's basket.

        Raises
        ------
        ParamError
            It is more than a basket holds.
        StorageError
            The disk is full.
        """
        with _told():
            self._own.mkdir(parents=True, exist_ok=True, mode=0o700)
            with (self._own / ".lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                before = self.own(name)
                made = make(before)
                if made != before:
                    _written(self._file(name), made.text())
        return made

    def forget(self, name: str) -> None:
        """Remove the basket of an account that is no more."""
        self._file(name).unlink(missing_ok=True)

    def token(self, basket: Basket) -> str:
        """Return the token of a basket; a large one is kept for a year after it was read last.

        Raises
        ------
        StorageError
            There is no room for it.
        """
        if inline := basket.inline():
            return inline
        token = basket.digest()
        place = self._shared / token
        with _told():
            if place.exists():
                os.utime(place)
                return token
            self._shared.mkdir(parents=True, exist_ok=True, mode=0o700)
            if self._swept + DAY < time.time():
                self._sweep()
            text = basket.text()
            if sum(one.stat().st_size for one in os.scandir(self._shared)) + len(text) > ROOM:
                raise StorageError(
                    "there is no room for more baskets to be shared", remedy="log in, and keep it as your own"
                )
            _written(place, text)
        return token

    def opened(self, token: str) -> Basket:
        """Return the basket of a token.

        Raises
        ------
        NotFound
            There is none.
        """
        if token.startswith(baskets.OWN):
            return baskets.opened(token)
        place = self._shared / token
        try:
            if _TOKEN.fullmatch(token) is None:
                raise FileNotFoundError
            found = baskets.read(place.read_bytes())
            if place.stat().st_mtime + DAY < time.time():
                os.utime(place)
        except (OSError, ParamError):
            raise baskets.gone() from None
        return found

    def _file(self, name: str) -> Path:
        return self._own / hashlib.sha256(name.encode()).hexdigest()[:40]

    def _sweep(self) -> None:
        self._swept = time.time()
        for one in self._shared.iterdir():
            with suppress(FileNotFoundError):  # another process sweeps, too
                if one.stat().st_mtime + YEAR < self._swept:
                    one.unlink()


def carried(cookie: str | None) -> tuple[int, str]:
    """Read a cookie: how many entries, and the token; nothing of one that is none."""
    found = _COOKIE.fullmatch(cookie or "")
    return (int(found[1]), found[2]) if found else (0, "")


def _written(place: Path, text: str) -> None:
    """Write a file that is there as a whole, or not at all."""
    part = place.with_name(f".{secrets.token_hex(8)}")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(place)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError("baskets cannot be kept now", remedy="try again later") from error
