"""Files behind http and https: asked by the one outward client, never past the root's address."""

from __future__ import annotations

import base64
import datetime as dt
import re
import time
import weakref
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

from hven.model import split_address
from hven.model.errors import FarFault, UserError
from hven.sources import remote
from hven.sources._stores._facts import LATER, LEADS, OWNER, REFUSED, Fact, Whole, away, changed, missing, slow

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from hven.sources.remote import Streamed

HOPS = 3  # redirects, all below the root
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")


class Web:
    """A directory of a web server.

    Parameters
    ----------
    options
        `user` and `password`, or `token`, or the header `authorization` as it is.
    """

    def __init__(self, address: str, options: Mapping[str, str], *, allow_private: bool, seconds: float) -> None:
        self._address, self._private, self._seconds = address.rstrip("/"), allow_private, seconds
        said = f"{options.get('user', '')}:{options.get('password', '')}"
        basic = f"Basic {base64.b64encode(said.encode()).decode()}" if "user" in options else None
        self._secret = f"Bearer {options['token']}" if "token" in options else options.get("authorization", basic)
        self._open = remote.Connections(seconds)
        weakref.finalize(self, self._open.close)

    def fact(self, path: str) -> Fact:
        """Ask for size, time and tag."""
        with self._asked("HEAD", path, {}) as answer:
            if answer.status in {200, 204}:
                return _fact(answer.headers, answer.headers.get("content-length", ""))
            if answer.status not in {400, 403, 405, 501}:  # which some say to HEAD alone
                raise refusal(answer.status)
        with self._asked("GET", path, {"Range": "bytes=0-0"}) as answer:
            found = _RANGE.fullmatch(answer.headers.get("content-range", ""))
            if answer.status not in {200, 206, 416}:
                raise refusal(answer.status)
            return _fact(answer.headers, found[3] if found else answer.headers.get("content-length", ""))

    def begun(self, path: str, size: int) -> tuple[Fact, bytes]:
        """Ask for size, time and tag with the first bytes of it; none of these, where parts are not given."""
        with self._asked("GET", path, {"Range": f"bytes=0-{size - 1}"}) as answer:
            found = _RANGE.fullmatch(answer.headers.get("content-range", ""))
            if answer.status == 206 and found is not None and found[1] == "0":
                body = bytearray()
                for part in self._in_time(answer.parts):
                    body += part
                    if len(body) > size:
                        break
                return _fact(answer.headers, found[3]), bytes(body[:size])
        return self.fact(path), b""

    def read(self, path: str, begin: int, end: int, fact: Fact) -> Iterator[bytes]:
        """Read bytes of that state of the file."""
        tag = {} if fact.tag is None or fact.tag.startswith("W/") else {"If-Match": fact.tag}
        with self._asked("GET", path, {"Range": f"bytes={begin}-{end - 1}", **tag}) as answer:
            if answer.status in {412, 416}:
                raise changed()
            if answer.status not in {200, 206}:
                raise refusal(answer.status)
            length = answer.headers.get("content-length", "")
            if answer.status == 206:
                found = _RANGE.fullmatch(answer.headers.get("content-range", ""))
                if found is None or int(found[1]) != begin:
                    raise FarFault(REFUSED, remedy=OWNER)
                length = found[3]
            elif (begin, end) != (0, fact.bytes):
                raise Whole(REFUSED, remedy=OWNER)
            if _fact(answer.headers, length) != fact:
                raise changed()
            left = end - begin
            for part in answer.parts:  # to its end, so that the connection stays open for the next
                yield part[:left]
                left -= len(part)
                if left < 0:
                    return

    def whole(self, path: str, most: int) -> bytes | None:
        """Read a small file; None: there is none.

        Parameters
        ----------
        path
            Below the root.
        most
            Bytes.

        Raises
        ------
        FarFault
            See `hven.sources.stores.Store`; it has more bytes.
        """
        with self._asked("GET", path, {}) as answer:
            if answer.status in {404, 410}:
                return None
            if answer.status != 200:
                raise refusal(answer.status)
            found = bytearray()
            for part in self._in_time(answer.parts):
                found += part
                if len(found) > most:
                    raise FarFault(f"{REFUSED}: it sends more than {most:,} bytes", remedy=OWNER)
            return bytes(found)

    def _in_time(self, parts: Iterator[bytes]) -> Iterator[bytes]:
        """Pass on what is small: all of it comes within the time that a server may be silent, or a server that drips would hold its reader for ever."""
        end = time.monotonic() + self._seconds
        for part in parts:
            if time.monotonic() > end:
                raise slow()
            yield part

    def listed(self, _patterns: Sequence[str], _ignore: Sequence[str]) -> Iterator[tuple[str, Fact]]:
        """Refuse: a web server lists nothing that programs could rely on."""
        raise UserError(
            "a web server does not list its files",
            remedy="name them by the rows of a table: from: TABLE, path: '{file}'",
        )

    @contextmanager
    def _asked(self, method: str, path: str, headers: Mapping[str, str]) -> Iterator[Streamed]:
        """Ask, and follow within the root."""
        with self._answer(method, f"{self._address}/{quote(path)}", headers) as answer:
            yield answer

    def _said(self, method: str, url: str, headers: Mapping[str, str]) -> Mapping[str, str]:  # noqa: ARG002
        """Add what says who asks, for one address."""
        return headers

    @contextmanager
    def _answer(self, method: str, url: str, headers: Mapping[str, str]) -> Iterator[Streamed]:
        import httpx  # noqa: PLC0415  (a fifth of a second, for those who ask elsewhere)

        try:
            for _ in range(HOPS + 1):
                with remote.stream(
                    method,
                    url,
                    headers=self._said(method, url, headers),
                    secret=self._secret,
                    seconds=self._seconds,
                    follow=False,
                    allow_private=self._private,
                    raw=True,
                    through=self._open,
                ) as answer:
                    if answer.status not in {301, 302, 303, 307, 308}:
                        yield answer
                        return
                    url = answer.location
                    if not self._below(url):
                        raise FarFault(LEADS, remedy=OWNER)
        except (UserError, httpx.HTTPError) as error:
            late = isinstance(error, remote.Silent) or isinstance(error.__cause__ or error, httpx.TimeoutException)
            raise (slow() if late else away()) from error
        raise FarFault(LEADS, remedy=OWNER)

    def _below(self, url: str) -> bool:
        inside = url.startswith(f"{self._address}/")
        return inside and ".." not in unquote(split_address(url).path).split("/")


def _fact(headers: Mapping[str, str], length: str) -> Fact:
    try:
        modified = parsedate_to_datetime(headers["last-modified"]).astimezone(dt.UTC).replace(tzinfo=None)
    except (KeyError, ValueError, OverflowError):
        modified = None
    return Fact(bytes=int(length) if length.isdigit() else None, modified=modified, tag=headers.get("etag"))


def refusal(status: int) -> FarFault:
    """Make the error of an answer without the file."""
    if status in {404, 410}:
        return missing()
    return FarFault(f"{REFUSED}: it answers {status}", remedy=LATER if status >= 429 else OWNER)
