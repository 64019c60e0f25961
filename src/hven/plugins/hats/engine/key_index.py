"""The primary key of a snapshot: the check that it is unique, and the index from its values to row groups.

The index is the HATS "index" catalogue of a key of one column. It has the values in order, each with its partition
(which `id_search` of LSDB reads) and its row group in the manifest (which Hven reads).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hven.engines.api.rows import MAX_REPORTED_KEYS, build_duplicate_key_error, check_key_nulls, to_single_key_array
from hven.model.literal import hash_rows
from hven.plugins.hats import hats_layout

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy.typing as npt

    from hven.model.table import Table
    from hven.plugins.hats.engine.manifest import ManifestFile

    Rows = npt.NDArray[np.int64]

INDEX_FOLDER = "index"
INDEX_FILE_PATH = f"{INDEX_FOLDER}/dataset/index/part.0.parquet"
INDEX_LOWS_PATH = f"{INDEX_FOLDER}/lows.arrow"
INDEX_GROUP_ROWS = 16_384  # values of a row group of the index
GROUP_COLUMN = "hven_group"


class PrimaryKeyCollector:
    """A collector of the primary keys of the rows that are written.

    Parameters
    ----------
    table
        The table of the descriptor.
    directory
        Directory of the snapshot.
    """

    def __init__(self, table: Table, directory: Path) -> None:
        self._table = table
        self._directory = directory
        self._key_names = list(table.primary)
        self._key_tables: list[pa.Table] = []
        self._group_numbers: list[npt.NDArray[np.int32]] = []
        self._null_count = 0

    def add_rows(self, rows: pa.Table, first_group: int) -> None:
        """Add the rows of a file; `first_group` is the number of its first row group."""
        if self._key_names:
            keys = rows.select(self._key_names)
            self._null_count += sum(column.null_count for column in keys.columns)
            self._key_tables.append(keys)
            group_numbers = first_group + np.arange(rows.num_rows) // hats_layout.ROW_GROUP_ROWS
            self._group_numbers.append(group_numbers.astype(np.int32))

    def check_and_write_index(self, row_groups: pa.Table, files: Sequence[ManifestFile]) -> str:
        """Check that the primary key is unique, and write its index.

        Parameters
        ----------
        row_groups
            Row groups of the manifest.
        files
            Files of the manifest.

        Returns
        -------
        column
            Name of the indexed column. Empty if there is no index, because the rows are in the order of the key or the
            key has several columns.

        Raises
        ------
        DataError
            A key is null, or is repeated.
        """
        if not self._key_names:
            return ""
        check_key_nulls(self._table, self._null_count)
        if not self._key_tables:
            return ""
        keys = pa.concat_tables(self._key_tables)
        self._key_tables = []
        if len(self._key_names) > 1:
            self._check_key_hashes(keys)
            return ""
        column = to_single_key_array(keys.column(0))
        if pa.types.is_string(column.type):
            order = np.asarray(pc.array_sort_indices(column))
            sorted_values = column.take(pa.array(order))
            is_repeated = np.empty(0, bool)
            if len(sorted_values) > 1:
                is_repeated = np.asarray(pc.equal(sorted_values[1:], sorted_values[:-1]))
        else:
            values = np.asarray(column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column)
            if bool((values[1:] > values[:-1]).all()):
                return ""
            order = values.argsort()
            ordered = values[order]
            is_repeated = ordered[1:] == ordered[:-1]
            sorted_values = pa.array(ordered).cast(column.type)
        self._raise_if_repeated(keys, order, is_repeated)
        self._write_index(sorted_values, np.concatenate(self._group_numbers)[order], row_groups, files)
        return self._key_names[0]

    def _check_key_hashes(self, keys: pa.Table) -> None:
        """Check that no key of several columns is repeated, by the hashes of the keys."""
        hashes = np.concatenate([hash_rows(batch.columns)[1] for batch in keys.to_batches()])
        order = hashes.argsort()
        ordered = hashes[order]
        self._raise_if_repeated(keys, order, ordered[1:] == ordered[:-1])

    def _raise_if_repeated(self, keys: pa.Table, row_order: Rows, is_repeated: npt.NDArray[np.bool_]) -> None:
        """Refuse repeated keys; `is_repeated` marks places of `row_order` whose key may be that of the next place."""
        if not is_repeated.any():
            return
        repeated_places = np.flatnonzero(is_repeated)
        row_numbers = np.unique(row_order[np.concatenate([repeated_places, repeated_places + 1])])
        raise_if_duplicate_keys(self._table, keys.take(pa.array(row_numbers)))

    def _write_index(
        self, sorted_values: pa.Array, group_numbers: Any, row_groups: pa.Table, files: Sequence[ManifestFile]
    ) -> None:
        file_numbers = np.asarray(row_groups.column("file"))[group_numbers]
        orders = np.array([file.order for file in files], np.int64)[file_numbers]
        pixels = np.array([file.pixel for file in files], np.int64)[file_numbers]
        index_table = pa.table(
            {
                self._key_names[0]: sorted_values,
                "Norder": pa.array(orders.astype(np.int8)),
                "Dir": pa.array(pixels // 10_000 * 10_000),
                "Npix": pa.array(pixels),
                GROUP_COLUMN: pa.array(group_numbers),
            }
        )
        path = self._directory / INDEX_FILE_PATH
        path.parent.mkdir(parents=True, exist_ok=True)
        footers: list[Any] = []
        options = hats_layout.PARQUET_WRITER_OPTIONS
        with pq.ParquetWriter(path, index_table.schema, metadata_collector=footers, **options) as writer:
            writer.write_table(index_table, row_group_size=INDEX_GROUP_ROWS)
        self._write_low_values(sorted_values)
        self._write_index_metadata(index_table, footers)

    def _write_low_values(self, sorted_values: pa.Array) -> None:
        """Write the lowest value of each row group of the index."""
        group_begins = np.arange(0, len(sorted_values), INDEX_GROUP_ROWS)
        low_values = pa.table({"low": sorted_values.take(pa.array(group_begins))})
        path = str(self._directory / INDEX_LOWS_PATH)
        with pa.OSFile(path, "wb") as sink, pa.ipc.new_file(sink, low_values.schema) as file:
            file.write_table(low_values)

    def _write_index_metadata(self, index_table: pa.Table, footers: list[Any]) -> None:
        """Write the files that make the index a HATS catalogue."""
        folder = self._directory / INDEX_FOLDER
        footers[0].set_file_path(INDEX_FILE_PATH.removeprefix(f"{INDEX_FOLDER}/{hats_layout.DATASET_DIRECTORY}/"))
        pq.write_metadata(index_table.schema, folder / hats_layout.METADATA_FILE, footers)
        common_metadata = hats_layout.write_common_metadata(index_table.schema)
        (folder / hats_layout.COMMON_METADATA_FILE).write_bytes(common_metadata)
        properties_text = (
            f"#HATS catalog\nobs_collection=index\ndataproduct_type=index\nhats_nrows={index_table.num_rows}\n"
            f"hats_primary_table_url=..\nhats_index_column={self._key_names[0]}\nhats_builder=Hven\nhats_version=v1.0\n"
        ).encode()
        for name in (hats_layout.PROPERTIES_FILE, hats_layout.OLD_PROPERTIES_FILE):
            (folder / name).write_bytes(properties_text)


def raise_if_duplicate_keys(table: Table, rows: pa.Table) -> None:
    """Raise an error if primary keys are repeated in some rows; the message names the first ones."""
    key_names = list(table.primary)
    counts = rows.group_by(key_names).aggregate([([], "count_all")])
    counts = counts.filter(pc.greater(counts["count_all"], 1)).sort_by([(name, "ascending") for name in key_names])
    if counts.num_rows:
        first_rows = counts[:MAX_REPORTED_KEYS].to_pylist()
        first_keys = [(*(row[name] for name in key_names), row["count_all"]) for row in first_rows]
        row_count = int(pc.sum(counts["count_all"]).as_py())
        raise build_duplicate_key_error(table, counts.num_rows, row_count, first_keys)


class CatalogueKeyIndex:
    """The index of the primary key of a snapshot.

    Parameters
    ----------
    directory
        Directory of the snapshot.
    column
        Name of the indexed column.
    read_groups
        Function that reads row groups of a file, of its path, their numbers, and the names of columns.
    """

    def __init__(self, directory: Path, column: str, read_groups: Any) -> None:
        self._directory = directory
        self._column = column
        self._read_groups = read_groups
        lows_table = pa.ipc.open_file(pa.memory_map(str(directory / INDEX_LOWS_PATH))).read_all()
        low_values = lows_table.column("low").combine_chunks()
        self._value_type = low_values.type
        self._searchable_lows = self._to_searchable_array(low_values)

    def find_row_groups(self, key_values: pa.Array, group_limit: int = 64) -> npt.NDArray[np.int64] | None:
        """Return the row groups of the manifest that have these values.

        None if more than `group_limit` row groups of the index would be read.
        """
        if pa.types.is_string(self._value_type):
            search_values = self._to_searchable_array(key_values)
        else:
            search_values = self._to_searchable_array(key_values.cast(self._value_type))
        if not len(search_values) or not len(self._searchable_lows):
            return np.empty(0, np.int64)
        index_groups = np.unique(np.searchsorted(self._searchable_lows, search_values, side="right") - 1)
        index_groups = index_groups[index_groups >= 0]
        if len(index_groups) > group_limit:
            return None
        if not len(index_groups):
            return np.empty(0, np.int64)
        index_path = str(self._directory / INDEX_FILE_PATH)
        rows = self._read_groups(index_path, index_groups.tolist(), [self._column, GROUP_COLUMN])
        is_searched = pc.is_in(rows.column(self._column), value_set=key_values.cast(self._value_type))
        group_numbers = rows.column(GROUP_COLUMN).filter(is_searched)
        return np.unique(np.asarray(group_numbers)).astype(np.int64)

    @staticmethod
    def _to_searchable_array(values: pa.Array) -> npt.NDArray[Any]:
        """Return values as an array that numpy can search."""
        if pa.types.is_string(values.type):
            return np.asarray(values.to_pylist(), object)
        return np.asarray(values)
