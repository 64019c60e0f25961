"""Add the values of documents to the rows of any source (`enrich:`).

Each row has a document elsewhere (a FITS header, a label, a record), whose values become columns beside its own.
"""

from __future__ import annotations

import hashlib
import json
import math
import tempfile
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

import pyarrow as pa

from hven.model.errors import SourceError, suggest_spelling
from hven.model.table import Column
from hven.model.types import STRING, TIMESTAMP
from hven.plugins.enrichment.document_fetch import DocumentFetcher, fetch_documents
from hven.plugins.enrichment.document_store import (
    STATE_HERE,
    STATE_MISSING,
    STATE_OLD,
    STATE_WAITING,
    DocumentStore,
)
from hven.plugins.enrichment.document_values import extract_values
from hven.plugins.enrichment.enrichment_options import PLACEHOLDER_PATTERN, URL_HOST_PATTERN
from hven.sources import (
    DoubtfulTypesSource,
    FileListSource,
    IncrementalSource,
    KeyLookupSource,
    MetadataSource,
    ProgressSource,
    SourceWithDescription,
)
from hven.sources.api.documents import InvalidDocumentError
from hven.sources.api.services import ServiceClient, resolve_token_or_login

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from hven.plugins.enrichment.enrichment_options import DocumentEnrichmentOptions
    from hven.sources import InputVersion, Source, SourceContext

STATE_COLUMN = "document.state"
TIME_COLUMN = "document.time"
ADDRESS_COLUMN = "document.address"
DOCUMENT_FACT_COLUMNS = (
    Column(
        name=STATE_COLUMN,
        type=STRING,
        ucd="meta.code",
        description=(
            "State of the document: here, old (a newer one has not been fetched yet), waiting, missing, refused, "
            "broken or failed"
        ),
    ),
    Column(name=TIME_COLUMN, type=TIMESTAMP, ucd="time.processing", description="When the document was fetched (UTC)"),
    Column(name=ADDRESS_COLUMN, type=STRING, ucd="meta.ref", description="Address of the document"),
)
ROWS_PER_LOOKUP = 10_000  # documents of this many rows are looked up together


