"""`enrich:` of any source: each row has a document elsewhere (a FITS header, a label, a record), whose values become columns beside its own."""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import quote, unquote

import pyarrow as pa
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from hven.model.errors import SourceError, nearest
from hven.model.table import Column
from hven.model.types import STRING, TIMESTAMP, Type, parse_type
from hven.sources import Context, Counts, Described, Doubts, FileWise, Headed, Picks, Pin, Since, Source
from hven.sources._documents.document_fetch import Asking, fetch
from hven.sources._documents.document_store import HERE, MISSING, OLD, WAITING, DocumentStore
from hven.sources._documents.document_values import FORMS, WHOLE, Wrong, take
from hven.sources._reading.service import Secret, Service, authorization

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from pathlib import Path

STATE, TIME, ADDRESS = "document.state", "document.time", "document.address"
FACTS = (
    Column(name=STATE, type=STRING, ucd="meta.code", description="here, old (a newer one could not be fetched yet), waiting, missing, refused, broken, failed"),
    Column(name=TIME, type=TIMESTAMP, ucd="time.processing", description="When the document was fetched (UTC)"),
    Column(name=ADDRESS, type=STRING, ucd="meta.ref", description="Where it is"),
)  # fmt: skip
FEW, SOON = 10, 20.0  # documents that are fetched for a first look, and seconds
AT_ONCE = 10_000  # rows whose documents are looked up together
_HOLE = re.compile(r"\{([^{}]+)\}")
_BRACES = re.compile(r"\{([^{}]*,[^{}]*)\}")
_BEGIN = re.compile(r"https?://[^/{}?#]+/")


def _key(value: object) -> object:
    return {"key": value} if isinstance(value, str | list) else value


def _list(value: object) -> object:
    if not isinstance(value, str):
        return value
    found = _BRACES.search(value)
    if found is None:
        return [value]
    return [value[: found.start()] + word.strip() + value[found.end() :] for word in found[1].split(",")]


