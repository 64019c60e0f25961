"""Catalogues that others wrote, served where they are, on this machine or behind an address.

Their footers are read once, and a manifest names their files.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.engines._statistics import format_moc, to_json_value
from hven.engines.hats.manifest import (
    ManifestFile,
    ManifestHead,
    RowGroupCollector,
    compute_column_shares,
    list_indexed_columns,
)
from hven.formats import hats_catalogues as catalogues
from hven.formats import hats_layout
from hven.model.errors import HvenError, Place, SourceError, format_message
from hven.model.sky import Moc, healpix
from hven.model.types import list_leaf_columns

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.engines.hats.row_group_reader import RowGroupReader
    from hven.model.table import Table

MAX_FULLY_INDEXED_GROUPS = 50_000  # row groups beyond which the extremes of indexed columns alone are looked up
UNREADABLE_MESSAGE = "no readable Parquet file: {why}"
MAX_CHECKED_ROWS = 50_000_000  # rows whose positions are read to count those that have none
SAMPLED_FILE_COUNTS = (
    20,
    3,
)  # files of larger catalogues, and of those behind an address, of which the positions of a row group are compared with their partition
MAX_MISPLACED_FRACTION = 0.01  # share of a file's positions beyond its partition that is no matter of rounding
ROW_COUNT_MESSAGE = "the catalogue says hats_nrows={said}, and its files have {found:,} rows"


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file, its footer, and what tells that it changed."""

    path: str
    order: int
    pixel: int
    bytes: int
    change_stamp: str
    footer: Any
    schema: pa.Schema


def describe_foreign_catalogue(
    table: Table, directory: str, reader: RowGroupReader, column_names: Mapping[str, str] | None = None
) -> tuple[ManifestHead, pa.Table]:
    """Read what a manifest says of a catalogue of others, in a directory or behind an address.

    Parameters
    ----------
    column_names
        What columns of the table are called there, as `model.types.list_leaf_columns` names them; None: as here.

    Raises
    ------
    SourceError
        No catalogue; a file is missing, is no Parquet, or differs from the others; cells or positions that lie outside
        of their partition; fewer rows than are said; a mount that hangs.
    """
    is_on_web = hats_layout.is_web_address(directory)
    open_catalogue = catalogues.open_catalogue(
        directory,
        reader.web_catalogues.open_folder(directory) if is_on_web else catalogues.LocalCatalogueFolder(Path(directory)),
    )
    properties = open_catalogue.properties
    files = catalogues.call_in_threads(
        lambda found_file: _read_found_file(reader, found_file[0], found_file[1], f"{directory}/{found_file[2]}"),
        open_catalogue.partitions,
        lambda found_file: f"{directory}/{found_file[2]}",
    )
    names = {column.name: (column_names or {}).get(column.name, column.name) for column in table.columns}
    _check_same_columns(names, files)
    _check_property_columns(properties, files, f"{directory}/{open_catalogue.base}{hats_layout.PROPERTIES_FILE}")
    if files:
        paths = _find_leaf_paths(files[0].schema, names)
    else:
        paths = {}
    cell_column = find_cell_column(properties, files)
    indexed_columns = list_indexed_columns(table)
    groups = RowGroupCollector(pa.schema([table.arrow_schema.field(name) for name in indexed_columns]), paths)
    data_files: list[ManifestFile] = []
    for found_file in files:
        partition_cells = hats_layout.compute_cell_range(found_file.order, found_file.pixel)
        groups.add_file(len(data_files), found_file.footer, cell_column, partition_cells)
        data_files.append(
            ManifestFile(
                found_file.path,
                found_file.footer.num_rows,
                found_file.bytes,
                found_file.order,
                found_file.pixel,
                partition_cells[0],
                partition_cells[1] - 1,
                found_file.change_stamp,
            )
        )
    row_groups = groups.build_table()
    _check_cells_in_partitions(row_groups, data_files)
    rows = sum(file.rows for file in data_files)
    if properties.get("hats_nrows", "").isdecimal() and int(properties["hats_nrows"]) != rows:
        raise SourceError(
            format_message(ROW_COUNT_MESSAGE, properties["hats_nrows"], rows),
            place=Place(file=directory),
            remedy=hats_layout.REWRITE_REMEDY,
        )
    footers = [found_file.footer for found_file in files]
    has_many_groups = row_groups.num_rows > MAX_FULLY_INDEXED_GROUPS
    statistics = {
        name: _collect_footer_statistics(footers, paths.get(name, name))
        for name in (indexed_columns if has_many_groups else table.arrow_schema.names)
    }
    position = table.position
    position_names = (properties.get("hats_col_ra"), properties.get("hats_col_dec"))
    if position is not None and position_names != (names[position[0]], names[position[1]]):
        position = None
    if table.position is not None:
        checks_all_rows = not is_on_web and rows <= MAX_CHECKED_ROWS
        position_paths = (
            paths.get(table.position[0], table.position[0]),
            paths.get(table.position[1], table.position[1]),
        )
        if checks_all_rows:
            checked_files = files
        else:
            checked_files = _choose_smallest_files(files, SAMPLED_FILE_COUNTS[is_on_web])
        null_counts = _count_missing_positions(
            reader, checked_files, position_paths, checks_all_rows, checks_partitions=position is not None
        )
        for name, nulls in zip(table.position, null_counts if checks_all_rows else (), strict=False):
            statistics.setdefault(name, {})["nulls"] = nulls
    if (
        position is None and position_names[0] and position_names[1] and files
    ):  # what they say decides which files are read for a region
        file_leaves = list_leaf_columns(files[0].schema)
        smallest_files = _choose_smallest_files(files, SAMPLED_FILE_COUNTS[is_on_web])
        _count_missing_positions(
            reader,
            smallest_files,
            (file_leaves[position_names[0]][0], file_leaves[position_names[1]][0]),
            False,
            checks_partitions=True,
        )
    head = ManifestHead(
        rows=rows,
        files=tuple(data_files),
        schema=table.arrow_schema.serialize().to_pybytes().hex(),
        position=position,
        cell=cell_column or "",
        shares=compute_column_shares(footers[:20], paths),
        statistics=statistics,
        coverage=_compute_partition_coverage(data_files),
        foreign=directory,
        leaves=paths,
    )
    return head, row_groups


