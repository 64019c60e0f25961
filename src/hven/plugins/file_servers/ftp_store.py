"""Read files by ftp, which browsers do not open any more: passive, anonymous without an account."""

from __future__ import annotations

import contextlib
import datetime as dt
import ftplib
import threading
import weakref
from typing import TYPE_CHECKING
from urllib.parse import unquote

from hven.model import split_address
from hven.model.errors import UpstreamError, UserError
from hven.plugins.file_servers.listed_files import select_files
from hven.sources import http_client
from hven.sources.remote_stores import (
    OWNER_REMEDY,
    REFUSED_MESSAGE,
    RemoteFileFacts,
    build_changed_file_error,
    build_missing_file_error,
    build_timeout_error,
    build_unreachable_error,
    find_directory_before_wildcard,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

MAX_IDLE_CONNECTIONS = 4
CHUNK_BYTES = 64 * 1024
MAX_DEPTH = 32  # directories within each other
MAX_FILES = 5_000_000


class FtpStore:
    """A directory of an ftp server.

    Parameters
    ----------
    options
        `user` and `password`.
    """

    def __init__(
        self, address: str, options: Mapping[str, str], *, allow_private: bool, timeout_seconds: float
    ) -> None:
        parts = split_address(address)
        self._host = parts.hostname or ""
        self._port = parts.port or 21
        self._root = unquote(parts.path).rstrip("/")
        self._account = (options.get("user", "anonymous"), options.get("password", "anonymous@"))
        self._allow_private = allow_private
        self._timeout_seconds = timeout_seconds
        self._idle_connections: list[ftplib.FTP] = []
        self._lock = threading.Lock()
        weakref.finalize(self, _close_connections, self._idle_connections)

    def fetch_facts(self, path: str) -> RemoteFileFacts:
        """Request size and time."""
        with self._borrow_connection() as ftp:
            return self._request_facts(ftp, f"{self._root}/{path}")

    def fetch_facts_and_beginning(self, path: str, _size: int) -> tuple[RemoteFileFacts, bytes]:
        """Request size and time, and no bytes yet."""
        return self.fetch_facts(path), b""

    def read_range(self, path: str, start_offset: int, end_offset: int, fact: RemoteFileFacts) -> Iterator[bytes]:
        """Read bytes, if the file has not changed."""
        with self._borrow_connection() as ftp:
            remote_path = f"{self._root}/{path}"
            if self._request_facts(ftp, remote_path) != fact:
                raise build_changed_file_error()
            data = ftp.transfercmd(f"RETR {remote_path}", rest=start_offset or None)
            remaining_bytes = end_offset - start_offset
            with data:
                while remaining_bytes > 0 and (part := data.recv(min(CHUNK_BYTES, remaining_bytes))):
                    remaining_bytes -= len(part)
                    yield part
            with contextlib.suppress(ftplib.error_reply, ftplib.error_temp, ftplib.error_perm):
                ftp.voidresp()  # it may complain that we took no more

    def list_files(
        self, patterns: Sequence[str], ignore_patterns: Sequence[str]
    ) -> Iterator[tuple[str, RemoteFileFacts]]:
        """List the files that patterns match; links are not followed."""
        with self._borrow_connection() as ftp:
            facts_by_path: dict[str, RemoteFileFacts] = {}
            for pattern in patterns:
                if "**" in pattern:
                    deep = MAX_DEPTH
                else:
                    deep = pattern.count("/")
                self._walk_directories(ftp, find_directory_before_wildcard(pattern), deep, facts_by_path)
            yield from select_files(facts_by_path, patterns, ignore_patterns)

    def _walk_directories(
        self, ftp: ftplib.FTP, subdirectory: str, max_depth: int, facts_by_path: dict[str, RemoteFileFacts]
    ) -> None:
        inside = []
        for name, entry_facts in ftp.mlsd(f"{self._root}/{subdirectory}".rstrip("/") or "/"):
            path = f"{subdirectory}/{name}".lstrip("/")
            if entry_facts.get("type") == "file":
                facts_by_path[path] = RemoteFileFacts(
                    bytes=int(entry_facts["size"]), modified=_parse_ftp_time(entry_facts.get("modify", ""))
                )
            elif entry_facts.get("type") == "dir" and path.count("/") < max_depth:
                inside.append(path)
            if len(facts_by_path) > MAX_FILES:
                raise UserError(
                    f"the directory on the server contains more than {MAX_FILES:,} files",
                    remedy="choose fewer files with `files`",
                )
        for path in inside:
            self._walk_directories(ftp, path, max_depth, facts_by_path)

    def _request_facts(self, ftp: ftplib.FTP, remote_path: str) -> RemoteFileFacts:
        try:
            size = ftp.size(remote_path)
        except ftplib.error_perm as error:
            raise build_missing_file_error() from error
        moment = None
        with contextlib.suppress(ftplib.error_perm):  # not every server knows
            moment = _parse_ftp_time(ftp.voidcmd(f"MDTM {remote_path}").partition(" ")[2])
        return RemoteFileFacts(bytes=size, modified=moment)

    @contextlib.contextmanager
    def _borrow_connection(self) -> Iterator[ftplib.FTP]:
        """Lend a connection; a broken one is closed, others stay open for the next request."""
        ftp = None
        is_usable = False
        try:
            ftp = self._take_idle_connection() or self._open_connection()
            yield ftp
            is_usable = True
        except TimeoutError as error:
            raise build_timeout_error() from error
        except (ftplib.error_perm, ftplib.error_proto, ftplib.error_reply, ValueError) as error:
            raise UpstreamError(REFUSED_MESSAGE, remedy=OWNER_REMEDY) from error
        except (ftplib.error_temp, OSError, EOFError) as error:
            raise build_unreachable_error() from error
        finally:
            if ftp is not None:
                self._return_connection(ftp, is_usable=is_usable)

    def _take_idle_connection(self) -> ftplib.FTP | None:
        while True:
            with self._lock:
                if not self._idle_connections:
                    return None
                ftp = self._idle_connections.pop()
            try:
                ftp.voidcmd("TYPE I")
            except (ftplib.Error, OSError, EOFError):
                ftp.close()
                continue
            return ftp

    def _open_connection(self) -> ftplib.FTP:
        try:
            number = http_client.resolve_host(self._host, self._port, allow_private=self._allow_private)
        except UserError as error:
            raise build_unreachable_error() from error
        # the data are public, or the curator's choice
        ftp = ftplib.FTP(timeout=self._timeout_seconds, encoding="utf-8")  # noqa: S321
        try:
            ftp.connect(str(number), self._port)
            ftp.login(*self._account)
            ftp.voidcmd("TYPE I")
        except BaseException:
            ftp.close()
            raise
        return ftp

    def _return_connection(self, ftp: ftplib.FTP, *, is_usable: bool) -> None:
        with self._lock:
            if is_usable and len(self._idle_connections) < MAX_IDLE_CONNECTIONS:
                self._idle_connections.append(ftp)
                return
        ftp.close()


def _close_connections(connections: list[ftplib.FTP]) -> None:
    for connection in connections:
        connection.close()


def _parse_ftp_time(text: str) -> dt.datetime | None:
    """Read YYYYMMDDHHMMSS.sss, which is UTC (RFC 3659)."""
    try:
        return dt.datetime.strptime(f"{text.strip()[:14]}+0000", "%Y%m%d%H%M%S%z").replace(tzinfo=None)
    except ValueError:
        return None
