"""Send HTTP requests to other servers: with an SSRF guard, limits on size and redirects, and clear errors.

Hven has no other outward HTTP client. `download_file` writes a file, `fetch_bytes` returns a small answer,
`send_request_once` talks to a service (POST, DELETE, any status), and `stream_answer` reads an answer as it comes.
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

from hven.model import LruCache, split_address
from hven.model.errors import ForbiddenError, SourceError, StorageError, TooLargeError, UserError
from hven.sources._rate_limiting import (
    RETRYABLE_STATUSES,
    HostRateLimiter,
    ServiceBusyError,
    parse_retry_after,
    retry_with_backoff,
)

# callers import these from this module
from hven.sources._rate_limiting import RequestCeilingError as RequestCeilingError  # noqa: PLC0414
from hven.sources._rate_limiting import UnreachableError as UnreachableError  # noqa: PLC0414

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import httpx

MAX_REDIRECTS = 5
UNTRUSTED_CERTIFICATE_REMEDY = (
    "ask the operators of the server to renew the certificate; if your institute's own authority issued the "
    "certificate, set SSL_CERT_FILE in the environment to a file that contains the certificates of this authority and "
    "of the public authorities"
)
RESOLUTION_LIFETIME_SECONDS = 30.0  # the address of a host is looked up again after this time
MAX_RESOLVED_HOSTS = 1_000  # addresses of at most this many hosts are kept
_DEFAULT_HEADERS = {"Accept-Encoding": "gzip, deflate"}
_DEFAULT_PORTS = {"http": 80, "https": 443}
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


def set_host_rate_limits(requests_per_second: Mapping[str, float], directory: Path | None) -> None:
    """Set how often hosts may be asked by all threads of this process, and by all processes with this directory.

    Parameters
    ----------
    requests_per_second
        Host -> requests a second. Other hosts have no limit, except SIMBAD (5) and NED (1).
    directory
        Directory in which processes share their turns; None: this process counts alone.
    """
    global _rate_limiter  # noqa: PLW0603  (everything in a process sends requests)
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
    """Download a file into `directory`; an unfinished file never stands under its name.

    Parameters
    ----------
    url
        Address of the file, http or https.
    directory
        Directory in which the file is put; it is made if needed.
    byte_limit
        Bytes of the file at most.
    timeout_seconds
        Longest time without any byte.
    total_timeout_seconds
        Longest time for everything, redirects included; None: no limit while bytes come.
    allow_private
        True allows addresses that are not on the public internet (this machine, the institute's own network).
    on_progress
        Called with the bytes so far and, if the server tells it, the number of bytes of the whole file.
    max_attempts
        How often a busy server (429, 502, 503, 504) is asked. The pause is what the server says, or grows with each
        attempt, within `total_timeout_seconds` (or a minute).

    Returns
    -------
    Path
        The file, with the name that the server gives or the last part of the address.

    Raises
    ------
    UserError
        No http(s) address, a name without an address, or an answer other than 200.
    ForbiddenError
        The address, or one to which it redirects, is private (`PrivateAddressError`), or https leads to http.
    TooLargeError
        More than `byte_limit` bytes.
    StorageError
        The disk is full.
    SourceError
        The answer broke off, or has an encoding that was not asked for.
    """
    answer = _DownloadAnswer(
        url,
        timeout_seconds=timeout_seconds,
        allow_private=allow_private,
        total_timeout_seconds=total_timeout_seconds,
        max_attempts=max_attempts,
    )
    with answer as (response, final):
        length = response.headers.get("content-length", "")
        if length.isdigit() and "content-encoding" not in response.headers:
            expected = int(length)
        else:
            expected = None
        if expected is not None and expected > byte_limit:
            raise TooLargeError(
                f"{_redact_url(url)} has {expected:,} bytes; the limit is {byte_limit:,}",
                remedy="download the file yourself and use the local copy",
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
                            f"{_redact_url(url)} is larger than {byte_limit:,} bytes",
                            remedy="download the file yourself and use the local copy",
                        )
                    file.write(part)
                    if on_progress is not None:
                        on_progress(received_bytes, expected)
            if expected is not None and received_bytes < expected:
                raise SourceError(
                    f"the response from {_redact_url(url)} ended after {received_bytes:,} of {expected:,} bytes",
                    remedy="try again",
                )
            Path(unfinished).chmod(0o644)
            Path(unfinished).replace(path)
            unfinished = None
        except OSError as error:
            raise StorageError(
                f"{path.name} cannot be written: {error.strerror}",
                remedy=f"check the free space and the permissions of {directory}",
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
    """Fetch a small answer into memory. It raises the same errors as `download_file`.

    Parameters
    ----------
    url
        Address, http or https.
    byte_limit
        Bytes of the answer at most, decompressed.
    timeout_seconds
        Longest time without any byte.
    total_timeout_seconds
        Longest time for everything, redirects included; None: no limit while bytes come.
    allow_private
        True allows addresses that are not on the public internet.
    max_attempts
        As for `download_file`.

    Returns
    -------
    body
        The answer, decompressed.

    Raises
    ------
    TooLargeError
        It has more than `byte_limit` bytes.
    """
    answer = _DownloadAnswer(
        url,
        timeout_seconds=timeout_seconds,
        allow_private=allow_private,
        total_timeout_seconds=total_timeout_seconds,
        max_attempts=max_attempts,
    )
    with answer as (response, _):
        content = bytearray()
        for part in _read_parts(response, url):
            content += part
            if len(content) > byte_limit:
                raise TooLargeError(f"{_redact_url(url)} returned more than {byte_limit:,} bytes")
        return bytes(content)


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpAnswer:
    """The answer of a service, with any status.

    Attributes
    ----------
    headers
        Headers by lower-case name.
    body
        Decompressed.
    url
        The address that was asked.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str

    @property
    def location(self) -> str:
        """The whole address to which the answer redirects; empty: it redirects nowhere."""
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
    """Send one request to a service. Redirects are returned, not followed, and every status is an answer.

    Parameters
    ----------
    method
        HTTP method.
    url
        Address, http or https.
    form_fields, files
        Parameters of a POST in order, and files by the name of their part.
    content
        Whole body, instead of these; `headers` state its type.
    headers
        Headers of the request.
    timeout_seconds, total_timeout_seconds
        Longest time without a byte, and for the whole answer (None: four times `timeout_seconds`).
    byte_limit
        Bytes of the answer at most.
    allow_private
        True allows addresses that are not on the public internet.

    Returns
    -------
    answer
        Status, headers and body of the answer.

    Raises
    ------
    UserError
        No http(s) address, or the service cannot be reached or breaks off.
    ForbiddenError
        The address is private (`PrivateAddressError`).
    TooLargeError
        More than `byte_limit` bytes.
    """
    if total_timeout_seconds is None:
        total_timeout_seconds = 4 * timeout_seconds
    end = time.monotonic() + total_timeout_seconds
    with contextlib.ExitStack() as stack:
        client = stack.enter_context(HttpConnections(timeout_seconds))
        file_parts: dict[str, tuple[str, Any]] = {}
        for name, path in (files or {}).items():
            file_parts[name] = (path.name, stack.enter_context(path.open("rb")))
        response = client.send_request(
            method,
            url,
            allow_private=allow_private,
            headers=headers,
            content=content,
            data=_group_form_values(form_fields),
            files=file_parts or None,
        )
        stack.callback(response.close)
        body = bytearray()
        for part in _read_parts(response, url):
            body += part
            if len(body) > byte_limit:
                raise TooLargeError(f"{_redact_url(url)} returned more than {byte_limit:,} bytes")
            if time.monotonic() > end:
                message = f"the response from {_redact_url(url)} was not complete within the time limit"
                raise UserError(message, remedy="try again later")
    return HttpAnswer(status=response.status_code, headers=_collect_headers(response), body=bytes(body), url=url)


def _collect_headers(response: httpx.Response) -> dict[str, str]:
    """Collect the headers of an answer by lower-case name."""
    return {name.lower(): value for name, value in response.headers.items()}


class NoAnswerError(UnreachableError):
    """The server was reached, but did not begin to answer within the time limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamedAnswer:
    """An answer that is being read, with any status.

    Attributes
    ----------
    headers
        Headers by lower-case name.
    url
        The address after all redirects.
    parts
        Parts of the body as they come, decompressed.
    """

    status: int
    headers: Mapping[str, str]
    url: str
    parts: Iterator[bytes]

    @property
    def location(self) -> str:
        """The whole address to which the answer redirects; empty: it redirects nowhere."""
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
    """Send a request to a service, and read its answer as it comes.

    Parameters
    ----------
    method
        HTTP method.
    url
        Address, http or https.
    form_fields
        Parameters of a POST. They are sent again to the target of 301, 302, 307 and 308, for these mean another
        address of the same service; 303 is followed by GET.
    content
        Whole body, instead of `form_fields`; `headers` state its type.
    headers
        Headers of the request.
    authorization
        Header ``Authorization``; it is sent to the host of `url` only.
    timeout_seconds
        Longest time without a byte.
    follow_redirects
        False: redirects are returned, not followed.
    allow_private
        True allows addresses that are not on the public internet.
    is_raw
        True: the answer is requested without compression, and never decompressed.
    connections
        Connections that stay open for the next request; None: the request opens its own.
    on_sent
        Called as soon as the request is sent, before the answer is there.

    Yields
    ------
    answer
        Status, headers and parts of the body.

    Raises
    ------
    UnreachableError
        No answer, or an answer that breaks off (while `parts` are read).
    UserError
        No http(s) address, or too many redirects.
    ForbiddenError
        The address, or one to which it redirects, is private (`PrivateAddressError`), or https leads to http.
    """
    body: dict[str, Any] = {"content": content}
    if content is None:
        body = {"data": _group_form_values(form_fields)}
    first = split_address(url)
    start = url
    if on_sent is None:
        trace = None
    else:
        trace = partial(_call_when_body_sent, on_sent)
    with contextlib.ExitStack() as stack:
        if connections is None:
            client = stack.enter_context(HttpConnections(timeout_seconds))
        else:
            client = connections
        for _ in range(MAX_REDIRECTS + 1):
            request_headers = dict(headers or {})
            if is_raw:
                request_headers = {"Accept-Encoding": "identity", **request_headers}
            parts = split_address(url)
            if authorization is not None and (parts.scheme, parts.netloc) == (first.scheme, first.netloc):
                request_headers["Authorization"] = authorization
            response = client.send_request(
                method, url, allow_private=allow_private, headers=request_headers, trace=trace, **body
            )
            body_parts = _read_parts(response, url, is_raw=is_raw)
            answer = StreamedAnswer(
                status=response.status_code, headers=_collect_headers(response), url=url, parts=body_parts
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
                    f"{_redact_url(url)} redirects from https to {_redact_url(answer.location)}",
                    remedy="use the second address if you trust it",
                )
            if response.status_code == 303:
                method = "GET"
                body = {}
            url = answer.location
    raise UserError(
        f"{_redact_url(start)} redirects too many times ({MAX_REDIRECTS} redirects)",
        remedy="write the address at which the redirects end",
    )


def _call_when_body_sent(callback: Callable[[], object], event_name: str, _: object) -> None:
    if event_name == "http11.send_request_body.complete":
        callback()


class _DownloadAnswer:
    """The answer to a GET, with redirects followed one by one.

    Each address is checked and then used, without a second look-up.
    """

    def __init__(
        self,
        url: str,
        *,
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
        self.timer: threading.Timer | None = None
        if total_timeout_seconds is not None:
            self.timer = threading.Timer(total_timeout_seconds, self._stop_request)
        self.client = HttpConnections(timeout_seconds)

    def __enter__(self) -> tuple[httpx.Response, str]:
        if self.timer is not None:
            self.timer.daemon = True
            self.timer.start()
        end_time = None
        if self.total_timeout_seconds is not None:
            end_time = self.start_time + self.total_timeout_seconds
        try:
            return retry_with_backoff(self._follow_redirects, self.max_attempts, end_time)
        except Exception as error:
            self._close_and_explain_error(error)
            raise

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._close_and_explain_error(error)

    def _stop_request(self) -> None:
        """End the request from outside: the time limit between bytes never ends a server that sends them slowly."""
        self.is_late = True
        self.client.close()

    def _close_and_explain_error(self, error: BaseException | None) -> None:
        if self.timer is not None:
            self.timer.cancel()
        self.client.close()
        is_over = self.is_late
        if self.total_timeout_seconds is not None:  # the limit between bytes may strike before the timer does
            elapsed_seconds = time.monotonic() - self.start_time
            is_over = is_over or elapsed_seconds >= self.total_timeout_seconds
        if error is not None and is_over:
            message = f"{_redact_url(self.url)} did not send the whole response within {self.total_timeout_seconds:g} s"
            raise UserError(
                message, remedy="try again later, or download the file yourself and use the local copy"
            ) from error

    def _follow_redirects(self) -> tuple[httpx.Response, str]:
        url = self.url
        for _ in range(MAX_REDIRECTS + 1):
            response = self.client.send_request("GET", url, allow_private=self.allow_private, trace=self._raise_if_late)
            if response.is_redirect:
                response.close()
                target = _resolve_location(url, response.headers.get("location", ""))
                if split_address(url).scheme == "https" and split_address(target).scheme != "https":
                    raise ForbiddenError(
                        f"{_redact_url(url)} redirects from https to {_redact_url(target)}",
                        remedy="use the second address if you trust it",
                    )
                url = target
                continue
            if response.status_code != 200:
                response.close()
                message = f"{_redact_url(url)} returned status {response.status_code} {response.reason_phrase}"
                remedy = "open the address in a browser to see what it returns"
                if response.status_code in RETRYABLE_STATUSES:
                    raise ServiceBusyError(
                        message, parse_retry_after(response.headers.get("retry-after")), remedy=remedy
                    )
                raise UserError(message, remedy=remedy)
            return response, url
        raise UserError(
            f"{_redact_url(self.url)} redirects too many times ({MAX_REDIRECTS} redirects)",
            remedy="write the address at which the redirects end",
        )

    def _raise_if_late(self, event_name: str, _: object) -> None:
        """Stop a request whose time ends before it has a connection, for `_stop_request` cannot close it."""
        import httpx  # noqa: PLC0415  (it takes a fifth of a second, which most commands can save)

        if self.is_late and event_name == "http11.send_request_headers.started":
            raise httpx.ReadTimeout("the time limit was exceeded before a connection was established")


class HttpConnections:
    """Sends requests one after the other.

    Each connection goes to the address that was checked, never to that of a second look-up, or through the proxy that
    is set for the host.

    Parameters
    ----------
    timeout_seconds
        Longest time without a byte.
    """

    def __init__(self, timeout_seconds: float) -> None:
        self._timeout_seconds = timeout_seconds
        self._clients_by_proxy: dict[str | None, httpx.Client] = {}
        self._resolved_hosts: LruCache[tuple[float, str, str | None, str | None]] = LruCache(MAX_RESOLVED_HOSTS)
        self._last_target: tuple[str, str | None, httpx.URL, str] | None = None
        self._is_closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; requests that run end, and no other one begins."""
        self._is_closed = True
        for client in list(self._clients_by_proxy.values()):
            client.close()

    def _find_client(self, proxy: str | None) -> httpx.Client:
        import httpx  # noqa: PLC0415  (it takes a fifth of a second, which most commands can save)

        if proxy not in self._clients_by_proxy:
            limits = httpx.Timeout(self._timeout_seconds, connect=min(self._timeout_seconds, 15.0))
            client = httpx.Client(
                timeout=limits, follow_redirects=False, verify=_load_tls_context(), trust_env=False, proxy=proxy
            )
            first_client = self._clients_by_proxy.setdefault(proxy, client)
            if first_client is not client or self._is_closed:  # another thread was first
                client.close()
        return self._clients_by_proxy[proxy]

    def _resolve_host_and_proxy(self, url: str, allow_private: bool) -> tuple[str, str | None, str | None]:
        """Find the address and the proxy of a host; they are kept, for clients ask a host for page after page."""
        cache_key = (*split_address(url)[:2], allow_private)  # scheme and host
        resolved = self._resolved_hosts.find(cache_key)
        if resolved is None or time.monotonic() - resolved[0] > RESOLUTION_LIFETIME_SECONDS:
            host, address = resolve_url(url, allow_private=allow_private)
            if address is None:
                proxy = _find_proxy(url)
            else:
                proxy = None
            resolved = (time.monotonic(), host, address, proxy)
            self._resolved_hosts.store(cache_key, resolved)
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
        """Send a request, and read the beginning of the answer.

        Parameters
        ----------
        method, url, allow_private, headers
            As for `send_request_once`.
        trace
            Called with each step of the connection.
        body
            As for httpx: `content`, `data`, `files`.

        Returns
        -------
        response
            The answer; its body is not read yet.

        Raises
        ------
        UserError
            As for `send_request_once`.
        ServiceBusyError
            Hven sends too many requests to the host (`set_host_rate_limits`).
        NoAnswerError
            The server did not begin to answer in time.
        UnreachableError
            The server cannot be reached.
        """
        import httpx  # noqa: PLC0415  (it takes a fifth of a second, which most commands can save)

        host, address, proxy = self._resolve_host_and_proxy(url, allow_private)
        _rate_limiter.wait_for_turn(host, self._timeout_seconds)
        request_headers = {**_DEFAULT_HEADERS, **(headers or {})}
        extensions: dict[str, Any] = {}
        if trace is not None:
            extensions["trace"] = trace
        last_target = self._last_target
        if last_target is None or last_target[:2] != (url, address):  # pages often have the same address
            parsed_url = _parse_url(url)
            target = parsed_url
            if address is not None:
                target = parsed_url.copy_with(host=address)
            last_target = (url, address, target, parsed_url.netloc.decode())
            self._last_target = last_target
        target = last_target[2]
        if address is not None:
            request_headers["Host"] = last_target[3]
            extensions["sni_hostname"] = host
        try:
            client = self._find_client(proxy)
            request = client.build_request(method, target, headers=request_headers, extensions=extensions, **body)
            return client.send(request, stream=True)
        except httpx.ReadTimeout as error:
            raise NoAnswerError(f"{_redact_url(url)} did not respond in time", remedy="try again later") from error
        except httpx.TimeoutException as error:
            raise UnreachableError(f"{_redact_url(url)} did not respond in time", remedy="try again later") from error
        except httpx.TransportError as error:
            if "CERTIFICATE_VERIFY_FAILED" in str(error):  # another attempt would not help
                raise UserError(
                    f"the certificate of {_redact_url(url)} is not trusted: {error}",
                    remedy=UNTRUSTED_CERTIFICATE_REMEDY,
                ) from error
            raise UnreachableError(
                f"{_redact_url(url)} cannot be reached: {error}", remedy="check the address and the network"
            ) from error


def is_timeout(error: BaseException) -> bool:
    """Return whether a request failed because its server did not respond in time.

    Parameters
    ----------
    error
        Error of a function of this module.
    """
    import httpx  # noqa: PLC0415  (it takes a fifth of a second, which most commands can save)

    return isinstance(error.__cause__, httpx.TimeoutException)


def _group_form_values(form_fields: Sequence[tuple[str, str]]) -> dict[str, list[str]] | None:
    """Group the parameters of a form as httpx takes them; None: there are none."""
    values_by_name: dict[str, list[str]] = {}
    for name, value in form_fields:
        values_by_name.setdefault(name, []).append(value)
    return values_by_name or None


@cache
def _load_tls_context() -> ssl.SSLContext:
    """Load the certificates of the authorities once: it takes a tenth of a second."""
    import httpx  # noqa: PLC0415  (it takes a fifth of a second, which most commands can save)

    return httpx.create_ssl_context()


def _resolve_location(url: str, target: str) -> str:
    """Resolve the target of a redirect to a whole address; empty if there is none."""
    import httpx  # noqa: PLC0415  (it takes a fifth of a second, which most commands can save)

    if not target:
        return ""
    try:
        return str(httpx.URL(urljoin(url, target)))
    except (ValueError, httpx.InvalidURL) as error:
        raise UserError(
            f"{_redact_url(url)} redirects to {target[:80]!r}, which is not an address",
            remedy="report this to the operators of the server",
        ) from error


def resolve_url(url: str, *, allow_private: bool = False) -> tuple[str, str | None]:
    """Check an address, and look up the IP address of its host.

    Parameters
    ----------
    url
        Address, http or https.
    allow_private
        True allows addresses that are not on the public internet.

    Returns
    -------
    host, address
        Host and its IP address; `address` is None where a proxy looks it up.

    Raises
    ------
    UserError
        The address is not http(s), has no host, or has an unknown one.
    ForbiddenError
        An IP address of the host is not on the public internet (`PrivateAddressError`).
    PrivateAddressError
        An IP address of the host is not on the public internet.
    """
    _parse_url(url)
    parts = split_address(url)
    port = parts.port
    if not port:
        port = _DEFAULT_PORTS.get(parts.scheme, 80)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise UserError(
            f"{_redact_url(url)} is not an http or https address", remedy="write an address such as https://host/path"
        )
    if parts.username or parts.password:
        raise UserError("an address must not contain a password", remedy="download the file yourself")
    is_proxied = _find_proxy(url) is not None
    number = resolve_host(
        parts.hostname,
        port,
        allow_private=allow_private,
        is_proxied=is_proxied and not _is_ip_literal(parts.hostname),
    )
    if is_proxied:
        return parts.hostname, None
    return parts.hostname, number


def _parse_url(url: str) -> httpx.URL:
    """Parse an address; refuse one that is not an address."""
    import httpx  # noqa: PLC0415  (it takes a fifth of a second, which most commands can save)

    try:
        _ = urlsplit(url).port
        return httpx.URL(url)
    except (ValueError, httpx.InvalidURL) as error:  # http://[
        raise UserError(
            f"{url[:80]!r} is not an http or https address", remedy="write an address such as https://host/path"
        ) from error


def resolve_host(host: str, port: int, *, allow_private: bool = False, is_proxied: bool = False) -> str | None:
    """Look up the IP address of a host, and check that requests to it are allowed.

    Parameters
    ----------
    host, port
        Host and port of a server.
    allow_private
        True allows addresses that are not on the public internet.
    is_proxied
        True: a proxy looks up a host that is unknown here.

    Returns
    -------
    number
        Address of IPv4 or IPv6; None: a proxy looks it up.

    Raises
    ------
    UserError
        The host is unknown.
    PrivateAddressError
        An IP address of the host is not on the public internet.
    """
    try:
        address_infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError, ValueError) as error:
        if is_proxied:
            return None
        raise UserError(f"there is no host {host}", remedy="check the address and the network") from error
    numbers = [_get_ip_address(address_info) for address_info in address_infos]
    private = [number for number in numbers if not _is_public(number)]
    if private and not allow_private:
        host_text = f"{host} ({private[0]})"
        if host.strip("[]") == private[0]:
            host_text = host
        raise PrivateAddressError(
            f"{host_text} is not on the public internet",
            remedy="download the file yourself, or write `allow_private = true` in hven.toml",
        )
    return numbers[0]