def _find_leaf_paths(schema: pa.Schema, column_names: Mapping[str, str]) -> dict[str, str]:
    """Tell where columns stand in the files that are not called so there: in structs, or by another name."""
    leaf_paths = list_leaf_columns(schema)
    return {
        name: leaf_paths[file_name][0] for name, file_name in column_names.items() if leaf_paths[file_name][0] != name
    }


def find_cell_column(properties: Mapping[str, str], files: Sequence[FoundFile]) -> str | None:
    """Name the column of cells of order 29; None.

    There is none whose extremes all files tell, and the partitions alone tell where rows are.
    """
    name = properties.get("hats_col_healpix") or hats_layout.CELL_COLUMN
    if name != hats_layout.CELL_COLUMN or properties.get("hats_col_healpix_order", "29") != "29":
        return None
    first_schema: Any = None
    for found_file in files:
        if first_schema is None or not found_file.footer.schema.equals(first_schema):
            first_schema = found_file.footer.schema
            names = [first_schema.column(number).path for number in range(found_file.footer.num_columns)]
            if name in names:
                column_number = names.index(name)
            else:
                column_number = None
        groups = (
            ()
            if column_number is None
            else (found_file.footer.row_group(number) for number in range(found_file.footer.num_row_groups))
        )
        has_extremes = column_number is not None and all(
            group.num_rows == 0
            or (
                (column_statistics := group.column(column_number).statistics) is not None
                and column_statistics.has_min_max
            )
            for group in groups
        )
        if not has_extremes:
            return None
    return name


