"""The primary key of a snapshot: the proof that it is unique, and the index that leads from its values to row groups.

The index is the HATS "index" catalogue of a key of one column: values in order, each with its partition (which LSDB's
`id_search` reads) and its row group in the manifest (which we read).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hven.engines._key_matching import to_single_array
from hven.engines._row_preparation import MAX_REPORTED_KEYS, build_duplicate_key_error, check_key_nulls
from hven.formats import hats_layout
from hven.model.literal import hash_rows

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy.typing as npt

    from hven.engines.hats.manifest import ManifestFile
    from hven.model.table import Table

    Rows = npt.NDArray[np.int64]

INDEX_FOLDER = "index"
INDEX_FILE_PATH = f"{INDEX_FOLDER}/dataset/index/part.0.parquet"
INDEX_LOWS_PATH = f"{INDEX_FOLDER}/lows.arrow"
INDEX_GROUP_ROWS = 16_384  # values of a row group of the index
GROUP_COLUMN = "hven_group"


class KeyCollector:
    """Gathers the primary keys of the rows that are written.

    Parameters
    ----------
    directory
        Of the snapshot.
    """

    def __init__(self, table: Table, directory: Path) -> None:
        self._table = table
        self._directory = directory
        self._key_names = list(table.primary)
        self._key_tables: list[pa.Table] = []
        self._group_numbers: list[npt.NDArray[np.int32]] = []
        self._null_count = 0

    def add_rows(self, rows: pa.Table, first_group: int) -> None:
        """Add the rows of a file whose first row group has this number."""
        if self._key_names:
            keys = rows.select(self._key_names)
            self._null_count += sum(column.null_count for column in keys.columns)
            self._key_tables.append(keys)
            self._group_numbers.append(
                (first_group + np.arange(rows.num_rows) // hats_layout.ROW_GROUP_ROWS).astype(np.int32)
            )

    def check_and_write_index(self, row_groups: pa.Table, files: Sequence[ManifestFile]) -> str:
        """Prove that no key stands twice, and write the index.

        Parameters
        ----------
        row_groups
            Of the manifest.

        Returns
        -------
        column
            Whose values lead to row groups; empty: there is no index, for the rows are in the order of the key, or it
            has several columns.

        Raises
        ------
        DataError
            A key is null, or stands twice.
        """
        if not self._key_names:
            return ""
        check_key_nulls(self._table, self._null_count)
        if not self._key_tables:
            return ""
        keys = pa.concat_tables(self._key_tables)
        self._key_tables = []
        if len(self._key_names) > 1:
            code = np.concatenate([hash_rows(batch.columns)[1] for batch in keys.to_batches()])
            order = code.argsort()
            ordered = code[order]
            self._raise_if_repeated(keys, order, ordered[1:] == ordered[:-1])
            return ""
        column = to_single_array(keys.column(0))
        if pa.types.is_string(column.type):
            order = np.asarray(pc.array_sort_indices(column))
            ordered = column.take(pa.array(order))
            if len(ordered) > 1:
                is_repeated = np.asarray(pc.equal(ordered[1:], ordered[:-1]))
            else:
                is_repeated = np.empty(0, bool)
        else:
            values = np.asarray(column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column)
            if bool((values[1:] > values[:-1]).all()):
                return ""
            order = values.argsort()
            ordered = values[order]
            is_repeated = ordered[1:] == ordered[:-1]
            ordered = pa.array(ordered).cast(column.type)
        self._raise_if_repeated(keys, order, is_repeated)
        self._write_index(ordered, np.concatenate(self._group_numbers)[order], row_groups, files)
        return self._key_names[0]

    def _raise_if_repeated(self, keys: pa.Table, row_order: Rows, is_repeated: npt.NDArray[np.bool_]) -> None:
        """Refuse keys that stand more than once; `is_repeated`: those that may, of places in an order."""
        if not is_repeated.any():
            return
        repeated_places = np.flatnonzero(is_repeated)
        rows = keys.take(pa.array(np.unique(row_order[np.concatenate([repeated_places, repeated_places + 1])])))
        raise_duplicate_keys(self._table, rows)

    def _write_index(
        self, sorted_values: pa.Array, group_numbers: Any, row_groups: pa.Table, files: Sequence[ManifestFile]
    ) -> None:
        file_numbers = np.asarray(row_groups.column("file"))[group_numbers]
        orders = np.array([file.order for file in files], np.int64)[file_numbers]
        pixel = np.array([file.pixel for file in files], np.int64)[file_numbers]
        table = pa.table(
            {
                self._key_names[0]: sorted_values,
                "Norder": pa.array(orders.astype(np.int8)),
                "Dir": pa.array(pixel // 10_000 * 10_000),
                "Npix": pa.array(pixel),
                GROUP_COLUMN: pa.array(group_numbers),
            }
        )
        path = self._directory / INDEX_FILE_PATH
        path.parent.mkdir(parents=True, exist_ok=True)
        footers: list[Any] = []
        with pq.ParquetWriter(
            path, table.schema, metadata_collector=footers, **hats_layout.PARQUET_WRITER_OPTIONS
        ) as writer:
            writer.write_table(table, row_group_size=INDEX_GROUP_ROWS)
        low_values = pa.table({"low": sorted_values.take(pa.array(np.arange(0, len(sorted_values), INDEX_GROUP_ROWS)))})
        with (
            pa.OSFile(str(self._directory / INDEX_LOWS_PATH), "wb") as sink,
            pa.ipc.new_file(sink, low_values.schema) as file,
        ):
            file.write_table(low_values)
        footers[0].set_file_path(INDEX_FILE_PATH.removeprefix(f"{INDEX_FOLDER}/{hats_layout.DATASET_DIRECTORY}/"))
        pq.write_metadata(table.schema, self._directory / INDEX_FOLDER / hats_layout.METADATA_FILE, footers)
        (self._directory / INDEX_FOLDER / hats_layout.COMMON_METADATA_FILE).write_bytes(
            hats_layout.write_common_metadata(table.schema)
        )
        properties_text = (
            f"#HATS catalog\nobs_collection=index\ndataproduct_type=index\nhats_nrows={len(sorted_values)}\n"
            f"hats_primary_table_url=..\nhats_index_column={self._key_names[0]}\nhats_builder=Hven\nhats_version=v1.0\n"
        ).encode()
        for name in (hats_layout.PROPERTIES_FILE, hats_layout.OLD_PROPERTIES_FILE):
            (self._directory / INDEX_FOLDER / name).write_bytes(properties_text)


def raise_duplicate_keys(table: Table, rows: pa.Table) -> None:
    """Refuse rows in which primary keys stand more than once, and say which."""
    key_names = list(table.primary)
    counts = rows.group_by(key_names).aggregate([([], "count_all")])
    counts = counts.filter(pc.greater(counts["count_all"], 1)).sort_by([(name, "ascending") for name in key_names])
    if counts.num_rows:
        first_keys = [
            (*(row[name] for name in key_names), row["count_all"]) for row in counts[:MAX_REPORTED_KEYS].to_pylist()
        ]
        raise build_duplicate_key_error(table, counts.num_rows, int(pc.sum(counts["count_all"]).as_py()), first_keys)


class CatalogueKeyIndex:
    """An index that is read.

    Parameters
    ----------
    read_groups
        Reads row groups of a file of the snapshot: its path, their numbers, columns.
    """

    def __init__(self, directory: Path, column: str, read_groups: Any) -> None:
        self._directory = directory
        self._column = column
        self._read_groups = read_groups
        self._low_values = (
            pa.ipc.open_file(pa.memory_map(str(directory / INDEX_LOWS_PATH))).read_all().column("low").combine_chunks()
        )
        text = pa.types.is_string(self._low_values.type)
        if text:
            self._searchable_lows = np.asarray(self._low_values.to_pylist(), object)
        else:
            self._searchable_lows = np.asarray(self._low_values)

    def find_groups(self, key_values: pa.Array, group_limit: int = 64) -> npt.NDArray[np.int64] | None:
        """Return the row groups of the manifest that have these values; None.

        More than `group_limit` row groups of the index would be read.
        """
        lows = self._low_values
        has_text_keys = pa.types.is_string(lows.type)
        if has_text_keys:
            search_values = np.asarray(key_values.to_pylist(), object)
        else:
            search_values = np.asarray(key_values.cast(lows.type))
        if not len(search_values) or not len(lows):
            return np.empty(0, np.int64)
        index_groups = np.unique(np.searchsorted(self._searchable_lows, search_values, side="right") - 1)
        index_groups = index_groups[index_groups >= 0]
        if len(index_groups) > group_limit:
            return None
        if not len(index_groups):
            return np.empty(0, np.int64)
        rows = self._read_groups(
            str(self._directory / INDEX_FILE_PATH), index_groups.tolist(), [self._column, GROUP_COLUMN]
        )
        group_numbers = rows.column(GROUP_COLUMN).filter(
            pc.is_in(rows.column(self._column), value_set=key_values.cast(lows.type))
        )
        return np.unique(np.asarray(group_numbers)).astype(np.int64)