def _get_ip_address(address_info: tuple[Any, ...]) -> str:
    """Return the IP address in an answer of getaddrinfo, without its zone."""
    socket_address = address_info[4]
    return str(socket_address[0]).partition("%")[0]


# all of IPv6 that is allocated (RFC 4291); addresses beyond lead inwards, or to IPv4 in disguise
GLOBAL_UNICAST_NETWORK = ipaddress.IPv6Network("2000::/3")
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
    """Look up the proxy that the environment (or the system) names for an address.

    That is `HTTPS_PROXY` or `ALL_PROXY`, but none for hosts of `NO_PROXY`.
    """
    from urllib.request import getproxies, proxy_bypass  # noqa: PLC0415  (it loads TLS, which most commands can save)

    parts = split_address(url)
    proxies = getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy or proxy_bypass(parts.netloc.rpartition("@")[2]):
        return None
    if "://" in proxy:
        return proxy
    return f"http://{proxy}"


def _read_parts(response: httpx.Response, url: str, *, is_raw: bool = False) -> Iterator[bytes]:
    import httpx  # noqa: PLC0415  (it takes a fifth of a second, which most commands can save)

    content_encoding = response.headers.get("content-encoding", "identity").strip().lower()
    # one step of other encodings can expand a thousandfold and more
    supported_encodings = {"identity", "gzip", "x-gzip", "deflate", ""}
    if not is_raw and content_encoding not in supported_encodings:
        raise SourceError(
            f"{_redact_url(url)} has the content encoding {content_encoding!r:.40}, which Hven did not request",
            remedy="report this to the operators of the server",
        )
    is_uncompressed = content_encoding in {"identity", ""}
    try:
        if is_raw or is_uncompressed:
            yield from response.iter_raw()
        else:
            yield from response.iter_bytes()
    except httpx.TimeoutException as error:
        raise UnreachableError(f"{_redact_url(url)} stopped sending data", remedy="try again later") from error
    except httpx.HTTPError as error:
        raise UnreachableError(f"the connection to {_redact_url(url)} was lost: {error}", remedy="try again") from error