class Taken(BaseModel):
    """A column that is taken of a document."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    key: Annotated[list[str], BeforeValidator(_list)] = Field(
        min_length=1,
        description="Keyword of the header or label (HIERARCH is left out), path in the record (`a.b.0`; of XML `a/b/@c`), `*` for the whole text. A list of them, or `PBL{12,13,23} START`, makes an array.",
    )
    type: str = Field("string", description="Of a value: string, float64, int32, boolean ...")
    unit: str | None = Field(None, description="VOUnit.")
    ucd: str | None = Field(None, description="UCD1+.")
    description: str | None = Field(None, description="One sentence for readers.")
    array: bool = Field(False, description="True: an array also of one key.")

    @field_validator("type")
    @classmethod
    def _known(cls, value: str) -> str:
        kind = parse_type(value)
        if kind.is_array or not (kind.is_numeric or kind.is_string or str(kind) == "boolean"):
            raise ValueError(f"{value} is no number, text or boolean: a list of keys makes an array, `map` a time")
        return value

    @property
    def several(self) -> bool:
        """Whether its values are arrays."""
        return self.array or len(self.key) > 1

    @property
    def made(self) -> Type:
        """The type of the column."""
        if not self.several:
            return parse_type(self.type)
        word = self.type if not parse_type(self.type).is_string else "string"
        return parse_type(f"string[64x{len(self.key)}]" if word == "string" else f"{word}[{len(self.key)}]")

    @property
    def kind(self) -> str:
        """What its values are, as `take` knows them."""
        kind = parse_type(self.type)
        if kind.is_string:
            return "text"
        return "bool" if pa.types.is_boolean(kind.arrow) else "float" if pa.types.is_floating(kind.arrow) else "int"


class Enrich(BaseModel):
    """What a descriptor may say of the documents of its rows."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str | None = Field(
        None,
        description="Their address, with columns of the source in braces: `https://archive.example/hdr?id={dp_id}`.",
    )
    file: str | None = Field(None, description="Or their path, relative to the descriptor: `headers/{dp_id}.hdr`.")
    id: str = Field(description="Column that names the document: under it, it is kept.")
    modified: str | None = Field(
        None,
        description="Column that is larger in rows whose document is newer: it is fetched again, and the newest first.",
    )
    format: Literal["header", "json", "label", "xml"] = Field(
        "header",
        description="header: of FITS, as it is, as lines, or in the `<pre>` of a page; of a whole FITS file the beginning is fetched. label: PVL, ODL. json, xml: one record.",
    )
    columns: dict[str, Annotated[Taken, BeforeValidator(_key)]] = Field(
        min_length=1, description="What is taken of each: `name: KEYWORD`, or `name: {key: .., type: .., unit: ..}`."
    )
    rate: float | None = Field(None, gt=0, le=10_000, description="Documents a second at most.")
    at_once: int = Field(4, ge=1, le=64, description="How many are fetched at the same time.")
    total: float = Field(600.0, gt=0, description="Seconds of one run for fetching; what is left comes in the next.")
    again: float = Field(
        86_400.0, ge=0, description="Seconds after which one is asked for again that was missing, refused or broken."
    )
    age: float | None = Field(
        None, gt=0, description="Seconds after which one is fetched again though its row says nothing of it."
    )
    bytes: int = Field(4 << 20, gt=0, le=1 << 30, description="Of one document, at most.")
    seconds: float = Field(30.0, gt=0, description="Without a byte for that long, an answer is given up.")
    tries: int = Field(3, ge=1, le=20, description="How often something is tried in a run that a pause may mend.")
    token: Secret | None = Field(None, description="`$NAME` of a secret that lets us in as a bearer token.")
    login: Secret | None = Field(None, description="`$NAME` of a secret `user:password`, instead of `token`.")

    @model_validator(mode="after")
    def _one_place(self) -> Enrich:
        if (self.url is None) == (self.file is None):
            raise ValueError("say either `url` or `file`")
        if self.url is not None and not _BEGIN.match(self.url):
            raise ValueError("`url` begins with https://host/: no column says which host is asked")
        if not _HOLE.search(self.template):
            raise ValueError("no column of the source stands in braces: all rows would have one document")
        return self

    @property
    def template(self) -> str:
        """Where documents are."""
        return self.url or self.file or ""

    @property
    def names(self) -> list[str]:
        """Columns of the source that it needs."""
        return list(
            dict.fromkeys([self.id, *([self.modified] if self.modified else []), *_HOLE.findall(self.template)])
        )


def with_documents(own: Sequence[Column], said: Mapping[str, Any] | None) -> tuple[Column, ...]:
    """Add the columns of documents to those of a source, before anything is fetched.

    Parameters
    ----------
    own
        Columns of the source.
    said
        `enrich` of the source; None: it has no documents.

    Returns
    -------
    columns
        The source's own first.

    Raises
    ------
    SourceError
        As of `Documents`.
    """
    if said is None:
        return tuple(own)
    return (*own, *Documents(Enrich.model_validate(dict(said)), own, Context()).columns)


