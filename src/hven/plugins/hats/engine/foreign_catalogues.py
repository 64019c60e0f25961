"""Foreign catalogues: other programs wrote them, and Hven serves them where they are, here or on a web server.

Their footers are read once, and a manifest lists their files.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.engines.api.statistics import format_moc, to_json_value
from hven.model.errors import HvenError, SourceError, TextPlace, format_message
from hven.model.sky import Moc, healpix
from hven.model.types import list_leaf_columns
from hven.plugins.hats import hats_catalogues as catalogues
from hven.plugins.hats import hats_layout
from hven.plugins.hats.engine.manifest import (
    ManifestFile,
    ManifestHead,
    RowGroupCollector,
    compute_column_byte_shares,
    list_range_columns,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.model.table import Table
    from hven.plugins.hats.engine.row_group_reader import RowGroupReader

MAX_FULLY_INDEXED_GROUPS = 50_000  # with more row groups, only indexed columns get statistics
UNREADABLE_MESSAGE = "the file is not a readable Parquet file: {why}"
MAX_CHECKED_ROWS = 50_000_000  # of larger catalogues, only some positions are read
# Number of files whose positions are compared with their partition: here, and on a web server.
SAMPLED_FILE_COUNTS = (20, 3)
MAX_MISPLACED_FRACTION = 0.01  # of the positions of a file; rounding cannot explain more
MAX_MEASURED_FOOTERS = 20  # footers from which the shares of columns are computed
ROW_COUNT_MESSAGE = "the catalogue states hats_nrows={said}, but its files have {found:,} rows"


@dataclass(frozen=True, slots=True)
class ForeignCatalogueFile:
    """A file of a catalogue with its footer, and with a stamp that tells when it changes."""

    path: str
    order: int
    pixel: int
    bytes: int
    change_stamp: str
    footer: Any
    schema: pa.Schema


def build_foreign_manifest(
    table: Table, directory: str, reader: RowGroupReader, column_names: Mapping[str, str] | None = None
) -> tuple[ManifestHead, pa.Table]:
    """Read the facts of the manifest from a foreign catalogue, in a directory or on a web server.

    Parameters
    ----------
    table
        The table of the descriptor.
    directory
        Directory or address of the catalogue.
    reader
        Reader of the files.
    column_names
        Column of the table -> its name in the catalogue, as `model.types.list_leaf_columns` writes it; None: the same
        names.

    Raises
    ------
    SourceError
        The directory has no catalogue; a file is missing, is no Parquet, or differs from the others; cells or positions
        lie outside their partition; the catalogue states another number of rows; a mount does not respond.
    """
    is_on_web = hats_layout.is_web_address(directory)
    folder: catalogues.CatalogueFileAccess
    if is_on_web:
        folder = reader.web_hats_catalogues.open_folder(directory)
    else:
        folder = catalogues.LocalCatalogueFolder(Path(directory))
    open_catalogue = catalogues.read_hats_catalogue_description(directory, folder)
    properties = open_catalogue.properties
    files = catalogues.call_in_threads(
        lambda partition: _read_file_footer(reader, partition[0], partition[1], f"{directory}/{partition[2]}"),
        open_catalogue.partitions,
        lambda partition: f"{directory}/{partition[2]}",
    )
    names = {column.name: (column_names or {}).get(column.name, column.name) for column in table.columns}
    _check_same_columns(names, files)
    _check_property_columns(properties, files, f"{directory}/{open_catalogue.base}{hats_layout.PROPERTIES_FILE}")
    leaf_paths = {}
    if files:
        leaf_paths = _find_differing_leaf_paths(files[0].schema, names)
    cell_column = find_cell_column(properties, files)
    indexed_columns = list_range_columns(table)
    indexed_schema = pa.schema([table.arrow_schema.field(name) for name in indexed_columns])
    row_groups, data_files = _collect_row_groups(files, indexed_schema, cell_column, leaf_paths)
    _check_cells_in_partitions(row_groups, data_files)
    row_count = sum(file.rows for file in data_files)
    _check_row_count(properties, row_count, directory)
    footers = [found_file.footer for found_file in files]
    has_many_groups = row_groups.num_rows > MAX_FULLY_INDEXED_GROUPS
    statistics = {
        name: _collect_footer_statistics(footers, leaf_paths.get(name, name))
        for name in (indexed_columns if has_many_groups else table.arrow_schema.names)
    }
    partition_names = (properties.get("hats_col_ra"), properties.get("hats_col_dec"))
    position = table.position
    if position is not None and partition_names != (names[position[0]], names[position[1]]):
        position = None
    if table.position is not None:
        lon_name, lat_name = table.position
        checks_all_rows = not is_on_web and row_count <= MAX_CHECKED_ROWS
        if checks_all_rows:
            checked_files = files
        else:
            checked_files = _choose_files_with_small_first_group(files, SAMPLED_FILE_COUNTS[is_on_web])
        null_counts = _count_null_coordinates(
            reader,
            checked_files,
            (leaf_paths.get(lon_name, lon_name), leaf_paths.get(lat_name, lat_name)),
            reads_all=checks_all_rows,
            checks_partitions=position is not None,
        )
        if checks_all_rows:
            for name, null_count in zip(table.position, null_counts, strict=True):
                statistics.setdefault(name, {})["nulls"] = null_count
    if position is None and partition_names[0] and partition_names[1] and files:
        # The partitions decide which files are read for a region, so their columns are checked, too.
        file_leaves = list_leaf_columns(files[0].schema)
        _count_null_coordinates(
            reader,
            _choose_files_with_small_first_group(files, SAMPLED_FILE_COUNTS[is_on_web]),
            (file_leaves[partition_names[0]][0], file_leaves[partition_names[1]][0]),
            reads_all=False,
            checks_partitions=True,
        )
    head = ManifestHead(
        rows=row_count,
        files=tuple(data_files),
        schema=table.arrow_schema.serialize().to_pybytes().hex(),
        position=position,
        cell=cell_column or "",
        shares=compute_column_byte_shares(footers[:MAX_MEASURED_FOOTERS], leaf_paths),
        statistics=statistics,
        coverage=_compute_partition_coverage(data_files),
        foreign=directory,
        leaves=leaf_paths,
    )
    return head, row_groups


def _collect_row_groups(
    files: Sequence[ForeignCatalogueFile],
    indexed_schema: pa.Schema,
    cell_column: str | None,
    leaf_paths: Mapping[str, str],
) -> tuple[pa.Table, list[ManifestFile]]:
    """Collect the row groups and the files of the manifest."""
    collector = RowGroupCollector(indexed_schema, leaf_paths)
    data_files: list[ManifestFile] = []
    for found_file in files:
        first_cell, end_cell = hats_layout.compute_cell_range(found_file.order, found_file.pixel)
        collector.add_file(len(data_files), found_file.footer, cell_column, (first_cell, end_cell))
        data_files.append(
            ManifestFile(
                found_file.path,
                found_file.footer.num_rows,
                found_file.bytes,
                found_file.order,
                found_file.pixel,
                first_cell,
                end_cell - 1,
                found_file.change_stamp,
            )
        )
    return collector.build_table(), data_files


def _check_row_count(properties: Mapping[str, str], row_count: int, directory: str) -> None:
    """Check that the files have as many rows as the properties state, if they state it."""
    stated_count = properties.get("hats_nrows", "")
    if stated_count.isdecimal() and int(stated_count) != row_count:
        raise SourceError(
            format_message(ROW_COUNT_MESSAGE, stated_count, row_count),
            place=TextPlace(file=directory),
            remedy=hats_layout.REWRITE_REMEDY,
        )


def _find_differing_leaf_paths(schema: pa.Schema, column_names: Mapping[str, str]) -> dict[str, str]:
    """Return the paths of the columns that have another name in the files, or stand in structs."""
    leaf_paths = list_leaf_columns(schema)
    return {
        name: leaf_paths[file_name][0] for name, file_name in column_names.items() if leaf_paths[file_name][0] != name
    }


def find_cell_column(properties: Mapping[str, str], files: Sequence[ForeignCatalogueFile]) -> str | None:
    """Return the name of the column of cells of order 29, if the footers of all files have its extremes.

    None otherwise: then only the partitions tell where rows are.
    """
    name = properties.get("hats_col_healpix") or hats_layout.CELL_COLUMN
    if name != hats_layout.CELL_COLUMN or properties.get("hats_col_healpix_order", "29") != "29":
        return None
    first_schema: Any = None
    column_number: int | None = None
    for found_file in files:
        footer = found_file.footer
        if first_schema is None or not footer.schema.equals(first_schema):
            first_schema = footer.schema
            column_names = [first_schema.column(number).path for number in range(footer.num_columns)]
            column_number = None
            if name in column_names:
                column_number = column_names.index(name)
        if column_number is None or not _has_column_extremes(footer, column_number):
            return None
    return name


def _has_column_extremes(footer: Any, column_number: int) -> bool:
    """Return whether a footer has the extremes of a column for each row group with rows."""
    for group_number in range(footer.num_row_groups):
        group = footer.row_group(group_number)
        if group.num_rows:
            statistics = group.column(column_number).statistics
            if statistics is None or not statistics.has_min_max:
                return False
    return True


def _check_property_columns(
    properties: Mapping[str, str], files: Sequence[ForeignCatalogueFile], properties_file: str
) -> None:
    """Check that the files have the columns that the properties name."""
    if not files:
        return
    file_leaves = list_leaf_columns(files[0].schema)
    for key in ("hats_col_ra", "hats_col_dec"):
        name = properties.get(key)
        if file_leaves and name and name not in file_leaves:
            raise SourceError(
                format_message(
                    "{key}={name}, but the file {first} has no such column", key, name, _get_file_name(files[0].path)
                ),
                place=TextPlace(file=properties_file),
                remedy="set this key to the name of a column, or download the catalogue again",
            )


def _get_file_name(path: str) -> str:
    """Return the name of a file, whose path may be an address."""
    return path.rpartition("/")[2]


def _read_file_footer(reader: RowGroupReader, order: int, pixel: int, path: str) -> ForeignCatalogueFile:
    """Read the footer of a file."""
    try:
        size, stamp = reader.read_file_state(path)
        footer = reader.get_value_index(path, (size, stamp)).footer
        return ForeignCatalogueFile(path, order, pixel, size, stamp, footer, footer.schema.to_arrow_schema())
    except (HvenError, OSError, pa.ArrowException) as error:
        reason = str(error)
        remedy = hats_layout.REWRITE_REMEDY
        if isinstance(error, HvenError):
            curator_error = reader.web_hats_catalogues.find_cause(error)
            reason = curator_error.message
            remedy = curator_error.remedy or remedy
        raise SourceError(
            format_message(UNREADABLE_MESSAGE, reason), place=TextPlace(file=path), remedy=remedy
        ) from error


def _check_same_columns(column_names: Mapping[str, str], files: list[ForeignCatalogueFile]) -> None:
    """Check that every file has the columns of the table, with the same types."""
    if not files:
        return
    # name -> type, and the first file that has values of the column
    types_by_name: dict[str, tuple[pa.DataType, str]] = {}
    first_leaves = list_leaf_columns(files[0].schema)
    for found_file in files:
        file_leaves = first_leaves
        if not found_file.schema.equals(files[0].schema):
            file_leaves = list_leaf_columns(found_file.schema)
        for name in column_names.values():
            if name not in file_leaves:
                raise SourceError(
                    format_message("the file has no column {name!r}", name),
                    place=TextPlace(file=found_file.path),
                    remedy="remove the column from the descriptor, or download the file again",
                )
            column_type = file_leaves[name][1]
            if _is_null_type(column_type):
                continue
            known_type, known_file = types_by_name.setdefault(name, (column_type, found_file.path))
            if column_type != known_type:
                raise SourceError(
                    format_message(
                        "the column {name} has the type {kind} in this file, but {known} in {first}",
                        name,
                        str(column_type),
                        str(known_type),
                        _get_file_name(known_file),
                    ),
                    place=TextPlace(file=found_file.path),
                    remedy=hats_layout.REWRITE_REMEDY,
                )


def _is_null_type(arrow_type: pa.DataType) -> bool:
    return bool(pa.types.is_null(arrow_type))


def _check_cells_in_partitions(row_groups: pa.Table, files: list[ManifestFile]) -> None:
    """Check that the cells of each row group lie in its partition."""
    file_numbers = np.asarray(row_groups.column("file"))
    low = np.array([file.low for file in files], np.int64)[file_numbers]
    high = np.array([file.high for file in files], np.int64)[file_numbers]
    is_before = np.asarray(row_groups.column("first")) < low
    is_behind = np.asarray(row_groups.column("last")) > high
    misplaced_groups = np.flatnonzero(is_before | is_behind)
    if len(misplaced_groups):
        file = files[int(file_numbers[misplaced_groups[0]])]
        raise SourceError(
            format_message(
                "{name} has cells outside the partition of this file (Norder={order} Npix={pixel})",
                hats_layout.CELL_COLUMN,
                file.order,
                file.pixel,
            ),
            place=TextPlace(file=file.path),
            remedy=hats_layout.REWRITE_REMEDY,
        )


def _collect_footer_statistics(footers: list[Any], column_path: str) -> dict[str, object]:
    """Collect the number of nulls and the extremes of a column from footers."""
    null_count = 0
    low_values = []
    high_values = []
    for footer in footers:
        for group_number in range(footer.num_row_groups):
            statistics = _find_column_statistics(footer.row_group(group_number), column_path)
            if statistics is None:
                continue
            null_count += statistics.null_count or 0
            if statistics.has_min_max:
                low_values.append(statistics.min)
                high_values.append(statistics.max)
    column_statistics: dict[str, object] = {"nulls": null_count}
    if low_values and isinstance(low_values[0], int | float) and not isinstance(low_values[0], bool):
        column_statistics["minimum"] = to_json_value(min(low_values))
        column_statistics["maximum"] = to_json_value(max(high_values))
    return column_statistics


def _find_column_statistics(row_group: Any, column_path: str) -> Any:
    """Return the statistics of a column in a row group; None if there are none."""
    for column_number in range(row_group.num_columns):
        column = row_group.column(column_number)
        if column.path_in_schema == column_path:
            return column.statistics
    return None


def _count_null_coordinates(
    reader: RowGroupReader,
    files: Sequence[ForeignCatalogueFile],
    position_paths: tuple[str, str],
    *,
    reads_all: bool,
    checks_partitions: bool,
) -> tuple[int, int]:
    """Count the rows without a longitude, and those without a latitude.

    NaN, which footers do not count, is none. With `reads_all` it reads all row groups, otherwise the first one of each
    file. With `checks_partitions` it checks that the positions lie in their partition.
    """

    def count_in_file(found_file: ForeignCatalogueFile) -> tuple[int, int]:
        group_count = found_file.footer.num_row_groups
        if not reads_all:
            group_count = min(group_count, 1)
        position_rows = reader.read_row_groups(
            found_file.path,
            list(range(group_count)),
            list(position_paths),
            (found_file.bytes, found_file.change_stamp),
            {path: path for path in position_paths},
        )
        lon, lat = (_to_double_array(position_rows.column(path)) for path in position_paths)
        if checks_partitions:
            _check_positions_in_partition(found_file, lon, lat)
        return int(np.isnan(lon).sum()), int(np.isnan(lat).sum())

    counts = catalogues.call_in_threads(count_in_file, files, lambda found_file: found_file.path, thread_limit=2)
    return sum(lon_count for lon_count, _ in counts), sum(lat_count for _, lat_count in counts)


def _choose_files_with_small_first_group(
    files: Sequence[ForeignCatalogueFile], file_limit: int
) -> list[ForeignCatalogueFile]:
    """Choose the files whose first row groups have the fewest rows."""
    non_empty_files = [found_file for found_file in files if found_file.footer.num_row_groups]
    return sorted(non_empty_files, key=lambda found_file: found_file.footer.row_group(0).num_rows)[:file_limit]


def _to_double_array(values: pa.ChunkedArray) -> Any:
    if not (pa.types.is_floating(values.type) or pa.types.is_integer(values.type) or pa.types.is_decimal(values.type)):
        return np.full(len(values), np.nan)  # the descriptor defines the meaning of positions in text
    return np.asarray(pc.fill_null(values.cast(pa.float64()), np.nan).to_numpy(), np.float64)


def _check_positions_in_partition(found_file: ForeignCatalogueFile, lon: Any, lat: Any) -> None:
    """Refuse positions outside their partition: searches would silently miss them."""
    is_valid = np.isfinite(lon) & np.isfinite(lat) & (np.abs(lat) <= 90)
    cell_indexes = healpix.compute_cell_indexes(found_file.order, lon[is_valid] % 360, lat[is_valid])
    misplaced_count = int((cell_indexes != found_file.pixel).sum()) + int((np.abs(lat) > 90).sum())
    if misplaced_count > MAX_MISPLACED_FRACTION * max(len(lon), 1):
        raise SourceError(
            format_message(
                "{wrong:,} of the {rows:,} positions in this file are outside the file's partition "
                "(Norder={order} Npix={pixel})",
                misplaced_count,
                len(lon),
                found_file.order,
                found_file.pixel,
            ),
            place=TextPlace(file=found_file.path),
            remedy=(
                "check hats_col_ra and hats_col_dec in the `properties` file of the catalogue, or download the "
                "catalogue again"
            ),
        )


def _compute_partition_coverage(files: list[ManifestFile]) -> str | None:
    """Return the coverage of the partitions as an ASCII MOC."""
    if not files:
        return format_moc(np.empty(0, np.int64), 8)
    order = min(max(file.order for file in files), 8)
    cell_ranges = np.array([hats_layout.compute_cell_range(file.order, file.pixel) for file in files], np.int64)
    return str(Moc(healpix.merge_ranges(cell_ranges), order).degrade(order))
