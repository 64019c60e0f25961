"""People and groups of a directory (LDAP v3): a row for each entry, or for each value of one of its attributes."""

from __future__ import annotations

import re
import ssl
import time
from contextlib import closing, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, model_validator

from hven.model.errors import SourceError
from hven.model.plugins import need
from hven.model.table import Column
from hven.model.types import parse_type
from hven.sources import Context, Pin, Source
from hven.sources._reading.cutting import cut
from hven.sources._reading.files import Texts, assemble, check_names
from hven.sources._reading.service import Secret, authorization

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

CONNECT = 10  # seconds
PAGES = "1.2.840.113556.1.4.319"  # RFC 2696
BETWEEN = "; "
PAGE = 500
STAYS = "what was published stays; try again later"
_URL = re.compile(r"ldaps?://[^/?#@\s]+/?")
_FIRST = re.compile(r"^[^=,+]+=((?:\\.|[^\\,+])*).*", re.DOTALL)  # of a name's parts (RFC 4514)
_ESCAPED = re.compile(rb"\\([0-9a-fA-F]{2})|\\(.)", re.DOTALL)


class Options(BaseModel):
    """What a descriptor may say of a directory."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: Texts = Field(
        min_length=1,
        description="Address of the directory: `ldaps://ldap.example.org`, `ldap://ldap.example.org:389`; of several the first that answers is asked.",
    )
    starttls: bool = Field(
        True, description="Whether what begins as `ldap://` is encrypted before anything else is sent."
    )
    ca: str | None = Field(
        None, description="File of the certificates to trust, relative to the descriptor; default: the system's."
    )
    bind: str | None = Field(None, description="Name (DN) of the account that reads there; default: nobody.")
    password: Secret | None = Field(None, description="`$NAME` of a secret: the password of `bind`.")
    base: str = Field(description="Where to search, and all below: `ou=people,dc=example,dc=org`.")
    filter: str = Field("(objectClass=*)", description="Which entries: `(objectClass=inetOrgPerson)` (RFC 4515).")
    columns: dict[str, str] = Field(
        min_length=1,
        description="Columns, and the attribute of each: `{account: uid, email: mail}`; the attribute `dn` is the entry's name.",
    )
    each: str | None = Field(
        None,
        description="The column of which each value makes a row. Several values of another are one text, between them `; `.",
    )
    short: Texts = Field(
        default_factory=list,
        description="Columns with names (DNs) of which the first value is kept: `spica` of `cn=spica,ou=groups,dc=example,dc=org`.",
    )
    entries: int = Field(200_000, ge=1, description="Entries at most.")
    bytes: int = Field(1 << 28, ge=1024, description="Bytes at most that the directory may send.")
    seconds: int = Field(300, ge=1, le=86_400, description="How long it may take.")

    @model_validator(mode="after")
    def _whole(self) -> Options:
        if not all(map(_URL.fullmatch, self.url)):
            raise ValueError("the address of a directory is ldaps://host, or ldap://host:port")
        if (self.bind is None) != (self.password is None):
            raise ValueError("give both `bind` and `password`, or none")
        for name in {self.each, *self.short} - {None, *self.columns}:
            raise ValueError(f"there is no column {name!r} in `columns`")
        return self


def open(options: Options, context: Context) -> Source:  # noqa: A001  (the contract's word)
    """Open a directory; nothing is asked yet.

    Raises
    ------
    SourceError
        An unknown secret, or one that all on the way could read; ldap3 is not installed.
    """
    need("a source of the kind ldap", "ldap3", error=SourceError)
    return LdapRows(options, context)


class LdapRows:
    """Entries of a directory."""

    def __init__(self, options: Options, context: Context) -> None:
        self.options = options
        self.context = context
        self.password = (authorization(options.password, context, "") or "").lstrip()

    def columns(self) -> list[Column]:
        """List the columns: texts, all of them."""
        return [Column(name=name, type=parse_type("string")) for name in self.options.columns]

    def batches(self, columns: Sequence[str] | None = None, limit: int | None = None) -> Iterator[pa.RecordBatch]:
        """Yield rows in the order of the directory."""
        names = check_names(columns, list(self.options.columns), "the directory")
        yield from cut(self._batches(names), self.context.batch, limit)

    def pins(self) -> list[Pin]:
        """Name the directory and what it was asked."""
        return [Pin(name=self.options.url[0], detail=f"{self.options.base} {self.options.filter}")]

    def size(self) -> int | None:
        """Return None: a directory counts nothing."""
        return None

    def _batches(self, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
        number = 1
        for entries in self._pages():
            rows = [row for entry in entries for row in self._rows(entry)]
            arrays = {name: pa.array([row[name] for row in rows], pa.string()) for name in self.options.columns}
            yield assemble(names, arrays, len(rows), number, None)
            number += len(rows)

    def _rows(self, entry: dict[str, Any]) -> Iterator[dict[str, str | None]]:
        """Make the rows of an entry."""
        each, raw, cells = self.options.each, entry["raw_attributes"], {}
        raw["dn"] = [entry["raw_dn"]]
        for name, attribute in self.options.columns.items():
            texts = [bytes(value).decode("utf-8", "replace") for value in raw.get(attribute, ())]
            cells[name] = list(map(_first, texts)) if name in self.options.short else texts
        for one in cells.get(each or "") or (None,):
            yield {name: one if name == each else BETWEEN.join(texts) or None for name, texts in cells.items()}

    def _pages(self) -> Iterator[list[dict[str, Any]]]:
        """Ask page by page."""
        options, cookie, count = self.options, None, 0
        asked = {"attributes": [*options.columns.values()], "paged_size": self.context.page or PAGE}
        with self._connected() as (directory, host):
            while True:
                with self._told(host):
                    directory.search(options.base, options.filter, paged_cookie=cookie, **asked)
                    result, answer = directory.result, directory.response or ()
                    cookie = result.get("controls", {}).get(PAGES, {}).get("value", {}).get("cookie")
                if result["result"]:  # it goes on elsewhere, or ends before all is told
                    what = ", ".join(result["referrals"] or ()) or result["description"]
                    raise SourceError(
                        f"{host} does not give all of {options.base}: {what}",
                        remedy="ask that one, if it names another; else a smaller `sync: page`, a closer `filter`, or more rights there",
                    )
                for one in answer:
                    if one["type"] == "searchResRef" and self.context.tell is not None:
                        self.context.tell(f"{host} leads to {', '.join(one['uri'])} for a part, which is not asked")
                entries = [one for one in answer if one["type"] == "searchResEntry"]
                count += len(entries)
                if count > options.entries:
                    raise SourceError(
                        f"{host} has more than {options.entries:,} entries",
                        remedy="a closer `filter`, or more `entries`",
                    )
                yield entries
                if not cookie:
                    return

    @contextmanager
    def _connected(self) -> Iterator[tuple[Any, str]]:
        """Log in at the first directory that answers."""
        import ldap3  # noqa: PLC0415  (slow to load, asked by few)

        options, silent = self.options, []
        try:
            trusted = ssl.create_default_context(cafile=options.ca and str(self.context.directory / options.ca))
        except OSError as error:
            raise SourceError(
                f"the certificates of {options.ca} cannot be read: {error}", remedy="a file in PEM"
            ) from error
        for url in options.url:
            parts, tls = urlsplit(url), ldap3.Tls()
            host, secure = str(parts.hostname), parts.scheme == "ldaps"
            port = parts.port or (636 if secure else 389)
            server = ldap3.Server(host, port, tls=tls, get_info=ldap3.NONE, connect_timeout=CONNECT)
            directory = ldap3.Connection(
                server, options.bind, self.password or None, auto_referrals=False, raise_exceptions=True, check_names=False, receive_timeout=options.seconds,
            )  # fmt: skip
            try:
                directory.open(read_server_info=False)
                # the library's own way takes certificates for any name, or uses what Python has no more
                budget = _Budget(directory.socket, options, partial(trusted.wrap_socket, server_hostname=host))
                directory.socket, tls.wrap_socket = budget, budget.encrypt
                if secure:
                    budget.encrypt()
                elif options.starttls:
                    directory.start_tls(read_server_info=False)
                break
            except Exception as error:  # noqa: BLE001  (what is no directory may send anything)
                silent.append(f"{host}: {error}")
                if directory.socket is not None:
                    directory.socket.close()
        else:
            raise SourceError(f"no directory answers as it should: {'; '.join(silent)}", remedy=STAYS)
        with closing(directory.strategy):
            with self._told(host):
                directory.bind(read_server_info=False)
            yield directory, host

    @contextmanager
    def _told(self, host: str) -> Iterator[None]:
        """Say in our words what a directory refuses, or sends that is none."""
        hidden = f"has no {self.options.base}, or does not show it to {self.options.bind or 'everybody'}"
        known = {
            "LDAPNoSuchObjectResult": hidden,
            "LDAPInsufficientAccessRightsResult": hidden,
            "LDAPInvalidCredentialsResult": f"does not let {self.options.bind} in: the name or the password is wrong",
            "LDAPInvalidFilterError": f"cannot be asked for {self.options.filter!r}, which is no filter (RFC 4515)",
        }
        try:
            yield
        except SourceError:
            raise
        except Exception as error:
            what = known.get(type(error).__name__)
            other = f"does not answer as a directory does: {error or type(error).__name__}"
            remedy = "look at `base`, `bind`, `password`, `filter`" if what else STAYS
            raise SourceError(f"{host} {what or other}", remedy=remedy) from error


class _Budget:
    """A socket that gives so many bytes, for so long."""

    def __init__(self, inner: Any, options: Options, wrap: Callable[[Any], Any]) -> None:
        self._inner, self._wrap, self._left, self._end = inner, wrap, options.bytes, time.monotonic() + options.seconds

    def recv(self, size: int) -> bytes:
        data: bytes = self._inner.recv(size)
        self._left -= len(data)
        if self._left < 0 or time.monotonic() > self._end:
            what = "sends more than `bytes`" if self._left < 0 else "takes longer than `seconds`"
            raise SourceError(f"the directory {what} allows", remedy=f"a closer `filter`, or more of these; {STAYS}")
        return data

    def encrypt(self, *_: object, **__: object) -> None:
        self._inner = self._wrap(self._inner)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def _first(name: str) -> str:
    """Return the first value of a name (DN); what is none stays as it is."""
    bare = _FIRST.sub(r"\1", name).encode()
    return _ESCAPED.sub(lambda one: bytes.fromhex(one[1].decode()) if one[1] else one[2], bare).decode(
        "utf-8", "replace"
    )


__all__ = ["Options", "open"]