class Documents:
    """The documents of one source's rows.

    Parameters
    ----------
    said
        What the descriptor says.
    own
        Columns of the source.
    context
        As of the source.

    Attributes
    ----------
    columns
        What is taken of them, and `FACTS`.

    Raises
    ------
    SourceError
        The source has no such column, or one of the same name.
    """

    def __init__(self, said: Enrich, own: Sequence[Column], context: Context) -> None:
        self.said, self.context = said, context
        names = [column.name for column in own]
        for name in said.names:
            if name not in names:
                raise SourceError(
                    f"enrich: the source has no column {name!r}",
                    remedy=nearest(name, names) or f"known: {', '.join(names[:12])}",
                )
        self.columns = (
            *(
                Column(name=name, type=one.made, unit=one.unit, ucd=one.ucd, description=one.description)
                for name, one in said.columns.items()
            ),
            *FACTS,
        )
        twice = [column.name for column in self.columns if column.name in names]
        if twice:
            raise SourceError(f"enrich: the source has a column {twice[0]!r} already", remedy="give it another name")
        self._specs = [(one.key, one.kind, one.several) for one in said.columns.values()]
        self._form = json.dumps([said.format, self._specs])
        self._store: DocumentStore | None = None
        self._begun = False

    @property
    def waiting(self) -> int:
        """How many documents of the rows that were read are still to be fetched."""
        return 0 if self._store is None else self._store.left()

    @property
    def path(self) -> Path | None:
        """The file in which they are kept: another address has another one."""
        if self.context.kept is None:
            return None
        return self.context.kept / f"{hashlib.sha256(self.said.template.encode()).hexdigest()[:16]}.sqlite"

    @property
    def store(self) -> DocumentStore:
        """Where they are kept."""
        if self._store is None:
            self._store = DocumentStore(self.path, self._form)
        return self._store

    def want(self, batch: pa.RecordBatch) -> None:
        """Say of which rows the documents are wanted.

        Parameters
        ----------
        batch
            Rows of the source, with the columns of `Enrich.names`.
        """
        names = batch.column(self.said.id).cast(pa.string()).to_pylist()
        when = _plain(batch.column(self.said.modified)) if self.said.modified else [None] * len(names)
        self.store.want(
            (name, moment, address)
            for name, moment, address in zip(names, when, self._addresses(batch), strict=True)
            if name and address
        )

    def _addresses(self, batch: pa.RecordBatch) -> list[str | None]:
        parts = _HOLE.split(self.said.template)
        columns = [batch.column(name).cast(pa.string()).to_pylist() for name in parts[1::2]]
        literal = parts[::2]
        filled = self._url if self.said.url is not None else self._file
        return [filled(literal, values) for values in zip(*columns, strict=True)]

    @staticmethod
    def _url(literal: Sequence[str], values: Sequence[str | None]) -> str | None:
        """Fill an address: a value is a part of it, and leads nowhere else; None: there is no value."""
        if any(not value for value in values):
            return None
        text = literal[0] + "".join(
            quote(str(value), safe=":") + rest for value, rest in zip(values, literal[1:], strict=True)
        )
        path = text.partition("?")[0].partition("#")[0]
        return None if any(unquote(step) in {".", ".."} for step in path.split("/")[3:]) else text

    @staticmethod
    def _file(literal: Sequence[str], values: Sequence[str | None]) -> str | None:
        """Fill a path, which stays below where the descriptor is."""
        if any(not value or "\0" in value or ".." in value.split("/") or value.startswith("/") for value in values):
            return None
        return literal[0] + "".join(str(value) + rest for value, rest in zip(values, literal[1:], strict=True))

    def fetch(self) -> Iterator[None]:
        """Fetch what is wanted and not here, for as long as a run may; once.

        Yields
        ------
        nothing
            Every now and then, so that who reads the rows can stop it.
        """
        if self._begun:
            return
        self._begun = True
        said, context = self.said, self.context
        service = None
        if said.url is not None:
            secret = authorization(said.token or said.login, context, "Bearer" if said.token else "Basic")
            host = _BEGIN.match(said.url)
            service = Service(
                host[0] if host else said.url,
                context,
                seconds=said.seconds,
                tries=said.tries,
                rate=said.rate,
                secret=secret,
            )
        asking = Asking(
            service=service, directory=context.directory, roots=context.roots, form=said.format, columns=self._specs,
            most=said.bytes, age=said.age, again=said.again,
        )  # fmt: skip
        first = context.kept is None  # a first look
        yield from fetch(
            self.store, asking, at_once=said.at_once, seconds=min(said.total, SOON) if first else said.total,
            most=FEW if first else None, tell=context.tell, shows=context.shows,
        )  # fmt: skip

    def beside(self, batch: pa.RecordBatch) -> dict[str, pa.Array]:
        """Return the columns that documents give to rows.

        Parameters
        ----------
        batch
            As of `want`.

        Returns
        -------
        columns
            By name, Arrow arrays of shape (rows,).
        """
        names = batch.column(self.said.id).cast(pa.string()).to_pylist()
        when = _plain(batch.column(self.said.modified)) if self.said.modified else [None] * len(names)
        known = self.store.known(list({name for name in names if name}))
        values = self._values({name: facts[3:] for name, facts in known.items() if facts[2] is not None})
        empty = [None] * len(self._specs)
        rows = [values.get(name, empty) for name in names]
        made = {
            column.name: pa.array([row[at] for row in rows], column.type.arrow)
            for at, column in enumerate(self.columns[: len(self._specs)])
        }
        addresses = self._addresses(batch)
        states, times = [], []
        for name, moment, address in zip(names, when, addresses, strict=True):
            state, modified, fetched, *_ = known.get(name, (WAITING if address else MISSING, None, None))
            states.append(OLD if state == HERE and modified != moment else state)
            times.append(None if fetched is None else datetime.fromtimestamp(fetched, UTC).replace(tzinfo=None))
        made[STATE] = pa.array(states, pa.string())
        made[TIME] = pa.array(times, TIMESTAMP.arrow)
        made[ADDRESS] = pa.array(addresses, pa.string())
        return made

    def _values(self, kept: Mapping[str, Sequence[Any]]) -> dict[str, Sequence[Any]]:
        """Return what was taken of documents; what was taken otherwise is taken anew."""
        found: dict[str, Sequence[Any]] = {}
        anew: dict[str, Sequence[Any]] = {}
        for name, (form, taken) in kept.items():
            if form == self._form and taken is not None:
                found[name] = json.loads(taken)
                continue
            try:
                anew[name], _ = take(self.store.body(name), self.said.format, self._specs)
            except Wrong:
                anew[name] = [None] * len(self._specs)
        if anew:
            self.store.retaken(anew.items())
        return found | anew

    def around(self, source: Source) -> Enriched:
        """Put the documents' columns beside those of a source; what the source can, the result can.

        Parameters
        ----------
        source
            Of the rows.

        Returns
        -------
        source
            With more columns.
        """
        can = tuple(kind for contract, kind in _ABILITIES.items() if isinstance(source, contract))
        kind = type("Enriched", (*can, Enriched), {}) if can else Enriched
        made: Enriched = kind(self, source)
        return made


