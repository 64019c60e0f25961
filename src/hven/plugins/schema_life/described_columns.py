"""Describe columns of any schema in the same words, so that they can be compared."""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, NamedTuple, overload

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from hven.model import cache_results
from hven.model.errors import NotFoundError, suggest_spelling
from hven.model.types import LEGACY_XTYPE_ALIASES, TYPE_ALIASES, XTYPES_BY_NAME, ColumnType

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from numpy.typing import NDArray

    from hven.model.table import Column, Table
    from hven.site import Catalogue, PublishedState

PUBLIC_ACCESS_KEY = "public"  # of the catalogue of anonymous users
_TYPE_MARK = "|"  # between the parts of a type
# words of VOTable, TAP 1.0, SQL and Felis that descriptors do not have, or that mean something else there
NAMES_BY_TYPE_WORD = TYPE_ALIASES | {
    "bit": "bool",
    "unsignedbyte": "uint8",
    "int2": "int16",
    "int4": "int32",
    "serial": "int32",
    "int8": "int64",  # PostgreSQL counts bytes
    "bigserial": "int64",
    "float4": "float32",
    "double precision": "float64",
    "float8": "float64",
    "floatcomplex": "complex64",
    "doublecomplex": "complex128",
    "character": "string",
    "character varying": "string",
    "clob": "string",
    "unicode": "string",
    "unicodechar": "string",
    "region": "adql:REGION",
}


class DescribedColumn(NamedTuple):
    """A column of a schema; a text is empty where the schema says nothing.

    Attributes
    ----------
    model
        Label of the schema.
    type
        The name that `write_type_name` or `name_type` gives.
    choices
        Values that the column can have, with their labels.
    """

    model: str
    table: str
    name: str
    type: str
    unit: str = ""
    ucd: str = ""
    utype: str = ""
    description: str = ""
    choices: tuple[tuple[str, str], ...] = ()

    @property
    def place(self) -> str:
        """Where the column is: ``model: table.column``."""
        return f"{self.model}: {self.table}.{self.name}"


TEXTS_SCHEMA = pa.schema([(name, pa.string()) for name in DescribedColumn._fields])  # choices: pairs in JSON, or empty


