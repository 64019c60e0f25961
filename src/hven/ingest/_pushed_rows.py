"""The rows that were pushed into a table, as they lie in its journal: found by key, and made anew by what is sent."""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from hven.descriptor.tables import PUSH_SOURCE_KIND
from hven.ingest._casting import cast_values
from hven.ingest._ledger import list_identity_columns
from hven.ingest._push_journal import PendingPushJournal
from hven.ingest._table_loader import open_sources
from hven.model import plugins
from hven.model.errors import (
    ConflictError,
    DescriptorError,
    NotFoundError,
    ParamError,
    SourceError,
    StorageUnavailableError,
    format_message,
)
from hven.sources import DELETED_COLUMN, SourceContext

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.model.resource import Resource, SourceSpec, TableSpec
    from hven.site import Site

ROW_POSITION_COLUMN, KEY_ORDER_COLUMN = "hven:at", "hven:order"


class KeyTakenError(ConflictError):
    """A key that is there, or a token that was used."""


class PushedRows:
    """The rows of a journal.

    Attributes
    ----------
    key
        The columns that name a row, in the order of the table's primary key.
    schema
        Columns as they are declared now, and `DELETED_COLUMN`.
    generated_id_column
        The column whose values are given where a client sends none; None: there is none.
    largest_id
        Largest number that was given.
    """

    def __init__(self, site: Site, resource: Resource, spec: TableSpec, source: SourceSpec) -> None:
        module = plugins.load_plugin("sources", PUSH_SOURCE_KIND)
        self._options = module.Options.model_validate(dict(source.options))
        self._cast_piece = module.cast_to_declared
        self._fold_pieces = module.merge_pieces
        self.schema: pa.Schema = self._options.schema
        self.generated_id_column: str | None = self._options.ids
        journal = PendingPushJournal(site.store.pushes, spec.table.qualified_name)
        context = SourceContext(directory=resource.path.parent, journal=journal)
        try:
            (entry,) = open_sources(replace(spec, sources=(source,)), resource, context)
        except (SourceError, DescriptorError) as error:
            raise StorageUnavailableError(
                format_message("{table} takes no rows now: {message}", spec.table.qualified_name, error.message),
                remedy="its owner is to look at hven check",
            ) from error
        table = entry.mapping.table
        origins_by_column = {column.name: column.origins for column in table.columns}
        identity_columns = {*list_identity_columns(entry, table)}
        self.key = [
            name
            for name in dict.fromkeys(origin for key in table.primary for origin in origins_by_column[key])
            if name in identity_columns
        ]
        self._pieces = [self._cast_piece(piece, self._options) for piece in journal.list_pieces() or ()]
        self.largest_id = site.store.pushes.find_largest_key(spec.table.qualified_name)

    def fold_pieces(self, parts: Sequence[pa.Table], is_lowest: bool) -> pa.Table:
        """Make one piece of several; what went need not be kept in the lowest."""
        rows = self._fold_pieces([self._cast_piece(part, self._options) for part in parts], self.key, self.schema)
        if is_lowest:
            return rows.filter(pc.invert(rows.column(DELETED_COLUMN)))
        return rows

    def find_rows(self, keys: pa.Table) -> tuple[pa.Table, Any]:
        """Find the rows of some keys, in the order of the keys; and which keys have none."""
        first = self.key[0]
        values = keys.column(first).combine_chunks()
        candidate_pieces = [piece.filter(pc.is_in(piece.column(first), value_set=values)) for piece in self._pieces]
        rows = self._fold_pieces([piece for piece in candidate_pieces if piece.num_rows], self.key, self.schema)
        rows = rows.filter(pc.invert(rows.column(DELETED_COLUMN)))
        row_positions = rows.select(self.key).append_column(ROW_POSITION_COLUMN, pa.array(np.arange(rows.num_rows)))
        ordered_keys = keys.select(self.key).append_column(KEY_ORDER_COLUMN, pa.array(np.arange(keys.num_rows)))
        positions = (
            ordered_keys.join(row_positions, self.key, join_type="left outer")
            .sort_by(KEY_ORDER_COLUMN)
            .column(ROW_POSITION_COLUMN)
            .combine_chunks()
        )
        return rows.take(positions), np.asarray(pc.is_null(positions))

    def build_keys(self, ids: Sequence[Any]) -> pa.Table:
        """Return keys as `ids` lists them."""
        if len(self.key) == 1:
            columns = [ids]
        else:
            columns = list(zip(*ids, strict=True))
        kinds = [self.schema.field(name).type for name in self.key]
        arrays = [_parse_values(values, kind) for values, kind in zip(columns, kinds, strict=True)]
        return pa.table(arrays, list(self.key))

    def parse_key(self, texts: Sequence[str]) -> pa.Table:
        """Read a key of an address: a part for each of its columns."""
        if len(texts) == 1 and len(self.key) > 1:
            texts = texts[0].split("/")
        if len(texts) != len(self.key):
            raise NotFoundError(
                format_message("the key of a row has {count} parts here: {names}", len(self.key), "/".join(self.key))
            )
        arrays = []
        for name, text in zip(self.key, texts, strict=True):
            value, misfits = cast_values(pa.array([text]), self.schema.field(name).type)
            if misfits is not None or value.null_count:
                raise NotFoundError(format_message("there is no row {key!r:.120}", "/".join(texts)))
            arrays.append(value)
        return pa.table(arrays, list(self.key))

    def read_keys(self, sent_rows: pa.Table, *, largest: object = None, generate_missing: bool = False) -> pa.Table:
        """Return the keys of rows that were sent.

        Parameters
        ----------
        largest
            Value of the key in what is published.
        generate_missing
            Rows without a key get one, if the table gives any.
        """
        arrays = {name: sent_rows.column(name) for name in self.key if name in sent_rows.column_names}
        if generate_missing and self.generated_id_column in self.key:
            arrays[self.generated_id_column] = self._assign_keys(
                arrays.get(self.generated_id_column), self.generated_id_column, sent_rows.num_rows, largest
            )
        for name in self.key:
            if name not in arrays or arrays[name].null_count:
                raise ParamError(
                    format_message("rows without {name} cannot be told apart", name),
                    remedy="send a value of it for each row",
                )
        keys = pa.table([arrays[name] for name in self.key], list(self.key))
        if keys.group_by(list(self.key)).aggregate([]).num_rows < keys.num_rows:
            raise KeyTakenError("two rows of what was sent have one key", remedy="send each row once")
        return keys

    def _assign_keys(self, sent_values: pa.ChunkedArray | None, name: str, row_count: int, largest: object) -> pa.Array:
        """Give rows that have none a key."""
        kind = self.schema.field(name).type
        if sent_values is None:
            values = pa.nulls(row_count, kind)
        else:
            values = pa.concat_arrays(sent_values.chunks)
        missing = pc.is_null(values)
        count = int(pc.sum(missing).as_py() or 0)
        if not count:
            return values
        if pa.types.is_string(kind):
            generated_values = pa.array([str(uuid.uuid4()) for _ in range(count)], kind)
        else:
            known_maxima = [
                largest,
                pc.max(values).as_py(),
                *(pc.max(maximum.column(name)).as_py() for maximum in self._pieces),
            ]
            largest_known = max(
                [self.largest_id, *(int(maximum) for maximum in known_maxima if isinstance(maximum, (int, float)))]
            )
            self.largest_id = largest_known + count
            generated_values = pa.array(np.arange(largest_known + 1, self.largest_id + 1)).cast(kind)
        return pc.replace_with_mask(values, missing, generated_values)

    def complete_rows(self, keys: pa.Table, sent_rows: pa.Table | None, existing_rows: pa.Table | None) -> pa.Table:
        """Return whole rows: columns that are named as they were sent, others as they are."""
        arrays = []
        for item in self.schema:
            if item.name in self.key:
                arrays.append(keys.column(item.name))
            elif item.name == DELETED_COLUMN:
                arrays.append(pa.array(np.zeros(keys.num_rows, bool)))
            elif sent_rows is not None and item.name in sent_rows.column_names:
                arrays.append(sent_rows.column(item.name))
            else:
                arrays.append(
                    pa.nulls(keys.num_rows, item.type) if existing_rows is None else existing_rows.column(item.name)
                )
        return pa.table(arrays, schema=self.schema)

    def mark_as_deleted(self, existing_rows: pa.Table) -> pa.Table:
        """Return rows as gone."""
        return existing_rows.set_column(
            existing_rows.column_names.index(DELETED_COLUMN),
            DELETED_COLUMN,
            pa.array(np.ones(existing_rows.num_rows, bool)),
        )


def compute_row_state(row: pa.Table) -> str:
    """Name the state of one row: equal rows have equal names."""
    return hashlib.sha256(orjson.dumps(row.to_pylist(), default=str)).hexdigest()[:32]


def format_first_key(keys: pa.Table, mask: Any) -> str:
    """Write the first of some keys for a person."""
    row = keys.slice(int(np.flatnonzero(mask)[0]), 1).to_pylist()[0]
    return ", ".join(f"{name} = {value}" for name, value in row.items())


def _parse_values(values: Sequence[Any], value_type: pa.DataType) -> pa.Array:
    """Read values as JSON has them, where times are texts."""
    return cast_values(pa.array(list(values)), value_type)[0]
