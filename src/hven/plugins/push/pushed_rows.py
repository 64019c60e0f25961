"""The rows that clients pushed into a table, in its journal: find them by key, and complete the rows of a request."""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from hven.ingest.api.rows import cast_values, list_identity_columns, open_table_sources
from hven.model.errors import (
    ConflictError,
    DescriptorError,
    NotFoundError,
    ParamError,
    SourceError,
    StorageUnavailableError,
    format_message,
)
from hven.plugins.push.journal import JournalWithPendingPushes
from hven.plugins.push.push_store import ClientPushStore
from hven.plugins.push.source import DELETED_COLUMN, Options, cast_to_declared_schema, merge_pieces
from hven.sources import SourceContext

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.model.resource import CollectionSpec, SourceSpec, TableSpec
    from hven.site import Site

ROW_POSITION_COLUMN, KEY_ORDER_COLUMN = "hven:at", "hven:order"


class KeyTakenError(ConflictError):
    """The key of a row exists already, or the Idempotency-Key of a request was used."""


class PushedRows:
    """The rows in the journal of a table.

    Attributes
    ----------
    key
        The columns that identify a row, in the order of the table's primary key.
    schema
        The declared columns, and `DELETED_COLUMN`.
    generated_id_column
        The column for which Hven generates missing values; None: there is none.
    largest_id
        Largest generated number.
    """

    def __init__(self, site: Site, resource: CollectionSpec, spec: TableSpec, source: SourceSpec) -> None:
        self._options = Options.model_validate(dict(source.options))
        self.schema: pa.Schema = self._options.schema
        self.generated_id_column: str | None = self._options.ids
        push_store = site.store.get_or_create(ClientPushStore)
        journal = JournalWithPendingPushes(push_store, spec.table.qualified_name)
        context = SourceContext(directory=resource.path.parent)
        try:
            (entry,) = open_table_sources(replace(spec, sources=(source,)), resource, context)
        except (SourceError, DescriptorError) as error:
            raise StorageUnavailableError(
                format_message(
                    "{table} does not accept rows at the moment: {message}", spec.table.qualified_name, error.message
                ),
                remedy="ask the site's operators to run `hven check`",
            ) from error
        table = entry.mapping.table
        origins_by_column = {column.name: column.origins for column in table.columns}
        identity_columns = {*list_identity_columns(entry, table)}
        key_origins: dict[str, None] = {}
        for key_column in table.primary:
            key_origins |= dict.fromkeys(origins_by_column[key_column])
        self.key = [name for name in key_origins if name in identity_columns]
        self._pieces = [cast_to_declared_schema(piece, self._options) for piece in journal.list_journal_pieces() or ()]
        self.largest_id = push_store.find_largest_key(spec.table.qualified_name)

    def merge_journal_pieces(self, pieces: Sequence[pa.Table], is_oldest: bool) -> pa.Table:
        """Merge several pieces of the journal into one; the lowest piece needs no marks of deleted rows."""
        cast_parts = [cast_to_declared_schema(part, self._options) for part in pieces]
        rows = merge_pieces(cast_parts, self.key, self.schema)
        if is_oldest:
            return rows.filter(pc.invert(rows.column(DELETED_COLUMN)))
        return rows

    def find_rows_by_key(self, keys: pa.Table) -> tuple[pa.Table, Any]:
        """Return the rows of some keys, in the order of the keys, and the mask of the keys without a row."""
        first_name = self.key[0]
        first_values = keys.column(first_name).combine_chunks()
        candidate_pieces = []
        for piece in self._pieces:
            candidates = piece.filter(pc.is_in(piece.column(first_name), value_set=first_values))
            if candidates.num_rows:
                candidate_pieces.append(candidates)
        rows = merge_pieces(candidate_pieces, self.key, self.schema)
        rows = rows.filter(pc.invert(rows.column(DELETED_COLUMN)))
        row_numbers = pa.array(np.arange(rows.num_rows))
        key_numbers = pa.array(np.arange(keys.num_rows))
        numbered_rows = rows.select(self.key).append_column(ROW_POSITION_COLUMN, row_numbers)
        numbered_keys = keys.select(self.key).append_column(KEY_ORDER_COLUMN, key_numbers)
        joined_keys = numbered_keys.join(numbered_rows, self.key, join_type="left outer").sort_by(KEY_ORDER_COLUMN)
        positions = joined_keys.column(ROW_POSITION_COLUMN).combine_chunks()
        return rows.take(positions), np.asarray(pc.is_null(positions))

    def build_key_table(self, ids: Sequence[Any]) -> pa.Table:
        """Return a table of keys from the `ids` in the answer to a push."""
        if len(self.key) == 1:
            columns = [ids]
        else:
            columns = list(zip(*ids, strict=True))
        arrays = []
        for name, values in zip(self.key, columns, strict=True):
            arrays.append(_cast_json_values(values, self.schema.field(name).type))
        return pa.table(arrays, list(self.key))

    def parse_key(self, texts: Sequence[str]) -> pa.Table:
        """Parse the key in an address, which has one part for each column."""
        if len(texts) == 1 and len(self.key) > 1:
            texts = texts[0].split("/")
        if len(texts) != len(self.key):
            raise NotFoundError(
                format_message(
                    "the key of a row must have {count} parts, in the form {names}", len(self.key), "/".join(self.key)
                )
            )
        arrays = []
        for name, text in zip(self.key, texts, strict=True):
            value, misfits = cast_values(pa.array([text]), self.schema.field(name).type)
            if misfits is not None or value.null_count:
                raise NotFoundError(format_message("there is no row {key!r:.120}", "/".join(texts)))
            arrays.append(value)
        return pa.table(arrays, list(self.key))

    def extract_row_keys(
        self, sent_rows: pa.Table, *, largest_id: object = None, generate_missing: bool = False
    ) -> pa.Table:
        """Return the keys of the rows in a request.

        Parameters
        ----------
        sent_rows
            The rows.
        largest_id
            Largest value of the generated column in the published table.
        generate_missing
            Whether rows without a key get one, if the table generates keys.
        """
        arrays = {name: sent_rows.column(name) for name in self.key if name in sent_rows.column_names}
        id_column = self.generated_id_column
        if generate_missing and id_column in self.key:
            arrays[id_column] = self._assign_missing_keys(
                arrays.get(id_column), id_column, sent_rows.num_rows, largest_id
            )
        for name in self.key:
            if name not in arrays or arrays[name].null_count:
                raise ParamError(
                    format_message("at least one row has no value for the key column {name!r}", name),
                    remedy="send a value for this column in each row",
                )
        keys = pa.table([arrays[name] for name in self.key], list(self.key))
        distinct_keys = keys.group_by(list(self.key)).aggregate([])
        if distinct_keys.num_rows < keys.num_rows:
            raise KeyTakenError("two rows in the request have the same key", remedy="send each row only once")
        return keys

    def _assign_missing_keys(
        self, sent_values: pa.ChunkedArray | None, name: str, row_count: int, largest_id: object
    ) -> pa.Array:
        """Generate a key for each row that has none."""
        key_type = self.schema.field(name).type
        if sent_values is None:
            values = pa.nulls(row_count, key_type)
        else:
            values = pa.concat_arrays(sent_values.chunks)
        missing_mask = pc.is_null(values)
        missing_count = int(pc.sum(missing_mask).as_py() or 0)
        if not missing_count:
            return values
        if pa.types.is_string(key_type):
            generated_values = pa.array([str(uuid.uuid4()) for _ in range(missing_count)], key_type)
        else:
            maxima = [largest_id, pc.max(values).as_py()]
            maxima += [pc.max(piece.column(name)).as_py() for piece in self._pieces]
            known_numbers = [int(maximum) for maximum in maxima if isinstance(maximum, (int, float))]
            largest_known = max([self.largest_id, *known_numbers])
            self.largest_id = largest_known + missing_count
            generated_values = pa.array(np.arange(largest_known + 1, self.largest_id + 1)).cast(key_type)
        return pc.replace_with_mask(values, missing_mask, generated_values)

    def complete_rows(self, keys: pa.Table, sent_rows: pa.Table | None, existing_rows: pa.Table | None) -> pa.Table:
        """Return whole rows: the sent values of columns that the request names, the existing values of the others."""
        row_count = keys.num_rows
        arrays = []
        for column in self.schema:
            if column.name in self.key:
                array = keys.column(column.name)
            elif column.name == DELETED_COLUMN:
                array = pa.array(np.zeros(row_count, bool))
            elif sent_rows is not None and column.name in sent_rows.column_names:
                array = sent_rows.column(column.name)
            elif existing_rows is not None:
                array = existing_rows.column(column.name)
            else:
                array = pa.nulls(row_count, column.type)
            arrays.append(array)
        return pa.table(arrays, schema=self.schema)

    def mark_as_deleted(self, existing_rows: pa.Table) -> pa.Table:
        """Return rows with the mark of deleted rows."""
        column_number = existing_rows.column_names.index(DELETED_COLUMN)
        deletion_marks = pa.array(np.ones(existing_rows.num_rows, bool))
        return existing_rows.set_column(column_number, DELETED_COLUMN, deletion_marks)


def compute_row_state_digest(row: pa.Table) -> str:
    """Return the name of a row's state; equal rows have equal states."""
    document = orjson.dumps(row.to_pylist(), default=str)
    return hashlib.sha256(document).hexdigest()[:32]


def format_first_masked_key(keys: pa.Table, mask: Any) -> str:
    """Format the first key of a mask for a person."""
    first_position = int(np.flatnonzero(mask)[0])
    row = keys.slice(first_position, 1).to_pylist()[0]
    return ", ".join(f"{name} = {value}" for name, value in row.items())


def _cast_json_values(values: Sequence[Any], value_type: pa.DataType) -> pa.Array:
    """Cast values of JSON, in which times are texts, to a type."""
    return cast_values(pa.array(list(values)), value_type)[0]
