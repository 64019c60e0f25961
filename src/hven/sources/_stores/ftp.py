"""Files behind ftp, which browsers do not open any more: passive, anonymous unless an account is said."""

from __future__ import annotations

import contextlib
import datetime as dt
import ftplib
import threading
import weakref
from typing import TYPE_CHECKING
from urllib.parse import unquote

from hven.model import split_address
from hven.model.errors import FarFault, UserError
from hven.sources import remote
from hven.sources._stores._facts import OWNER, REFUSED, Fact, away, changed, fixed, missing, slow, wanted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

IDLE = 4  # connections that stay open
CHUNK = 64 * 1024
DEEPEST, MOST = 32, 5_000_000  # directories within each other, files


class Ftp:
    """A directory of an ftp server.

    Parameters
    ----------
    options
        `user` and `password`.
    """

    def __init__(self, address: str, options: Mapping[str, str], *, allow_private: bool, seconds: float) -> None:
        parts = split_address(address)
        self._host, self._port = parts.hostname or "", parts.port or 21
        self._root = unquote(parts.path).rstrip("/")
        self._account = (options.get("user", "anonymous"), options.get("password", "anonymous@"))
        self._private, self._seconds = allow_private, seconds
        self._idle: list[ftplib.FTP] = []
        self._lock = threading.Lock()
        weakref.finalize(self, _closed, self._idle)

    def fact(self, path: str) -> Fact:
        """Ask for size and time."""
        with self._connected() as ftp:
            return self._said(ftp, f"{self._root}/{path}")

    def begun(self, path: str, _size: int) -> tuple[Fact, bytes]:
        """Ask for size and time, and for no bytes yet."""
        return self.fact(path), b""

    def read(self, path: str, begin: int, end: int, fact: Fact) -> Iterator[bytes]:
        """Read bytes, if the file is that one still."""
        with self._connected() as ftp:
            where = f"{self._root}/{path}"
            if self._said(ftp, where) != fact:
                raise changed()
            data = ftp.transfercmd(f"RETR {where}", rest=begin or None)
            left = end - begin
            with data:
                while left > 0 and (part := data.recv(min(CHUNK, left))):
                    left -= len(part)
                    yield part
            with contextlib.suppress(ftplib.error_reply, ftplib.error_temp, ftplib.error_perm):
                ftp.voidresp()  # it may complain that we took no more

    def listed(self, patterns: Sequence[str], ignore: Sequence[str]) -> Iterator[tuple[str, Fact]]:
        """List what patterns mean; links are not followed."""
        with self._connected() as ftp:
            found: dict[str, Fact] = {}
            for pattern in patterns:
                deep = DEEPEST if "**" in pattern else pattern.count("/")
                self._walk(ftp, fixed(pattern), deep, found)
            yield from ((path, fact) for path, fact in sorted(found.items()) if wanted(path, patterns, ignore))

    def _walk(self, ftp: ftplib.FTP, below: str, deep: int, found: dict[str, Fact]) -> None:
        inside = []
        for name, told in ftp.mlsd(f"{self._root}/{below}".rstrip("/") or "/"):
            path = f"{below}/{name}".lstrip("/")
            if told.get("type") == "file":
                found[path] = Fact(bytes=int(told["size"]), modified=_moment(told.get("modify", "")))
            elif told.get("type") == "dir" and path.count("/") < deep:
                inside.append(path)
            if len(found) > MOST:
                raise UserError(f"there are more than {MOST:,} files", remedy="name fewer in `files`")
        for path in inside:
            self._walk(ftp, path, deep, found)

    def _said(self, ftp: ftplib.FTP, where: str) -> Fact:
        try:
            size = ftp.size(where)
        except ftplib.error_perm as error:
            raise missing() from error
        moment = None
        with contextlib.suppress(ftplib.error_perm):  # not every server knows
            moment = _moment(ftp.voidcmd(f"MDTM {where}").partition(" ")[2])
        return Fact(bytes=size, modified=moment)

    @contextlib.contextmanager
    def _connected(self) -> Iterator[ftplib.FTP]:
        """Lend a connection; one that broke is closed, else it stays open for the next."""
        ftp = None
        try:
            ftp = self._alive() or self._new()
            yield ftp
        except (FarFault, GeneratorExit):
            self._kept(ftp, whole=False)
            raise
        except TimeoutError as error:
            self._kept(ftp, whole=False)
            raise slow() from error
        except (ftplib.error_perm, ftplib.error_proto, ftplib.error_reply, ValueError) as error:
            self._kept(ftp, whole=False)
            raise FarFault(REFUSED, remedy=OWNER) from error
        except (ftplib.error_temp, OSError, EOFError) as error:
            self._kept(ftp, whole=False)
            raise away() from error
        self._kept(ftp, whole=True)

    def _alive(self) -> ftplib.FTP | None:
        while True:
            with self._lock:
                ftp = self._idle.pop() if self._idle else None
            if ftp is None:
                return None
            try:
                ftp.voidcmd("TYPE I")
            except (ftplib.Error, OSError, EOFError):
                ftp.close()
                continue
            return ftp

    def _new(self) -> ftplib.FTP:
        try:
            number = remote.locate(self._host, self._port, allow_private=self._private)
        except UserError as error:
            raise away() from error
        ftp = ftplib.FTP(timeout=self._seconds, encoding="utf-8")  # noqa: S321  (the data are public, or the curator's choice)
        try:
            ftp.connect(str(number), self._port)
            ftp.login(*self._account)
            ftp.voidcmd("TYPE I")
        except BaseException:
            ftp.close()
            raise
        return ftp

    def _kept(self, ftp: ftplib.FTP | None, *, whole: bool) -> None:
        if ftp is None:
            return
        with self._lock:
            if whole and len(self._idle) < IDLE:
                self._idle.append(ftp)
                return
        ftp.close()


def _closed(idle: list[ftplib.FTP]) -> None:
    for one in idle:
        one.close()


def _moment(text: str) -> dt.datetime | None:
    """Read YYYYMMDDHHMMSS.sss, which is UTC (RFC 3659)."""
    try:
        return dt.datetime.strptime(f"{text.strip()[:14]}+0000", "%Y%m%d%H%M%S%z").replace(tzinfo=None)
    except ValueError:
        return None