def _check_property_columns(properties: Mapping[str, str], files: Sequence[FoundFile], properties_file: str) -> None:
    """Check that there are the columns that the properties name."""
    if files:
        file_leaves = list_leaf_columns(files[0].schema)
    else:
        file_leaves = {}
    for key in ("hats_col_ra", "hats_col_dec"):
        if file_leaves and properties.get(key) and properties[key] not in file_leaves:
            raise SourceError(
                format_message(
                    "{key}={name}, and there is no such column in {first}",
                    key,
                    properties[key],
                    os.path.basename(files[0].path),
                ),  # noqa: PTH119
                place=Place(file=properties_file),
                remedy="write the names of its columns there, or get the catalogue anew",
            )


def _read_found_file(reader: RowGroupReader, order: int, pixel: int, path: str) -> FoundFile:
    """Read the footer of a file."""
    try:
        size, stamp = reader.read_file_state(path)
        footer = reader.get_footer(path, (size, stamp)).footer
        return FoundFile(path, order, pixel, size, stamp, footer, footer.schema.to_arrow_schema())
    except (HvenError, OSError, pa.ArrowException) as error:
        if isinstance(error, HvenError):
            curator_error = reader.web_catalogues.find_cause(error)
        else:
            curator_error = None
        raise SourceError(
            format_message(UNREADABLE_MESSAGE, curator_error.message if curator_error else str(error)),
            place=Place(file=path),
            remedy=(curator_error and curator_error.remedy) or hats_layout.REWRITE_REMEDY,
        ) from error


def _check_same_columns(column_names: Mapping[str, str], files: list[FoundFile]) -> None:
    """Check that every file has the columns of the table, of one type."""
    if not files:
        return
    types_by_name: dict[str, tuple[pa.DataType, str]] = {}  # and the first file that has values of it
    first_leaves = list_leaf_columns(files[0].schema)
    for found_file in files:
        if found_file.schema.equals(files[0].schema):
            file_leaves = first_leaves
        else:
            file_leaves = list_leaf_columns(found_file.schema)
        for name in column_names.values():
            if name not in file_leaves:
                raise SourceError(
                    format_message("no column {name!r}", name),
                    place=Place(file=found_file.path),
                    remedy="leave it out of the descriptor, or get the file anew",
                )
            column_type = file_leaves[name][1]
            if _is_null_type(column_type):
                continue
            known_type, known_file = types_by_name.setdefault(name, (column_type, found_file.path))
            if column_type != known_type:
                raise SourceError(
                    format_message(
                        "the column {name} is {kind} here, and {known} in {first}",
                        name,
                        str(column_type),
                        str(known_type),
                        os.path.basename(known_file),
                    ),  # noqa: PTH119
                    place=Place(file=found_file.path),
                    remedy=hats_layout.REWRITE_REMEDY,
                )


def _is_null_type(arrow_type: pa.DataType) -> bool:
    return bool(pa.types.is_null(arrow_type))


def _check_cells_in_partitions(row_groups: pa.Table, files: list[ManifestFile]) -> None:
    """Check that the cells of each row group lie in its partition."""
    file_numbers = np.asarray(row_groups.column("file"))
    low, high = (np.array([getattr(file, side) for file in files], np.int64)[file_numbers] for side in ("low", "high"))
    misplaced_groups = np.flatnonzero(
        (np.asarray(row_groups.column("first")) < low) | (np.asarray(row_groups.column("last")) > high)
    )
    if len(misplaced_groups):
        file = files[int(file_numbers[misplaced_groups[0]])]
        raise SourceError(
            format_message(
                "{name} has cells that are not of its partition, Norder={order} Npix={pixel}",
                hats_layout.CELL_COLUMN,
                file.order,
                file.pixel,
            ),
            place=Place(file=file.path),
            remedy=hats_layout.REWRITE_REMEDY,
        )


def _collect_footer_statistics(footers: list[Any], column_path: str) -> dict[str, object]:
    """Gather nulls and extremes of a column from footers."""
    column_statistics: dict[str, object] = {"nulls": 0}
    nulls = 0
    lows = []
    highs = []
    for footer in footers:
        for number in range(footer.num_row_groups):
            group = footer.row_group(number)
            column_number = next(
                (at for at in range(group.num_columns) if group.column(at).path_in_schema == column_path), None
            )
            if column_number is None:
                statistics = None
            else:
                statistics = group.column(column_number).statistics
            if statistics is not None:
                nulls += statistics.null_count or 0
                if statistics.has_min_max:
                    lows.append(statistics.min)
                    highs.append(statistics.max)
    column_statistics["nulls"] = nulls
    if lows and isinstance(lows[0], int | float) and not isinstance(lows[0], bool):
        column_statistics["minimum"], column_statistics["maximum"] = to_json_value(min(lows)), to_json_value(max(highs))
    return column_statistics


