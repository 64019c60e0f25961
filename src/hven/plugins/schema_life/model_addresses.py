"""Read schemas by address: of TAP services, by TAP_SCHEMA or /tables, and of documents."""

from __future__ import annotations

import io
import re
import threading
from collections import defaultdict
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import pyarrow as pa
import pyarrow.compute as pc

from hven.formats.votable import read_votable
from hven.model import split_address
from hven.model.deadlines import CURRENT_DEADLINE
from hven.model.errors import ForbiddenError, SourceError, TimeLimitError, TooLargeError, UserError
from hven.plugins.schema_life.described_columns import (
    ColumnRows,
    ComparedSchema,
    DescribedColumn,
    build_column_rows,
)
from hven.plugins.schema_life.model_documents import MAX_DOCUMENT_BYTES, read_model_document
from hven.plugins.schema_life.schema_copies import SchemaCopies
from hven.plugins.schema_life.vosi_documents import read_vosi_columns
from hven.sources.http_client import fetch_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

MAX_SERVICE_COLUMNS = 200_000
REQUEST_TIMEOUT_SECONDS = 15.0
TOTAL_TIMEOUT_SECONDS = 60.0  # of one answer
COPY_LIFETIME = timedelta(minutes=10)  # a service is asked again after this time
_RESOURCE_PATTERN = re.compile(r"/(?:sync|async|tables|capabilities|availability|examples)?/?$")
_DOCUMENT_PATTERN = re.compile(r"\.(?:vot|votable|xml|ya?ml|vot\.gz)$", re.IGNORECASE)
_OWN_TABLE_PATTERN = r"(?i)^(tap_schema|tap_upload)(\.|$)"  # tables of the service itself


class ForeignSchemaCache:
    """Keep copies of schemas of other servers, which pages show while these servers do not answer.

    Parameters
    ----------
    directory
        Directory of the copies.
    """

    def __init__(self, directory: Path) -> None:
        self._copies = SchemaCopies(directory)
        self._lock = threading.Lock()  # one request at a time: a page cannot make this site flood others

    def find_or_read_model(self, address: str, *, allow_private: bool) -> ComparedSchema:
        """Return the schema at an address; the copy is at most `COPY_LIFETIME` old, or says why it is older.

        A schema that cannot be read, and of which there is no copy, has no columns, so that a page can show the others.

        Parameters
        ----------
        address
            As for `read_foreign_schema`.
        allow_private
            True allows addresses that are not on the public internet.

        Raises
        ------
        ForbiddenError
            The address is not on the public internet.
        """
        with self._lock:
            copy = self._copies.find_copy(address)
            if copy is not None and datetime.now(UTC) - copy.read_at < COPY_LIFETIME:
                return copy
            try:
                return self.read_and_store_model(address, allow_private=allow_private)
            except ForbiddenError:
                raise
            except (UserError, TimeLimitError) as error:
                return replace(copy or _build_unread_model(address), fault=error.message)

    def read_and_store_model(self, address: str, *, allow_private: bool) -> ComparedSchema:
        """Read the schema at an address, and keep a copy.

        Parameters
        ----------
        address, allow_private
            As for `read_foreign_schema`.
        """
        model = read_foreign_schema(address, allow_private=allow_private)
        self._copies.store_copy(model)
        return model

    def find_scheduled_model(self, address: str) -> ComparedSchema:
        """Return the copy of a schema that the scheduler reads; nothing is requested.

        Parameters
        ----------
        address
            One of the addresses in ``[compare]`` of hven.toml.
        """
        unread_model = replace(_build_unread_model(address), fault="it has not been read yet")
        return self._copies.find_copy(address) or unread_model


def _build_unread_model(address: str) -> ComparedSchema:
    return ComparedSchema(label=address, columns=(), read_at=datetime.now(UTC))


