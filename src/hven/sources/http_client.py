"""The only outward HTTP client: SSRF guard, size limit, redirect limit, clear errors.

`download_file` makes a file, `fetch_bytes` gives a small answer, `send_request_once` speaks with a service (POST,
DELETE, any status), `stream_answer` reads what it says as it comes.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import re
import socket
import tempfile
import threading
import time
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import unquote, urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

from hven.model import Cache, split_address
from hven.model.errors import ForbiddenError, SourceError, StorageError, TooLargeError, UserError
from hven.sources._rate_limiting import (
    RETRYABLE_STATUSES,
    HostRateLimiter,
    ServiceBusyError,
    parse_retry_after,
    retry_busy,
)

# callers know it by this module
from hven.sources._rate_limiting import UnreachableError as UnreachableError  # noqa: PLC0414

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import httpx

MAX_REDIRECTS = 5
UNTRUSTED_CERTIFICATE_REMEDY = (
    "its owner renews the certificate; an institute's own authority is trusted where SSL_CERT_FILE, in the "
    "environment, names a file with it and the others"
)
RESOLUTION_LIFETIME_SECONDS = 30.0  # seconds for which a host is found where it was
MAX_RESOLVED_HOSTS = 1_000  # of which that is known
_DEFAULT_HEADERS = {"Accept-Encoding": "gzip, deflate"}
_UNSAFE_NAME_PATTERN = re.compile(r"[^A-Za-z0-9._+-]+")
_EXTENSIONS_BY_MEDIA_TYPE = {
    "text/csv": ".csv",
    "text/tab-separated-values": ".tsv",
    "application/fits": ".fits",
    "image/fits": ".fits",
    "application/x-votable+xml": ".vot",
    "text/xml": ".xml",
    "application/xml": ".xml",
    "application/vnd.apache.parquet": ".parquet",
}


_rate_limiter = HostRateLimiter()


def set_host_rates(requests_per_second: Mapping[str, float], directory: Path | None) -> None:
    """Set how often hosts may be asked, by all threads of this process, and by all processes with this directory.

    Parameters
    ----------
    requests_per_second
        Host -> requests a second; other hosts are asked as often as one likes, but for SIMBAD (8) and NED (1).
    directory
        Where turns are written down; None: this process counts for itself.
    """
    global _rate_limiter  # noqa: PLW0603  (hosts are asked by everything in a process)
    _rate_limiter = HostRateLimiter(requests_per_second, directory)


class PrivateAddressError(ForbiddenError):
    """The address is not on the public internet."""


def download_file(
    url: str,
    directory: Path,
    *,
    byte_limit: int = 4 * 1024**3,
    timeout_seconds: float = 60.0,
    total_timeout_seconds: float | None = None,
    allow_private: bool = False,
    on_progress: Callable[[int, int | None], None] | None = None,
    max_attempts: int = 3,
) -> Path:
    """Fetch a file into `directory`; an unfinished one is never left under its name.

    Parameters
    ----------
    url
        http or https.
    directory
        Where the file is put.
    byte_limit
        Bytes at most.
    timeout_seconds
        Without any byte for that long, it is given up.
    total_timeout_seconds
        Seconds that everything may take, redirects included; None: as long as bytes come.
    allow_private
        True lets addresses through that are not on the public internet (this machine, the institute's own network).
    on_progress
        Called with the bytes so far and, if the server tells, the bytes to come in all.
    max_attempts
        How often a server is asked that has too much to do (429, 502, 503, 504): as late as it says, or later each
        time, within `total_timeout_seconds` (or a minute).

    Returns
    -------
    Path
        The file, named after the server's word for it or the last part of the address.

    Raises
    ------
    UserError
        No http(s) address; a name without an address; an answer other than 200.
    ForbiddenError
        The address, or one that it leads to, is private (`PrivateAddressError`); it leads from https to http.
    TooLargeError
        More than `byte_limit` bytes.
    StorageError
        The disk is full.
    SourceError
        The answer broke off, or has an encoding that was not asked for.
    """
    with _DownloadAnswer(url, timeout_seconds, allow_private, total_timeout_seconds, max_attempts) as (response, final):
        length = response.headers.get("content-length", "")
        if length.isdigit() and "content-encoding" not in response.headers:
            expected = int(length)
        else:
            expected = None
        if expected is not None and expected > byte_limit:
            raise TooLargeError(
                f"{_redact_url(url)} has {expected:,} bytes, more than {byte_limit:,}",
                remedy="download it yourself and use the file",
            )
        path = directory / _choose_file_name(response, final)
        received_bytes = 0
        unfinished: str | None = None
        try:
            directory.mkdir(parents=True, exist_ok=True)
            number, unfinished = tempfile.mkstemp(dir=directory, prefix=".unfinished-")
            with os.fdopen(number, "wb") as file:
                for part in _read_parts(response, url):
                    received_bytes += len(part)
                    if received_bytes > byte_limit:
                        raise TooLargeError(
                            f"{_redact_url(url)} has more than {byte_limit:,} bytes",
                            remedy="download it yourself and use the file",
                        )
                    file.write(part)
                    if on_progress is not None:
                        on_progress(received_bytes, expected)
            if expected is not None and received_bytes < expected:
                raise SourceError(
                    f"{_redact_url(url)} broke off after {received_bytes:,} of {expected:,} bytes", remedy="try again"
                )
            Path(unfinished).chmod(0o644)
            Path(unfinished).replace(path)
            unfinished = None
        except OSError as error:
            raise StorageError(
                f"{path.name} cannot be written: {error.strerror}",
                remedy=f"look at the space and rights of {directory}",
            ) from error
        finally:
            if unfinished is not None:
                Path(unfinished).unlink(missing_ok=True)
    return path


def fetch_bytes(
    url: str,
    *,
    byte_limit: int = 1 << 20,
    timeout_seconds: float = 15.0,
    total_timeout_seconds: float | None = None,
    allow_private: bool = False,
    max_attempts: int = 3,
) -> bytes:
    """Fetch a small answer into memory, as `download_file` fetches a file; the errors are the same.

    Parameters
    ----------
    url
        http or https.
    byte_limit
        Bytes at most, unpacked.
    timeout_seconds
        Without any byte for that long, it is given up.
    total_timeout_seconds
        Seconds that everything may take, redirects included; None: as long as bytes come.
    allow_private
        True lets addresses through that are not on the public internet.
    max_attempts
        As of `download_file`.

    Returns
    -------
    body
        Unpacked.

    Raises
    ------
    TooLargeError
        It has more than `byte_limit` bytes.
    """
    with _DownloadAnswer(url, timeout_seconds, allow_private, total_timeout_seconds, max_attempts) as (response, _):
        content = bytearray()
        for part in _read_parts(response, url):
            content += part
            if len(content) > byte_limit:
                raise TooLargeError(f"{_redact_url(url)} answers with more than {byte_limit:,} bytes")
        return bytes(content)


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpAnswer:
    """What a service said: any status; `headers` by lower-case name; `url` as it was asked.

    Attributes
    ----------
    body
        unpacked.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str

    @property
    def location(self) -> str:
        """Where it sends us, as a whole address; empty: nowhere."""
        return _resolve_location(self.url, self.headers.get("location", ""))


def send_request_once(
    method: str,
    url: str,
    *,
    form_fields: Sequence[tuple[str, str]] = (),
    files: Mapping[str, Path] | None = None,
    content: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    timeout_seconds: float = 15.0,
    total_timeout_seconds: float | None = None,
    byte_limit: int = 4 * 1024**2,
    allow_private: bool = False,
) -> HttpAnswer:
    """Ask a service once; redirects are told, not followed, and every status is an answer.

    Parameters
    ----------
    method
        Of HTTP.
    url
        http or https.
    form_fields, files
        Of a POST: parameters in order, and files by the name of their part.
    content
        Or its whole body; its type is in `headers`.
    headers
        Of the request.
    timeout_seconds, total_timeout_seconds
        Without a byte for that long, or not whole after that long (None: four times `timeout_seconds`), it is given up.
    byte_limit
        Bytes of the answer at most.
    allow_private
        True lets addresses through that are not on the public internet.

    Returns
    -------
    answer
        Status, headers and body.

    Raises
    ------
    UserError
        No http(s) address; the service cannot be reached, or breaks off.
    ForbiddenError
        The address is private (`PrivateAddressError`).
    TooLargeError
        More than `byte_limit` bytes.
    """
    end = time.monotonic() + (4 * timeout_seconds if total_timeout_seconds is None else total_timeout_seconds)
    with contextlib.ExitStack() as stack:
        client = stack.enter_context(HttpConnections(timeout_seconds))
        parts = {name: (path.name, stack.enter_context(path.open("rb"))) for name, path in (files or {}).items()}
        response = client.send_request(
            method,
            url,
            allow_private=allow_private,
            headers=headers,
            content=content,
            data=_group_form(form_fields),
            files=parts or None,
        )
        stack.callback(response.close)
        body = bytearray()
        for part in _read_parts(response, url):
            body += part
            if len(body) > byte_limit:
                raise TooLargeError(f"{_redact_url(url)} answers with more than {byte_limit:,} bytes")
            if time.monotonic() > end:
                raise UserError(f"{_redact_url(url)} does not come to an end", remedy="try again later")
    answer_headers = {name.lower(): value for name, value in response.headers.items()}
    return HttpAnswer(status=response.status_code, headers=answer_headers, body=bytes(body), url=url)


class NoAnswerError(UnreachableError):
    """It was reached, and has not begun to answer within the time it had."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamedAnswer:
    """An answer that is being read: any status; `headers` by lower-case name; `url` is where it was found in the end.

    Attributes
    ----------
    parts
        Of the body, unpacked, as they come.
    """

    status: int
    headers: Mapping[str, str]
    url: str
    parts: Iterator[bytes]

    @property
    def location(self) -> str:
        """Where it sends us, as a whole address; empty: nowhere."""
        return _resolve_location(self.url, self.headers.get("location", ""))


@contextlib.contextmanager
def stream_answer(
    method: str,
    url: str,
    *,
    form_fields: Sequence[tuple[str, str]] = (),
    content: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    authorization: str | None = None,
    timeout_seconds: float = 60.0,
    follow_redirects: bool = True,
    allow_private: bool = False,
    is_raw: bool = False,
    connections: HttpConnections | None = None,
    on_sent: Callable[[], object] | None = None,
) -> Iterator[StreamedAnswer]:
    """Ask a service, and read its answer as it comes.

    Parameters
    ----------
    method
        Of HTTP.
    url
        http or https.
    form_fields
        Of a POST. It is sent again to where 301, 302, 307 and 308 lead, for those mean another address of the same
        service; 303 is followed by GET.
    content
        The body, instead of `form_fields`; `headers` say of which type it is.
    headers
        Of the request.
    authorization
        The header ``Authorization``: for the host of `url` alone.
    timeout_seconds
        Without a byte for that long, it is given up.
    follow_redirects
        False: redirects are told, not followed.
    allow_private
        True lets addresses through that are not on the public internet.
    is_raw
        True: what is sent is asked for and given as it is, not unpacked.
    connections
        Connections that stay open for the next request; None: of its own.
    on_sent
        Called once the request is on its way, while the answer is waited for.

    Yields
    ------
    answer
        Status, headers and parts of the body.

    Raises
    ------
    UnreachableError
        No answer, or not to its end (while `parts` are read).
    UserError
        No http(s) address, too many redirects.
    ForbiddenError
        The address, or one that it leads to, is private (`PrivateAddressError`); it leads from https to http.
    """
    body: dict[str, Any] = {"data": _group_form(form_fields)} if content is None else {"content": content}
    first = split_address(url)
    start = url
    if on_sent is None:
        trace = None
    else:
        trace = partial(_call_when_sent, on_sent)
    with contextlib.ExitStack() as stack:
        if connections is None:
            client = stack.enter_context(HttpConnections(timeout_seconds))
        else:
            client = connections
        for _ in range(MAX_REDIRECTS + 1):
            request_headers = {**({"Accept-Encoding": "identity"} if is_raw else {}), **(headers or {})}
            parts = split_address(url)
            if authorization is not None and (parts.scheme, parts.netloc) == (first.scheme, first.netloc):
                request_headers["Authorization"] = authorization
            response = client.send_request(
                method, url, allow_private=allow_private, headers=request_headers, trace=trace, **body
            )
            answer_headers = {name.lower(): value for name, value in response.headers.items()}
            answer = StreamedAnswer(
                status=response.status_code,
                headers=answer_headers,
                url=url,
                parts=_read_parts(response, url, is_raw=is_raw),
            )
            if not (follow_redirects and response.is_redirect and answer.location):
                try:
                    yield answer
                finally:
                    response.close()
                return
            response.close()
            if parts.scheme == "https" and split_address(answer.location).scheme != "https":
                raise ForbiddenError(
                    f"{_redact_url(url)} leads from https to {_redact_url(answer.location)}",
                    remedy="use that address if you trust it",
                )
            if response.status_code == 303:
                method = "GET"
                body = {}
            url = answer.location
    raise UserError(f"{_redact_url(start)} leads on and on ({MAX_REDIRECTS} redirects)", remedy="give the last address")


def _call_when_sent(callback: Callable[[], object], name: str, _: object) -> None:
    if name == "http11.send_request_body.complete":
        callback()


class _DownloadAnswer:
    """The answer to a GET, redirects followed one by one, each address checked and then used (no second look-up)."""

    def __init__(
        self,
        url: str,
        timeout_seconds: float,
        allow_private: bool,
        total_timeout_seconds: float | None,
        max_attempts: int,
    ) -> None:
        self.url = url
        self.allow_private = allow_private
        self.total_timeout_seconds = total_timeout_seconds
        self.max_attempts = max_attempts
        self.is_late = False
        self.start_time = time.monotonic()
        self.timer = (
            threading.Timer(total_timeout_seconds, self._stop_request) if total_timeout_seconds is not None else None
        )
        self.client = HttpConnections(timeout_seconds)

    def __enter__(self) -> tuple[httpx.Response, str]:
        if self.timer is not None:
            self.timer.daemon = True
            self.timer.start()
        try:
            return retry_busy(
                self._follow_redirects,
                self.max_attempts,
                None if self.total_timeout_seconds is None else self.start_time + self.total_timeout_seconds,
            )
        except Exception as error:
            self._close(error)
            raise

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._close(error)

    def _stop_request(self) -> None:
        """End the request from outside: a server that sends a byte now and then never meets a time limit of reading."""
        self.is_late = True
        self.client.close()

    def _close(self, error: BaseException | None) -> None:
        if self.timer is not None:
            self.timer.cancel()
        self.client.close()
        # a reading's limit may strike first
        is_over = self.is_late or (
            self.total_timeout_seconds is not None and time.monotonic() - self.start_time >= self.total_timeout_seconds
        )
        if error is not None and is_over:
            message = f"{_redact_url(self.url)} has not sent everything within {self.total_timeout_seconds:g} s"
            raise UserError(message, remedy="try again later, or download it yourself and use the file") from error

    def _follow_redirects(self) -> tuple[httpx.Response, str]:
        url = self.url
        for _ in range(MAX_REDIRECTS + 1):
            response = self.client.send_request(
                "GET", url, allow_private=self.allow_private, trace=self._check_not_late
            )
            if response.is_redirect:
                response.close()
                target = _resolve_location(url, response.headers.get("location", ""))
                if split_address(url).scheme == "https" and split_address(target).scheme != "https":
                    raise ForbiddenError(
                        f"{_redact_url(url)} leads from https to {_redact_url(target)}",
                        remedy="use that address if you trust it",
                    )
                url = target
                continue
            if response.status_code != 200:
                response.close()
                message = f"{_redact_url(url)} answers {response.status_code} {response.reason_phrase}"
                remedy = "open it in a browser and look"
                if response.status_code in RETRYABLE_STATUSES:
                    raise ServiceBusyError(
                        message, parse_retry_after(response.headers.get("retry-after")), remedy=remedy
                    )
                raise UserError(message, remedy=remedy)
            return response, url
        raise UserError(
            f"{_redact_url(self.url)} leads on and on ({MAX_REDIRECTS} redirects)", remedy="give the last address"
        )

    def _check_not_late(self, name: str, _: object) -> None:
        """Stop what was to end before it had a connection, which `_stop_request` could not close."""
        import httpx  # noqa: PLC0415  (a fifth of a second, for those who ask elsewhere)

        if self.is_late and name == "http11.send_request_headers.started":
            raise httpx.ReadTimeout("its time was over before it was connected")


class HttpConnections:
    """Asks one address after the other.

    At the number that was checked, never by a second look-up, or through the proxy that is set for its host.

    Parameters
    ----------
    timeout_seconds
        Without a byte for that long, it is given up.
    """

    def __init__(self, timeout_seconds: float) -> None:
        self._timeout_seconds = timeout_seconds
        self._clients_by_proxy: dict[str | None, httpx.Client] = {}
        self._resolved_hosts: Cache[tuple[float, str, str | None, str | None]] = Cache(MAX_RESOLVED_HOSTS)
        self._last_target: tuple[str, str | None, httpx.URL, str] | None = None
        self._is_closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End what runs; nothing begins any more."""
        self._is_closed = True
        for client in list(self._clients_by_proxy.values()):
            client.close()

    def _find_client(self, proxy: str | None) -> httpx.Client:
        import httpx  # noqa: PLC0415  (a fifth of a second, for those who ask elsewhere)

        if proxy not in self._clients_by_proxy:
            limits = httpx.Timeout(self._timeout_seconds, connect=min(self._timeout_seconds, 15.0))
            client = httpx.Client(
                timeout=limits, follow_redirects=False, verify=_load_certificates(), trust_env=False, proxy=proxy
            )
            if (
                self._clients_by_proxy.setdefault(proxy, client) is not client or self._is_closed
            ):  # another thread was first
                client.close()
        return self._clients_by_proxy[proxy]

    def _resolve_cached(self, url: str, allow_private: bool) -> tuple[str, str | None, str | None]:
        """Find the number of a host, and its proxy: who asks for page after page need not look up each time."""
        cache_key = (*split_address(url)[:2], allow_private)  # scheme and host
        resolved = self._resolved_hosts.find(cache_key)
        if resolved is None or time.monotonic() - resolved[0] > RESOLUTION_LIFETIME_SECONDS:
            host, address = resolve_url(url, allow_private=allow_private)
            if address is None:
                proxy = _find_proxy(url)
            else:
                proxy = None
            self._resolved_hosts.store(cache_key, resolved := (time.monotonic(), host, address, proxy))
        return resolved[1:]

    def send_request(
        self,
        method: str,
        url: str,
        *,
        allow_private: bool,
        headers: Mapping[str, str] | None = None,
        trace: Callable[[str, object], None] | None = None,
        **body: Any,
    ) -> httpx.Response:
        """Ask, and read the beginning of the answer.

        Parameters
        ----------
        method, url, allow_private, headers
            As of `send_request_once`.
        trace
            Called with each step of the connection.
        body
            As of httpx: `content`, `data`, `files`.

        Returns
        -------
        response
            Its body is not read yet.

        Raises
        ------
        UserError
            As of `send_request_once`.
        ServiceBusyError
            Its host is asked by too many of us (`set_host_rates`).
        NoAnswerError
            It has not begun to answer in time.
        UnreachableError
            It cannot be reached.
        """
        import httpx  # noqa: PLC0415  (a fifth of a second, for those who ask elsewhere)

        host, address, proxy = self._resolve_cached(url, allow_private)
        _rate_limiter.wait_for_turn(host, self._timeout_seconds)
        request_headers = {**_DEFAULT_HEADERS, **(headers or {})}
        extensions: dict[str, Any] = {} if trace is None else {"trace": trace}
        last_target = self._last_target
        if last_target is None or last_target[:2] != (url, address):  # pages are often asked for at one address
            parsed_url = _parse_url(url)
            if address is None:
                target = parsed_url
            else:
                target = parsed_url.copy_with(host=address)
            last_target = self._last_target = (url, address, target, parsed_url.netloc.decode())
        target = last_target[2]
        if address is not None:
            request_headers["Host"] = last_target[3]
            extensions["sni_hostname"] = host
        try:
            client = self._find_client(proxy)
            request = client.build_request(method, target, headers=request_headers, extensions=extensions, **body)
            return client.send(
                request,
                stream=True,
            )
        except httpx.TimeoutException as error:
            kind = NoAnswerError if isinstance(error, httpx.ReadTimeout) else UnreachableError
            raise kind(f"{_redact_url(url)} does not answer in time", remedy="try again later") from error
        except httpx.TransportError as error:
            if "CERTIFICATE_VERIFY_FAILED" in str(error):  # which no pause mends
                raise UserError(
                    f"{_redact_url(url)} is not believed: {error}", remedy=UNTRUSTED_CERTIFICATE_REMEDY
                ) from error
            raise UnreachableError(
                f"{_redact_url(url)} cannot be reached: {error}", remedy="look at the address and the network"
            ) from error


def _group_form(form_fields: Sequence[tuple[str, str]]) -> dict[str, list[str]] | None:
    """Group the parameters of a form as httpx takes them."""
    return {name: [value for other, value in form_fields if other == name] for name, _ in form_fields} or None


@cache
def _load_certificates() -> ssl.SSLContext:
    """Read the list of those who sign certificates once: it takes a tenth of a second."""
    import httpx  # noqa: PLC0415  (a fifth of a second, for those who ask elsewhere)

    return httpx.create_ssl_context()


def _resolve_location(url: str, target: str) -> str:
    """Resolve where an answer leads to a whole address; empty if it leads nowhere."""
    import httpx  # noqa: PLC0415  (a fifth of a second, for those who ask elsewhere)

    try:
        if target:
            return str(httpx.URL(urljoin(url, target)))
        return ""
    except (ValueError, httpx.InvalidURL) as error:
        raise UserError(
            f"{_redact_url(url)} leads to {target[:80]!r}, which is no address", remedy="ask its owner"
        ) from error


def resolve_url(url: str, *, allow_private: bool = False) -> tuple[str, str | None]:
    """Check an address and find the number behind its name.

    Parameters
    ----------
    url
        http or https.
    allow_private
        True lets addresses through that are not on the public internet.

    Returns
    -------
    host, address
        `address` is None where a proxy is in use: then the proxy does the looking up.

    Raises
    ------
    UserError
        Not http(s), no host, an unknown name.
    ForbiddenError
        Any of its numbers is not on the public internet (`PrivateAddressError`).
    PrivateAddressError
        Any of its numbers is not on the public internet.
    """
    _parse_url(url)
    parts = split_address(url)
    port = split_address(url).port
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise UserError(f"{_redact_url(url)} is no http or https address", remedy="https://host/path")
    if parts.username or parts.password:
        raise UserError("an address must not hold a password", remedy="download the file yourself")
    is_proxied = _find_proxy(url) is not None
    number = resolve_host(
        parts.hostname,
        port or (443 if parts.scheme == "https" else 80),
        allow_private=allow_private,
        is_proxied=is_proxied and not _is_ip_literal(parts.hostname),
    )
    return parts.hostname, None if is_proxied else number


def _parse_url(url: str) -> httpx.URL:
    """Parse an address."""
    import httpx  # noqa: PLC0415  (a fifth of a second, for those who ask elsewhere)

    try:
        _ = urlsplit(url).port
        return httpx.URL(url)
    except (ValueError, httpx.InvalidURL) as error:  # http://[
        raise UserError(f"{url[:80]!r} is no http or https address", remedy="https://host/path") from error


def resolve_host(host: str, port: int, *, allow_private: bool = False, is_proxied: bool = False) -> str | None:
    """Find the number behind a name, and check that it may be asked.

    Parameters
    ----------
    host, port
        Of a server.
    allow_private
        True lets numbers through that are not on the public internet.
    is_proxied
        True: a name that is not known here is one that a proxy looks up.

    Returns
    -------
    number
        Of IPv4 or IPv6; None: a proxy knows.

    Raises
    ------
    UserError
        An unknown name.
    PrivateAddressError
        Any of its numbers is not on the public internet.
    """
    try:
        address_infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError, ValueError) as error:
        if is_proxied:
            return None
        raise UserError(f"no machine is called {host}", remedy="look at the address and the network") from error
    numbers = [str(item[4][0]).partition("%")[0] for item in address_infos]
    private = [number for number in numbers if not _is_public(number)]
    if private and not allow_private:
        if host.strip("[]") == private[0]:
            host_text = host
        else:
            host_text = f"{host} ({private[0]})"
        raise PrivateAddressError(
            f"{host_text} is not on the public internet",
            remedy="download the file yourself, or say `allow_private = true` in hven.toml",
        )
    return numbers[0]