def _plain(column: pa.Array) -> list[Any]:
    """Return moments as SQLite keeps them: numbers, or texts that are ordered as they are."""
    number = pa.types.is_integer(column.type) or pa.types.is_floating(column.type)
    found: list[Any] = (column if number else column.cast(pa.string())).to_pylist()
    return [None if one != one else one for one in found]  # NaN is no moment  # noqa: PLR0124


class Enriched:
    """A source whose rows have the columns of their documents, too.

    Parameters
    ----------
    documents
        Of its rows.
    inner
        The source.
    """

    def __init__(self, documents: Documents, inner: Any) -> None:
        self.documents, self.inner = documents, inner

    def columns(self) -> list[Column]:
        """List the columns of the source, and those of the documents."""
        return [*self.inner.columns(), *self.documents.columns]

    def batches(self, columns: Sequence[str] | None = None, limit: int | None = None) -> Iterator[pa.RecordBatch]:
        """Yield rows: all are read first, so that the newest documents are fetched first.

        Parameters
        ----------
        columns, limit
            As of `hven.sources.Source`.
        """
        ours = [column.name for column in self.documents.columns]
        asked = [column.name for column in self.columns()] if columns is None else list(columns)
        if not set(asked) & set(ours):
            yield from self.inner.batches(columns, limit)
            return
        theirs = list(dict.fromkeys([*(name for name in asked if name not in ours), *self.documents.said.names]))
        kept = self.documents.context.kept
        if kept is not None:
            kept.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=kept) as spool:
            schema = self._spooled(self.inner.batches(theirs, limit), spool)
            if schema is None:
                return
            kinds = {column.name: column.type.arrow for column in self.documents.columns}
            empty = [pa.array([], kinds.get(name) or schema.field(name).type) for name in asked]
            for _ in self.documents.fetch():
                yield pa.RecordBatch.from_arrays(empty, names=asked)
            spool.seek(0)
            for batch in pa.ipc.open_stream(spool):
                for at in range(0, batch.num_rows, AT_ONCE):
                    part = batch.slice(at, AT_ONCE)
                    beside = self.documents.beside(part)
                    yield pa.RecordBatch.from_arrays(
                        [beside[name] if name in beside else part.column(name) for name in asked], names=asked
                    )

    def _spooled(self, batches: Iterator[pa.RecordBatch], spool: Any) -> pa.Schema | None:
        """Write rows to a file, and say which documents they want; None: there are none."""
        writer = schema = None
        try:
            for batch in batches:
                schema = batch.schema
                writer = writer or pa.ipc.new_stream(spool, schema)
                writer.write_batch(batch)
                self.documents.want(batch)
        finally:
            if writer is not None:
                writer.close()
        return schema

    def pins(self) -> list[Pin]:
        """List what was read of the source.

        Returns
        -------
        pins
            The source's own.
        """
        found: list[Pin] = self.inner.pins()
        return found

    def size(self) -> int | None:
        """Return what the source says."""
        size: int | None = self.inner.size()
        return size


