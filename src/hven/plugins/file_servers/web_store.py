"""Read files by http and https, with the one outward client, and only below the root's address."""

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
from hven.model.errors import UpstreamError, UserError
from hven.sources import http_client
from hven.sources.remote_stores import (
    LATER_REMEDY,
    OWNER_REMEDY,
    REFUSED_MESSAGE,
    NoRangesError,
    RemoteFileFacts,
    build_changed_file_error,
    build_missing_file_error,
    build_timeout_error,
    build_unreachable_error,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from hven.sources.http_client import StreamedAnswer

MAX_REDIRECTS = 3  # redirects, all below the root
REDIRECTED_MESSAGE = "the server that keeps it redirects to another address"
_CONTENT_RANGE_PATTERN = re.compile(r"bytes (\d+)-(\d+)/(\d+)")


class WebStore:
    """A directory of a web server.

    Parameters
    ----------
    options
        `user` and `password`, or `token`, or the header `authorization` as it is.
    """

    def __init__(
        self, address: str, options: Mapping[str, str], *, allow_private: bool, timeout_seconds: float
    ) -> None:
        self._address = address.rstrip("/")
        self._allow_private = allow_private
        self._timeout_seconds = timeout_seconds
        self._secret = options.get("authorization")
        if "token" in options:
            self._secret = f"Bearer {options['token']}"
        elif self._secret is None and "user" in options:
            credentials = f"{options['user']}:{options.get('password', '')}"
            self._secret = f"Basic {base64.b64encode(credentials.encode()).decode()}"
        self._connections = http_client.HttpConnections(timeout_seconds)
        weakref.finalize(self, self._connections.close)

    def fetch_facts(self, path: str) -> RemoteFileFacts:
        """Request size, time and tag."""
        with self._request("HEAD", path, {}) as answer:
            if answer.status in {200, 204}:
                return _parse_headers(answer.headers, answer.headers.get("content-length", ""))
            if answer.status not in {400, 403, 405, 501}:  # which some say to HEAD alone
                raise build_refusal_error(answer.status)
        with self._request("GET", path, {"Range": "bytes=0-0"}) as answer:
            range_match = _CONTENT_RANGE_PATTERN.fullmatch(answer.headers.get("content-range", ""))
            if answer.status not in {200, 206, 416}:
                raise build_refusal_error(answer.status)
            return _parse_headers(
                answer.headers, range_match[3] if range_match else answer.headers.get("content-length", "")
            )

    def fetch_facts_and_beginning(self, path: str, size: int) -> tuple[RemoteFileFacts, bytes]:
        """Request size, time and tag with the first bytes; no facts, where the server sends no parts."""
        with self._request("GET", path, {"Range": f"bytes=0-{size - 1}"}) as answer:
            range_match = _CONTENT_RANGE_PATTERN.fullmatch(answer.headers.get("content-range", ""))
            if answer.status == 206 and range_match is not None and range_match[1] == "0":
                body = bytearray()
                for part in self._limit_duration(answer.parts):
                    body += part
                    if len(body) > size:
                        break
                headers = _parse_headers(answer.headers, range_match[3])
                return headers, bytes(body[:size])
        return self.fetch_facts(path), b""

    def read_range(self, path: str, start_offset: int, end_offset: int, fact: RemoteFileFacts) -> Iterator[bytes]:
        """Read bytes of this state of the file."""
        if fact.tag is None or fact.tag.startswith("W/"):
            tag = {}
        else:
            tag = {"If-Match": fact.tag}
        with self._request("GET", path, {"Range": f"bytes={start_offset}-{end_offset - 1}", **tag}) as answer:
            if answer.status in {412, 416}:
                raise build_changed_file_error()
            if answer.status not in {200, 206}:
                raise build_refusal_error(answer.status)
            length = answer.headers.get("content-length", "")
            if answer.status == 206:
                range_match = _CONTENT_RANGE_PATTERN.fullmatch(answer.headers.get("content-range", ""))
                if range_match is None or int(range_match[1]) != start_offset:
                    raise UpstreamError(REFUSED_MESSAGE, remedy=OWNER_REMEDY)
                length = range_match[3]
            elif (start_offset, end_offset) != (0, fact.bytes):
                raise NoRangesError(REFUSED_MESSAGE, remedy=OWNER_REMEDY)
            if _parse_headers(answer.headers, length) != fact:
                raise build_changed_file_error()
            remaining_bytes = end_offset - start_offset
            for part in answer.parts:  # to its end, so that the connection stays open for the next
                yield part[:remaining_bytes]
                remaining_bytes -= len(part)
                if remaining_bytes < 0:
                    return

    def read_small_file(self, path: str, byte_limit: int) -> bytes | None:
        """Read a small file, as `hven.sources.remote_stores.WebFileStore` says."""
        with self._request("GET", path, {}) as answer:
            if answer.status in {404, 410}:
                return None
            if answer.status != 200:
                raise build_refusal_error(answer.status)
            content = bytearray()
            for part in self._limit_duration(answer.parts):
                content += part
                if len(content) > byte_limit:
                    message = f"the server that keeps it sent more than {byte_limit:,} bytes"
                    raise UpstreamError(message, remedy=OWNER_REMEDY)
            return bytes(content)

    def _limit_duration(self, parts: Iterator[bytes]) -> Iterator[bytes]:
        """Pass on the parts of a small answer; all of it must come within the longest time of silence.

        Otherwise a server that sends a byte now and then would hold its reader for ever.
        """
        end = time.monotonic() + self._timeout_seconds
        for part in parts:
            if time.monotonic() > end:
                raise build_timeout_error()
            yield part

    def list_files(self, _patterns: Sequence[str], _ignore: Sequence[str]) -> Iterator[tuple[str, RemoteFileFacts]]:
        """Refuse: a web server lists nothing that programs could rely on."""
        raise UserError(
            "Hven cannot list the files of a web server",
            remedy="list the files in a table, and write `from: TABLE` and `path: '{file}'`",
        )

    def _request(self, method: str, path: str, headers: Mapping[str, str]) -> AbstractContextManager[StreamedAnswer]:
        """Send a request, and follow redirects within the root."""
        return self._request_url(method, f"{self._address}/{quote(path)}", headers)

    def _sign_request(self, method: str, url: str, headers: Mapping[str, str]) -> Mapping[str, str]:  # noqa: ARG002
        """Add the authorization for one address."""
        return headers

    @contextmanager
    def _request_url(self, method: str, url: str, headers: Mapping[str, str]) -> Iterator[StreamedAnswer]:
        try:
            for _ in range(MAX_REDIRECTS + 1):
                with http_client.stream_answer(
                    method,
                    url,
                    headers=self._sign_request(method, url, headers),
                    authorization=self._secret,
                    timeout_seconds=self._timeout_seconds,
                    follow_redirects=False,
                    allow_private=self._allow_private,
                    is_raw=True,
                    connections=self._connections,
                ) as answer:
                    if answer.status not in {301, 302, 303, 307, 308}:
                        yield answer
                        return
                    url = answer.location
                    if not self._is_below_root(url):
                        raise self._build_redirect_error()
        except UserError as error:
            raise (build_timeout_error() if http_client.is_timeout(error) else build_unreachable_error()) from error
        raise UpstreamError(REDIRECTED_MESSAGE, remedy=OWNER_REMEDY)

    def _is_below_root(self, url: str) -> bool:
        inside = url.startswith(f"{self._address}/")
        return inside and ".." not in unquote(split_address(url).path).split("/")

    def _build_redirect_error(self) -> UpstreamError:
        """Build the error about a redirection to an address outside the root."""
        return UpstreamError(REDIRECTED_MESSAGE, remedy=OWNER_REMEDY)


def _parse_headers(headers: Mapping[str, str], length: str) -> RemoteFileFacts:
    try:
        modified = parsedate_to_datetime(headers["last-modified"]).astimezone(dt.UTC).replace(tzinfo=None)
    except (KeyError, ValueError, OverflowError):
        modified = None
    return RemoteFileFacts(bytes=int(length) if length.isdigit() else None, modified=modified, tag=headers.get("etag"))


def build_refusal_error(status: int) -> UpstreamError:
    """Build the error of an answer without the file."""
    if status in {404, 410}:
        return build_missing_file_error()
    remedy = LATER_REMEDY if status >= 429 else OWNER_REMEDY
    return UpstreamError(f"{REFUSED_MESSAGE}: it returned status {status}", remedy=remedy)
