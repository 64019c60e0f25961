"""Tables as tiles of the sky, as one reader sees them.

HATS catalogues whose partitions are made when they are asked for, and kept in ``var/tiles``.

What is read of a table is a *state* of it: a snapshot, and which of its rows and columns this reader sees. All files of
a catalogue are of one state, which stands in their address: who reads while another snapshot is published, or while
their rights change, is told so (410), and never gets a mixture. A file depends on nothing but its state, its pixel and
what is asked of it: whoever makes it again makes the same bytes (docs/decisions/023-hats.md).

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
from hven.formats import ResultStatus, TableMetadata, hats_layout, votable
from hven.model import Cache, literal
from hven.model.errors import GoneError, NotFoundError, ParamError, TooLargeError, format_message
from hven.model.sky import Moc, healpix
from hven.services._tile_files import get_tile_store
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

TILING_VERSION = 1  # changes with how files are made
MIN_PARTITION_ROWS, TARGET_PARTITIONS = (
    65_536,
    1_000,
)  # rows that a partition may have at least, and into how many a table is divided
MAX_PARTITION_BYTES = 64 << 20  # bytes of the rows of a partition, about
MAX_PARTITION_ROWS = 4_000_000  # rows of a partition of the finest order
ROW_GROUP_ROWS = 8_192  # rows of a row group
COVER_ORDER = 16  # order of the cells by which rows are asked for, where those of a partition are not finer
FIRST_ORDER, ORDER_STEP, MAX_ORDER = (
    7,
    4,
    19,
)  # rows are counted by cells of the first order, where there are many by finer ones, up to the last
MAX_SPLIT_ORDER = 8  # order of the pixels for which rows are counted, where an engine may not read all of them at once
MIN_COUNTED_CELLS = 256  # cells with rows: where there are no more, rows are counted more finely
MAP_CELL_LIMITS = 1_024, 16_384  # cells of the map of where there are rows
MAX_MAP_ORDER = 10  # its finest order: LSDB makes an array of all cells of it
MAX_SMALL_TABLE_ROWS = (
    5_000_000  # rows of a table that has a margin and an index of its key: all its rows are read for these
)
MARGIN_PART, INDEX_PART = "margin", "index"  # what else there is of a state, beside its rows
INDEX_FILE = "index.parquet"  # in the directory `dataset` of an index
MARGIN_ORDER, MARGIN_ARCSECONDS = (
    13,
    10.0,
)  # order of cells, and how far beyond its pixel a margin reaches at least by their neighbours
MAX_MARGIN_ORDER_STEP = 7  # orders that these cells may be finer than the pixel
MAX_MARGIN_PIXELS = 1_000  # of a table that has a margin
RENAMED_CELL_COLUMN = f"{hats_layout.CELL_COLUMN}_own"  # a column of the table that has the name of the cells
SCOPE_SEPARATOR = "~"  # in the name of a state: behind it, which rows and columns the reader saw
LAYOUT_CACHE_BYTES = 64 << 20  # bytes of what is remembered of layouts
_STATE_PATTERN = re.compile(rf"(\d{{8}}T\d{{6,}}-[0-9a-f]+)(~[0-9a-f]{{16}})?(?:\.({MARGIN_PART}|{INDEX_PART}))?")
_FILTER_TERM_PATTERN = re.compile(rf"\s*{hats_layout.CELL_COLUMN}\s*(==|=|>=|<=|>|<)\s*(\d{{1,19}})\s*")
_CELLS_COLUMN = "hven cells"  # beside the columns of a table


class TilingLayout(NamedTuple):
    """How a state is divided.

    Attributes
    ----------
    pixels
        Order and pixel of each partition, in the order of their cells; and its rows.
    cells, order
        Those of an order in which there are rows.
    skymap_counts
        Rows in each cell of `hats_layout.SKYMAP_ORDER`.
    rows_without_position
        Rows that have no position, and are in no partition.
    margin_rows
        Rows of all margins; negative: there are none.
    """

    pixels: Mapping[tuple[int, int], int]
    cells: Ranges
    order: int
    skymap_counts: Ranges
    rows_without_position: int
    margin_rows: int

    @property
    def row_count(self) -> int:
        """Of all partitions."""
        return int(self.skymap_counts.sum())


@dataclass(frozen=True, kw_only=True)
class Tiling:
    """A state of a table, as its reader sees it.

    Attributes
    ----------
    published
        The table with its snapshot.
    published_state
        In which it is.
    scope, is_filtered
        What the reader sees of it; whether that is not all.
    part
        `MARGIN_PART`, `INDEX_PART`, or empty: the rows.
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
        """The table, with its columns of then."""
        return self.published.table

    @property
    def name(self) -> str:
        """What the state is called in addresses."""
        if self.is_filtered:
            return f"{self.snapshot.id}{SCOPE_SEPARATOR}{self.scope.key}"
        return self.snapshot.id

    @property
    def columns(self) -> tuple[tuple[str, Column], ...]:
        """The columns that are given, by their names in files."""
        visible_columns = (
            column for column in self.table.columns if not column.hidden or column.name in (self.table.position or ())
        )
        return tuple(
            (RENAMED_CELL_COLUMN if column.name == hats_layout.CELL_COLUMN else column.name, column)
            for column in visible_columns
        )

    @property
    def schema(self) -> pa.Schema:
        """Of all partitions."""
        return hats_layout.build_partition_schema(
            pa.schema([pa.field(name, column.type.arrow) for name, column in self.columns])
        )

    def make_key(self, *key_parts: object) -> str:
        """Name what is made of this state, and depends on nothing else."""
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
        """Whether all rows can be read for what tells of them."""
        return self.snapshot.rows <= MAX_SMALL_TABLE_ROWS

    @property
    def indexed_column(self) -> Column | None:
        """The key, if it can have an index of HATS."""
        key = self.table.primary
        key_column = next(
            (column for name, column in self.columns if key == (column.name,) and name == column.name), None
        )
        fits = (
            key_column is not None
            and (key_column.type.is_integer or key_column.type.is_string)
            and re.fullmatch(r"\w+", key_column.name)
        )
        if fits and self.is_small and self.snapshot.rows:
            return key_column
        return None

    def get_layout(self) -> TilingLayout:
        """Return how it is divided: counted once, and kept."""
        layout_cache: Cache[TilingLayout] = self.context.site.get_or_create(_create_layout_cache)
        key = self.make_key("layout")
        tiling_layout = layout_cache.find(key)
        if tiling_layout is None:
            with np.load(get_tile_store(self.context).get_or_write(f"{key}.npz", self._write_layout)) as stored_arrays:
                pixels = {(order, pixel): rows for order, pixel, rows in stored_arrays["pixels"].tolist()}
                tiling_layout = TilingLayout(
                    pixels,
                    stored_arrays["cells"],
                    stored_arrays["order"].item(),
                    stored_arrays["sky"],
                    stored_arrays["without"].item(),
                    stored_arrays["margin"].item(),
                )
            layout_cache.store(
                key, tiling_layout, tiling_layout.cells.nbytes + tiling_layout.skymap_counts.nbytes + 200 * len(pixels)
            )
        return tiling_layout

    @property
    def _engine_partitions(self) -> Mapping[tuple[int, int], Path] | None:
        """The partitions that the engine has as files, if this reader may have them as they are."""
        shows_all = not self.is_filtered and [name for name, _ in self.columns] == [
            column.name for column in self.table.columns
        ]
        if shows_all:
            engine = self.context.site.engines.find_engine(self.snapshot)
            return engine.list_partition_files(self.snapshot)
        return None

    @property
    def _max_partition_rows(self) -> int:
        """Rows of a partition: many for large tables, so that there are not too many partitions, and few where rows are large."""
        rows = max(self.snapshot.rows, 1)
        wide = max(self.snapshot.bytes // rows, 8 * len(self.columns))
        return max(
            min(rows // TARGET_PARTITIONS, hats_layout.MAX_PARTITION_ROWS, MAX_PARTITION_BYTES // wide),
            min(MIN_PARTITION_ROWS, MAX_PARTITION_BYTES // wide),
            1,
        )

    def _write_layout(self, file: Path) -> None:
        """Count the rows of cells: of an order, then of finer ones where there are many rows, or few cells."""
        order = 29 if self.is_small else FIRST_ORDER
        partition_row_limit = self._max_partition_rows
        if self.is_small:
            starts, counts = self._read_row_cells()
        else:
            starts, counts = self._count_by_cell(order)
        while not self.is_small and 0 < len(starts) <= MIN_COUNTED_CELLS and order < MAX_ORDER - ORDER_STEP:
            order += ORDER_STEP
            starts, counts = self._count_by_cell(order)
        finer = order
        while finer < MAX_ORDER and (busy := counts > partition_row_limit).any():
            wide = 1 << 2 * (29 - finer)
            finer = min(finer + ORDER_STEP, MAX_ORDER)
            cells = healpix.merge_ranges(np.stack([starts[busy], starts[busy] + wide], axis=1))
            finer_starts, amounts = self._count_by_cell(finer, cells)
            starts, counts = np.concatenate([starts[~busy], finer_starts]), np.concatenate([counts[~busy], amounts])
        sort = np.argsort(starts)
        starts = starts[sort]
        counts = counts[sort]
        sums = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)

        def count_rows_before(cells: Ranges) -> Ranges:
            row_counts: Ranges = sums[starts.searchsorted(cells)]
            return row_counts

        stored_pixels = [
            (
                *engine_partition,
                int(np.diff(count_rows_before(np.array(hats_layout.compute_cell_range(*engine_partition))))[0]),
            )
            for engine_partition in self._engine_partitions or ()
        ]
        pixels = stored_pixels or hats_layout.divide_into_partitions(count_rows_before, partition_row_limit, MAX_ORDER)
        margin = -1
        if self.is_small and len(pixels) <= MAX_MARGIN_PIXELS:
            margin = sum(
                int(np.diff(count_rows_before(_compute_margin_ranges(pixel_order, pixel))).sum())
                for pixel_order, pixel, _ in pixels
            )
        order = min(order, MAX_MAP_ORDER)
        wanted_ = int(np.clip(self.snapshot.rows // 512, *MAP_CELL_LIMITS))
        while len(cells := _drop_repeated(starts >> 2 * (29 - order))) > wanted_ and order:
            order -= 1
        sky = np.bincount(
            starts >> 2 * (29 - hats_layout.SKYMAP_ORDER), counts, 12 << 2 * hats_layout.SKYMAP_ORDER
        ).astype(np.int64)
        total_rows = self._run_query("SELECT COUNT(*) AS n FROM {table}")["n"][0].as_py()
        body = io.BytesIO()
        np.savez_compressed(
            body,
            pixels=np.array(pixels, np.int64).reshape(-1, 3),
            cells=cells,
            order=order,
            sky=sky,
            without=total_rows - sky.sum(),
            margin=margin,
        )
        file.write_bytes(body.getvalue())

    def _read_row_cells(self) -> tuple[Ranges, Ranges]:
        """Read where each row is: of a table that is not large, quicker than to have its engine count."""
        lon, lat = self.table.position or ("", "")
        positions = self._query_in_pieces("SELECT {lon}, {lat} FROM {table} WHERE")
        cells = healpix.compute_cell_indexes(
            29, *(positions[name].cast(pa.float64()).to_numpy() for name in (lon, lat))
        )
        return cells, np.ones(len(cells), np.int64)

    def _count_by_cell(self, order: int, ranges: Ranges | None = None) -> tuple[Ranges, Ranges]:
        cell = f"IVO_HEALPIX_INDEX({order}, {{lon}}, {{lat}}) AS c, COUNT(*) AS n"
        rows = self._query_in_pieces(f"SELECT {cell} FROM {{table}} WHERE", " GROUP BY 1", ranges, order)
        cells, counts = (np.asarray(rows[name], np.int64) for name in ("c", "n"))
        return cells << 2 * (29 - order), counts

    def _query_in_pieces(
        self,
        query_start: str,
        query_end: str = "",
        ranges: Ranges | None = None,
        order: int = 0,
        split_order: int = 0,
        pixels: Sequence[int] = range(12),
    ) -> pa.Table:
        """Ask for all rows in some cells of an order.

        Where an engine may not read so much at once, for those of pixels, of finer and finer orders.
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
        if ranges is None:
            all_ranges = np.array([[0, healpix.MAX_ORDER_CELL_COUNT]])
        else:
            all_ranges = ranges
        pieces = [
            (
                pixel,
                healpix.intersect_ranges(all_ranges, np.array([hats_layout.compute_cell_range(split_order, pixel)])),
            )
            for pixel in pixels
        ]
        return pa.concat_tables(
            [
                self._query_in_pieces(
                    query_start,
                    query_end,
                    piece,
                    max(order, split_order),
                    split_order + 1,
                    range(4 * pixel, 4 * pixel + 4),
                )
                for pixel, piece in pieces
                if len(piece)
            ]
        )

    def _run_query(self, text: str, row_limit: int = 2**40, *columns: Column) -> pa.Table:
        """Ask the table, by the road of all queries."""
        lon, lat = map(adql.quote_name, self.table.position or ("", ""))
        table = ".".join(adql.quote_name(part) for part in (self.table.schema, self.table.name))
        text = text.format(
            table=table, lon=lon, lat=lat, columns=", ".join(adql.quote_name(column.name) for column in columns)
        )
        with query.run_query(
            text,
            self.principal,
            site=self.context.site,
            policies=self.context.policies,
            published_state=self.published_state,
            maxrec=row_limit,
            hard_row_limit=row_limit,
        ) as result:
            rows = result.read_table()
            if result.overflow:
                raise TooLargeError(
                    format_message("a partition has more than {most:,} rows at one place", row_limit),
                    remedy="ask for them by TAP",
                )
        return rows

    def get_partition_file(
        self, order: int, pixel: int, *, columns: str | None = None, filters: str | None = None
    ) -> tuple[str, Path]:
        """Return the file of a partition, or of what is wanted of it, and a name that is these bytes' alone.

        Of a margin, what lies around the pixel.

        Parameters
        ----------
        columns
            Names with commas between; if there is one that is not known, all.
        filters
            As LSDB writes them: conditions with ``,`` between that all hold, several such with ``;`` between of which
            one holds. Those of the cells are heeded; whoever sends them applies all of them to what comes.

        Raises
        ------
        NotFoundError
            There is no such partition.
        """
        if (order, pixel) not in self.get_layout().pixels:
            raise NotFoundError(
                format_message("there is no partition {path}", hats_layout.format_partition_path(order, pixel)),
                remedy="partition_info.csv lists them",
            )
        cell_range = hats_layout.compute_cell_range(order, pixel)
        mine = np.array([cell_range])
        all_names = [name for name, _ in self.columns]
        requested_names = set((columns or "").split(",")) - {hats_layout.CELL_COLUMN}
        if columns and requested_names <= {*all_names}:
            names = [name for name in all_names if name in requested_names]
        else:
            names = all_names
        if self.part == MARGIN_PART:
            ranges = _compute_margin_ranges(order, pixel)
        else:
            ranges = mine
        if filters:
            ranges = healpix.intersect_ranges(ranges, parse_filter_ranges(filters))
        if (
            not self.part
            and names == all_names
            and np.array_equal(ranges, mine)
            and self._engine_partitions is not None
        ):
            return self.make_key(order, pixel), self._engine_partitions[order, pixel]
        key = self.make_key(order, pixel, names, ranges.tolist())
        tile_store = get_tile_store(self.context)
        return key, tile_store.get_or_write(
            f"{key}.parquet", lambda file: self._write_partition(file, ranges, names, max(order, COVER_ORDER))
        )

    def _write_partition(self, file: Path, ranges: Ranges, names: Sequence[str], max_order: int) -> None:
        """Write rows in the order of their cells, and within one of what else tells them apart."""
        import pyarrow.parquet as pq  # noqa: PLC0415  (slow to load, asked by few)

        lon, lat = self.table.position or ("", "")
        columns_by_name = dict(self.columns)
        requested_columns = {columns_by_name[name].name: columns_by_name[name] for name in names}
        requested_columns |= {
            column.name: column for column in self.table.columns if column.name in {lon, lat, *self.table.primary}
        }
        schema = pa.schema([item for item in self.schema if item.name in {hats_layout.CELL_COLUMN, *names}])
        rows = schema.empty_table()
        if len(ranges):
            edges = int(np.bitwise_or.reduce(ranges, None))
            order = min(max_order, 29 - ((edges & -edges).bit_length() - 1) // 2)
            cover = _write_cell_condition(healpix.degrade_ranges(ranges, order), order)
            queried_rows = self._run_query(
                f"SELECT {{columns}} FROM {{table}} WHERE {cover}", MAX_PARTITION_ROWS, *requested_columns.values()
            )
            places = (queried_rows[name].cast(pa.float64()).to_numpy() for name in (lon, lat))
            cells = healpix.compute_cell_indexes(29, *places)
            # what a database takes for inside at the border of a cell is asked again here, as the cells are numbered
            # here
            inside = healpix.is_in_ranges(ranges, cells)
            arrays = [
                literal.cast_to_storage(queried_rows[column.name], column.type) for column in requested_columns.values()
            ]
            all_rows = pa.table([pa.array(cells), *arrays], names=[_CELLS_COLUMN, *requested_columns]).filter(
                pa.array(inside)
            )
            apart = self.table.primary or [
                item.name for item in all_rows.schema.remove(0) if not pa.types.is_nested(item.type)
            ]
            all_rows = all_rows.take(
                pc.sort_indices(all_rows, [(name, "ascending") for name in (_CELLS_COLUMN, *apart)])
            )
            rows = pa.table(
                [all_rows[_CELLS_COLUMN], *(all_rows[columns_by_name[name].name] for name in names)], schema=schema
            )
        with pq.ParquetWriter(file, schema, **hats_layout.PARQUET_WRITER_OPTIONS) as writer:
            writer.write_table(rows, row_group_size=ROW_GROUP_ROWS)

    # --- what tells of it ---

    def write_point_map(self) -> bytes:
        """Write where there are rows (``point_map.fits``): LSDB asks for these cells of a partition alone."""
        return hats_layout.write_sparse_map(self.get_layout().cells, self.get_layout().order)

    def write_skymap(self) -> bytes:
        """Write how many rows there are in each cell (``skymap.fits``)."""
        return hats_layout.write_skymap(self.get_layout().skymap_counts)

    def write_partition_info(self) -> bytes:
        """Write ``partition_info.csv``."""
        return hats_layout.write_partition_info(self.get_layout().pixels)

    def write_common_metadata(self) -> bytes:
        """Write ``_common_metadata``, with what the columns mean."""
        if self.part == INDEX_PART:
            return hats_layout.write_common_metadata(self._index_schema)
        columns = [column for _, column in self.columns]
        metadata_xml = votable.write_metadata_document(
            TableMetadata(columns=columns, frames=self.table.frames, name=self.table.name),
            ResultStatus(),
        )
        return hats_layout.write_common_metadata(self.schema, metadata_xml.encode())

    def write_collection_properties(self) -> bytes:
        """Write ``collection.properties``, which names a state and what there is of it."""
        lines = [
            "#HATS Collection",
            f"obs_collection={self.table.qualified_name}",
            f"hats_primary_table_url={self.name}",
        ]
        if self.get_layout().margin_rows >= 0:
            lines += [f"{key}_margin{'s' * (key == 'all')}={self.name}.{MARGIN_PART}" for key in ("all", "default")]
        if self.indexed_column is not None:
            lines += [
                f"all_indexes={self.indexed_column.name} {self.name}.{INDEX_PART}",
                f"default_index={self.indexed_column.name}",
            ]
        return "\n".join([*lines, ""]).encode()

    def write_properties(self) -> bytes:
        """Write ``hats.properties``."""
        tiling_layout = self.get_layout()
        resource = anonymize_for_referee(self.published_state, self.principal).resources.get(self.table.schema)
        extra_properties: dict[str, str | None] = {
            "obs_title": self.table.title,
            "obs_description": self.table.description,
        }
        if resource is not None:
            extra_properties = {
                "obs_title": self.table.title or resource.title,
                "obs_description": self.table.description or resource.description,
                "obs_copyright": resource.licence,
                "obs_ack": resource.citation,
            }
            extra_properties |= {
                "obs_copyright_url": resource.licence_url,
                "bib_reference": resource.bibcode,
                "hats_creator": "; ".join(creator.name for creator in resource.creators),
            }
        extra_properties = {key: " ".join(str(value).split()) for key, value in extra_properties.items() if value}
        extra_properties |= {
            "hven_snapshot": self.name,
            "hven_rows_without_position": str(tiling_layout.rows_without_position),
        }
        if self.part:
            extra_properties |= {"dataproduct_type": self.part, "hats_primary_table_url": self.name}
        if self.part == MARGIN_PART:
            extra_properties["hats_margin_threshold"] = str(MARGIN_ARCSECONDS)
        if self.part == INDEX_PART and self.indexed_column is not None:
            none = dict.fromkeys(
                (
                    "hats_col_ra",
                    "hats_col_dec",
                    "hats_col_healpix",
                    "hats_col_healpix_order",
                    "hats_order",
                    "hats_skymap_order",
                )
            )
            extra_properties |= {"hats_index_column": self.indexed_column.name, **none}
        return hats_layout.write_catalogue_properties(
            f"{self.table.qualified_name}_{self.part}".rstrip("_"),
            row_count=tiling_layout.margin_rows if self.part == MARGIN_PART else tiling_layout.row_count,
            position=self.table.position or ("", ""),
            order=max((order for order, _ in tiling_layout.pixels), default=0),
            sky_fraction=sum(1 / (12 << 2 * order) for order, _ in tiling_layout.pixels),
            creation_time=self.published.updated[:16],
            further_properties=extra_properties,
        )

    # --- the index of the key ---

    @property
    def _index_schema(self) -> pa.Schema:
        assert self.indexed_column is not None  # noqa: S101  (or it has no index)
        key = pa.field(self.indexed_column.name, self.indexed_column.type.arrow)
        return pa.schema([key, *(pa.field(name, pa.int64()) for name in ("Norder", "Dir", "Npix"))])

    def get_index_file(self) -> tuple[str, Path]:
        """Return the file that has for each value of the key the partition that has its row, and a name that is these bytes' alone."""
        key = self.make_key(INDEX_PART)
        tile_store = get_tile_store(self.context)
        return key, tile_store.get_or_write(f"{key}.parquet", self._write_index)

    def _write_index(self, file: Path) -> None:
        import pyarrow.parquet as pq  # noqa: PLC0415  (slow to load, asked by few)

        assert self.indexed_column is not None  # noqa: S101  (or it has no index)
        pixels = np.array(list(self.get_layout().pixels), np.int64).reshape(-1, 2)
        firsts = pixels[:, 1] << 2 * (29 - pixels[:, 0])
        lon, lat = self.table.position or ("", "")
        columns = [column for column in self.table.columns if column.name in {self.indexed_column.name, lon, lat}]
        queried_rows = self._run_query(
            "SELECT {columns} FROM {table} WHERE {lon} IS NOT NULL AND {lat} IS NOT NULL",
            MAX_SMALL_TABLE_ROWS,
            *columns,
        )
        places = (queried_rows[name].cast(pa.float64()).to_numpy() for name in (lon, lat))
        cell_indexes = healpix.compute_cell_indexes(29, *places)
        partition_indexes = firsts.searchsorted(cell_indexes, "right") - 1
        orders, numbers = pixels[partition_indexes].T
        arrays = [
            literal.cast_to_storage(queried_rows[self.indexed_column.name], self.indexed_column.type),
            orders,
            numbers // 10_000 * 10_000,
            numbers,
        ]
        rows = pa.table(arrays, schema=self._index_schema).sort_by(self.indexed_column.name)
        with pq.ParquetWriter(file, rows.schema, **hats_layout.PARQUET_WRITER_OPTIONS) as writer:
            writer.write_table(rows, row_group_size=ROW_GROUP_ROWS)

    def write_index_metadata(self) -> bytes:
        """Write ``_metadata`` of the index, by which clients find the row groups that they read."""
        import pyarrow.parquet as pq  # noqa: PLC0415  (slow to load, asked by few)

        parquet_metadata = pq.read_metadata(self.get_index_file()[1])
        parquet_metadata.set_file_path(INDEX_FILE)
        body = io.BytesIO()
        parquet_metadata.write_metadata_file(body)
        return body.getvalue()


def _drop_repeated(cells: Ranges) -> Ranges:
    """Return each number of an ascending list once."""
    return cells[np.append(True, cells[1:] != cells[:-1])] if len(cells) else cells


def _create_layout_cache() -> Cache[TilingLayout]:
    return Cache(LAYOUT_CACHE_BYTES)


def _write_cell_condition(ranges: Ranges, order: int) -> str:
    """Write a condition that rows in these cells meet."""
    return f"1 = CONTAINS(POINT({{lon}}, {{lat}}), MOC('{Moc(ranges, order)}'))"


def _compute_margin_ranges(order: int, pixel: int) -> Ranges:
    """Return what lies around a pixel."""
    cell_range = hats_layout.compute_cell_range(order, pixel)
    mine = np.array([cell_range])
    return healpix.intersect_ranges(
        healpix.add_neighbours(mine, min(MARGIN_ORDER, order + MAX_MARGIN_ORDER_STEP)), healpix.complement_ranges(mine)
    )


def parse_filter_ranges(filters: str) -> Ranges:
    """Read which cells conditions leave, at least: what else they say is passed over.

    Parameters
    ----------
    filters
        As of `Tiling.get_partition_file`.
    """
    spans = []
    for each in filters.split(";"):
        low = 0
        high = healpix.MAX_ORDER_CELL_COUNT
        for sign, number in (
            term.groups() for condition in each.split(",") if (term := _FILTER_TERM_PATTERN.fullmatch(condition))
        ):
            cell = min(int(number), healpix.MAX_ORDER_CELL_COUNT)
            if sign in {"=", "==", ">=", ">"}:
                low = max(low, cell + (sign == ">"))
            if sign in {"=", "==", "<=", "<"}:
                high = min(high, cell + (sign != "<"))
        if low < high:
            spans.append((low, high))
    return healpix.merge_ranges(np.array(spans, np.int64).reshape(-1, 2))


def can_tile(table: Table) -> bool:
    """Serve stored tables with positions."""
    return table.position is not None and table.view is None and table.owner is None


def find_tiled_table(
    context: ServiceContext, principal: Principal, text: str, published_state: PublishedState
) -> Table:
    """Find the table that an address means: a collection's is its main one, `main` or the first with positions.

    Raises
    ------
    NotFoundError
        There is none, or it cannot be divided.
    """
    catalogue = published_state.get_catalogue(principal, context.policies)
    own_tables = [candidate for schema in catalogue.schemas if schema.name == text for candidate in schema.tables]
    table = next(
        (candidate for candidate in own_tables if candidate.name == "main" and can_tile(candidate)), None
    ) or next(filter(can_tile, own_tables), None)
    if table is None:
        if own_tables and "." not in text:
            table = own_tables[0]
        else:
            table = find_table(text, catalogue)
    if table.position is None:
        raise NotFoundError(
            format_message("{table} has no positions by which it could be divided", table.qualified_name),
            remedy="ask it by TAP",
        )
    return table


def find_tiling(context: ServiceContext, principal: Principal, text: str, state: str | None = None) -> Tiling:
    """Find a state of a table.

    Parameters
    ----------
    text
        A table as in an address, or a collection.
    state
        Its name; None: what is published now. Of who sees some rows only, a snapshot's is that of what they see of it.

    Raises
    ------
    NotFoundError
        There is no such table, or it has no states.
    GoneError
        The state is not kept any more, or it is not what this reader sees now.
    """
    published_state = context.site.get_published_state()
    table = find_tiled_table(context, principal, text, published_state)
    published_table = published_state.tables_by_name.get(table.qualified_name)
    named = _STATE_PATTERN.fullmatch(state or "")
    if state is not None and named is None:
        raise NotFoundError(
            format_message("{table} has no {path}", table.qualified_name, state[:80]),
            remedy="collection.properties names its state",
        )
    if named is not None and (published_table is None or _get_snapshot_id(published_table) != named[1]):
        try:
            past = context.site.find_past_state(named[1], principal, context.policies)
        except ParamError:
            raise _build_gone_error(table, named[0]) from None
        published_state = past.published_state
        published_table = past.published_state.tables_by_name.get(table.qualified_name)
        if published_table is None:
            raise build_unavailable_state_error(past, table.qualified_name)
        if _get_snapshot_id(published_table) != named[1] or not can_tile(published_table.table):
            raise _build_gone_error(table, named[0])
    if (
        published_table is None
        or not isinstance(published_table.relation, Snapshot)
        or not can_tile(published_table.table)
    ):
        raise NotFoundError(
            format_message(
                "{table} has no states that could be read file by file: it is no stored table", table.qualified_name
            ),
            remedy="ask it by TAP",
        )
    filters = collect_row_filters([published_table.table], principal, context.policies)
    is_public = published_table.table.policy is None and is_table_visible(
        published_table.table, ANONYMOUS_PRINCIPAL, context.policies
    )
    if is_public:
        private = []
    else:
        private = [table.qualified_name]
    column_masks = collect_column_masks([published_table.table], principal)
    scope = build_access_scope(filters, private, column_masks)
    new_tiling = Tiling(
        context=context,
        principal=principal,
        published=published_table,
        snapshot=published_table.relation,
        published_state=published_state,
        scope=scope,
        is_filtered=bool(filters),
        part=(named and named[3]) or "",
    )
    if named is not None and named[2] and new_tiling.name != named[1] + named[2]:
        message = format_message("what you see of {table} is not what {state} has", table.qualified_name, named[0])
        raise GoneError(message, remedy="open the catalogue anew")
    return new_tiling


def _get_snapshot_id(published: PublishedTable) -> str | None:
    if isinstance(published.relation, Snapshot):
        return published.relation.id
    return None


def _build_gone_error(table: Table, state: str) -> GoneError:
    return GoneError(
        format_message("{table} as of {state} is not kept any more", table.qualified_name, state),
        remedy="open the catalogue anew; a release keeps a state for good",
    )


__all__ = [
    "INDEX_FILE",
    "INDEX_PART",
    "MARGIN_PART",
    "Tiling",
    "TilingLayout",
    "can_tile",
    "find_tiled_table",
    "find_tiling",
    "parse_filter_ranges",
]
