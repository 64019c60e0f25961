"""The primary key of a snapshot: the proof that it is unique, and the index that leads from its values to row groups.

The index is the HATS "index" catalogue of a key of one column: values in order, each with its partition (which LSDB's `id_search` reads) and its
row group in the manifest (which we read).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hven.engines._matching import plain
from hven.engines._rows import SHOWN, refuse_nulls, repeated
from hven.formats import hats_layout as layout
from hven.model.literal import hashes

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy.typing as npt

    from hven.engines.hats.manifest import File
    from hven.model.table import Table

    Rows = npt.NDArray[np.int64]

FOLDER = "index"
FILE = f"{FOLDER}/dataset/index/part.0.parquet"
LOWS = f"{FOLDER}/lows.arrow"
STEP = 16_384  # values of a row group of the index
GROUP = "hven_group"


class Keys:
    """Gathers the primary keys of the rows that are written.

    Parameters
    ----------
    directory
        Of the snapshot.
    """

    def __init__(self, table: Table, directory: Path) -> None:
        self._table, self._directory = table, directory
        self._names = list(table.primary)
        self._pieces: list[pa.Table] = []
        self._groups: list[npt.NDArray[np.int32]] = []
        self._nulls = 0

    def add(self, rows: pa.Table, begin: int) -> None:
        """Add the rows of a file whose first row group has this number."""
        if self._names:
            keys = rows.select(self._names)
            self._nulls += sum(column.null_count for column in keys.columns)
            self._pieces.append(keys)
            self._groups.append((begin + np.arange(rows.num_rows) // layout.GROUP_ROWS).astype(np.int32))

    def finish(self, groups: pa.Table, files: Sequence[File]) -> str:
        """Prove that no key stands twice, and write the index.

        Parameters
        ----------
        groups
            Of the manifest.

        Returns
        -------
        column
            Whose values lead to row groups; empty: there is no index, for the rows are in the order of the key, or it has several columns.

        Raises
        ------
        DataError
            A key is null, or stands twice.
        """
        if not self._names:
            return ""
        refuse_nulls(self._table, self._nulls)
        if not self._pieces:
            return ""
        keys = pa.concat_tables(self._pieces)
        self._pieces = []
        if len(self._names) > 1:
            code = np.concatenate([hashes(batch.columns)[1] for batch in keys.to_batches()])
            order = code.argsort()
            ordered = code[order]
            self._refuse(keys, order, ordered[1:] == ordered[:-1])
            return ""
        column = plain(keys.column(0))
        if pa.types.is_string(column.type):
            order = np.asarray(pc.array_sort_indices(column))
            ordered = column.take(pa.array(order))
            same = np.asarray(pc.equal(ordered[1:], ordered[:-1])) if len(ordered) > 1 else np.empty(0, bool)
        else:
            values = np.asarray(column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column)
            if bool((values[1:] > values[:-1]).all()):
                return ""
            order = values.argsort()
            ordered = values[order]
            same = ordered[1:] == ordered[:-1]
            ordered = pa.array(ordered).cast(column.type)
        self._refuse(keys, order, same)
        self._write(ordered, np.concatenate(self._groups)[order], groups, files)
        return self._names[0]

    def _refuse(self, keys: pa.Table, order: Rows, same: npt.NDArray[np.bool_]) -> None:
        """Refuse keys that stand more than once; `same`: those that may, of places in an order."""
        if not same.any():
            return
        at = np.flatnonzero(same)
        rows = keys.take(pa.array(np.unique(order[np.concatenate([at, at + 1])])))
        refuse_repeated(self._table, rows)

    def _write(self, ordered: pa.Array, group: Any, groups: pa.Table, files: Sequence[File]) -> None:
        of = np.asarray(groups.column("file"))[group]
        orders = np.array([file.order for file in files], np.int64)[of]
        pixel = np.array([file.pixel for file in files], np.int64)[of]
        table = pa.table(
            {
                self._names[0]: ordered,
                "Norder": pa.array(orders.astype(np.int8)),
                "Dir": pa.array(pixel // 10_000 * 10_000),
                "Npix": pa.array(pixel),
                GROUP: pa.array(group),
            }
        )
        path = self._directory / FILE
        path.parent.mkdir(parents=True, exist_ok=True)
        footers: list[Any] = []
        with pq.ParquetWriter(path, table.schema, metadata_collector=footers, **layout.WRITING) as writer:
            writer.write_table(table, row_group_size=STEP)
        lows = pa.table({"low": ordered.take(pa.array(np.arange(0, len(ordered), STEP)))})
        with pa.OSFile(str(self._directory / LOWS), "wb") as sink, pa.ipc.new_file(sink, lows.schema) as file:
            file.write_table(lows)
        footers[0].set_file_path(FILE.removeprefix(f"{FOLDER}/{layout.DATASET}/"))
        pq.write_metadata(table.schema, self._directory / FOLDER / layout.METADATA, footers)
        (self._directory / FOLDER / layout.COMMON).write_bytes(layout.common_metadata(table.schema))
        said = (
            f"#HATS catalog\nobs_collection=index\ndataproduct_type=index\nhats_nrows={len(ordered)}\n"
            f"hats_primary_table_url=..\nhats_index_column={self._names[0]}\nhats_builder=Hven\nhats_version=v1.0\n"
        ).encode()
        for name in (layout.PROPERTIES, layout.PROPERTIES_TOO):
            (self._directory / FOLDER / name).write_bytes(said)


def refuse_repeated(table: Table, rows: pa.Table) -> None:
    """Refuse rows in which primary keys stand more than once, and say which."""
    names = list(table.primary)
    counts = rows.group_by(names).aggregate([([], "count_all")])
    counts = counts.filter(pc.greater(counts["count_all"], 1)).sort_by([(name, "ascending") for name in names])
    if counts.num_rows:
        first = [(*(row[name] for name in names), row["count_all"]) for row in counts[:SHOWN].to_pylist()]
        raise repeated(table, counts.num_rows, int(pc.sum(counts["count_all"]).as_py()), first)


class KeyIndex:
    """An index that is read.

    Parameters
    ----------
    read
        Reads row groups of a file of the snapshot: its path, their numbers, columns.
    """

    def __init__(self, directory: Path, column: str, read: Any) -> None:
        self._directory, self._column, self._read = directory, column, read
        self._lows = pa.ipc.open_file(pa.memory_map(str(directory / LOWS))).read_all().column("low").combine_chunks()
        text = pa.types.is_string(self._lows.type)
        self._sorted = np.asarray(self._lows.to_pylist(), object) if text else np.asarray(self._lows)

    def groups(self, values: pa.Array, most: int = 64) -> npt.NDArray[np.int64] | None:
        """Return the row groups of the manifest that have these values; None: more than `most` row groups of the index would be read."""
        lows = self._lows
        text = pa.types.is_string(lows.type)
        wanted = np.asarray(values.to_pylist(), object) if text else np.asarray(values.cast(lows.type))
        if not len(wanted) or not len(lows):
            return np.empty(0, np.int64)
        at = np.unique(np.searchsorted(self._sorted, wanted, side="right") - 1)
        at = at[at >= 0]
        if len(at) > most:
            return None
        if not len(at):
            return np.empty(0, np.int64)
        rows = self._read(str(self._directory / FILE), at.tolist(), [self._column, GROUP])
        found = rows.column(GROUP).filter(pc.is_in(rows.column(self._column), value_set=values.cast(lows.type)))
        return np.unique(np.asarray(found)).astype(np.int64)