def _count_missing_positions(
    reader: RowGroupReader,
    files: Sequence[FoundFile],
    position_paths: tuple[str, str],
    reads_all: bool,
    *,
    checks_partitions: bool,
) -> tuple[int, int]:
    """Count the rows without a position, and check that the others lie in their partition.

    NaN, which footers do not tell of, is no number here. `reads_all`: all row groups are read, else the first of each
    file; `checks_partitions`: partitions are made of these columns.
    """

    def count_in_file(found_file: FoundFile) -> tuple[int, int]:
        groups = list(
            range(found_file.footer.num_row_groups if reads_all else min(found_file.footer.num_row_groups, 1))
        )
        position_rows = reader.read_groups(
            found_file.path,
            groups,
            list(position_paths),
            (found_file.bytes, found_file.change_stamp),
            {path: path for path in position_paths},
        )
        columns = [_to_double_array(position_rows.column(path)) for path in position_paths]
        if checks_partitions:
            _check_positions_in_partition(found_file, *columns)
        return int(np.isnan(columns[0]).sum()), int(np.isnan(columns[1]).sum())

    null_counts = catalogues.call_in_threads(count_in_file, files, lambda one: one.path, thread_limit=2)
    return sum(lon for lon, _ in null_counts), sum(lat for _, lat in null_counts)


def _choose_smallest_files(files: Sequence[FoundFile], file_limit: int) -> list[FoundFile]:
    """Choose the files whose first row groups have the fewest rows."""
    non_empty_files = [found_file for found_file in files if found_file.footer.num_row_groups]
    return sorted(non_empty_files, key=lambda found_file: found_file.footer.row_group(0).num_rows)[:file_limit]


def _to_double_array(values: pa.ChunkedArray) -> Any:
    if not (pa.types.is_floating(values.type) or pa.types.is_integer(values.type) or pa.types.is_decimal(values.type)):
        return np.full(len(values), np.nan)  # what a position in text means is the descriptor's to say
    return np.asarray(pc.fill_null(values.cast(pa.float64()), np.nan).to_numpy(), np.float64)


def _check_positions_in_partition(found_file: FoundFile, lon: Any, lat: Any) -> None:
    """Refuse positions that are not of their partition: searches would miss them, and nobody would see it."""
    is_valid = np.isfinite(lon) & np.isfinite(lat) & (np.abs(lat) <= 90)
    cell_indexes = healpix.compute_cell_indexes(found_file.order, lon[is_valid] % 360, lat[is_valid])
    misplaced_count = int((cell_indexes != found_file.pixel).sum()) + int((np.abs(lat) > 90).sum())
    if misplaced_count > MAX_MISPLACED_FRACTION * max(len(lon), 1):
        raise SourceError(
            format_message(
                "{wrong:,} of {rows:,} positions are not of its partition, Norder={order} Npix={pixel}",
                misplaced_count,
                len(lon),
                found_file.order,
                found_file.pixel,
            ),
            place=Place(file=found_file.path),
            remedy="look at hats_col_ra and hats_col_dec in its properties, or get the catalogue anew",
        )


def _compute_partition_coverage(files: list[ManifestFile]) -> str | None:
    """Return the coverage as an ASCII MOC: that of the partitions."""
    if not files:
        return format_moc(np.empty(0, np.int64), 8)
    order = min(max(file.order for file in files), 8)
    ranges = healpix.merge_ranges(
        np.array([hats_layout.compute_cell_range(file.order, file.pixel) for file in files], np.int64)
    )
    return str(Moc(ranges, order).degrade(order))


__all__ = ["describe_foreign_catalogue"]
