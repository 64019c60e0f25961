"""Tables as tiles of the sky: HATS catalogues whose partitions are written when requested, and kept in ``var/tiles``.

What is read of a table is a *state*: a snapshot, and the rows and columns that this reader sees of it. All files of a
catalogue are of one state, which is part of their address. A reader who continues after another snapshot is published,
or after their rights change, gets an error (410) and never a mixture. A file depends only on its state, its pixel and
the request: writing it again gives the same bytes (docs/decisions/023-hats.md).

Common
------
context, principal
    The site and the reader.
order, pixel
    HEALPix order and nested index.
ranges
    Cells of order 29, half-open, sorted, disjoint, shape (n, 2).
"""

from __future__ import annotations

import hashlib
import io
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven import __version__, adql, query
from hven.engines import Snapshot
from hven.formats import ResultStatus, TableMetadata, votable
from hven.model import LruCache, literal
from hven.model.errors import GoneError, NotFoundError, ParamError, TooLargeError, format_message
from hven.model.sky import Moc, healpix
from hven.plugins.hats import hats_layout
from hven.plugins.hats.engine.engine_protocol import PartitionFileEngine
from hven.plugins.hats.tile_files import get_tile_store
from hven.services.addresses import find_table
from hven.site import anonymize_for_referee
from hven.site.auth import (
    ANONYMOUS_PRINCIPAL,
    build_access_scope,
    collect_column_masks,
    collect_row_filters,
    is_table_visible,
)
from hven.site.history import build_unavailable_state_error

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from hven.model.table import Column, Table
    from hven.services.face import ServiceContext
    from hven.site import PublishedState, PublishedTable
    from hven.site.auth import AccessScope, Principal

    Ranges = npt.NDArray[np.int64]

TILING_VERSION = 1  # must be increased when the bytes of files change
MIN_PARTITION_ROWS = 65_536  # rows of a partition, at least, unless they are large
TARGET_PARTITIONS = 1_000  # number of partitions into which a large table is divided
MAX_PARTITION_BYTES = 64 << 20  # bytes of the rows of a partition, about
MAX_PARTITION_ROWS = 4_000_000  # rows of a partition of the finest order
ROW_GROUP_ROWS = 8_192
COVER_ORDER = 16  # order of the cells by which rows are selected, unless those of the partition are finer
# rows are counted by cells of the first order; where there are many, by finer ones, up to the last order
FIRST_ORDER = 7
ORDER_STEP = 4
MAX_ORDER = 19
MAX_SPLIT_ORDER = 8  # order of the pixels into which a query is split when an engine refuses to read so much at once
MIN_COUNTED_CELLS = 256  # with fewer cells with rows, rows are counted by finer cells
MAP_CELL_LIMITS = 1_024, 16_384  # cells of the map of positions, at least and at most
MAX_MAP_ORDER = 10  # order of this map: LSDB makes an array of all its cells
MAX_SMALL_TABLE_ROWS = 5_000_000  # rows of a table with a margin and an index of its key, for which all rows are read
MARGIN_PART = "margin"
INDEX_PART = "index"
INDEX_FILE = "index.parquet"  # in the directory `dataset` of an index
MARGIN_ORDER = 13  # order of the cells that make up a margin
MARGIN_ARCSECONDS = 10.0  # width of a margin, at least, of cells of this order
MAX_MARGIN_ORDER_STEP = 7  # orders by which these cells may be finer than the pixel
MAX_MARGIN_PIXELS = 1_000  # partitions of a table with a margin
RENAMED_CELL_COLUMN = f"{hats_layout.CELL_COLUMN}_own"  # for a column of the table with the name of the cell column
SCOPE_SEPARATOR = "~"  # in the name of a state, before the key of what the reader sees
LAYOUT_CACHE_BYTES = 64 << 20  # bytes of the layouts in the cache
_STATE_PATTERN = re.compile(rf"(\d{{8}}T\d{{6,}}-[0-9a-f]+)(~[0-9a-f]{{16}})?(?:\.({MARGIN_PART}|{INDEX_PART}))?")
_FILTER_TERM_PATTERN = re.compile(rf"\s*{hats_layout.CELL_COLUMN}\s*(==|=|>=|<=|>|<)\s*(\d{{1,19}})\s*")
# properties of positions, which an index does not have
_POSITION_PROPERTIES = (
    "hats_col_ra",
    "hats_col_dec",
    "hats_col_healpix",
    "hats_col_healpix_order",
    "hats_order",
    "hats_skymap_order",
)
_CELLS_COLUMN = "hven cells"  # temporary column beside those of the table


