"""Add the values of documents to the rows of any source (`enrich:`).

Each row has a document elsewhere (a FITS header, a label, a record), whose values become columns beside its own.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import tempfile
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote, unquote

import pyarrow as pa
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from hven.model import plugins
from hven.model.errors import SourceError, suggest_spelling
from hven.model.table import Column
from hven.model.types import STRING, TIMESTAMP, ColumnType, parse_type
from hven.sources import (
    DescribedSource,
    DoubtfulTypesSource,
    FileListSource,
    IncrementalSource,
    InputVersion,
    KeyLookupSource,
    MetadataSource,
    ProgressSource,
    Source,
    SourceContext,
)
from hven.sources._documents.document_fetch import DocumentFetcher, fetch_documents
from hven.sources._documents.document_store import STATE_HERE, STATE_MISSING, STATE_OLD, STATE_WAITING, DocumentStore
from hven.sources._documents.document_values import (
    WHOLE_TEXT_KEY,
    InvalidDocumentError,
    extract_values,
    list_document_forms,
)
from hven.sources._reading.service_client import (
    AttemptCount,
    Login,
    ServiceClient,
    SilenceSeconds,
    Token,
    resolve_token_or_login,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from pathlib import Path

STATE_COLUMN = "document.state"
TIME_COLUMN = "document.time"
ADDRESS_COLUMN = "document.address"
DOCUMENT_FACT_COLUMNS = (
    Column(
        name=STATE_COLUMN,
        type=STRING,
        ucd="meta.code",
        description=(
            "State of the document: here, old (a newer one is not fetched yet), waiting, missing, refused, broken or "
            "failed"
        ),
    ),
    Column(name=TIME_COLUMN, type=TIMESTAMP, ucd="time.processing", description="When the document was fetched (UTC)"),
    Column(name=ADDRESS_COLUMN, type=STRING, ucd="meta.ref", description="Address of the document"),
)
FIRST_LOOK_DOCUMENTS = 10  # documents that are fetched for a first look
FIRST_LOOK_SECONDS = 20.0
ROWS_PER_LOOKUP = 10_000  # documents of this many rows are looked up together
_PLACEHOLDER_PATTERN = re.compile(r"\{([^{}]+)\}")
_BRACE_LIST_PATTERN = re.compile(r"\{([^{}]*,[^{}]*)\}")
_URL_HOST_PATTERN = re.compile(r"https?://[^/{}?#]+/")


def _wrap_key(value: object) -> object:
    if isinstance(value, str | list):
        return {"key": value}
    return value


def _expand_keys(value: object) -> object:
    if not isinstance(value, str):
        return value
    match = _BRACE_LIST_PATTERN.search(value)
    if match is None:
        return [value]
    before = value[: match.start()]
    after = value[match.end() :]
    return [before + word.strip() + after for word in match[1].split(",")]


class DocumentColumn(BaseModel):
    """A column whose values are taken from documents."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    key: Annotated[list[str], BeforeValidator(_expand_keys, json_schema_input_type=str | list[str])] = Field(
        min_length=1,
        description=(
            "Keyword in the header or label (without the word HIERARCH), path in the record (`a.b.0`, or `a/b/@c` in "
            "XML), or `*` for the whole text. If you write a list of keys, or a key with alternatives in braces, the "
            "column is an array."
        ),
        examples=["ESO ISS PBL{12,13,23} START"],
    )
    type: str = Field(
        "string", description="Type of a value: string (default), float64, int32, boolean ...", examples=["float64"]
    )
    unit: str | None = Field(None, description="Unit of the value, in VOUnits syntax.", examples=["s"])
    ucd: str | None = Field(None, description="UCD of the value (UCD1+).", examples=["time.duration;obs.exposure"])
    description: str | None = Field(None, description="One sentence for readers.", examples=["Local sidereal time"])
    array: bool = Field(False, description="`true`: the value is an array even for a single key.", examples=[True])

    @field_validator("type")
    @classmethod
    def _check_type(cls, value: str) -> str:
        kind = parse_type(value)
        if kind.is_array or not (kind.is_numeric or kind.is_string or str(kind) == "boolean"):
            raise ValueError(
                f"{value} is not a number, text or boolean; for an array, give a list of keys, and for a "
                "time, use `map`"
            )
        return value

    @property
    def is_array(self) -> bool:
        """Whether the values are arrays."""
        return self.array or len(self.key) > 1

    @property
    def column_type(self) -> ColumnType:
        """The type of the column."""
        if not self.is_array:
            return parse_type(self.type)
        length = len(self.key)
        if parse_type(self.type).is_string:
            return parse_type(f"string[64x{length}]")
        return parse_type(f"{self.type}[{length}]")

    @property
    def value_kind(self) -> str:
        """The kind of the values, as `extract_values` knows it."""
        kind = parse_type(self.type)
        if kind.is_string:
            return "text"
        if pa.types.is_boolean(kind.arrow):
            return "bool"
        if pa.types.is_floating(kind.arrow):
            return "float"
        return "int"


