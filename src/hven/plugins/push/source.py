"""Read rows that clients push to ``/push/schema.table``. Of several rows with the same key, Hven publishes the last."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field, model_validator

from hven.model import plugins
from hven.model.errors import Fault, SourceError
from hven.model.table import Column
from hven.model.types import parse_type
from hven.sources import (
    ROW_NUMBER_COLUMN,
    InputVersion,
    Source,
    SourceChanges,
    SourceContext,
    SourceKindTraits,
)
from hven.sources.api.rows import Texts, build_source_batch, resolve_column_names, split_batches

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from hven.model.resource import CollectionSpec, SourceSpec, TableSpec
    from hven.model.table import Table
    from hven.plugins.push.journal import JournalWithPendingPushes

DELETED_COLUMN = "hven:gone"  # of rows in a journal: true for those that were deleted
JOURNAL_MODULE = "hven.plugins.push.journal"  # it needs SQLAlchemy, and a descriptor is checked without


class Options(BaseModel):
    """What a descriptor may state about rows that are pushed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    columns: dict[str, str] = Field(
        min_length=1,
        description="The columns that clients can send, with their types. These are the source's columns.",
        examples=[{"night": "timestamp", "seeing": "float32"}],
    )
    writers: Texts = Field(
        default_factory=list,
        description=(
            "Who can write rows: accounts, groups or `project:NAME:curator`. Default: the contributors of the "
            "collection's project, or else nobody."
        ),
        examples=[["anna", "observers"]],
    )
    ids: str | None = Field(
        None,
        description=(
            "The key column that Hven fills in if a client sends no value for it. In an integer column, numbers "
            "continue after the last number, and Hven never uses a number twice. In a text column, the values are "
            "UUIDs."
        ),
        examples=["id"],
    )

    @model_validator(mode="after")
    def _check_options(self) -> Options:
        for name, text in self.columns.items():
            if name.startswith(("hven:", "file.", "source.")):
                raise ValueError(f"the column name {name!r} is reserved")
            try:
                parse_type(text)
            except ValueError as error:
                raise ValueError(f"columns.{name}: {error}") from error
        kind: str | None = "string"
        if self.ids is not None:
            kind = self.columns.get(self.ids)
        if kind is None:
            raise ValueError(f"there is no column {self.ids!r} in `columns`")
        if not (parse_type(kind).is_integer or parse_type(kind).is_string):
            raise ValueError(
                f"ids: the type of {self.ids!r} is {kind}, but Hven can generate only whole numbers and strings"
            )
        return self

    @property
    def schema(self) -> pa.Schema:
        """The columns of rows as the site keeps them."""
        fields = [(name, parse_type(text).arrow) for name, text in self.columns.items()]
        return pa.schema([*fields, (DELETED_COLUMN, pa.bool_())])


def open(options: Options, context: SourceContext) -> Source:  # noqa: A001  (the contract's word)
    """Open the pushed rows; nothing is read yet.

    Raises
    ------
    SourceError
        The rows have no key.
    """
    return PushedRowSource(options, context)


