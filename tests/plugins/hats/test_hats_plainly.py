"""Rows that are read out of Parquet files without decoding: those that pyarrow reads, or none are promised."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hven.model.errors import StorageError
from hven.plugins.hats.engine.plain_pages import PlainValueOffsetIndex, read_rows_in_cells
from hven.plugins.hats.engine.row_group_reader import RowGroupReader
from hven.plugins.hats.hats_layout import CELL_COLUMN

ROWS = 5_000
EVERY = ("whole", "small", "single", "double", "moment", "text", "flag", "lacking", "list")
PLAIN = {"whole", "small", "single", "double", "moment"}


def stars() -> pa.Table:
    random = np.random.default_rng(4)
    cells = np.sort(random.integers(0, 1000, ROWS))  # many rows in a cell
    return pa.table(
        {
            CELL_COLUMN: cells,
            "whole": random.integers(-(2**62), 2**62, ROWS),
            "small": random.integers(-(2**30), 2**30, ROWS).astype(np.int32),
            "single": random.normal(size=ROWS).astype(np.float32),
            "double": np.where(random.random(ROWS) < 0.1, np.nan, random.normal(size=ROWS)),
            "moment": pa.array(random.integers(0, 2**50, ROWS)).cast(pa.timestamp("us")),
            "text": [f"star {at % 7}" for at in range(ROWS)],
            "flag": random.random(ROWS) < 0.5,
            "lacking": pa.array(random.integers(0, 9, ROWS), mask=random.random(ROWS) < 0.01),
            "list": pa.FixedSizeListArray.from_arrays(pa.array(random.normal(size=ROWS * 3)), 3),
        }
    )


def write_rows(path: Path, rows: pa.Table, **more: Any) -> str:
    pq.write_table(rows, path, **{"row_group_size": 1000, "compression": "none", "use_dictionary": False, **more})
    return str(path)


def select_expected_rows(rows: pa.Table, groups: list[int], ranges: Any, names: list[str]) -> pa.Table:
    at = np.arange(ROWS)
    cells = np.asarray(rows[CELL_COLUMN])
    inside = np.isin(at // 1000, groups) & np.any([(cells >= low) & (cells < high) for low, high in ranges], axis=0)
    return rows.filter(pa.array(inside)).select(names)


@pytest.mark.parametrize("seed", range(20))
def test_rows_are_those_that_pyarrow_reads(tmp_path: Path, seed: int) -> None:
    random = np.random.default_rng(seed)
    rows = stars()
    path = write_rows(tmp_path / "a.parquet", rows, data_page_version="2.0" if seed % 2 else "1.0")
    names = list(random.permutation(EVERY)[: random.integers(1, len(EVERY) + 1)])
    groups = sorted(random.choice(5, random.integers(1, 6), replace=False).tolist())
    lows = np.sort(random.choice(200, random.integers(1, 9), replace=False)) * 5
    ranges = np.stack([lows, lows + random.integers(0, 3, len(lows))], axis=1)
    schema = pa.schema([rows.schema.field(name) for name in names])
    found = RowGroupReader(None).read_rows_in_cells(path, groups, schema, (Path(path).stat().st_size, ""), ranges)
    assert found is not None
    shown = pa.Table.from_batches([found])
    assert shown.schema == schema
    assert (
        shown.to_pydict().__repr__() == select_expected_rows(rows, groups, ranges, names).to_pydict().__repr__()
    )  # NaN is NaN
    plain = read_rows_in_cells(path, PlainValueOffsetIndex(pq.read_metadata(path)), groups, schema, ranges)
    assert plain is not None
    assert set(plain.columns) == PLAIN & set(names)


@pytest.mark.parametrize(
    "more",
    [
        {"compression": "lz4"},
        {"compression": {"single": "zstd"}},
        {"use_dictionary": True},
        {"write_statistics": False},
        {"data_page_size": 512, "write_batch_size": 64},
        {"use_byte_stream_split": ["single", "double"], "use_dictionary": False},
        {"column_encoding": {"single": "PLAIN", "whole": "DELTA_BINARY_PACKED"}},
    ],
)
def test_what_does_not_stand_as_it_is_is_decoded(tmp_path: Path, more: dict[str, Any]) -> None:
    rows = stars()
    path = write_rows(tmp_path / "a.parquet", rows, **more)
    ranges = np.array([[10, 12], [700, 710]])
    schema = pa.schema([rows.schema.field(name) for name in EVERY])
    found = RowGroupReader(None).read_rows_in_cells(
        path, [0, 1, 2, 3, 4], schema, (Path(path).stat().st_size, ""), ranges
    )
    if found is not None:  # cells stand as they are
        shown = pa.Table.from_batches([found])
        assert shown.to_pydict().__repr__() == select_expected_rows(rows, [0, 1, 2, 3, 4], ranges, list(EVERY)).to_pydict().__repr__()  # fmt: skip
    plain = read_rows_in_cells(path, PlainValueOffsetIndex(pq.read_metadata(path)), [0, 1, 2, 3, 4], schema, ranges)
    assert plain is None or set(plain.columns) < PLAIN


def test_most_rows_and_cells_out_of_order_are_read_otherwise(tmp_path: Path) -> None:
    rows = stars()
    schema = pa.schema([rows.schema.field("whole")])
    path = write_rows(tmp_path / "a.parquet", rows)
    assert (
        read_rows_in_cells(path, PlainValueOffsetIndex(pq.read_metadata(path)), [0], schema, np.array([[0, 1000]]))
        is None
    )
    turned = write_rows(tmp_path / "b.parquet", rows.take(pa.array(np.arange(ROWS)[::-1])))
    assert (
        read_rows_in_cells(turned, PlainValueOffsetIndex(pq.read_metadata(turned)), [0], schema, np.array([[0, 1]]))
        is None
    )


def test_a_file_that_is_cut_off_or_another_is_told(tmp_path: Path) -> None:
    rows = stars()
    path = tmp_path / "a.parquet"
    write_rows(path, rows)
    reader, schema = RowGroupReader(None), pa.schema([rows.schema.field("whole")])
    size, ranges = path.stat().st_size, np.array([[900, 902]])
    assert reader.read_rows_in_cells(str(path), [4], schema, (size, ""), ranges) is not None
    known = PlainValueOffsetIndex(pq.read_metadata(path))
    assert read_rows_in_cells(str(path), known, [4], schema, ranges) is not None
    path.write_bytes(path.read_bytes()[: size // 4])
    with pytest.raises(StorageError, match="has changed"):
        reader.read_rows_in_cells(str(path), [4], schema, (size, ""), ranges)
    with pytest.raises(OSError, match="truncated"):  # between the look at its size and the reading
        read_rows_in_cells(str(path), known, [4], schema, ranges)
    path.unlink()
    with pytest.raises(StorageError, match="no longer exists"):
        reader.read_rows_in_cells(str(path), [4], schema, (size, ""), ranges)