def read_foreign_schema(address: str, *, allow_private: bool) -> ComparedSchema:
    """Read the schema of a TAP service, or of a document on another server.

    Parameters
    ----------
    address
        Address of the service or document. A part after ``#`` selects tables: ``https://host/tap#ivoa.*``.
    allow_private
        True allows addresses that are not on the public internet.

    Raises
    ------
    UserError
        The server does not answer, the address is forbidden, or there is no schema.
    """
    url, _, pattern = address.partition("#")
    parts = split_address(url)
    if parts.query or _DOCUMENT_PATTERN.search(parts.path):
        data = _fetch_document(url, allow_private=allow_private)
        return read_model_document(data, address).select_tables(pattern)
    service_url = _RESOURCE_PATTERN.sub("", url)
    columns: Sequence[DescribedColumn]
    try:
        columns = _read_tap_schema(service_url, pattern, address, allow_private=allow_private)
    except (ForbiddenError, TooLargeError):
        raise
    except UserError as error:
        columns = _read_columns_without_tap_schema(service_url, url, address, error, allow_private=allow_private)
    model = ComparedSchema(label=address, columns=columns, read_at=datetime.now(UTC)).select_tables(pattern)
    if not model.columns:
        remedy = "check the address, and the names of tables after `#`"
        raise SourceError(f"{url} describes no columns of the tables {pattern or '*'}", remedy=remedy)
    return model


def _read_columns_without_tap_schema(
    service_url: str, url: str, label: str, schema_error: UserError, *, allow_private: bool
) -> Sequence[DescribedColumn]:
    """Read the tables document of a service without TAP_SCHEMA, or else the document at the address itself."""
    with suppress(UserError):  # the first error says more
        data = _fetch_document(f"{service_url}/tables", allow_private=allow_private)
        columns = read_vosi_columns(data, label)
        if columns:
            return columns
    try:
        return read_model_document(_fetch_document(url, allow_private=allow_private), label).columns
    except UserError as error:
        raise SourceError(
            f"there is neither a TAP service nor another schema at {url}: {schema_error.message}",
            remedy="write the address of a TAP service, without /sync, or the address of a VOTable",
        ) from error


def _read_tap_schema(service_url: str, pattern: str, label: str, *, allow_private: bool) -> ColumnRows:
    query = "SELECT * FROM TAP_SCHEMA.columns"
    if "." in pattern:  # with its schema, so the service can select; LIKE heeds case, and the pattern does not
        like_pattern = pattern.lower().replace("'", "''").replace("*", "%")
        query += f" WHERE LOWER(table_name) LIKE '{like_pattern}'"
    parameters = {
        "REQUEST": "doQuery",
        "LANG": "ADQL",
        "FORMAT": "votable",
        "MAXREC": MAX_SERVICE_COLUMNS,
        "QUERY": query,
    }
    data = _fetch_document(f"{service_url}/sync?{urlencode(parameters)}", allow_private=allow_private)
    texts = _read_texts(data)
    columns = {name: texts[name] for name in ("unit", "ucd", "utype", "description")}
    columns["table"], columns["name"] = (pc.utf8_trim(texts[name], '"') for name in ("table_name", "column_name"))
    types = {name: texts[name] for name in ("datatype", "arraysize", "xtype")}
    is_foreign = pc.invert(pc.match_substring_regex(columns["table"], _OWN_TABLE_PATTERN))
    return build_column_rows(label, *(pa.table(part).filter(is_foreign) for part in (columns, types)))


def _read_texts(data: bytes) -> Mapping[str, pa.ChunkedArray]:
    """Read TAP_SCHEMA, without blanks around words; a service may lack some of its columns."""
    stream = read_votable(io.BytesIO(data))
    batches = list(stream.read_batches_or_raise_if_truncated())
    row_count = sum(batch.num_rows for batch in batches)
    texts: defaultdict[str, pa.ChunkedArray] = defaultdict(lambda: pa.chunked_array([pa.repeat("", row_count)]))
    for number, column in enumerate(stream.metadata.columns):
        arrays = [batch.column(number) for batch in batches if column.type.arraysize is None or column.type.is_string]
        if arrays:
            values = pc.fill_null(pa.chunked_array(arrays).cast(pa.string()), "")
            texts[column.name.lower()] = pc.utf8_trim_whitespace(pc.replace_substring_regex(values, r"\s+", " "))
    return texts


def _fetch_document(url: str, *, allow_private: bool) -> bytes:
    """Fetch a document within the limits of this package and the deadline of the request."""
    total_timeout_seconds = TOTAL_TIMEOUT_SECONDS
    deadline = CURRENT_DEADLINE.get()
    if deadline is not None:
        deadline.check()
        total_timeout_seconds = min(total_timeout_seconds, deadline.remaining_seconds)
    return fetch_bytes(
        url,
        byte_limit=MAX_DOCUMENT_BYTES,
        timeout_seconds=REQUEST_TIMEOUT_SECONDS,
        total_timeout_seconds=total_timeout_seconds,
        allow_private=allow_private,
        max_attempts=1,
    )