class RowDocuments:
    """The documents of the rows of one source.

    Parameters
    ----------
    options
        What the descriptor states about them.
    source_columns
        Columns of the source.
    context
        That of the source.

    Attributes
    ----------
    columns
        Columns of document values, and `DOCUMENT_FACT_COLUMNS`.

    Raises
    ------
    SourceError
        The source has no such column, or already has one of the same name.
    """

    def __init__(
        self, options: DocumentEnrichmentOptions, source_columns: Sequence[Column], context: SourceContext
    ) -> None:
        self.options = options
        self.context = context
        names = [column.name for column in source_columns]
        for name in options.required_columns:
            if name not in names:
                raise SourceError(
                    f"enrich: the source has no column {name!r}",
                    remedy=suggest_spelling(name, names) or f"choose one of its columns: {', '.join(names[:12])}",
                )
        document_columns = [
            Column(name=name, type=column.column_type, unit=column.unit, ucd=column.ucd, description=column.description)
            for name, column in options.columns.items()
        ]
        self.columns = (*document_columns, *DOCUMENT_FACT_COLUMNS)
        twice = [column.name for column in self.columns if column.name in names]
        if twice:
            raise SourceError(
                f"enrich: the source already has a column {twice[0]!r}",
                remedy="rename one of the two columns",
            )
        self._specs = [(column.key, column.value_kind, column.is_array) for column in options.columns.values()]
        self._form = json.dumps([options.format, self._specs])
        self._store: DocumentStore | None = None
        self._has_begun = False

    @property
    def pending_count(self) -> int:
        """How many documents of the rows that were read still have to be fetched."""
        if self._store is None:
            return 0
        return self._store.count_pending()

    @property
    def store_path(self) -> Path | None:
        """The file in which documents are kept; each address has its own."""
        if self.context.cache_directory is None:
            return None
        digest = hashlib.sha256(self.options.template.encode()).hexdigest()
        return self.context.cache_directory / f"{digest[:16]}.sqlite"

    @property
    def document_store(self) -> DocumentStore:
        """The store in which documents are kept."""
        if self._store is None:
            self._store = DocumentStore(self.store_path, self._form)
        return self._store

    def request_documents_of_rows(self, batch: pa.RecordBatch) -> None:
        """Request the documents of some rows.

        Parameters
        ----------
        batch
            Rows of the source, with the columns of `DocumentEnrichmentOptions.required_columns`.
        """
        names, moments = self._read_document_ids_and_times(batch)
        addresses = self._build_addresses(batch)
        requests = zip(names, moments, addresses, strict=True)
        self.document_store.add_document_requests(
            (name, moment, address) for name, moment, address in requests if name and address
        )

    def _read_document_ids_and_times(self, batch: pa.RecordBatch) -> tuple[list[Any], list[Any]]:
        """Read the name of the document of each row, and how new it is; None: the source does not tell."""
        names = _to_texts(batch.column(self.options.id))
        if self.options.modified:
            return names, _to_sqlite_values(batch.column(self.options.modified))
        return names, [None] * len(names)

    def _build_addresses(self, batch: pa.RecordBatch) -> list[str | None]:
        parts = PLACEHOLDER_PATTERN.split(self.options.template)
        columns = [_to_texts(batch.column(name)) for name in parts[1::2]]
        literals = parts[::2]
        fill_template = self._fill_path
        if self.options.url is not None:
            fill_template = self._fill_url
        return [fill_template(literals, values) for values in zip(*columns, strict=True)]

    @staticmethod
    def _fill_url(literals: Sequence[str], values: Sequence[str | None]) -> str | None:
        """Fill the template of a URL with quoted values, which cannot change the path; None: a value is missing."""
        if any(not value for value in values):
            return None
        quoted_values = [quote(str(value), safe=":") for value in values]
        url = _join_template(literals, quoted_values)
        path = url.partition("?")[0].partition("#")[0]
        if any(unquote(step) in {".", ".."} for step in path.split("/")[3:]):
            return None
        return url

    @staticmethod
    def _fill_path(literals: Sequence[str], values: Sequence[str | None]) -> str | None:
        """Fill the template of a path, which stays below the directory of the descriptor."""
        texts: list[str] = []
        for value in values:
            if not value or "\0" in value or ".." in value.split("/") or value.startswith("/"):
                return None
            texts.append(value)
        return _join_template(literals, texts)

    def fetch_pending(self) -> Iterator[None]:
        """Fetch the requested documents that are not here, once, within the time of a run.

        Yields
        ------
        nothing
            From time to time, so that the reader of the rows can stop the fetching.
        """
        if self._has_begun:
            return
        self._has_begun = True
        service = None
        if self.options.url is not None:
            service = self._build_service_client(self.options.url)
        fetcher = DocumentFetcher(service=service, options=self.options, context=self.context, columns=self._specs)
        yield from fetch_documents(self.document_store, fetcher)

    def _build_service_client(self, url: str) -> ServiceClient:
        options = self.options
        secret = resolve_token_or_login(options.token, options.login, self.context)
        host = URL_HOST_PATTERN.match(url)
        if host is not None:
            url = host[0]
        return ServiceClient(url, self.context, options=options, authorization=secret)

    def build_document_columns(self, batch: pa.RecordBatch) -> dict[str, pa.Array]:
        """Build the columns that documents give to rows.

        Parameters
        ----------
        batch
            As for `request_documents_of_rows`.

        Returns
        -------
        columns
            Columns by name, Arrow arrays of shape (rows,).
        """
        names, moments = self._read_document_ids_and_times(batch)
        requested_names = {name for name in names if name}
        facts_by_id = self.document_store.find_document_records(list(requested_names))
        stored_values = {name: facts[3:] for name, facts in facts_by_id.items() if facts[2] is not None}
        values_by_id = self._load_or_extract_values(stored_values)
        empty = [None] * len(self._specs)
        rows = [values_by_id.get(name, empty) for name in names]
        arrays: dict[str, pa.Array] = {}
        for index, column in enumerate(self.columns[: len(self._specs)]):
            values = [row[index] for row in rows]
            arrays[column.name] = pa.array(values, column.type.arrow)
        addresses = self._build_addresses(batch)
        states: list[str] = []
        times: list[datetime | None] = []
        for name, moment, address in zip(names, moments, addresses, strict=True):
            missing_state = STATE_MISSING
            if address:
                missing_state = STATE_WAITING
            state, modified, fetched, *_ = facts_by_id.get(name, (missing_state, None, None))
            if state == STATE_HERE and modified != moment:
                state = STATE_OLD
            states.append(state)
            times.append(_to_utc_time(fetched))
        arrays[STATE_COLUMN] = pa.array(states, pa.string())
        arrays[TIME_COLUMN] = pa.array(times, TIMESTAMP.arrow)
        arrays[ADDRESS_COLUMN] = pa.array(addresses, pa.string())
        return arrays

    def _load_or_extract_values(self, stored_values: Mapping[str, Sequence[Any]]) -> dict[str, Sequence[Any]]:
        """Return the values of documents; those that were extracted for other columns are extracted again."""
        values_by_id: dict[str, Sequence[Any]] = {}
        new_values: dict[str, Sequence[Any]] = {}
        for name, (form, values) in stored_values.items():
            if form == self._form and values is not None:
                values_by_id[name] = json.loads(values)
                continue
            try:
                body = self.document_store.read_body(name)
                new_values[name], _ = extract_values(body, self.options.format, self._specs)
            except InvalidDocumentError:
                new_values[name] = [None] * len(self._specs)
        if new_values:
            self.document_store.update_values(new_values.items())
        return values_by_id | new_values

    def wrap_source(self, source: Source) -> DocumentEnrichedSource:
        """Put the columns of the documents beside those of a source; the result has all abilities of the source.

        Parameters
        ----------
        source
            Source of the rows.

        Returns
        -------
        source
            The source with more columns.
        """
        contracts = [contract for contract in _DELEGATING_METHODS if isinstance(source, contract)]
        methods: dict[str, Any] = {}
        for contract in contracts:
            methods |= _DELEGATING_METHODS[contract]
        enriched_class: type[DocumentEnrichedSource] = type("EnrichedSource", (DocumentEnrichedSource,), methods)
        return enriched_class(self, source)