class TilingLayout(NamedTuple):
    """Division of a state into partitions.

    Attributes
    ----------
    pixels
        (order, pixel) of each partition, in the order of their cells -> its rows.
    cells, order
        Cells with rows, of this order.
    skymap_counts
        Rows in each cell of `hats_layout.SKYMAP_ORDER`.
    rows_without_position
        Rows without a position, which are in no partition.
    margin_rows
        Rows of all margins; negative: there are no margins.
    """

    pixels: Mapping[tuple[int, int], int]
    cells: Ranges
    order: int
    skymap_counts: Ranges
    rows_without_position: int
    margin_rows: int

    @property
    def row_count(self) -> int:
        """Rows of all partitions."""
        return int(self.skymap_counts.sum())


@dataclass(frozen=True, kw_only=True)
class TableTiling:
    """A state of a table, as its reader sees it.

    Attributes
    ----------
    published
        The table with its snapshot.
    published_state
        State of the site with that snapshot.
    scope, is_filtered
        Part of the rows that the reader may see, and whether it is less than all.
    part
        `MARGIN_PART`, `INDEX_PART`, or empty for the rows.
    """

    context: ServiceContext
    principal: Principal
    published: PublishedTable
    snapshot: Snapshot
    published_state: PublishedState
    scope: AccessScope
    is_filtered: bool
    part: str = ""

    @property
    def table(self) -> Table:
        """The table with the columns that it had in this state."""
        return self.published.table

    @property
    def name(self) -> str:
        """Name of the state in addresses."""
        if self.is_filtered:
            return f"{self.snapshot.id}{SCOPE_SEPARATOR}{self.scope.key}"
        return self.snapshot.id

    @property
    def columns(self) -> tuple[tuple[str, Column], ...]:
        """The columns of the files, by their names there."""
        position = self.table.position or ()
        columns = []
        for column in self.table.columns:
            if column.hidden and column.name not in position:
                continue
            name = RENAMED_CELL_COLUMN
            if column.name != hats_layout.CELL_COLUMN:
                name = column.name
            columns.append((name, column))
        return tuple(columns)

    @property
    def schema(self) -> pa.Schema:
        """The schema of all partitions."""
        fields = [pa.field(name, column.type.arrow) for name, column in self.columns]
        return hats_layout.build_partition_schema(pa.schema(fields))

    def make_key(self, *key_parts: object) -> str:
        """Build a key of something that is derived from this state and `key_parts`, and from nothing else."""
        columns = [(name, column.type) for name, column in self.columns]
        digest_parts = (
            TILING_VERSION,
            __version__,
            pa.__version__,
            self.table.qualified_name,
            self.snapshot.id,
            self.scope.key,
            columns,
            *key_parts,
        )
        return hashlib.sha256(repr(digest_parts).encode()).hexdigest()[:40]

    @property
    def is_small(self) -> bool:
        """Whether the table is small enough to read all its rows for descriptions of it."""
        return self.snapshot.rows <= MAX_SMALL_TABLE_ROWS

    @property
    def indexed_column(self) -> Column | None:
        """The key column, if it can have an index of HATS."""
        if not self.is_small or not self.snapshot.rows:
            return None
        for name, column in self.columns:
            if self.table.primary == (column.name,) and name == column.name:
                can_be_indexed = column.type.is_integer or column.type.is_string
                if can_be_indexed and re.fullmatch(r"\w+", column.name):
                    return column
                return None
        return None

    def get_layout(self) -> TilingLayout:
        """Return the division into partitions: it is computed once, and kept."""
        layout_cache: LruCache[TilingLayout] = self.context.site.get_or_create(_create_layout_cache)
        key = self.make_key("layout")
        layout = layout_cache.find(key)
        if layout is None:
            layout_file = get_tile_store(self.context).get_or_write(f"{key}.npz", self._write_layout)
            with np.load(layout_file) as stored_arrays:
                pixels = {(order, pixel): rows for order, pixel, rows in stored_arrays["pixels"].tolist()}
                layout = TilingLayout(
                    pixels=pixels,
                    cells=stored_arrays["cells"],
                    order=stored_arrays["order"].item(),
                    skymap_counts=stored_arrays["sky"],
                    rows_without_position=stored_arrays["without"].item(),
                    margin_rows=stored_arrays["margin"].item(),
                )
            byte_count = layout.cells.nbytes + layout.skymap_counts.nbytes + 200 * len(pixels)
            layout_cache.store(key, layout, byte_count)
        return layout

    @property
    def _engine_partitions(self) -> Mapping[tuple[int, int], Path] | None:
        """The partitions that the engine has as files, if this reader may have these as they are."""
        names = [name for name, _ in self.columns]
        if self.is_filtered or names != [column.name for column in self.table.columns]:
            return None
        engine = self.context.site.engines.find_engine(self.snapshot)
        if not isinstance(engine, PartitionFileEngine):
            return None
        return engine.list_partition_files(self.snapshot)

    @property
    def _max_partition_rows(self) -> int:
        """Rows of a partition: many for large tables, to limit the number of partitions; few where rows are large."""
        row_count = max(self.snapshot.rows, 1)
        row_bytes = max(self.snapshot.bytes // row_count, 8 * len(self.columns))
        rows_in_max_bytes = MAX_PARTITION_BYTES // row_bytes
        usual_rows = min(row_count // TARGET_PARTITIONS, hats_layout.MAX_PARTITION_ROWS, rows_in_max_bytes)
        min_rows = min(MIN_PARTITION_ROWS, rows_in_max_bytes)
        return max(usual_rows, min_rows, 1)

    def _write_layout(self, file: Path) -> None:
        """Count the rows of cells, divide the table by the counts, and write the result to a file."""
        max_rows = self._max_partition_rows
        order, starts, counts = self._count_rows_per_cell(max_rows)
        count_sums = np.cumsum(counts)
        cumulated_counts = np.concatenate([[0], count_sums]).astype(np.int64)

        def count_rows_before(cells: Ranges) -> Ranges:
            row_counts: Ranges = cumulated_counts[starts.searchsorted(cells)]
            return row_counts

        def count_rows_in(ranges: Ranges) -> int:
            return int(np.diff(count_rows_before(ranges)).sum())

        pixels = []
        for pixel_order, pixel in self._engine_partitions or ():
            cell_range = np.array([hats_layout.compute_cell_range(pixel_order, pixel)])
            pixels.append((pixel_order, pixel, count_rows_in(cell_range)))
        if not pixels:
            pixels = hats_layout.divide_into_partitions(count_rows_before, max_rows, MAX_ORDER)
        margin_rows = -1
        if self.is_small and len(pixels) <= MAX_MARGIN_PIXELS:
            margins = [_compute_margin_ranges(pixel_order, pixel) for pixel_order, pixel, _ in pixels]
            margin_rows = sum(map(count_rows_in, margins))
        map_order, map_cells = self._choose_map_cells(starts, order)
        sky_cells = starts >> 2 * (29 - hats_layout.SKYMAP_ORDER)
        sky_cell_count = 12 << 2 * hats_layout.SKYMAP_ORDER
        sky = np.bincount(sky_cells, counts, sky_cell_count).astype(np.int64)
        total_rows = self._run_query("SELECT COUNT(*) AS n FROM {table}")["n"][0].as_py()
        body = io.BytesIO()
        np.savez_compressed(
            body,
            pixels=np.array(pixels, np.int64).reshape(-1, 3),
            cells=map_cells,
            order=map_order,
            sky=sky,
            without=total_rows - sky.sum(),
            margin=margin_rows,
        )
        file.write_bytes(body.getvalue())

    def _count_rows_per_cell(self, max_rows: int) -> tuple[int, Ranges, Ranges]:
        """Count the rows of cells: of one order, then of finer ones where there are few cells, or many rows.

        Returns
        -------
        order
            Order of the coarsest cells.
        starts, counts
            First cell of order 29 of each counted cell, in order, and its rows.
        """
        if self.is_small:
            order = 29
            starts, counts = self._read_row_cells()
        else:
            order = FIRST_ORDER
            starts, counts = self._count_rows_at_order(order)
            while 0 < len(starts) <= MIN_COUNTED_CELLS and order < MAX_ORDER - ORDER_STEP:
                order += ORDER_STEP
                starts, counts = self._count_rows_at_order(order)
        finest_order = order
        while finest_order < MAX_ORDER:
            is_full = counts > max_rows
            if not is_full.any():
                break
            cell_count = 1 << 2 * (29 - finest_order)
            finest_order = min(finest_order + ORDER_STEP, MAX_ORDER)
            full_starts = starts[is_full]
            full_ranges = np.stack([full_starts, full_starts + cell_count], axis=1)
            finer_starts, finer_counts = self._count_rows_at_order(finest_order, healpix.merge_ranges(full_ranges))
            starts = np.concatenate([starts[~is_full], finer_starts])
            counts = np.concatenate([counts[~is_full], finer_counts])
        sorted_indexes = np.argsort(starts)
        return order, starts[sorted_indexes], counts[sorted_indexes]

    def _choose_map_cells(self, starts: Ranges, counted_order: int) -> tuple[int, Ranges]:
        """Choose the order of the map of positions, so that it has not too many cells; and its cells with rows."""
        max_cells = int(np.clip(self.snapshot.rows // 512, *MAP_CELL_LIMITS))
        order = min(counted_order, MAX_MAP_ORDER)
        cells = _drop_repeated_cells(starts >> 2 * (29 - order))
        while len(cells) > max_cells and order:
            order -= 1
            cells = _drop_repeated_cells(starts >> 2 * (29 - order))
        return order, cells

    def _read_row_cells(self) -> tuple[Ranges, Ranges]:
        """Read the cell of each row: for a small table this is faster than counting in its engine."""
        positions = self._query_in_pieces("SELECT {lon}, {lat} FROM {table} WHERE")
        cells = self._compute_cells(positions)
        return cells, np.ones(len(cells), np.int64)

    def _compute_cells(self, rows: pa.Table) -> Ranges:
        """Compute the cells of order 29 of rows."""
        position_columns = [rows[name].cast(pa.float64()) for name in self.table.position or ("", "")]
        lon, lat = (column.to_numpy() for column in position_columns)
        cells: Ranges = healpix.compute_cell_indexes(29, lon, lat)
        return cells

    def _count_rows_at_order(self, order: int, ranges: Ranges | None = None) -> tuple[Ranges, Ranges]:
        items = f"IVO_HEALPIX_INDEX({order}, {{lon}}, {{lat}}) AS c, COUNT(*) AS n"
        rows = self._query_in_pieces(f"SELECT {items} FROM {{table}} WHERE", " GROUP BY 1", ranges=ranges, order=order)
        cells = np.asarray(rows["c"], np.int64)
        counts = np.asarray(rows["n"], np.int64)
        return cells << 2 * (29 - order), counts

    def _query_in_pieces(
        self,
        query_start: str,
        query_end: str = "",
        *,
        ranges: Ranges | None = None,
        order: int = 0,
        split_order: int = 0,
        pixels: Sequence[int] = range(12),
    ) -> pa.Table:
        """Query all rows in some cells of an order.

        Where an engine refuses to read so much at once, the query is split by pixels, of finer and finer orders.
        """
        if ranges is None:
            where = "{lon} IS NOT NULL AND {lat} IS NOT NULL"
        else:
            where = _write_cell_condition(ranges, order)
        try:
            return self._run_query(f"{query_start} {where}{query_end}")
        except TooLargeError:
            if split_order > MAX_SPLIT_ORDER:
                raise
        all_ranges = np.array([[0, healpix.MAX_ORDER_CELL_COUNT]]) if ranges is None else ranges
        pieces = []
        for pixel in pixels:
            pixel_range = np.array([hats_layout.compute_cell_range(split_order, pixel)])
            piece_ranges = healpix.intersect_ranges(all_ranges, pixel_range)
            if not len(piece_ranges):
                continue
            piece = self._query_in_pieces(
                query_start,
                query_end,
                ranges=piece_ranges,
                order=max(order, split_order),
                split_order=split_order + 1,
                pixels=range(4 * pixel, 4 * pixel + 4),
            )
            pieces.append(piece)
        return pa.concat_tables(pieces)

    def _run_query(self, template: str, row_limit: int = 2**40, *columns: Column) -> pa.Table:
        """Query the table, with the rights of the reader."""
        lon, lat = map(adql.quote_adql_name, self.table.position or ("", ""))
        table_name = f"{adql.quote_adql_name(self.table.schema)}.{adql.quote_adql_name(self.table.name)}"
        column_names = ", ".join(adql.quote_adql_name(column.name) for column in columns)
        with query.run_query(
            template.format(table=table_name, lon=lon, lat=lat, columns=column_names),
            self.principal,
            site=self.context.site,
            policies=self.context.policies,
            published_state=self.published_state,
            maxrec=row_limit,
            hard_row_limit=row_limit,
        ) as result:
            rows = result.read_table()
            if result.overflow:
                message = format_message("more than {most:,} rows of a partition are at the same position", row_limit)
                raise TooLargeError(message, remedy="query these rows with TAP")
        return rows

    def get_partition_file(
        self, order: int, pixel: int, *, columns: str | None = None, filters: str | None = None
    ) -> tuple[str, Path]:
        """Return the file of a partition, or of the requested part of it, and a name that identifies its bytes.

        For a margin it has the rows around the pixel.

        Parameters
        ----------
        columns
            Names separated by commas; all columns, if one of the names is not known.
        filters
            As LSDB writes them: conditions separated by ``,`` must all hold; of several groups separated by ``;`` one
            must hold. Only conditions on cells are applied; clients apply all of them to what they get.

        Raises
        ------
        NotFoundError
            There is no such partition.
        """
        if (order, pixel) not in self.get_layout().pixels:
            path = hats_layout.format_partition_path(order, pixel)
            message = format_message("there is no partition {path}", path)
            raise NotFoundError(message, remedy="see the list of partitions in partition_info.csv")
        pixel_ranges = np.array([hats_layout.compute_cell_range(order, pixel)])
        all_names = [name for name, _ in self.columns]
        names = all_names
        requested_names = set((columns or "").split(",")) - {hats_layout.CELL_COLUMN}
        if columns and requested_names <= {*all_names}:
            names = [name for name in all_names if name in requested_names]
        ranges = pixel_ranges
        if self.part == MARGIN_PART:
            ranges = _compute_margin_ranges(order, pixel)
        if filters:
            ranges = healpix.intersect_ranges(ranges, parse_filter_ranges(filters))
        is_whole = not self.part and names == all_names and np.array_equal(ranges, pixel_ranges)
        if is_whole:
            engine_partitions = self._engine_partitions
            if engine_partitions is not None:
                return self.make_key(order, pixel), engine_partitions[order, pixel]
        key = self.make_key(order, pixel, names, ranges.tolist())

        def write_partition(file: Path) -> None:
            self._write_partition(file, ranges, names, max(order, COVER_ORDER))

        return key, get_tile_store(self.context).get_or_write(f"{key}.parquet", write_partition)

    def _write_partition(self, file: Path, ranges: Ranges, names: Sequence[str], max_order: int) -> None:
        """Write rows in the order of their cells, and within a cell by key, or by all columns."""
        import pyarrow.parquet as pq  # noqa: PLC0415  (slow to load, needed by few)

        columns_by_name = dict(self.columns)
        field_names = {hats_layout.CELL_COLUMN, *names}
        schema = pa.schema([field for field in self.schema if field.name in field_names])
        rows = schema.empty_table()
        if len(ranges):
            requested_columns = {columns_by_name[name].name: columns_by_name[name] for name in names}
            needed_names = {*(self.table.position or ()), *self.table.primary}
            for column in self.table.columns:
                if column.name in needed_names:
                    requested_columns[column.name] = column
            all_rows = self._query_rows_in_cells(ranges, [*requested_columns.values()], max_order)
            sort_names = list(self.table.primary)
            if not sort_names:
                fields = all_rows.schema.remove(0)
                sort_names = [field.name for field in fields if not pa.types.is_nested(field.type)]
            sort_keys = [(name, "ascending") for name in (_CELLS_COLUMN, *sort_names)]
            all_rows = all_rows.take(pc.sort_indices(all_rows, sort_keys))
            arrays = [all_rows[columns_by_name[name].name] for name in names]
            rows = pa.table([all_rows[_CELLS_COLUMN], *arrays], schema=schema)
        with pq.ParquetWriter(file, schema, **hats_layout.PARQUET_WRITER_OPTIONS) as writer:
            writer.write_table(rows, row_group_size=ROW_GROUP_ROWS)

    def _query_rows_in_cells(self, ranges: Ranges, columns: Sequence[Column], max_order: int) -> pa.Table:
        """Query the rows in ranges of cells, with the cell of each row as the first column."""
        edges = int(np.bitwise_or.reduce(ranges, None))
        trailing_zeros = (edges & -edges).bit_length() - 1
        order = min(max_order, 29 - trailing_zeros // 2)
        condition = _write_cell_condition(healpix.degrade_ranges(ranges, order), order)
        text = f"SELECT {{columns}} FROM {{table}} WHERE {condition}"
        queried_rows = self._run_query(text, MAX_PARTITION_ROWS, *columns)
        cells = self._compute_cells(queried_rows)
        # the engine may decide differently at the borders of cells: these cell numbers decide
        is_inside = healpix.is_in_ranges(ranges, cells)
        arrays = [literal.cast_to_storage_type(queried_rows[column.name], column.type) for column in columns]
        names = [_CELLS_COLUMN, *(column.name for column in columns)]
        all_rows = pa.table([pa.array(cells), *arrays], names=names)
        return all_rows.filter(pa.array(is_inside))

    # --- descriptions ---

    def write_point_map(self) -> bytes:
        """Write the map of cells with rows (``point_map.fits``): LSDB requests only these cells of a partition."""
        return hats_layout.write_occupied_cells_map(self.get_layout().cells, self.get_layout().order)

    def write_skymap(self) -> bytes:
        """Write the number of rows in each cell (``skymap.fits``)."""
        return hats_layout.write_skymap(self.get_layout().skymap_counts)

    def write_partition_info(self) -> bytes:
        """Write ``partition_info.csv``."""
        return hats_layout.write_partition_info(self.get_layout().pixels)

    def write_common_metadata(self) -> bytes:
        """Write ``_common_metadata``, with the descriptions of the columns."""
        if self.part == INDEX_PART:
            return hats_layout.write_common_metadata(self._index_schema)
        columns = [column for _, column in self.columns]
        metadata = TableMetadata(columns=columns, frames=self.table.frames, name=self.table.name)
        metadata_xml = votable.write_metadata_document(metadata, ResultStatus())
        return hats_layout.write_common_metadata(self.schema, metadata_xml.encode())

    def write_collection_properties(self) -> bytes:
        """Write ``collection.properties``, which names the state, its margin and its index."""
        lines = [
            "#HATS Collection",
            f"obs_collection={self.table.qualified_name}",
            f"hats_primary_table_url={self.name}",
        ]
        if self.get_layout().margin_rows >= 0:
            margin_name = f"{self.name}.{MARGIN_PART}"
            lines += [f"all_margins={margin_name}", f"default_margin={margin_name}"]
        if self.indexed_column is not None:
            index_name = f"{self.name}.{INDEX_PART}"
            lines.append(f"all_indexes={self.indexed_column.name} {index_name}")
            lines.append(f"default_index={self.indexed_column.name}")
        return "\n".join([*lines, ""]).encode()

    def write_properties(self) -> bytes:
        """Write ``hats.properties``."""
        layout = self.get_layout()
        properties = self._list_properties(layout)
        name = self.table.qualified_name
        if self.part:
            name += f"_{self.part}"
        if self.part == MARGIN_PART:
            row_count = layout.margin_rows
        else:
            row_count = layout.row_count
        orders = [order for order, _ in layout.pixels]
        return hats_layout.write_catalogue_properties(
            name,
            row_count=row_count,
            position=self.table.position or ("", ""),
            order=max(orders, default=0),
            sky_fraction=sum(1 / (12 << 2 * order) for order in orders),
            creation_time=self.published.updated[:16],
            further_properties=properties,
        )

    def _list_properties(self, layout: TilingLayout) -> dict[str, str | None]:
        """List the properties of this table and state, with None for a usual property that it does not have."""
        visible_state = anonymize_for_referee(self.published_state, self.principal)
        resource = visible_state.resources.get(self.table.schema)
        texts: dict[str, str | None] = {
            "obs_title": self.table.title,
            "obs_description": self.table.description,
        }
        if resource is not None:
            texts["obs_title"] = self.table.title or resource.title
            texts["obs_description"] = self.table.description or resource.description
            texts |= {
                "obs_copyright": resource.licence,
                "obs_ack": resource.citation,
                "obs_copyright_url": resource.licence_url,
                "bib_reference": resource.bibcode,
                "hats_creator": "; ".join(creator.name for creator in resource.creators),
            }
        properties: dict[str, str | None] = {}
        for key, text in texts.items():
            if text:
                properties[key] = " ".join(text.split())
        properties["hven_snapshot"] = self.name
        properties["hven_rows_without_position"] = str(layout.rows_without_position)
        if self.part:
            properties |= {"dataproduct_type": self.part, "hats_primary_table_url": self.name}
        if self.part == MARGIN_PART:
            properties["hats_margin_threshold"] = str(MARGIN_ARCSECONDS)
        if self.part == INDEX_PART and self.indexed_column is not None:
            properties["hats_index_column"] = self.indexed_column.name
            properties |= dict.fromkeys(_POSITION_PROPERTIES)
        return properties

    # --- the index of the key ---

    @property
    def _index_schema(self) -> pa.Schema:
        assert self.indexed_column is not None  # noqa: S101  (or it has no index)
        key = pa.field(self.indexed_column.name, self.indexed_column.type.arrow)
        partition_fields = [pa.field(name, pa.int64()) for name in ("Norder", "Dir", "Npix")]
        return pa.schema([key, *partition_fields])

    def get_index_file(self) -> tuple[str, Path]:
        """Return the index file, with the partition of the row of each key, and a name that identifies its bytes."""
        key = self.make_key(INDEX_PART)
        tile_store = get_tile_store(self.context)
        return key, tile_store.get_or_write(f"{key}.parquet", self._write_index)

    def _write_index(self, file: Path) -> None:
        import pyarrow.parquet as pq  # noqa: PLC0415  (slow to load, needed by few)

        assert self.indexed_column is not None  # noqa: S101  (or it has no index)
        pixel_list = list(self.get_layout().pixels)
        pixels = np.array(pixel_list, np.int64).reshape(-1, 2)
        first_cells = pixels[:, 1] << 2 * (29 - pixels[:, 0])
        needed_names = {self.indexed_column.name, *(self.table.position or ())}
        columns = [column for column in self.table.columns if column.name in needed_names]
        queried_rows = self._run_query(
            "SELECT {columns} FROM {table} WHERE {lon} IS NOT NULL AND {lat} IS NOT NULL",
            MAX_SMALL_TABLE_ROWS,
            *columns,
        )
        partition_indexes = first_cells.searchsorted(self._compute_cells(queried_rows), "right") - 1
        partition_orders, partition_pixels = pixels[partition_indexes].T
        keys = literal.cast_to_storage_type(queried_rows[self.indexed_column.name], self.indexed_column.type)
        directories = partition_pixels // 10_000 * 10_000
        arrays = [keys, partition_orders, directories, partition_pixels]
        rows = pa.table(arrays, schema=self._index_schema)
        rows = rows.sort_by(self.indexed_column.name)
        with pq.ParquetWriter(file, rows.schema, **hats_layout.PARQUET_WRITER_OPTIONS) as writer:
            writer.write_table(rows, row_group_size=ROW_GROUP_ROWS)

    def write_index_metadata(self) -> bytes:
        """Write ``_metadata`` of the index, from which clients find the row groups to read."""
        import pyarrow.parquet as pq  # noqa: PLC0415  (slow to load, needed by few)

        parquet_metadata = pq.read_metadata(self.get_index_file()[1])
        parquet_metadata.set_file_path(INDEX_FILE)
        body = io.BytesIO()
        parquet_metadata.write_metadata_file(body)
        return body.getvalue()


def _drop_repeated_cells(cells: Ranges) -> Ranges:
    """Return each number of an ascending array once."""
    if not len(cells):
        return cells
    is_first = np.append(True, cells[1:] != cells[:-1])
    distinct_cells: Ranges = cells[is_first]
    return distinct_cells


def _create_layout_cache() -> LruCache[TilingLayout]:
    return LruCache(LAYOUT_CACHE_BYTES)


def _write_cell_condition(ranges: Ranges, order: int) -> str:
    """Write the condition that rows are in these cells."""
    return f"1 = CONTAINS(POINT({{lon}}, {{lat}}), MOC('{Moc(ranges, order)}'))"


def _compute_margin_ranges(order: int, pixel: int) -> Ranges:
    """Return the cells around a pixel."""
    pixel_ranges = np.array([hats_layout.compute_cell_range(order, pixel)])
    margin_order = min(MARGIN_ORDER, order + MAX_MARGIN_ORDER_STEP)
    widened_ranges = healpix.add_neighbour_cells(pixel_ranges, margin_order)
    return healpix.intersect_ranges(widened_ranges, healpix.complement_ranges(pixel_ranges))


def parse_filter_ranges(filters: str) -> Ranges:
    """Parse the conditions of filters on cells, and return the cells that they allow; other conditions are ignored.

    Parameters
    ----------
    filters
        As in `TableTiling.get_partition_file`.
    """
    spans = []
    for group in filters.split(";"):
        low = 0
        high = healpix.MAX_ORDER_CELL_COUNT
        for condition in group.split(","):
            term_match = _FILTER_TERM_PATTERN.fullmatch(condition)
            if term_match is None:
                continue
            sign, number = term_match.groups()
            cell = min(int(number), healpix.MAX_ORDER_CELL_COUNT)
            if sign in {"=", "==", ">=", ">"}:
                low = max(low, cell + (sign == ">"))
            if sign in {"=", "==", "<=", "<"}:
                high = min(high, cell + (sign != "<"))
        if low < high:
            spans.append((low, high))
    span_array = np.array(spans, np.int64).reshape(-1, 2)
    return healpix.merge_ranges(span_array)


def can_tile(table: Table) -> bool:
    """Return whether a table can be divided: stored tables with positions."""
    return table.position is not None and table.view is None and table.owner is None


def find_tiled_table(
    context: ServiceContext, principal: Principal, table_or_collection: str, published_state: PublishedState
) -> Table:
    """Find the table of an address; the main table of a collection is `main`, or the first one with positions.

    Raises
    ------
    NotFoundError
        There is no such table, or it cannot be divided.
    """
    catalogue = published_state.get_catalogue(principal, context.policies)
    own_tables: list[Table] = []
    for schema in catalogue.schemas:
        if schema.name == table_or_collection:
            own_tables += schema.tables
    tileable_tables = list(filter(can_tile, own_tables))
    tileable_tables.sort(key=lambda candidate: candidate.name != "main")
    if tileable_tables:
        table = tileable_tables[0]
    elif own_tables and "." not in table_or_collection:
        table = own_tables[0]
    else:
        table = find_table(table_or_collection, catalogue)
    if table.position is None:
        message = format_message(
            "{table} has no positions, so it cannot be divided into partitions", table.qualified_name
        )
        raise NotFoundError(message, remedy="query the table with TAP")
    return table


def find_tiling(
    context: ServiceContext, principal: Principal, table_or_collection: str, state_name: str | None = None
) -> TableTiling:
    """Find a state of a table.

    Parameters
    ----------
    table_or_collection
        A table as in an address, or a collection.
    state_name
        Name of the state; None: the state that is published now. If it names a snapshot only, it is what this reader
        sees of the snapshot.

    Raises
    ------
    NotFoundError
        There is no such table, or it has no states.
    GoneError
        The state is no longer kept, or is not what this reader sees now.
    """
    published_state = context.site.get_published_state()
    table = find_tiled_table(context, principal, table_or_collection, published_state)
    table_name = table.qualified_name
    published_table = published_state.tables_by_name.get(table_name)
    state_match = _STATE_PATTERN.fullmatch(state_name or "")
    if state_name is not None and state_match is None:
        message = format_message("{table} has no {path}", table_name, state_name[:80])
        raise NotFoundError(message, remedy="see collection.properties for the name of the table's current state")
    scope_suffix = None
    part = ""
    if state_match is not None:
        snapshot_id, scope_suffix, part = state_match[1], state_match[2], state_match[3] or ""
        if published_table is None or _get_snapshot_id(published_table) != snapshot_id:
            published_state = _find_past_state(context, principal, table, snapshot_id, state_match[0])
            published_table = published_state.tables_by_name[table_name]
    if (
        published_table is None
        or not isinstance(published_table.relation, Snapshot)
        or not can_tile(published_table.table)
    ):
        message = format_message("{table} cannot be read file by file: it is not a stored table", table_name)
        raise NotFoundError(message, remedy="query the table with TAP")
    filters = collect_row_filters([published_table.table], principal, context.policies)
    is_public = published_table.table.policy is None and is_table_visible(
        published_table.table, ANONYMOUS_PRINCIPAL, context.policies
    )
    private_tables = [] if is_public else [table_name]
    column_masks = collect_column_masks([published_table.table], principal)
    tiling = TableTiling(
        context=context,
        principal=principal,
        published=published_table,
        snapshot=published_table.relation,
        published_state=published_state,
        scope=build_access_scope(filters, private_tables, column_masks),
        is_filtered=bool(filters),
        part=part,
    )
    if scope_suffix and tiling.name != tiling.snapshot.id + scope_suffix:
        message = format_message(
            "{state} may contain rows of {table} to which you have no access", state_name or "", table_name
        )
        raise GoneError(message, remedy="open the catalogue again")
    return tiling


def _find_past_state(
    context: ServiceContext, principal: Principal, table: Table, snapshot_id: str, state_name: str
) -> PublishedState:
    """Find the state of the site with an earlier snapshot of a table."""
    try:
        past = context.site.find_past_state(snapshot_id, principal, context.policies)
    except ParamError:
        raise _build_gone_error(table, state_name) from None
    published_table = past.published_state.tables_by_name.get(table.qualified_name)
    if published_table is None:
        raise build_unavailable_state_error(past, table.qualified_name)
    if _get_snapshot_id(published_table) != snapshot_id or not can_tile(published_table.table):
        raise _build_gone_error(table, state_name)
    return past.published_state


def _get_snapshot_id(published: PublishedTable) -> str | None:
    if isinstance(published.relation, Snapshot):
        return published.relation.id
    return None


def _build_gone_error(table: Table, state_name: str) -> GoneError:
    message = format_message("the state {state} of {table} is no longer kept", state_name, table.qualified_name)
    return GoneError(message, remedy="open the catalogue again; only a release keeps a state permanently")