def _choose_file_name(response: httpx.Response, url: str) -> str:
    disposition = response.headers.get("content-disposition", "")
    match = re.search(r"filename\*?=(?:UTF-8'')?\"?([^\";]+)", disposition, re.IGNORECASE)
    if match:
        raw = unquote(match.group(1))
    else:
        raw = unquote(split_address(url).path)
    last_part = raw.replace("\\", "/").rsplit("/", 1)[-1]
    safe_part = _UNSAFE_NAME_PATTERN.sub("_", last_part)
    name = safe_part.strip("._")[:120] or "data"
    content_type = response.headers.get("content-type", "")
    media_type = content_type.partition(";")[0].strip().lower()
    ending = _EXTENSIONS_BY_MEDIA_TYPE.get(media_type, "")
    if "." in name or not ending:
        return name
    return name + ending


def _redact_url(url: str) -> str:
    """Write an address without its password and query (they may hold secrets)."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return repr(url[:80])
    if not parts.hostname:
        return repr(url[:80])
    port = ""
    if _has_port(url):
        port = f":{parts.port}"
    return f"{parts.scheme}://{parts.hostname}{port}{parts.path}"[:200]


def _has_port(url: str) -> bool:
    try:
        return urlsplit(url).port is not None
    except ValueError:
        return False