class ColumnRows(Sequence[DescribedColumn]):
    """Some of many columns; a `DescribedColumn` is built only when it is read, because schemas have 100,000 columns.

    Parameters
    ----------
    texts
        The texts of all columns, as `TEXTS_SCHEMA` describes them.
    rows
        Numbers of these columns; None: all.
    """

    __slots__ = ("_are_all", "rows", "texts")

    def __init__(self, texts: pa.Table, rows: NDArray[np.int64] | None = None) -> None:
        self.texts = texts
        self.rows = np.arange(len(texts)) if rows is None else rows
        self._are_all = rows is None

    def take_texts(self) -> pa.Table:
        """Return the texts of these columns, without those of others."""
        if self._are_all:
            return self.texts
        return self.texts.take(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[DescribedColumn]:
        """Build the columns."""
        for *texts, choices in zip(*self.take_texts().to_pydict().values(), strict=True):
            pairs = tuple((code, label) for code, label in orjson.loads(choices or "[]"))
            yield DescribedColumn._make((*texts, pairs))

    @overload
    def __getitem__(self, position: int) -> DescribedColumn: ...

    @overload
    def __getitem__(self, position: slice) -> ColumnRows: ...

    def __getitem__(self, position: int | slice) -> DescribedColumn | ColumnRows:
        if isinstance(position, slice):
            return ColumnRows(self.texts, self.rows[position])
        return next(iter(ColumnRows(self.texts, self.rows[[position]])))


def to_column_rows(columns: Sequence[DescribedColumn]) -> ColumnRows:
    """Return columns whose texts are in arrays, which take a tenth of the memory.

    Parameters
    ----------
    columns
        The columns.
    """
    if isinstance(columns, ColumnRows):
        return columns
    rows = [(*column[:-1], orjson.dumps(column.choices).decode()) for column in columns]
    lists = {name: [row[place] for row in rows] for place, name in enumerate(TEXTS_SCHEMA.names)}
    return ColumnRows(pa.table(lists, schema=TEXTS_SCHEMA))


def build_column_rows(label: str, texts: pa.Table, type_texts: pa.Table) -> ColumnRows:
    """Build the columns that another service describes.

    Parameters
    ----------
    label
        Label of the schema.
    texts
        Texts of the columns by the names of the fields of `DescribedColumn`, without types and choices.
    type_texts
        Their datatypes, arraysizes and xtypes.
    """
    types = pc.binary_join_element_wise(*type_texts.columns, _TYPE_MARK).combine_chunks().dictionary_encode()
    type_names = [write_type_name(*text.rsplit(_TYPE_MARK, 2)) for text in types.dictionary.to_pylist()]
    columns = {"model": pa.repeat(label, len(texts)), "choices": pa.repeat("", len(texts))}
    columns["type"] = pa.array(type_names, pa.string()).take(types.indices)
    columns |= dict(zip(texts.column_names, texts.columns, strict=True))
    return ColumnRows(pa.table(columns).select(TEXTS_SCHEMA.names).cast(TEXTS_SCHEMA))


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedSchema:
    """A schema that is compared.

    Attributes
    ----------
    label
        As the user named it.
    columns
        All columns of its tables.
    read_at
        When it was read.
    fault
        Why it could not be read again, so that this is an older copy, or has no columns; empty: nothing failed.
    """

    label: str
    columns: Sequence[DescribedColumn]
    read_at: datetime
    fault: str = ""

    def select_tables(self, pattern: str) -> ComparedSchema:
        """Keep the columns of some tables.

        Parameters
        ----------
        pattern
            Name of a table, with or without its schema, in which ``*`` stands for anything; empty: all tables.
        """
        if not pattern:
            return self
        columns = to_column_rows(self.columns)
        names = columns.texts["table"]
        selected_names = [name for name in names.unique().to_pylist() if is_table_selected(name, pattern)]
        is_selected = pc.is_in(names, pa.array(selected_names, pa.string())).to_numpy()
        return replace(self, columns=ColumnRows(columns.texts, columns.rows[is_selected[columns.rows]]))


def is_table_selected(table: str, pattern: str) -> bool:
    """Return whether a pattern means a table; case does not matter.

    Parameters
    ----------
    table
        Name of the table, with or without its schema.
    pattern
        A name in which ``*`` stands for anything.
    """
    name = table.lower()
    lower_pattern = pattern.lower().replace("[", "[[]")
    return fnmatchcase(name, lower_pattern) or fnmatchcase(name.rpartition(".")[2], lower_pattern)


@cache_results(20_000)
def name_type(column_type: ColumnType) -> str:
    """Return the name of a type for comparison: lengths of texts and arrays do not count.

    Parameters
    ----------
    column_type
        Type of a column.
    """
    stored_xtype = column_type.stored_xtype
    if stored_xtype is not None and stored_xtype.adql != "VARCHAR":
        return stored_xtype.name
    name = column_type.scalar_type.name
    name = NAMES_BY_TYPE_WORD.get(name, name)
    if column_type.is_array:
        return f"{name}[]"
    return name


def write_type_name(datatype: str, arraysize: str = "", xtype: str = "") -> str:
    """Return the name of a type of another service for comparison.

    Parameters
    ----------
    datatype
        A word of VOTable, TAP 1.0 or SQL, perhaps with a length: ``int``, ``adql:VARCHAR(20)``, ``float8``.
    arraysize, xtype
        As in VOTable; empty: none.
    """
    xtype = LEGACY_XTYPE_ALIASES.get(xtype, xtype)
    known_xtype = XTYPES_BY_NAME.get(xtype)
    if known_xtype is not None and known_xtype.adql != "VARCHAR":
        return known_xtype.name
    lower_datatype = datatype.strip().lower().removeprefix("adql:")
    word = re.split(r"[(\[*]", lower_datatype, maxsplit=1)[0].strip()
    name = NAMES_BY_TYPE_WORD.get(word, word)
    is_array = "[" in lower_datatype or arraysize not in {"", "1"}
    if name == "string":
        is_array = "[" in lower_datatype or "x" in arraysize
    if is_array:
        return f"{name}[]"
    return name


def describe_columns(
    model: str, table: str, columns: Iterable[Column], enums: Mapping[str, Mapping[str, str]]
) -> list[DescribedColumn]:
    """Describe the visible columns of a table.

    Parameters
    ----------
    model
        Label of the schema.
    table
        Name of the table.
    columns
        Its columns.
    enums
        Values that columns can have, by the names in `Column.enum`.
    """
    described_columns = []
    for column in columns:
        if column.hidden:
            continue
        choices: tuple[tuple[str, str], ...] = ()
        if column.enum:
            choices = tuple((str(code), str(label)) for code, label in enums.get(column.enum, {}).items())
        described_column = DescribedColumn(
            model,
            table,
            column.name,
            name_type(column.type),
            column.unit or "",
            column.ucd or "",
            column.utype or "",
            str(column.description or ""),
            choices,
        )
        described_columns.append(described_column)
    return described_columns


def describe_tables(label: str, tables: Iterable[Table]) -> ComparedSchema:
    """Describe tables of this site as a schema.

    Parameters
    ----------
    label
        Label of the schema.
    tables
        The tables, as the user sees them.
    """
    columns = []
    for table in tables:
        columns += describe_columns(label, table.qualified_name, table.columns, table.enums)
    return ComparedSchema(label=label, columns=columns, read_at=datetime.now(UTC))


def describe_own_model(name: str, catalogue: Catalogue) -> ComparedSchema:
    """Describe a collection of this site, or some of its tables.

    Parameters
    ----------
    name
        Name of a collection, or of a table with its schema, in which ``*`` stands for anything.
    catalogue
        What the user may see.

    Raises
    ------
    NotFoundError
        The user sees no such table.
    """
    tables = [table for table in catalogue.iterate_tables() if _is_table_of_model(table, name)]
    if not tables:
        known_names = [schema.name for schema in catalogue.schemas] + catalogue.list_table_names()
        remedy = suggest_spelling(name, known_names) or "specify a collection, a table, a file or an address"
        raise NotFoundError(f"there is no collection or table {name!r:.80}", remedy=remedy)
    return describe_tables(name, tables)


def _is_table_of_model(table: Table, name: str) -> bool:
    if name.lower() == table.schema.lower():
        return True
    return "." in name and is_table_selected(table.qualified_name, name)


class OwnSchemaCache:
    """Keeps the descriptions of the tables that anonymous users see, until another state is published."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._version = ""
        self._models: list[ComparedSchema] = []

    def find_or_describe_models(self, published_state: PublishedState, catalogue: Catalogue) -> list[ComparedSchema]:
        """Return the descriptions of each collection that a user sees; only those of anonymous users are kept.

        Parameters
        ----------
        published_state
            The state that the catalogue shows.
        catalogue
            What the user may see.
        """
        if catalogue.access_key != PUBLIC_ACCESS_KEY:
            return describe_all_models(catalogue)
        with self._lock:
            if self._version != published_state.version:
                models = describe_all_models(catalogue)
                self._models = [replace(model, columns=to_column_rows(model.columns)) for model in models]
                self._version = published_state.version
            return list(self._models)


def describe_all_models(catalogue: Catalogue) -> list[ComparedSchema]:
    """Describe each collection that a user sees as a schema.

    Parameters
    ----------
    catalogue
        What the user may see.
    """
    schemas = [schema for schema in catalogue.schemas if schema.name.lower() != "tap_schema"]
    return [describe_tables(schema.name, schema.tables) for schema in schemas]