GLOBAL_UNICAST_NETWORK = ipaddress.IPv6Network(
    "2000::/3"
)  # all that has been given out of IPv6 (RFC 4291); what lies beyond leads inwards, or to IPv4 in disguise
NAT64_NETWORK = ipaddress.IPv6Network("64:ff9b::/96")  # an address of IPv4 behind a translator (RFC 6052)


def _is_public(address_text: str) -> bool:
    address = ipaddress.ip_address(address_text)
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is None and address in NAT64_NETWORK:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return _is_public(str(inner))
        return address in GLOBAL_UNICAST_NETWORK and address.is_global and address.teredo is None
    return address.is_global and not address.is_multicast


def _is_ip_literal(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _find_proxy(url: str) -> str | None:
    """Look up the proxy that the environment (or the system) names for an address (`HTTPS_PROXY`, `ALL_PROXY`, not for hosts of `NO_PROXY`)."""
    parts = split_address(url)
    proxies = getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy or proxy_bypass(parts.netloc.rpartition("@")[2]):
        return None
    if "://" in proxy:
        return proxy
    return f"http://{proxy}"


def _read_parts(response: httpx.Response, url: str, *, is_raw: bool = False) -> Iterator[bytes]:
    import httpx  # noqa: PLC0415  (a fifth of a second, for those who ask elsewhere)

    content_encoding = response.headers.get("content-encoding", "identity").strip().lower()
    supported_encodings = {
        "identity",
        "gzip",
        "x-gzip",
        "deflate",
        "",
    }  # others unfold a thousandfold and more in one step
    if not is_raw and content_encoding not in supported_encodings:
        raise SourceError(
            f"{_redact_url(url)} is sent with the encoding {content_encoding!r:.40}, which was not asked for",
            remedy="ask its owner",
        )
    try:
        yield from response.iter_raw() if is_raw or content_encoding in {"identity", ""} else response.iter_bytes()
    except httpx.TimeoutException as error:
        raise UnreachableError(f"{_redact_url(url)} stopped sending", remedy="try again later") from error
    except httpx.HTTPError as error:
        raise UnreachableError(f"{_redact_url(url)} broke off: {error}", remedy="try again") from error


def _choose_file_name(response: httpx.Response, url: str) -> str:
    match = re.search(
        r"filename\*?=(?:UTF-8'')?\"?([^\";]+)", response.headers.get("content-disposition", ""), re.IGNORECASE
    )
    if match:
        raw = unquote(match.group(1))
    else:
        raw = unquote(split_address(url).path)
    name = _UNSAFE_NAME_PATTERN.sub("_", raw.replace("\\", "/").rsplit("/", 1)[-1]).strip("._")[:120] or "data"
    ending = _EXTENSIONS_BY_MEDIA_TYPE.get(
        response.headers.get("content-type", "").partition(";")[0].strip().lower(), ""
    )
    if "." in name or not ending:
        return name
    return name + ending


def _redact_url(url: str) -> str:
    """Write an address without its password and query (they may hold secrets)."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return repr(url[:80])
    if parts.hostname:
        return f"{parts.scheme}://{parts.hostname or ''}{f':{parts.port}' if _has_port(url) else ''}{parts.path}"[:200]
    return repr(url[:80])


def _has_port(url: str) -> bool:
    try:
        return urlsplit(url).port is not None
    except ValueError:
        return False