class PushedRowSource:
    """The rows that clients pushed, in their last state."""

    def __init__(self, options: Options, context: SourceContext) -> None:
        self.options = options
        self.context = context
        self._journal: JournalWithPendingPushes | None = None
        if context.open_records is not None:
            module = plugins.import_hven_module(JOURNAL_MODULE, "rows that clients push")
            self._journal = module.open_journal(context)
        self._rows: pa.Table | None = None

    def with_context(self, context: SourceContext) -> Source:
        """Return the same rows in another context, which knows their key."""
        if not context.key_columns:
            raise SourceError(
                "rows can be pushed only into tables with a key",
                remedy="set `primary` to columns that Hven copies unchanged from the rows that clients send",
            )
        return PushedRowSource(self.options, context)

    def list_columns(self) -> list[Column]:
        """List the columns that clients may send."""
        columns: list[Column] = []
        for name, text in self.options.columns.items():
            columns.append(Column(name=name, type=parse_type(text)))
        return columns

    def read_batches(
        self, column_names: Sequence[str] | None = None, row_limit: int | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows in the order in which they were pushed last."""
        names = resolve_column_names(column_names, list(self.options.columns), "what is pushed")
        all_rows = self._merge_journal_pieces()
        rows = all_rows.filter(pc.invert(all_rows.column(DELETED_COLUMN)))
        batches = iterate_pushed_batches(names, rows, self.options)
        yield from split_batches(batches, self.context.batch_row_limit, row_limit)

    def list_input_versions(self) -> list[InputVersion]:
        """Name the state that was read."""
        return [InputVersion(name="pushed rows", detail=self.read_state_name())]

    def estimate_progress_total(self) -> int | None:
        """Count the rows."""
        if self._journal is not None:
            return int(self._merge_journal_pieces().num_rows)
        return 0

    def read_state_name(self) -> str | None:
        """Name the state of the journal."""
        if self._journal is None:
            return None
        return self._journal.read_state_name()

    def list_changes(self, since_state: str) -> SourceChanges | None:
        """List the rows that were written since a state."""
        journal = self._journal
        if journal is None:
            return None
        pieces = journal.list_journal_pieces(since_state)
        if pieces is None:
            return None
        key = list(self.context.key_columns)
        declared_pieces = [cast_to_declared_schema(piece, self.options) for piece in pieces]
        rows = merge_pieces(declared_pieces, key, self.options.schema)
        is_deleted = rows.column(DELETED_COLUMN)
        present_rows = rows.filter(pc.invert(is_deleted))
        return SourceChanges(
            state=journal.read_state_name(),
            key_columns=tuple(key),
            rows=_PushedRowSelection(self, present_rows),
            changed_keys=present_rows.select(key),
            removed_keys=rows.filter(is_deleted).select(key),
        )

    def _merge_journal_pieces(self) -> pa.Table:
        if self._rows is None:
            pieces: Iterable[pa.Table] = ()
            if self._journal is not None:
                pieces = self._journal.list_journal_pieces() or ()
            declared_pieces = [cast_to_declared_schema(piece, self.options) for piece in pieces]
            self._rows = merge_pieces(declared_pieces, self.context.key_columns, self.options.schema)
        return self._rows


class _PushedRowSelection:
    """Some of the pushed rows."""

    def __init__(self, pushed_source: PushedRowSource, rows: pa.Table) -> None:
        self._pushed_source = pushed_source
        self._rows = rows
        self.list_columns = pushed_source.list_columns
        self.list_input_versions = pushed_source.list_input_versions

    def read_batches(
        self, column_names: Sequence[str] | None = None, row_limit: int | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows."""
        options = self._pushed_source.options
        names = resolve_column_names(column_names, list(options.columns), "what is pushed")
        batches = iterate_pushed_batches(names, self._rows, options)
        yield from split_batches(batches, self._pushed_source.context.batch_row_limit, row_limit)

    def estimate_progress_total(self) -> int | None:
        """Count the rows."""
        return int(self._rows.num_rows)


def iterate_pushed_batches(column_names: Sequence[str], table: pa.Table, options: Options) -> Iterator[pa.RecordBatch]:
    """Yield rows with the requested columns."""
    first_row_number = 1
    for batch in table.to_batches():
        arrays = {name: batch.column(name) for name in options.columns}
        yield build_source_batch(column_names, arrays, batch.num_rows, first_row_number, None)
        first_row_number += batch.num_rows


def cast_to_declared_schema(piece: pa.Table, options: Options) -> pa.Table:
    """Return rows with the columns as they are declared now.

    Columns that were not yet declared are empty, and columns that are not declared any more are left out.

    Raises
    ------
    SourceError
        Values do not fit the type that is now declared.
    """
    arrays = []
    for item in options.schema:
        if item.name not in piece.column_names:
            arrays.append(pa.nulls(piece.num_rows, item.type))
            continue
        try:
            arrays.append(piece.column(item.name).cast(item.type))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            pushed_type = piece.schema.field(item.name).type
            raise SourceError(
                f"the values of {item.name!r} were pushed as {pushed_type} and cannot be converted to "
                f"{options.columns[item.name]}: {error}",
                remedy="declare the column with its earlier type, or correct the rows before you change the type",
            ) from error
    return pa.table(arrays, schema=options.schema)


def merge_pieces(pieces: Sequence[pa.Table], key_columns: Sequence[str], schema: pa.Schema) -> pa.Table:
    """Merge pieces: the last row of each key remains, in the order in which the rows came.

    Parameters
    ----------
    pieces
        The oldest first, with the columns of `schema`.
    key_columns
        Columns of the key.
    """
    if not pieces:
        return schema.empty_table()
    rows = pa.concat_tables([schema.empty_table(), *pieces])
    if len(pieces) == 1:  # within a piece each key comes once
        return rows
    keys = rows.select(list(key_columns))
    numbered_keys = keys.append_column(ROW_NUMBER_COLUMN, pa.array(np.arange(rows.num_rows)))
    last_rows = numbered_keys.group_by(list(key_columns)).aggregate([(ROW_NUMBER_COLUMN, "max")])
    last_positions = last_rows.column(f"{ROW_NUMBER_COLUMN}_max")
    return rows.take(last_positions.take(pc.sort_indices(last_positions)))


def _find_push_faults(
    spec: TableSpec, source: SourceSpec, target_table: Table, resource: CollectionSpec
) -> list[Fault]:
    """List what keeps clients from writing into a table that takes pushed rows."""
    key_path = f"tables.{spec.table.name}"
    origins = {column.name: column.origins for column in target_table.columns}
    key_origins: set[str] = set()
    for name in target_table.primary:
        key_origins.update(origins.get(name, ()))
    faults = []
    ids = source.options.get("ids")
    if not key_origins:
        message = f"{key_path}: rows can be pushed only into tables with a primary key"
        remedy = "set `primary` to one or more of the columns that clients send"
        faults.append(Fault(message=message, place=spec.place, remedy=remedy))
    elif ids is not None and ids not in key_origins:
        message = (
            f"{key_path}.source.ids: {ids} is not part of the primary key, so Hven cannot use it to assign keys to rows"
        )
        remedy = f"write `ids: {min(key_origins)}`, or `primary: {ids}`"
        faults.append(Fault(message=message, place=source.place, remedy=remedy))
    if not source.options.get("writers") and resource.project is None:
        message = f"{key_path}.source: no account is allowed to push rows"
        remedy = (
            "write `writers: [anna]` with accounts or groups, or `project: NAME` in the collection; the project's "
            "contributors are then allowed to push"
        )
        faults.append(Fault(message=message, place=source.place, remedy=remedy, severity="warning"))
    return faults


TRAITS = SourceKindTraits(
    is_followed_without_sync=True,
    is_read_by_key=True,
    starts_empty=True,
    has_declared_columns=True,
    find_table_faults=_find_push_faults,
)