def _to_sqlite_values(column: pa.Array) -> list[Any]:
    """Convert moments to values that SQLite orders as they are: numbers or texts; NaN is no moment."""
    values: list[Any]
    if pa.types.is_floating(column.type):
        values = [None if number is not None and math.isnan(number) else number for number in column.to_pylist()]
    elif pa.types.is_integer(column.type):
        values = column.to_pylist()
    else:
        values = _to_texts(column)
    return values


def _to_texts(column: pa.Array) -> list[str | None]:
    texts: list[str | None] = column.cast(pa.string()).to_pylist()
    return texts


def _to_utc_time(timestamp: float | None) -> datetime | None:
    """Convert seconds since 1970 to UTC without a time zone."""
    if timestamp is None:
        return None
    return datetime.fromtimestamp(timestamp, UTC).replace(tzinfo=None)


def _join_template(literals: Sequence[str], values: Sequence[str]) -> str:
    """Put values between the literal parts of a template."""
    filled_parts = [value + literal for value, literal in zip(values, literals[1:], strict=True)]
    return literals[0] + "".join(filled_parts)


class DocumentEnrichedSource:
    """A source whose rows have the columns of their documents, too.

    Parameters
    ----------
    documents
        Documents of its rows.
    source
        The source.
    """

    def __init__(self, documents: RowDocuments, source: Any) -> None:
        self.documents = documents
        self.source = source

    def list_columns(self) -> list[Column]:
        """List the columns of the source, and those of the documents."""
        return [*self.source.list_columns(), *self.documents.columns]

    def read_batches(
        self, column_names: Sequence[str] | None = None, row_limit: int | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Yield rows. All rows of the source are read first, so that the newest documents are fetched first.

        Parameters
        ----------
        column_names, row_limit
            As for `hven.sources.Source`.
        """
        document_names = [column.name for column in self.documents.columns]
        if column_names is None:
            requested_names = [column.name for column in self.list_columns()]
        else:
            requested_names = list(column_names)
        if not set(requested_names) & set(document_names):
            yield from self.source.read_batches(column_names, row_limit)
            return
        own_names = [name for name in requested_names if name not in document_names]
        source_names = list(dict.fromkeys([*own_names, *self.documents.options.required_columns]))
        cache_directory = self.documents.context.cache_directory
        if cache_directory is not None:
            cache_directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=cache_directory) as spool:
            schema = self._spool_rows_and_request_documents(self.source.read_batches(source_names, row_limit), spool)
            if schema is None:
                return
            schema_types = {field.name: field.type for field in schema}
            schema_types |= {column.name: column.type.arrow for column in self.documents.columns}
            empty = [pa.array([], schema_types[name]) for name in requested_names]
            for _ in self.documents.fetch_pending():
                yield pa.RecordBatch.from_arrays(empty, names=requested_names)
            spool.seek(0)
            for batch in pa.ipc.open_stream(spool):
                for at in range(0, batch.num_rows, ROWS_PER_LOOKUP):
                    part = batch.slice(at, ROWS_PER_LOOKUP)
                    arrays = dict(zip(part.schema.names, part.columns, strict=True))
                    arrays |= self.documents.build_document_columns(part)
                    requested_arrays = [arrays[name] for name in requested_names]
                    yield pa.RecordBatch.from_arrays(requested_arrays, names=requested_names)

    def _spool_rows_and_request_documents(self, batches: Iterator[pa.RecordBatch], spool: Any) -> pa.Schema | None:
        """Write rows to a file, and request their documents; None: there are no rows."""
        writer = schema = None
        try:
            for batch in batches:
                schema = batch.schema
                writer = writer or pa.ipc.new_stream(spool, schema)
                writer.write_batch(batch)
                self.documents.request_documents_of_rows(batch)
        finally:
            if writer is not None:
                writer.close()
        return schema

    def list_input_versions(self) -> list[InputVersion]:
        """List the inputs that the source read."""
        versions: list[InputVersion] = self.source.list_input_versions()
        return versions

    def estimate_progress_total(self) -> int | None:
        """Return the estimate of the source."""
        size: int | None = self.source.estimate_progress_total()
        return size


def _delegate_call(method_name: str) -> Callable[..., Any]:
    """Build a method that returns what the source returns."""

    def call_source(self: DocumentEnrichedSource, *arguments: Any) -> Any:
        return getattr(self.source, method_name)(*arguments)

    return call_source


def _delegate_selection(method_name: str) -> Callable[..., Source]:
    """Build a method that opens some rows of the source, with their documents."""

    def select_rows(self: DocumentEnrichedSource, *arguments: Any) -> Source:
        return self.documents.wrap_source(getattr(self.source, method_name)(*arguments))

    return select_rows


def _can_filter_by(self: DocumentEnrichedSource, expression: str) -> bool:
    """Ask the source, which does not know the values of documents."""
    names_document_column = any(column.name in expression for column in self.documents.columns)
    return not names_document_column and bool(self.source.can_filter_by(expression))


# contract of a source -> methods by which a source with documents fulfils it
_DELEGATING_METHODS: Mapping[Any, Mapping[str, Callable[..., Any]]] = {
    IncrementalSource: {"can_filter_by": _can_filter_by, "select_since": _delegate_selection("select_since")},
    KeyLookupSource: {"select_keys": _delegate_selection("select_keys")},
    FileListSource: {"list_files": _delegate_call("list_files"), "select_files": _delegate_selection("select_files")},
    **{
        contract: {name: _delegate_call(name)}
        for contract, name in (
            (ProgressSource, "count_progress_units"),
            (DoubtfulTypesSource, "list_type_doubts"),
            (SourceWithDescription, "read_title_and_description"),
            (MetadataSource, "read_metadata"),
        )
    },
}
