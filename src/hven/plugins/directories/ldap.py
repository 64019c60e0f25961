"""Read people and groups from a directory (LDAP v3): one row for each entry, or for each value of an attribute."""

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
from hven.model.plugins import require_modules
from hven.model.table import Column
from hven.model.types import parse_type
from hven.sources import InputVersion, Source, SourceContext
from hven.sources.api.rows import Texts, build_source_batch, resolve_column_names, split_batches
from hven.sources.api.services import Secret, resolve_authorization

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

CONNECT_TIMEOUT_SECONDS = 10
PAGED_RESULTS_OID = "1.2.840.113556.1.4.319"  # RFC 2696
VALUE_SEPARATOR = "; "
DEFAULT_PAGE_ENTRIES = 500
UNCHANGED_REMEDY = "try again later; until then, the published rows stay as they are"
_LDAP_URL_PATTERN = re.compile(r"ldaps?://[^/?#@\s]+/?")
_FIRST_RDN_PATTERN = re.compile(r"^[^=,+]+=((?:\\.|[^\\,+])*).*", re.DOTALL)  # of a name's parts (RFC 4514)
_DN_ESCAPE_PATTERN = re.compile(rb"\\([0-9a-fA-F]{2})|\\(.)", re.DOTALL)


class Options(BaseModel):
    """What a descriptor may state about a directory."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: Texts = Field(
        min_length=1,
        description=(
            "Address of the directory: `ldaps://host` or `ldap://host:port`. If you write a list of addresses, Hven "
            "uses the first address that it can reach."
        ),
        examples=["ldaps://ldap.example.org"],
    )
    starttls: bool = Field(
        True,
        description=(
            "`true` (default): Hven encrypts an `ldap://` connection before it sends anything else. `false`: Hven "
            "sends everything unencrypted, even the password."
        ),
        examples=[False],
    )
    ca: str | None = Field(
        None,
        description=(
            "File with certificates in PEM format, for a directory whose certificate the system does not trust. The "
            "path is relative to the descriptor. Hven always checks the host name."
        ),
        examples=["ca.pem"],
    )
    bind: str | None = Field(
        None,
        description="The account with which Hven logs in. Default: Hven reads anonymously.",
        examples=["cn=hven,ou=services,dc=example,dc=org"],
    )
    password: Secret | None = Field(
        None, description="`$NAME`, where the secret NAME contains the password of `bind`.", examples=["$LDAP_PASSWORD"]
    )
    base: str = Field(
        description=("The entry below which Hven searches for entries."), examples=["ou=people,dc=example,dc=org"]
    )
    filter: str = Field(
        "(objectClass=*)",
        description=("Filter that selects the entries (RFC 4515)."),
        examples=["(objectClass=inetOrgPerson)"],
    )
    columns: dict[str, str] = Field(
        min_length=1,
        description=("The columns, each with the attribute that it contains. The attribute `dn` is the entry's name."),
        examples=[{"account": "uid", "email": "mail", "member_of": "memberOf"}],
    )
    each: str | None = Field(
        None,
        description=(
            "A column whose values become separate rows. An entry without a value in this column becomes one row. In "
            "the other columns, Hven joins several values with `; `."
        ),
        examples=["member_of"],
    )
    short: Texts = Field(
        default_factory=list,
        description=(
            "Columns that contain the names of entries (DNs). Hven shortens each name to its first value, for example "
            "`cn=spica,ou=groups,dc=example,dc=org` to `spica`."
        ),
        examples=["member_of"],
    )
    entries: int = Field(200_000, ge=1, description="Maximum number of entries.", examples=[5000])
    bytes: int = Field(
        1 << 28, ge=1024, description=("Maximum number of bytes that the directory can send."), examples=[50000000]
    )
    seconds: int = Field(
        300, ge=1, le=86_400, description="Maximum number of seconds for reading the directory.", examples=[60]
    )

    @model_validator(mode="after")
    def _check_options(self) -> Options:
        if not all(map(_LDAP_URL_PATTERN.fullmatch, self.url)):
            raise ValueError("the address of a directory must be ldaps://host or ldap://host:port")
        if (self.bind is None) != (self.password is None):
            raise ValueError("give both `bind` and `password`, or neither")
        for name in {self.each, *self.short} - {None, *self.columns}:
            raise ValueError(f"there is no column {name!r} in `columns`")
        return self


def open(options: Options, context: SourceContext) -> Source:  # noqa: A001  (the contract's word)
    """Open a directory; no request is sent yet.

    Raises
    ------
    SourceError
        An unknown secret, or one that all on the way could read; ldap3 is not installed.
    """
    require_modules("a source of the kind ldap", "ldap3", error_class=SourceError)
    return LdapSource(options, context)


class LdapSource:
    """Entries of a directory."""

    def __init__(self, options: Options, context: SourceContext) -> None:
        self.options = options
        self.context = context
        self.password = (resolve_authorization(options.password, context, "") or "").lstrip()

    def list_columns(self) -> list[Column]:
        """List the columns; all of them are texts."""
        return [Column(name=name, type=parse_type("string")) for name in self.options.columns]

    def read_batches(
        self, column_names: Sequence[str] | None = None, row_limit: int | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Yield rows in the order of the directory."""
        names = resolve_column_names(column_names, list(self.options.columns), "the directory")
        yield from split_batches(self._build_batches(names), self.context.batch_row_limit, row_limit)

    def list_input_versions(self) -> list[InputVersion]:
        """Name the directory and the search."""
        return [InputVersion(name=self.options.url[0], detail=f"{self.options.base} {self.options.filter}")]

    def estimate_progress_total(self) -> int | None:
        """Return None: a directory does not count its entries."""
        return None

    def _build_batches(self, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
        number = 1
        for entries in self._search_pages():
            rows = [row for entry in entries for row in self._build_rows(entry)]
            arrays = {name: pa.array([row[name] for row in rows], pa.string()) for name in self.options.columns}
            yield build_source_batch(names, arrays, len(rows), number, None)
            number += len(rows)

    def _build_rows(self, entry: dict[str, Any]) -> Iterator[dict[str, str | None]]:
        """Build the rows of an entry."""
        each = self.options.each
        raw = entry["raw_attributes"]
        cells = {}
        raw["dn"] = [entry["raw_dn"]]
        for name, attribute in self.options.columns.items():
            texts = [bytes(value).decode("utf-8", "replace") for value in raw.get(attribute, ())]
            if name in self.options.short:
                cells[name] = list(map(_find_first_rdn_value, texts))
            else:
                cells[name] = texts
        for cell_value in cells.get(each or "") or (None,):
            yield {
                name: cell_value if name == each else VALUE_SEPARATOR.join(texts) or None
                for name, texts in cells.items()
            }

    def _search_pages(self) -> Iterator[list[dict[str, Any]]]:
        """Search page by page."""
        options = self.options
        cookie = None
        count = 0
        search_arguments = {
            "attributes": [*options.columns.values()],
            "paged_size": self.context.page_row_limit or DEFAULT_PAGE_ENTRIES,
        }
        with self._connect_and_bind() as (directory, host):
            while True:
                with self._translate_errors(host):
                    directory.search(options.base, options.filter, paged_cookie=cookie, **search_arguments)
                    result = directory.result
                    answer = directory.response or ()
                    cookie = result.get("controls", {}).get(PAGED_RESULTS_OID, {}).get("value", {}).get("cookie")
                if result["result"]:  # it goes on elsewhere, or ends before all is told
                    reason = ", ".join(result["referrals"] or ()) or result["description"]
                    raise SourceError(
                        f"{host} did not return all entries below {options.base}: {reason}",
                        remedy="if the message names another directory, set `url` to that directory; if not, set "
                        "`sync: page` to a smaller number, use a stricter `filter`, or ask the directory's operators "
                        "for more rights",
                    )
                for entry in answer:
                    if entry["type"] == "searchResRef" and self.context.on_notice is not None:
                        self.context.on_notice(
                            f"{host} refers to {', '.join(entry['uri'])} for some entries; Hven does not read these "
                            "entries"
                        )
                entries = [entry for entry in answer if entry["type"] == "searchResEntry"]
                count += len(entries)
                if count > options.entries:
                    raise SourceError(
                        f"{host} returned more than {options.entries:,} entries",
                        remedy="use a stricter `filter`, or raise `entries`",
                    )
                yield entries
                if not cookie:
                    return

    @contextmanager
    def _connect_and_bind(self) -> Iterator[tuple[Any, str]]:
        """Log in at the first directory that answers."""
        import ldap3  # noqa: PLC0415  (slow to load, asked by few)

        options = self.options
        failures = []
        try:
            cafile = options.ca and str(self.context.directory / options.ca)
            trusted = ssl.create_default_context(cafile=cafile)
        except OSError as error:
            raise SourceError(
                f"the certificates in {options.ca} cannot be read: {error}", remedy="give a file in PEM format"
            ) from error
        for url in options.url:
            parts = urlsplit(url)
            tls = ldap3.Tls()
            host = str(parts.hostname)
            secure = parts.scheme == "ldaps"
            port = parts.port or (636 if secure else 389)
            server = ldap3.Server(host, port, tls=tls, get_info=ldap3.NONE, connect_timeout=CONNECT_TIMEOUT_SECONDS)
            directory = ldap3.Connection(
                server,
                options.bind,
                self.password or None,
                auto_referrals=False,
                raise_exceptions=True,
                check_names=False,
                receive_timeout=options.seconds,
            )
            try:
                directory.open(read_server_info=False)
                # the library's own way takes certificates for any name, or uses what Python has no more
                budget = _LimitedSocket(directory.socket, options, partial(trusted.wrap_socket, server_hostname=host))
                directory.socket = budget
                tls.wrap_socket = budget.start_tls
                if secure:
                    budget.start_tls()
                elif options.starttls:
                    directory.start_tls(read_server_info=False)
                break
            except Exception as error:  # noqa: BLE001  (what is no directory may send anything)
                failures.append(f"{host} ({_extract_error_text(error)})")
                if directory.socket is not None:
                    directory.socket.close()
        else:
            raise SourceError(f"no directory returned a valid response: {'; '.join(failures)}", remedy=UNCHANGED_REMEDY)
        with closing(directory.strategy):
            with self._translate_errors(host):
                directory.bind(read_server_info=False)
            yield directory, host

    @contextmanager
    def _translate_errors(self, host: str) -> Iterator[None]:
        """Translate the error of a directory, or an answer that is none."""
        hidden = f"has no entry {self.options.base}, or does not show it to {self.options.bind or 'anonymous users'}"
        messages_by_error = {
            "LDAPNoSuchObjectResult": hidden,
            "LDAPInsufficientAccessRightsResult": hidden,
            "LDAPInvalidCredentialsResult": f"rejects {self.options.bind}: the name or the password is wrong",
            "LDAPInvalidFilterError": (
                f"cannot search by {self.options.filter!r}, which is not a valid filter (RFC 4515)"
            ),
        }
        try:
            yield
        except SourceError:
            raise
        except Exception as error:
            message = messages_by_error.get(type(error).__name__)
            fallback_message = f"did not return a valid LDAP response: {error or type(error).__name__}"
            remedy = "check `base`, `bind`, `password` and `filter`" if message else UNCHANGED_REMEDY
            raise SourceError(f"{host} {message or fallback_message}", remedy=remedy) from error


class _LimitedSocket:
    """A socket with limits of bytes and time."""

    def __init__(self, socket: Any, options: Options, wrap: Callable[[Any], Any]) -> None:
        self._socket = socket
        self._wrap = wrap
        self._remaining_bytes = options.bytes
        self._end_time = time.monotonic() + options.seconds

    def recv(self, size: int) -> bytes:
        data: bytes = self._socket.recv(size)
        self._remaining_bytes -= len(data)
        if self._remaining_bytes < 0 or time.monotonic() > self._end_time:
            complaint = "sends more than `bytes`" if self._remaining_bytes < 0 else "takes longer than `seconds`"
            raise SourceError(
                f"the directory {complaint} allows",
                remedy=f"use a stricter `filter`, or raise this limit; {UNCHANGED_REMEDY}",
            )
        return data

    def start_tls(self, *_: object, **__: object) -> None:
        self._socket = self._wrap(self._socket)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)


def _find_first_rdn_value(distinguished_name: str) -> str:
    """Return the first value of a name (DN); another text stays as it is."""
    bare = _FIRST_RDN_PATTERN.sub(r"\1", distinguished_name).encode()
    return _DN_ESCAPE_PATTERN.sub(lambda one: bytes.fromhex(one[1].decode()) if one[1] else one[2], bare).decode(
        "utf-8", "replace"
    )


__all__ = ["Options", "open"]


def _extract_error_text(error: Exception) -> str:
    """Return the text of an error; ldap3 raises some with a tuple of texts."""
    if len(error.args) == 1:
        text = error.args[0]
    else:
        text = str(error)
    return "; ".join(map(str, text)) if isinstance(text, tuple) else str(text)
