"""The only outward HTTP client: SSRF guard, size limit, redirect limit, clear errors.

`download` makes a file, `fetch` gives a small answer, `exchange` speaks with a service (POST, DELETE, any status),
`stream` reads what it says as it comes.
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
from hven.model.errors import Forbidden, SourceError, StorageError, TooLarge, UserError
from hven.sources._turns import MENDED, Busy, Turns, after, again
from hven.sources._turns import Unreachable as Unreachable  # noqa: PLC0414  (whoever asks knows it by this module)

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import httpx

REDIRECTS = 5
UNTRUSTED = "its owner renews the certificate; an institute's own authority is trusted where SSL_CERT_FILE, in the environment, names a file with it and the others"
FRESH = 30.0  # seconds for which a host is found where it was
HOSTS = 1_000  # of which that is known
_ASKED = {"Accept-Encoding": "gzip, deflate"}
_NAME = re.compile(r"[^A-Za-z0-9._+-]+")
_ENDINGS = {
    "text/csv": ".csv", "text/tab-separated-values": ".tsv", "application/fits": ".fits", "image/fits": ".fits", "application/x-votable+xml": ".vot",
    "text/xml": ".xml", "application/xml": ".xml", "application/vnd.apache.parquet": ".parquet",
}  # fmt: skip


_turns = Turns()


def ceilings(said: Mapping[str, float], directory: Path | None) -> None:
    """Set how often hosts may be asked, by all threads of this process, and by all processes with this directory.

    Parameters
    ----------
    said
        Host -> requests a second; other hosts are asked as often as one likes, but for SIMBAD (8) and NED (1).
    directory
        Where turns are written down; None: this process counts for itself.
    """
    global _turns  # noqa: PLW0603  (hosts are asked by everything in a process)
    _turns = Turns(said, directory)


class Private(Forbidden):
    """The address is not on the public internet."""


def download(
    url: str,
    directory: Path,
    *,
    limit: int = 4 * 1024**3,
    seconds: float = 60.0,
    total: float | None = None,
    allow_private: bool = False,
    progress: Callable[[int, int | None], None] | None = None,
    tries: int = 3,
) -> Path:
    """Fetch a file into `directory`; an unfinished one is never left under its name.

    Parameters
    ----------
    url
        http or https.
    directory
        Where the file is put.
    limit
        Bytes at most.
    seconds
        Without any byte for that long, it is given up.
    total
        Seconds that everything may take, redirects included; None: as long as bytes come.
    allow_private
        True lets addresses through that are not on the public internet (this machine, the institute's own network).
    progress
        Called with the bytes so far and, if the server tells, the bytes to come in all.
    tries
        How often a server is asked that has too much to do (429, 502, 503, 504): as late as it says, or later each time, within `total` (or a
        minute).

    Returns
    -------
    Path
        The file, named after the server's word for it or the last part of the address.

    Raises
    ------
    UserError
        No http(s) address; a name without an address; an answer other than 200.
    Forbidden
        The address, or one that it leads to, is private (`Private`); it leads from https to http.
    TooLarge
        More than `limit` bytes.
    StorageError
        The disk is full.
    SourceError
        The answer broke off, or has an encoding that was not asked for.
    """
    with _answer(url, seconds, allow_private, total, tries) as (response, final):
        length = response.headers.get("content-length", "")
        expected = int(length) if length.isdigit() and "content-encoding" not in response.headers else None
        if expected is not None and expected > limit:
            raise TooLarge(
                f"{_shown(url)} has {expected:,} bytes, more than {limit:,}",
                remedy="download it yourself and use the file",
            )
        path = directory / _name_of(response, final)
        got = 0
        unfinished: str | None = None
        try:
            directory.mkdir(parents=True, exist_ok=True)
            number, unfinished = tempfile.mkstemp(dir=directory, prefix=".unfinished-")
            with os.fdopen(number, "wb") as file:
                for part in _parts(response, url):
                    got += len(part)
                    if got > limit:
                        raise TooLarge(
                            f"{_shown(url)} has more than {limit:,} bytes",
                            remedy="download it yourself and use the file",
                        )
                    file.write(part)
                    if progress is not None:
                        progress(got, expected)
            if expected is not None and got < expected:
                raise SourceError(f"{_shown(url)} broke off after {got:,} of {expected:,} bytes", remedy="try again")
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


def fetch(
    url: str, *, limit: int = 1 << 20, seconds: float = 15.0, total: float | None = None, allow_private: bool = False,
    tries: int = 3,
) -> bytes:  # fmt: skip
    """Fetch a small answer into memory, as `download` fetches a file; the errors are the same.

    Parameters
    ----------
    url
        http or https.
    limit
        Bytes at most, unpacked.
    seconds
        Without any byte for that long, it is given up.
    total
        Seconds that everything may take, redirects included; None: as long as bytes come.
    allow_private
        True lets addresses through that are not on the public internet.
    tries
        As of `download`.

    Returns
    -------
    body
        Unpacked.

    Raises
    ------
    TooLarge
        It has more than `limit` bytes.
    """
    with _answer(url, seconds, allow_private, total, tries) as (response, _):
        found = bytearray()
        for part in _parts(response, url):
            found += part
            if len(found) > limit:
                raise TooLarge(f"{_shown(url)} answers with more than {limit:,} bytes")
        return bytes(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
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
        return _leads(self.url, self.headers.get("location", ""))


def exchange(
    method: str,
    url: str,
    *,
    form: Sequence[tuple[str, str]] = (),
    files: Mapping[str, Path] | None = None,
    content: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    seconds: float = 15.0,
    total: float | None = None,
    limit: int = 4 * 1024**2,
    allow_private: bool = False,
) -> Answer:
    """Ask a service once; redirects are told, not followed, and every status is an answer.

    Parameters
    ----------
    method
        Of HTTP.
    url
        http or https.
    form, files
        Of a POST: parameters in order, and files by the name of their part.
    content
        Or its whole body; its type is in `headers`.
    headers
        Of the request.
    seconds, total
        Without a byte for that long, or not whole after that long (None: four times `seconds`), it is given up.
    limit
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
    Forbidden
        The address is private (`Private`).
    TooLarge
        More than `limit` bytes.
    """
    end = time.monotonic() + (4 * seconds if total is None else total)
    with contextlib.ExitStack() as stack:
        client = stack.enter_context(Connections(seconds))
        parts = {name: (path.name, stack.enter_context(path.open("rb"))) for name, path in (files or {}).items()}
        response = client.send(
            method,
            url,
            allow_private=allow_private,
            headers=headers,
            content=content,
            data=_gathered(form),
            files=parts or None,
        )
        stack.callback(response.close)
        found = bytearray()
        for part in _parts(response, url):
            found += part
            if len(found) > limit:
                raise TooLarge(f"{_shown(url)} answers with more than {limit:,} bytes")
            if time.monotonic() > end:
                raise UserError(f"{_shown(url)} does not come to an end", remedy="try again later")
    told = {name.lower(): value for name, value in response.headers.items()}
    return Answer(status=response.status_code, headers=told, body=bytes(found), url=url)


class Silent(Unreachable):
    """It was reached, and has not begun to answer within the time it had."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Streamed:
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
        return _leads(self.url, self.headers.get("location", ""))


@contextlib.contextmanager
def stream(
    method: str,
    url: str,
    *,
    form: Sequence[tuple[str, str]] = (),
    content: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    secret: str | None = None,
    seconds: float = 60.0,
    follow: bool = True,
    allow_private: bool = False,
    raw: bool = False,
    through: Connections | None = None,
    sent: Callable[[], object] | None = None,
) -> Iterator[Streamed]:
    """Ask a service, and read its answer as it comes.

    Parameters
    ----------
    method
        Of HTTP.
    url
        http or https.
    form
        Of a POST. It is sent again to where 301, 302, 307 and 308 lead, for those mean another address of the same service; 303 is followed by GET.
    content
        The body, instead of `form`; `headers` say of which type it is.
    headers
        Of the request.
    secret
        The header ``Authorization``: for the host of `url` alone.
    seconds
        Without a byte for that long, it is given up.
    follow
        False: redirects are told, not followed.
    allow_private
        True lets addresses through that are not on the public internet.
    raw
        True: what is sent is asked for and given as it is, not unpacked.
    through
        Connections that stay open for the next request; None: of its own.
    sent
        Called once the request is on its way, while the answer is waited for.

    Yields
    ------
    answer
        Status, headers and parts of the body.

    Raises
    ------
    Unreachable
        No answer, or not to its end (while `parts` are read).
    UserError
        No http(s) address, too many redirects.
    Forbidden
        The address, or one that it leads to, is private (`Private`); it leads from https to http.
    """
    body: dict[str, Any] = {"data": _gathered(form)} if content is None else {"content": content}
    first, start = split_address(url), url
    trace = None if sent is None else partial(_sent, sent)
    with contextlib.ExitStack() as stack:
        client = stack.enter_context(Connections(seconds)) if through is None else through
        for _ in range(REDIRECTS + 1):
            asked = {**({"Accept-Encoding": "identity"} if raw else {}), **(headers or {})}
            parts = split_address(url)
            if secret is not None and (parts.scheme, parts.netloc) == (first.scheme, first.netloc):
                asked["Authorization"] = secret
            response = client.send(method, url, allow_private=allow_private, headers=asked, trace=trace, **body)
            told = {name.lower(): value for name, value in response.headers.items()}
            found = Streamed(status=response.status_code, headers=told, url=url, parts=_parts(response, url, raw=raw))
            if not (follow and response.is_redirect and found.location):
                try:
                    yield found
                finally:
                    response.close()
                return
            response.close()
            if parts.scheme == "https" and split_address(found.location).scheme != "https":
                raise Forbidden(
                    f"{_shown(url)} leads from https to {_shown(found.location)}",
                    remedy="use that address if you trust it",
                )
            if response.status_code == 303:
                method, body = "GET", {}
            url = found.location
    raise UserError(f"{_shown(start)} leads on and on ({REDIRECTS} redirects)", remedy="give the last address")


def _sent(call: Callable[[], object], name: str, _: object) -> None:
    if name == "http11.send_request_body.complete":
        call()


class _answer:  # noqa: N801  (reads as what it gives)
    """The answer to a GET, redirects followed one by one, each address checked and then used (no second look-up)."""

    def __init__(self, url: str, seconds: float, allow_private: bool, total: float | None, tries: int) -> None:
        self.url, self.allow_private, self.total, self.tries = url, allow_private, total, tries
        self.late, self.begun = False, time.monotonic()
        self.timer = threading.Timer(total, self._stop) if total is not None else None
        self.client = Connections(seconds)

    def __enter__(self) -> tuple[httpx.Response, str]:
        if self.timer is not None:
            self.timer.daemon = True
            self.timer.start()
        try:
            return again(self._followed, self.tries, None if self.total is None else self.begun + self.total)
        except Exception as error:
            self._close(error)
            raise

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._close(error)

    def _stop(self) -> None:
        """End the request from outside: a server that sends a byte now and then never meets a time limit of reading."""
        self.late = True
        self.client.close()

    def _close(self, error: BaseException | None) -> None:
        if self.timer is not None:
            self.timer.cancel()
        self.client.close()
        # a reading's limit may strike first
        late = self.late or (self.total is not None and time.monotonic() - self.begun >= self.total)
        if error is not None and late:
            message = f"{_shown(self.url)} has not sent everything within {self.total:g} s"
            raise UserError(message, remedy="try again later, or download it yourself and use the file") from error

    def _followed(self) -> tuple[httpx.Response, str]:
        url = self.url
        for _ in range(REDIRECTS + 1):
            response = self.client.send("GET", url, allow_private=self.allow_private, trace=self._step)
            if response.is_redirect:
                response.close()
                target = _leads(url, response.headers.get("location", ""))
                if split_address(url).scheme == "https" and split_address(target).scheme != "https":
                    raise Forbidden(
                        f"{_shown(url)} leads from https to {_shown(target)}", remedy="use that address if you trust it"
                    )
                url = target
                continue
            if response.status_code != 200:
                response.close()
                told, remedy = (
                    f"{_shown(url)} answers {response.status_code} {response.reason_phrase}",
                    "open it in a browser and look",
                )
                if response.status_code in MENDED:
                    raise Busy(told, after(response.headers.get("retry-after")), remedy=remedy)
                raise UserError(told, remedy=remedy)
            return response, url
        raise UserError(f"{_shown(self.url)} leads on and on ({REDIRECTS} redirects)", remedy="give the last address")

    def _step(self, name: str, _: object) -> None:
        """Stop what was to end before it had a connection, which `_stop` could not close."""
        import httpx  # noqa: PLC0415  (a fifth of a second, for those who ask elsewhere)

        if self.late and name == "http11.send_request_headers.started":
            raise httpx.ReadTimeout("its time was over before it was connected")


class Connections:
    """Asks one address after the other: at the number that was checked, never by a second look-up, or through the proxy that is set for its host.

    Parameters
    ----------
    seconds
        Without a byte for that long, it is given up.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._ways: dict[str | None, httpx.Client] = {}
        self._found: Cache[tuple[float, str, str | None, str | None]] = Cache(HOSTS)
        self._last: tuple[str, str | None, httpx.URL, str] | None = None
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End what runs; nothing begins any more."""
        self._closed = True
        for way in list(self._ways.values()):
            way.close()

    def _way(self, proxy: str | None) -> httpx.Client:
        import httpx  # noqa: PLC0415  (a fifth of a second, for those who ask elsewhere)

        if proxy not in self._ways:
            limits = httpx.Timeout(self._seconds, connect=min(self._seconds, 15.0))
            made = httpx.Client(timeout=limits, follow_redirects=False, verify=_trusted(), trust_env=False, proxy=proxy)
            if self._ways.setdefault(proxy, made) is not made or self._closed:  # another thread was first
                made.close()
        return self._ways[proxy]

    def _resolved(self, url: str, allow_private: bool) -> tuple[str, str | None, str | None]:
        """Find the number of a host, and its proxy: who asks for page after page need not look up each time."""
        asked = (*split_address(url)[:2], allow_private)  # scheme and host
        known = self._found.find(asked)
        if known is None or time.monotonic() - known[0] > FRESH:
            host, address = resolve(url, allow_private=allow_private)
            proxy = _proxy(url) if address is None else None
            self._found.keep(asked, known := (time.monotonic(), host, address, proxy))
        return known[1:]

    def send(
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
            As of `exchange`.
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
            As of `exchange`.
        Busy
            Its host is asked by too many of us (`ceilings`).
        Silent
            It has not begun to answer in time.
        Unreachable
            It cannot be reached.
        """
        import httpx  # noqa: PLC0415  (a fifth of a second, for those who ask elsewhere)

        host, address, proxy = self._resolved(url, allow_private)
        _turns.wait(host, self._seconds)
        asked = {**_ASKED, **(headers or {})}
        extensions: dict[str, Any] = {} if trace is None else {"trace": trace}
        known = self._last
        if known is None or known[:2] != (url, address):  # pages are often asked for at one address
            whole = _address(url)
            target = whole if address is None else whole.copy_with(host=address)
            known = self._last = (url, address, target, whole.netloc.decode())
        target = known[2]
        if address is not None:
            asked["Host"] = known[3]
            extensions["sni_hostname"] = host
        try:
            way = self._way(proxy)
            return way.send(
                way.build_request(method, target, headers=asked, extensions=extensions, **body), stream=True
            )
        except httpx.TimeoutException as error:
            kind = Silent if isinstance(error, httpx.ReadTimeout) else Unreachable
            raise kind(f"{_shown(url)} does not answer in time", remedy="try again later") from error
        except httpx.TransportError as error:
            if "CERTIFICATE_VERIFY_FAILED" in str(error):  # which no pause mends
                raise UserError(f"{_shown(url)} is not believed: {error}", remedy=UNTRUSTED) from error
            raise Unreachable(
                f"{_shown(url)} cannot be reached: {error}", remedy="look at the address and the network"
            ) from error


def _gathered(form: Sequence[tuple[str, str]]) -> dict[str, list[str]] | None:
    """Group the parameters of a form as httpx takes them."""
    return {name: [value for other, value in form if other == name] for name, _ in form} or None


@cache
def _trusted() -> ssl.SSLContext:
    """Read the list of those who sign certificates once: it takes a tenth of a second."""
    import httpx  # noqa: PLC0415  (a fifth of a second, for those who ask elsewhere)

    return httpx.create_ssl_context()


def _leads(url: str, target: str) -> str:
    """Resolve where an answer leads to a whole address; empty if it leads nowhere."""
    import httpx  # noqa: PLC0415  (a fifth of a second, for those who ask elsewhere)

    try:
        return str(httpx.URL(urljoin(url, target))) if target else ""
    except (ValueError, httpx.InvalidURL) as error:
        raise UserError(
            f"{_shown(url)} leads to {target[:80]!r}, which is no address", remedy="ask its owner"
        ) from error


def resolve(url: str, *, allow_private: bool = False) -> tuple[str, str | None]:
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
    Forbidden
        Any of its numbers is not on the public internet (`Private`).
    Private
        Any of its numbers is not on the public internet.
    """
    _address(url)
    parts, port = split_address(url), split_address(url).port
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise UserError(f"{_shown(url)} is no http or https address", remedy="https://host/path")
    if parts.username or parts.password:
        raise UserError("an address must not hold a password", remedy="download the file yourself")
    proxied = _proxy(url) is not None
    number = locate(
        parts.hostname,
        port or (443 if parts.scheme == "https" else 80),
        allow_private=allow_private,
        proxied=proxied and not _literal(parts.hostname),
    )
    return parts.hostname, None if proxied else number


def _address(url: str) -> httpx.URL:
    """Parse an address."""
    import httpx  # noqa: PLC0415  (a fifth of a second, for those who ask elsewhere)

    try:
        _ = urlsplit(url).port
        return httpx.URL(url)
    except (ValueError, httpx.InvalidURL) as error:  # http://[
        raise UserError(f"{url[:80]!r} is no http or https address", remedy="https://host/path") from error


def locate(host: str, port: int, *, allow_private: bool = False, proxied: bool = False) -> str | None:
    """Find the number behind a name, and check that it may be asked.

    Parameters
    ----------
    host, port
        Of a server.
    allow_private
        True lets numbers through that are not on the public internet.
    proxied
        True: a name that is not known here is one that a proxy looks up.

    Returns
    -------
    number
        Of IPv4 or IPv6; None: a proxy knows.

    Raises
    ------
    UserError
        An unknown name.
    Private
        Any of its numbers is not on the public internet.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError, ValueError) as error:
        if proxied:
            return None
        raise UserError(f"no machine is called {host}", remedy="look at the address and the network") from error
    numbers = [str(item[4][0]).partition("%")[0] for item in found]
    private = [number for number in numbers if not _public(number)]
    if private and not allow_private:
        named = host if host.strip("[]") == private[0] else f"{host} ({private[0]})"
        raise Private(
            f"{named} is not on the public internet",
            remedy="download the file yourself, or say `allow_private = true` in hven.toml",
        )
    return numbers[0]


UNICAST = ipaddress.IPv6Network(
    "2000::/3"
)  # all that has been given out of IPv6 (RFC 4291); what lies beyond leads inwards, or to IPv4 in disguise
TRANSLATED = ipaddress.IPv6Network("64:ff9b::/96")  # an address of IPv4 behind a translator (RFC 6052)


def _public(number: str) -> bool:
    address = ipaddress.ip_address(number)
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is None and address in TRANSLATED:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return _public(str(inner))
        return address in UNICAST and address.is_global and address.teredo is None
    return address.is_global and not address.is_multicast


def _literal(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _proxy(url: str) -> str | None:
    """Look up the proxy that the environment (or the system) names for an address (`HTTPS_PROXY`, `ALL_PROXY`, not for hosts of `NO_PROXY`)."""
    parts, known = split_address(url), getproxies()
    proxy = known.get(parts.scheme) or known.get("all")
    if not proxy or proxy_bypass(parts.netloc.rpartition("@")[2]):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def _parts(response: httpx.Response, url: str, *, raw: bool = False) -> Iterator[bytes]:
    import httpx  # noqa: PLC0415  (a fifth of a second, for those who ask elsewhere)

    packed = response.headers.get("content-encoding", "identity").strip().lower()
    known = {"identity", "gzip", "x-gzip", "deflate", ""}  # others unfold a thousandfold and more in one step
    if not raw and packed not in known:
        raise SourceError(
            f"{_shown(url)} is sent with the encoding {packed!r:.40}, which was not asked for", remedy="ask its owner"
        )
    try:
        yield from response.iter_raw() if raw or packed in {"identity", ""} else response.iter_bytes()
    except httpx.TimeoutException as error:
        raise Unreachable(f"{_shown(url)} stopped sending", remedy="try again later") from error
    except httpx.HTTPError as error:
        raise Unreachable(f"{_shown(url)} broke off: {error}", remedy="try again") from error


def _name_of(response: httpx.Response, url: str) -> str:
    match = re.search(
        r"filename\*?=(?:UTF-8'')?\"?([^\";]+)", response.headers.get("content-disposition", ""), re.IGNORECASE
    )
    raw = unquote(match.group(1)) if match else unquote(split_address(url).path)
    name = _NAME.sub("_", raw.replace("\\", "/").rsplit("/", 1)[-1]).strip("._")[:120] or "data"
    ending = _ENDINGS.get(response.headers.get("content-type", "").partition(";")[0].strip().lower(), "")
    return name if "." in name or not ending else name + ending


def _shown(url: str) -> str:
    """Write an address without its password and query (they may hold secrets)."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return repr(url[:80])
    return (
        f"{parts.scheme}://{parts.hostname or ''}{f':{parts.port}' if _has_port(url) else ''}{parts.path}"[:200]
        if parts.hostname
        else repr(url[:80])
    )


def _has_port(url: str) -> bool:
    try:
        return urlsplit(url).port is not None
    except ValueError:
        return False
