"""Where baskets are kept: a file for each reader who is logged in, files for those that are shared, by what is in them.

Others in the reader's cookie.
"""

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

BASKET_DIRECTORY = "baskets"  # below what the site keeps
BASKET_COOKIE = "hven_basket"  # entries and token, of who is not logged in
SHARED_LIFETIME_SECONDS = 365 * 86_400.0  # seconds
DAY_SECONDS = 86_400.0
MAX_SHARED_BYTES = 256 * 1024**2  # bytes of those that are shared
MAX_CACHED_ACCOUNTS = 4096  # readers whose number of entries a process remembers
_TOKEN_PATTERN = re.compile(r"[0-9a-f]{40}")
_COOKIE_PATTERN = re.compile(r"(\d{1,6})\.(~[\w-]{1,1600}|[0-9a-f]{40})", re.ASCII)


class BasketStore:
    """The baskets of a site; of all processes, whose changes wait for each other. Thread-safe.

    Parameters
    ----------
    place
        A directory, made when something is kept.
    """

    def __init__(self, place: Path) -> None:
        self._account_directory = place / "own"
        self._shared_directory = place / "shared"
        self._entry_counts: dict[str, tuple[str, int]] = {}
        self._last_sweep = 0.0

    def read_account_basket(self, account: str) -> Basket:
        """Return a reader's basket; one that cannot be read is empty."""
        try:
            return baskets.parse_basket(self._build_path(account).read_bytes())
        except (FileNotFoundError, ParamError):
            return Basket()

    def count_entries(self, account: str) -> tuple[int, str]:
        """Return how many entries a reader's basket has, and which state that is; cheap, every page tells it."""
        try:
            file_status = self._build_path(account).stat()
        except OSError:
            return 0, ""
        page_context = f"{file_status.st_mtime_ns:x}-{file_status.st_size:x}"
        cached_count = self._entry_counts.get(account)
        if cached_count is None or cached_count[0] != page_context:
            if len(self._entry_counts) >= MAX_CACHED_ACCOUNTS:
                self._entry_counts.clear()
            cached_count = self._entry_counts[account] = page_context, self.read_account_basket(account).entry_count
        return cached_count[1], page_context

    def change_basket(self, account: str, edit: Callable[[Basket], Basket]) -> Basket:
        """Change a reader's basket.

        Raises
        ------
        ParamError
            It is more than a basket holds.
        StorageError
            The disk is full.
        """
        with _convert_disk_errors():
            self._account_directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            with (self._account_directory / ".lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                old_basket = self.read_account_basket(account)
                new_basket = edit(old_basket)
                if new_basket != old_basket:
                    _write_atomically(self._build_path(account), new_basket.to_text())
        return new_basket

    def remove_basket(self, account: str) -> None:
        """Remove the basket of an account that is no more."""
        self._build_path(account).unlink(missing_ok=True)

    def store_shared(self, basket: Basket) -> str:
        """Return the token of a basket; a large one is kept for a year after it was read last.

        Raises
        ------
        StorageError
            There is no room for it.
        """
        inline = basket.to_inline_token()
        if inline:
            return inline
        token = basket.compute_token()
        path = self._shared_directory / token
        with _convert_disk_errors():
            if path.exists():
                os.utime(path)
                return token
            self._shared_directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            if self._last_sweep + DAY_SECONDS < time.time():
                self._remove_expired()
            text = basket.to_text()
            if sum(entry.stat().st_size for entry in os.scandir(self._shared_directory)) + len(text) > MAX_SHARED_BYTES:
                raise StorageError(
                    "there is no room for more baskets to be shared", remedy="log in, and keep it as your own"
                )
            _write_atomically(path, text)
        return token

    def open_shared(self, token: str) -> Basket:
        """Return the basket of a token.

        Raises
        ------
        NotFoundError
            There is none.
        """
        if token.startswith(baskets.INLINE_PREFIX):
            return baskets.open_inline_token(token)
        path = self._shared_directory / token
        try:
            if _TOKEN_PATTERN.fullmatch(token) is None:
                raise FileNotFoundError
            basket = baskets.parse_basket(path.read_bytes())
            if path.stat().st_mtime + DAY_SECONDS < time.time():
                os.utime(path)
        except (OSError, ParamError):
            raise baskets.build_not_found_error() from None
        return basket

    def _build_path(self, account: str) -> Path:
        return self._account_directory / hashlib.sha256(account.encode()).hexdigest()[:40]

    def _remove_expired(self) -> None:
        self._last_sweep = time.time()
        for path in self._shared_directory.iterdir():
            with suppress(FileNotFoundError):  # another process sweeps, too
                if path.stat().st_mtime + SHARED_LIFETIME_SECONDS < self._last_sweep:
                    path.unlink()


def parse_cookie(cookie: str | None) -> tuple[int, str]:
    """Read a cookie: how many entries, and the token; nothing of one that is none."""
    cookie_match = _COOKIE_PATTERN.fullmatch(cookie or "")
    if cookie_match:
        return (int(cookie_match[1]), cookie_match[2])
    return (0, "")


def _write_atomically(path: Path, text: str) -> None:
    """Write a file that is there as a whole, or not at all."""
    partial_file = path.with_name(f".{secrets.token_hex(8)}")
    try:
        partial_file.write_text(text, encoding="utf-8")
        partial_file.replace(path)
    finally:
        partial_file.unlink(missing_ok=True)


@contextmanager
def _convert_disk_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError("baskets cannot be kept now", remedy="try again later") from error
