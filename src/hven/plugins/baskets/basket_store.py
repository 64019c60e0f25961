"""Store baskets in files: one for each account, and one for each large shared basket.

Baskets of other readers, and small shared ones, are in cookies and addresses.
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
from hven.plugins.baskets import basket_contents
from hven.plugins.baskets.basket_contents import Basket

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from starlette.requests import Request

    from hven.services.face import ServiceContext
    from hven.site import Site

BASKET_DIRECTORY = "baskets"  # in the data directory of the site
BASKET_COOKIE = "hven_basket"  # number of entries and token, for readers without an account
SHARED_LIFETIME_SECONDS = 365 * 86_400.0
DAY_SECONDS = 86_400.0
MAX_SHARED_BYTES = 256 * 1024**2  # of all shared baskets
MAX_CACHED_ACCOUNTS = 4096  # accounts whose number of entries a process caches
_TOKEN_PATTERN = re.compile(r"[0-9a-f]{40}")
_COOKIE_PATTERN = re.compile(r"(\d{1,6})\.(~[\w-]{1,1600}|[0-9a-f]{40})", re.ASCII)


class BasketStore:
    """The baskets of a site. Thread-safe; changes of several processes wait for each other.

    Parameters
    ----------
    place
        The directory, created when the first basket is stored.
    """

    def __init__(self, place: Path) -> None:
        self._account_directory = place / "own"
        self._shared_directory = place / "shared"
        self._entry_counts: dict[str, tuple[str, int]] = {}
        self._last_sweep = 0.0

    def read_account_basket(self, account: str) -> Basket:
        """Return the basket of an account; an empty one if it cannot be read."""
        try:
            return basket_contents.parse_basket(self._build_account_path(account).read_bytes())
        except (FileNotFoundError, ParamError):
            return Basket()

    def count_entries_with_state(self, account: str) -> tuple[int, str]:
        """Return the number of entries of an account's basket, and its state; cheap, because every page needs it."""
        try:
            file_status = self._build_account_path(account).stat()
        except OSError:
            return 0, ""
        file_state = f"{file_status.st_mtime_ns:x}-{file_status.st_size:x}"
        cached_count = self._entry_counts.get(account)
        if cached_count is None or cached_count[0] != file_state:
            if len(self._entry_counts) >= MAX_CACHED_ACCOUNTS:
                self._entry_counts.clear()
            entry_count = self.read_account_basket(account).entry_count
            cached_count = (file_state, entry_count)
            self._entry_counts[account] = cached_count
        return cached_count[1], file_state

    def change_basket(self, account: str, edit: Callable[[Basket], Basket]) -> Basket:
        """Change the basket of an account.

        Raises
        ------
        ParamError
            The changed basket is too large.
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
                    _write_atomically(self._build_account_path(account), new_basket.to_text())
        return new_basket

    def remove_basket(self, account: str) -> None:
        """Remove the basket of a deleted account."""
        self._build_account_path(account).unlink(missing_ok=True)

    def store_shared_basket(self, basket: Basket) -> str:
        """Return the token of a basket; a large basket is stored until a year after its last use.

        Raises
        ------
        StorageError
            The shared baskets take too much space.
        """
        inline = basket.to_inline_token(basket_contents.MAX_ADDRESS_CHARACTERS)
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
                self._remove_expired_baskets()
            text = basket.to_text()
            stored_bytes = sum(entry.stat().st_size for entry in os.scandir(self._shared_directory))
            if stored_bytes + len(text) > MAX_SHARED_BYTES:
                raise StorageError(
                    "there is no space left for shared baskets", remedy="log in to keep the basket in your account"
                )
            _write_atomically(path, text)
        return token

    def read_shared_basket(self, token: str) -> Basket:
        """Return the basket of a token.

        Raises
        ------
        NotFoundError
            There is no such basket.
        """
        if token.startswith(basket_contents.INLINE_PREFIX):
            return basket_contents.decode_inline_basket(token)
        path = self._shared_directory / token
        try:
            if _TOKEN_PATTERN.fullmatch(token) is None:
                raise FileNotFoundError
            basket = basket_contents.parse_basket(path.read_bytes())
            if path.stat().st_mtime + DAY_SECONDS < time.time():
                os.utime(path)
        except (OSError, ParamError):
            raise basket_contents.build_basket_not_found_error() from None
        return basket

    def _build_account_path(self, account: str) -> Path:
        return self._account_directory / hashlib.sha256(account.encode()).hexdigest()[:40]

    def _remove_expired_baskets(self) -> None:
        self._last_sweep = time.time()
        for path in self._shared_directory.iterdir():
            with suppress(FileNotFoundError):  # another process may remove it at the same time
                if path.stat().st_mtime + SHARED_LIFETIME_SECONDS < self._last_sweep:
                    path.unlink()


def get_basket_store(site: Site) -> BasketStore:
    """Return the basket store of a site."""
    basket_store: BasketStore = site.get_or_create(BasketStore, site.settings.data_directory / BASKET_DIRECTORY)
    return basket_store


def remove_account_basket(site: Site, account: str) -> None:
    """Remove the basket of an account that is removed.

    Parameters
    ----------
    site
        The site.
    account
        Name of the account.
    """
    get_basket_store(site).remove_basket(account)


def count_basket_entries_with_state(request: Request, context: ServiceContext) -> tuple[int, str]:
    """Count the entries of the user's basket; for a logged-in user, also return its state.

    Parameters
    ----------
    request
        The request of a page.
    context
        The context of the service.

    Returns
    -------
    count_and_state
        The number of entries, and the state of the basket on the server.
    """
    principal = context.identify_principal(request)
    if principal.name is None:
        cookie = parse_basket_cookie(request.cookies.get(BASKET_COOKIE))
        return cookie[0], ""
    if principal.impersonator:
        return (0, "")
    return get_basket_store(context.site).count_entries_with_state(principal.name)


def parse_basket_cookie(cookie: str | None) -> tuple[int, str]:
    """Parse a cookie into the number of entries and the token; 0 and an empty text if it is invalid."""
    cookie_match = _COOKIE_PATTERN.fullmatch(cookie or "")
    if cookie_match:
        return (int(cookie_match[1]), cookie_match[2])
    return (0, "")


def _write_atomically(path: Path, text: str) -> None:
    """Write a file atomically."""
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
        raise StorageError("baskets cannot be saved at the moment", remedy="try again later") from error