def _list_form_names(json_schema: dict[str, Any]) -> None:
    """Add the names of forms to a JSON Schema."""
    json_schema["enum"] = list_document_forms()


class DocumentEnrichmentOptions(BaseModel):
    """What a descriptor may state about the documents of its rows."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str | None = Field(
        None,
        description=(
            "Address of the documents, with the source's columns in braces. Each value is encoded as one part of the "
            "address. The host must not contain a column."
        ),
        examples=["https://archive.example/hdr?DpId={dp_id}"],
    )
    file: str | None = Field(
        None,
        description="Instead of `url`, a path below the descriptor's directory.",
        examples=["headers/{dp_id}.hdr"],
    )
    id: str = Field(
        description=("Column that identifies the document. Hven stores the document under the column's value."),
        examples=["dp_id"],
    )
    modified: str | None = Field(
        None,
        description=(
            "Column (a time or a number) whose value changes when the document changes, so that Hven fetches the "
            "document again. Hven fetches newer documents first."
        ),
        examples=["last_mod_date"],
    )
    format: str = Field(
        "header",
        description=(
            "Format of the documents: `header` (a FITS header: cards of 80 columns, lines, the `<pre>` of a page, or "
            "the beginning of a file), `json`, `xml`, or a form that a plug-in adds."
        ),
        examples=["json"],
        json_schema_extra=_list_form_names,
    )
    columns: dict[
        str,
        Annotated[DocumentColumn, BeforeValidator(_wrap_key, json_schema_input_type=DocumentColumn | str | list[str])],
    ] = Field(
        min_length=1,
        description=(
            "The columns that Hven reads from each document, as `name: KEYWORD` or `name: {key: .., type: .., unit: "
            "..}`."
        ),
        examples=[{"lst": {"key": "LST", "type": "float64", "unit": "s"}, "mode": "ESO INS MODE"}],
    )
    rate: float | None = Field(
        None,
        gt=0,
        le=10_000,
        description="Maximum number of documents per second. The limits in `[ceilings]` in hven.toml also apply.",
        examples=[5],
    )
    at_once: int = Field(
        4, ge=1, le=64, description=("Number of documents that Hven fetches at the same time."), examples=[8]
    )
    total: float = Field(
        600.0,
        gt=0,
        description="Seconds that one run spends on fetching documents. The next run fetches the rest.",
        examples=[1800],
    )
    again: float = Field(
        86_400.0,
        ge=0,
        description="Number of seconds after which Hven retries a document that was missing, refused or broken.",
        examples=[3600],
    )
    age: float | None = Field(
        None,
        gt=0,
        description="Number of seconds after which Hven fetches a document again even if its row has not changed.",
        examples=[604800],
    )
    bytes: int = Field(
        4 << 20, gt=0, le=1 << 30, description=("Maximum size of one document in bytes."), examples=[100000]
    )
    seconds: SilenceSeconds = 30.0
    tries: AttemptCount = 3
    token: Token = None
    login: Login = None

    @field_validator("format")
    @classmethod
    def _check_format(cls, name: str) -> str:
        form_names = list_document_forms()
        if name in form_names:
            return name
        package = plugins.find_unused_package("documents", name)
        if package is not None:
            raise ValueError(f"{name!r} belongs to the plug-in package {package}, which `plugins` does not list")
        *first_names, last_name = map(repr, form_names)
        raise ValueError(f"Input should be {', '.join(first_names)} or {last_name}")

    @model_validator(mode="after")
    def _check_location(self) -> DocumentEnrichmentOptions:
        if (self.url is None) == (self.file is None):
            raise ValueError("write either `url` or `file`")
        if self.url is not None and not _URL_HOST_PATTERN.match(self.url):
            raise ValueError(
                "`url` must begin with https:// or http:// and a host name that contains no column in braces"
            )
        if not _PLACEHOLDER_PATTERN.search(self.template):
            raise ValueError("put a column of the source in braces; without one, all rows would have the same document")
        return self

    @property
    def template(self) -> str:
        """Where the documents are: a URL or a path, with columns in braces."""
        return self.url or self.file or ""

    @property
    def required_columns(self) -> list[str]:
        """Columns of the source that the documents need."""
        names = [self.id]
        if self.modified:
            names.append(self.modified)
        names += _PLACEHOLDER_PATTERN.findall(self.template)
        return list(dict.fromkeys(names))


def with_document_columns(
    source_columns: Sequence[Column], enrich_options: Mapping[str, Any] | None
) -> tuple[Column, ...]:
    """Add the columns of documents to those of a source, before anything is fetched.

    Parameters
    ----------
    source_columns
        Columns of the source.
    enrich_options
        `enrich` of the source; None: it has no documents.

    Returns
    -------
    columns
        Those of the source first.

    Raises
    ------
    SourceError
        As for `RowDocuments`.
    """
    if enrich_options is None:
        return tuple(source_columns)
    options = DocumentEnrichmentOptions.model_validate(dict(enrich_options))
    documents = RowDocuments(options, source_columns, SourceContext())
    return (*source_columns, *documents.columns)


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
        document_columns: list[Column] = []
        for name, document_column in options.columns.items():
            column = Column(
                name=name,
                type=document_column.column_type,
                unit=document_column.unit,
                ucd=document_column.ucd,
                description=document_column.description,
            )
            document_columns.append(column)
        self.columns = (*document_columns, *DOCUMENT_FACT_COLUMNS)
        twice = [column.name for column in self.columns if column.name in names]
        if twice:
            raise SourceError(f"enrich: the source already has a column {twice[0]!r}", remedy="give it another name")
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
    def store(self) -> DocumentStore:
        """The store in which documents are kept."""
        if self._store is None:
            self._store = DocumentStore(self.store_path, self._form)
        return self._store

    def record_documents_of_rows(self, batch: pa.RecordBatch) -> None:
        """Request the documents of some rows.

        Parameters
        ----------
        batch
            Rows of the source, with the columns of `DocumentEnrichmentOptions.required_columns`.
        """
        names, moments = self._read_names_and_moments(batch)
        addresses = self._build_addresses(batch)
        requests = zip(names, moments, addresses, strict=True)
        self.store.record_wanted_documents(
            (name, moment, address) for name, moment, address in requests if name and address
        )

    def _read_names_and_moments(self, batch: pa.RecordBatch) -> tuple[list[Any], list[Any]]:
        """Read the name of the document of each row, and how new it is; None: the source does not tell."""
        names = _to_texts(batch.column(self.options.id))
        if self.options.modified:
            return names, _to_sqlite_values(batch.column(self.options.modified))
        return names, [None] * len(names)

    def _build_addresses(self, batch: pa.RecordBatch) -> list[str | None]:
        parts = _PLACEHOLDER_PATTERN.split(self.options.template)
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
        options = self.options
        context = self.context
        service = None
        if options.url is not None:
            service = self._build_service(options.url)
        fetcher = DocumentFetcher(
            service=service,
            directory=context.directory,
            roots=context.allowed_roots,
            document_form=options.format,
            columns=self._specs,
            byte_limit=options.bytes,
            max_age_seconds=options.age,
            retry_after_seconds=options.again,
        )
        duration_seconds = options.total
        document_limit = None
        if context.cache_directory is None:  # a first look
            duration_seconds = min(options.total, FIRST_LOOK_SECONDS)
            document_limit = FIRST_LOOK_DOCUMENTS
        yield from fetch_documents(
            self.store,
            fetcher,
            concurrency=options.at_once,
            duration_seconds=duration_seconds,
            document_limit=document_limit,
            on_notice=context.on_notice,
            on_progress=context.on_progress,
        )

    def _build_service(self, url: str) -> ServiceClient:
        options = self.options
        secret = resolve_token_or_login(options.token, options.login, self.context)
        host = _URL_HOST_PATTERN.match(url)
        if host is not None:
            url = host[0]
        return ServiceClient(
            url,
            self.context,
            options=options,
            authorization=secret,
        )

    def build_document_columns(self, batch: pa.RecordBatch) -> dict[str, pa.Array]:
        """Build the columns that documents give to rows.

        Parameters
        ----------
        batch
            As for `record_documents_of_rows`.

        Returns
        -------
        columns
            By name, Arrow arrays of shape (rows,).
        """
        names, moments = self._read_names_and_moments(batch)
        requested_names = {name for name in names if name}
        facts_by_id = self.store.find_document_records(list(requested_names))
        stored_values = {name: facts[3:] for name, facts in facts_by_id.items() if facts[2] is not None}
        values_by_id = self._collect_values(stored_values)
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

    def _collect_values(self, stored_values: Mapping[str, Sequence[Any]]) -> dict[str, Sequence[Any]]:
        """Return the values of documents; those that were extracted for other columns are extracted again."""
        values_by_id: dict[str, Sequence[Any]] = {}
        new_values: dict[str, Sequence[Any]] = {}
        for name, (form, values) in stored_values.items():
            if form == self._form and values is not None:
                values_by_id[name] = json.loads(values)
                continue
            try:
                body = self.store.read_body(name)
                new_values[name], _ = extract_values(body, self.options.format, self._specs)
            except InvalidDocumentError:
                new_values[name] = [None] * len(self._specs)
        if new_values:
            self.store.update_values(new_values.items())
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
        abilities = [kind for contract, kind in _ENRICHED_CLASSES.items() if isinstance(source, contract)]
        if abilities:
            kind = type("Enriched", (*abilities, DocumentEnrichedSource), {})
        else:
            kind = DocumentEnrichedSource
        enriched: DocumentEnrichedSource = kind(self, source)
        return enriched


def _to_sqlite_values(column: pa.Array) -> list[Any]:
    """Convert moments to values that SQLite orders as they are: numbers or texts; NaN is no moment."""
    if pa.types.is_floating(column.type):
        numbers = column.to_pylist()
        return [None if number is not None and math.isnan(number) else number for number in numbers]
    if pa.types.is_integer(column.type):
        integers: list[Any] = column.to_pylist()
        return integers
    return _to_texts(column)


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
            schema = self._spool_rows(self.source.read_batches(source_names, row_limit), spool)
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

    def _spool_rows(self, batches: Iterator[pa.RecordBatch], spool: Any) -> pa.Schema | None:
        """Write rows to a file, and request their documents; None: there are no rows."""
        writer = schema = None
        try:
            for batch in batches:
                schema = batch.schema
                writer = writer or pa.ipc.new_stream(spool, schema)
                writer.write_batch(batch)
                self.documents.record_documents_of_rows(batch)
        finally:
            if writer is not None:
                writer.close()
        return schema

    def list_input_versions(self) -> list[InputVersion]:
        """List the inputs that the source read.

        Returns
        -------
        pins
            Those of the source.
        """
        versions: list[InputVersion] = self.source.list_input_versions()
        return versions

    def estimate_size(self) -> int | None:
        """Return the estimate of the source."""
        size: int | None = self.source.estimate_size()
        return size


class _EnrichedIncrementalSource(DocumentEnrichedSource):
    """A source with documents that can restrict itself to new rows."""

    def can_filter_by(self, expression: str) -> bool:
        """Ask the source; it does not know the values of documents."""
        document_names = [column.name for column in self.documents.columns]
        if any(name in expression for name in document_names):
            return False
        return bool(self.source.can_filter_by(expression))

    def select_since(self, expression: str, watermark: object | None) -> Source:
        """Open the newer rows of the source, with their documents."""
        return self.documents.wrap_source(self.source.select_since(expression, watermark))


class _EnrichedKeyLookupSource(DocumentEnrichedSource):
    """A source with documents that returns rows by key."""

    def select_keys(self, key_columns: Sequence[str], keys: pa.Table) -> Source:
        """Open these rows, with their documents."""
        return self.documents.wrap_source(self.source.select_keys(key_columns, keys))


class _EnrichedFileListSource(DocumentEnrichedSource):
    """A source with documents that consists of files."""

    def list_files(self) -> pa.Table:
        """List the files of the source."""
        return self.source.list_files()

    def select_files(self, file_names: Collection[str]) -> Source:
        """Open the rows of some files, with their documents."""
        return self.documents.wrap_source(self.source.select_files(file_names))


class _EnrichedProgressSource(DocumentEnrichedSource):
    """A source with documents that counts bytes."""

    def count_bytes_read(self) -> int:
        """Return the bytes read so far."""
        return int(self.source.count_bytes_read())


class _EnrichedDoubtfulTypesSource(DocumentEnrichedSource):
    """A source with documents that is not sure of types."""

    def list_type_doubts(self) -> dict[str, tuple[str, str]]:
        """Return the doubts of the source."""
        type_doubts: dict[str, tuple[str, str]] = self.source.list_type_doubts()
        return type_doubts


class _EnrichedDescribedSource(DocumentEnrichedSource):
    """A source with documents that has a title and a description."""

    def read_title_and_description(self) -> tuple[str | None, str | None]:
        """Return the title and the description of the source."""
        title_and_description: tuple[str | None, str | None] = self.source.read_title_and_description()
        return title_and_description


class _EnrichedMetadataSource(DocumentEnrichedSource):
    """A source with documents that has metadata besides its rows."""

    def read_metadata(self) -> Any:
        """Return the metadata of the source."""
        return self.source.read_metadata()


_ENRICHED_CLASSES: Mapping[Any, type[DocumentEnrichedSource]] = {
    IncrementalSource: _EnrichedIncrementalSource,
    KeyLookupSource: _EnrichedKeyLookupSource,
    FileListSource: _EnrichedFileListSource,
    ProgressSource: _EnrichedProgressSource,
    DoubtfulTypesSource: _EnrichedDoubtfulTypesSource,
    DescribedSource: _EnrichedDescribedSource,
    MetadataSource: _EnrichedMetadataSource,
}

__all__ = [
    "ADDRESS_COLUMN",
    "DOCUMENT_FACT_COLUMNS",
    "STATE_COLUMN",
    "TIME_COLUMN",
    "WHOLE_TEXT_KEY",
    "DocumentColumn",
    "DocumentEnrichedSource",
    "DocumentEnrichmentOptions",
    "RowDocuments",
    "with_document_columns",
]