class _Since(Enriched):
    """Of a source that narrows itself."""

    def narrow(self, expression: str) -> bool:
        """Ask the source; what documents say it does not know."""
        ours = (column.name for column in self.documents.columns)
        return not any(name in expression for name in ours) and bool(self.inner.narrow(expression))

    def since(self, expression: str, value: object | None) -> Source:
        """Open its newer rows, with their documents."""
        return self.documents.around(self.inner.since(expression, value))


class _Picks(Enriched):
    """Of a source that gives rows by key."""

    def pick(self, columns: Sequence[str], keys: pa.Table) -> Source:
        """Open these rows, with their documents."""
        return self.documents.around(self.inner.pick(columns, keys))


class _FileWise(Enriched):
    """Of a source of files."""

    def listed(self) -> pa.Table:
        """List its files."""
        return self.inner.listed()

    def only(self, names: Collection[str]) -> Source:
        """Open the rows of some files, with their documents."""
        return self.documents.around(self.inner.only(names))


class _Counts(Enriched):
    """Of a source that counts bytes."""

    def done(self) -> int:
        """Return the bytes read so far."""
        return int(self.inner.done())


class _Doubts(Enriched):
    """Of a source that is not sure of types."""

    def doubts(self) -> dict[str, tuple[str, str]]:
        """Return its doubts."""
        found: dict[str, tuple[str, str]] = self.inner.doubts()
        return found


class _Described(Enriched):
    """Of a source that says what it is about."""

    def about(self) -> tuple[str | None, str | None]:
        """Return its title and description."""
        found: tuple[str | None, str | None] = self.inner.about()
        return found


class _Headed(Enriched):
    """Of a source that says more around its rows."""

    def head(self) -> Any:
        """Return its head."""
        return self.inner.head()


_ABILITIES: Mapping[Any, type[Enriched]] = {
    Since: _Since, Picks: _Picks, FileWise: _FileWise, Counts: _Counts, Doubts: _Doubts, Described: _Described, Headed: _Headed,
}  # fmt: skip

__all__ = [
    "ADDRESS",
    "FACTS",
    "FORMS",
    "STATE",
    "TIME",
    "WHOLE",
    "Documents",
    "Enrich",
    "Enriched",
    "Taken",
    "with_documents",
]
