"""HATS catalogues (IVOA Note HATS 1.0).

The names and texts of the files that one is made of, and how rows are divided among partitions.
"""

from __future__ import annotations

import csv
import io
import itertools
import re
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

from hven.model.errors import Place, SourceError, format_message
from hven.model.sky import healpix

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    import numpy.typing as npt

    Pixels = npt.NDArray[np.int64]

CELL_COLUMN: Final = "_healpix_29"
"""The column of HEALPix indexes of order 29 (nested), by which rows are sorted."""
PROPERTIES_FILE: Final = "hats.properties"
OLD_PROPERTIES_FILE: Final = "properties"
"""What readers of older versions look for."""
COLLECTION_FILE: Final = "collection.properties"
"""What names the main catalogue of several that belong together."""
PARTITION_INFO_FILE: Final = "partition_info.csv"
DATASET_DIRECTORY: Final = "dataset"
COMMON_METADATA_FILE: Final = f"{DATASET_DIRECTORY}/_common_metadata"
METADATA_FILE: Final = f"{DATASET_DIRECTORY}/_metadata"
SKYMAP_FILE: Final = "skymap.fits"
MAX_PARTITION_ROWS: Final = 1_000_000
"""Of a partition."""
ROW_GROUP_ROWS: Final = 16_384
"""Of a row group: so much is read for a small cone."""
SAMPLE_ROWS: Final = 4_096
"""Rows by which it is decided how columns are written."""
SKYMAP_ORDER: Final = 6
PARQUET_WRITER_OPTIONS: Final[Mapping[str, Any]] = {
    "compression": "zstd",
    "write_page_index": True,
    "store_schema": True,
    "write_statistics": True,
}
"""Of `pyarrow.parquet.ParquetWriter`, for partitions."""

_PARTITION_PATH_PATTERN = re.compile(r"(?:^|.*/)Norder=(\d{1,2})/Dir=(\d{1,20})/Npix=(\d{1,20})(\.[\w.]+|/.*)?$")
REWRITE_REMEDY: Final = "get the catalogue anew, or write it anew with hats-import"
"""What helps where one is damaged."""
READ_NOTE_REMEDY: Final = (
    "read https://www.ivoa.net/documents/HATS for what a catalogue has, or write it anew with hats-import"
)
"""What helps who does not know what a catalogue has."""


# --- names ---------------------------------------------------------------------------------------------------


def format_partition_path(order: int, pixel: int) -> str:
    """Name the file of a partition, below the directory of the catalogue.

    Parameters
    ----------
    order, pixel
        HEALPix order, 0 to 29, and nested index.

    Returns
    -------
    path
        ``dataset/Norder=1/Dir=0/Npix=44.parquet``.
    """
    return f"{DATASET_DIRECTORY}/Norder={order}/Dir={pixel // 10_000 * 10_000}/Npix={pixel}.parquet"


def parse_partition_path(path: str) -> tuple[int, int] | None:
    """Return the order and the pixel that the name of a file says.

    Parameters
    ----------
    path
        Of a file, from wherever.

    Returns
    -------
    pixel
        None: it is the name of no partition.
    """
    match = _PARTITION_PATH_PATTERN.match(path)
    if match is None:
        return None
    order = int(match[1])
    pixel = int(match[3])
    if order <= healpix.MAX_ORDER and pixel < 12 << 2 * order:
        return (order, pixel)
    return None


def compute_cell_range(order: int, pixel: int) -> tuple[int, int]:
    """Return the cells of order 29 within a pixel.

    Parameters
    ----------
    order, pixel
        HEALPix order, 0 to 29, and nested index.

    Returns
    -------
    cells
        The first, and the one past the last.
    """
    shift = 2 * (healpix.MAX_ORDER - order)
    return pixel << shift, (pixel + 1) << shift


# --- partitions ----------------------------------------------------------------------------------------------


def divide_into_partitions(
    count_rows_before: Callable[[Pixels], npt.NDArray[np.int64]],
    row_limit: int = MAX_PARTITION_ROWS,
    max_order: int = 20,
    *,
    start_pixel: tuple[int, int] | None = None,
    reserved_cells: Sequence[tuple[int, int]] = (),
) -> list[tuple[int, int, int]]:
    """Divide the sky into pixels of at most so many rows each, as large as may be. Those without rows are left out.

    Parameters
    ----------
    count_rows_before
        Counts rows: of cells of order 29, ascending, shape (c,), how many rows lie in cells before each, shape (c,).
    row_limit
        Rows of a pixel, unless it is of the finest order.
    max_order
        That order.
    start_pixel
        Order and pixel that is divided; None: the whole sky.
    reserved_cells
        Cells of other partitions, half-open and ascending, which none of these may overlap.

    Returns
    -------
    pixels
        Order, pixel and rows of each, in the order of their cells.
    """
    partitions: list[tuple[int, int, int]] = []
    if start_pixel is None:
        order, pixels = (0, np.arange(12, dtype=np.int64))
    else:
        order, pixels = (start_pixel[0], np.array([start_pixel[1]], np.int64))
    reserved_ranges = np.array(reserved_cells, np.int64).reshape(-1, 2)
    while len(pixels):
        shift = 2 * (healpix.MAX_ORDER - order)
        rows_before_count = count_rows_before((pixels + 1) << shift)
        rows = rows_before_count - count_rows_before(pixels << shift)
        is_free = reserved_ranges[:, 0].searchsorted((pixels + 1) << shift) == reserved_ranges[:, 1].searchsorted(
            pixels << shift, side="right"
        )
        is_partition = (rows > 0) & is_free & ((rows <= row_limit) | (order >= max_order))
        partitions += zip(
            [order] * int(is_partition.sum()), pixels[is_partition].tolist(), rows[is_partition].tolist(), strict=True
        )
        divided_pixels = pixels[(rows > 0) & ~is_partition]
        order = order + 1
        pixels = (divided_pixels[:, None] * 4 + np.arange(4)).ravel()
    return sorted(partitions, key=lambda partition: compute_cell_range(partition[0], partition[1])[0])


def create_row_counter(*cells: npt.NDArray[np.int64]) -> Callable[[Pixels], npt.NDArray[np.int64]]:
    """Make what counts rows for `divide_into_partitions`.

    Parameters
    ----------
    cells
        Of order 29, of all rows: one array or several, each of its own shape (n,), each sorted by itself.

    Returns
    -------
    count
        Of cells, shape (c,), how many rows lie before each, shape (c,).
    """

    def count_rows_before(end_cells: Pixels) -> npt.NDArray[np.int64]:
        row_counts = np.zeros(len(end_cells), np.int64)
        for sorted_cells in cells:
            row_counts += sorted_cells.searchsorted(end_cells)
        return row_counts

    return count_rows_before


def write_partition_info(pixels: Iterable[tuple[int, int]]) -> bytes:
    """Write ``partition_info.csv``.

    Parameters
    ----------
    pixels
        Order and nested index of each partition.

    Returns
    -------
    text
        A line for each, below their names.
    """
    return ("Norder,Npix\n" + "".join(f"{order},{pixel}\n" for order, pixel in pixels)).encode()


def read_partition_info(data: bytes, name: str = PARTITION_INFO_FILE) -> list[tuple[int, int]]:
    """Read ``partition_info.csv``.

    Parameters
    ----------
    data
        Its bytes.
    name
        How errors call it.

    Returns
    -------
    pixels
        Order and pixel of each partition, in the order of their cells.

    Raises
    ------
    SourceError
        No such table; an order or a pixel that there is not; partitions that overlap. With the line.
    """
    rows = csv.reader(io.StringIO(data.decode("utf-8", "replace")))
    column_names = [word.strip() for word in next(rows, [])]
    if "Norder" not in column_names or "Npix" not in column_names:
        raise SourceError(
            format_message("the columns Norder and Npix are not in its first line"),
            place=Place(file=name),
            remedy=READ_NOTE_REMEDY,
        )
    column_numbers = column_names.index("Norder"), column_names.index("Npix")
    partitions: list[tuple[int, int, int, int]] = []
    for row in rows:
        if not row:
            continue
        try:
            order, pixel = (int(row[number]) for number in column_numbers)
        except (ValueError, IndexError):
            order = pixel = -1
        if not 0 <= order <= healpix.MAX_ORDER or not 0 <= pixel < 12 << 2 * order:
            raise SourceError(
                format_message("{line!r} is no HEALPix order and pixel", ",".join(row)),
                place=Place(file=name, line=rows.line_num),
                remedy=READ_NOTE_REMEDY,
            )
        cell_range = compute_cell_range(order, pixel)
        partitions.append((*cell_range, order, pixel))
    if len(set(partitions)) < len(partitions):  # older catalogues have a line for each piece of a partition
        partitions = list(set(partitions))
    partitions.sort()
    for previous, following in itertools.pairwise(partitions):
        if following[0] < previous[1]:
            raise SourceError(
                format_message(
                    "the partitions Norder={order} Npix={pixel} and Norder={finer} Npix={inner} overlap",
                    *previous[2:],
                    *following[2:],
                ),
                place=Place(file=name),
                remedy=READ_NOTE_REMEDY,
            )
    return [(order, pixel) for _, _, order, pixel in partitions]


# --- properties ----------------------------------------------------------------------------------------------


def write_catalogue_properties(
    name: str,
    *,
    row_count: int,
    position: tuple[str, str],
    order: int,
    columns: Sequence[str] = (),
    sky_fraction: float | None = None,
    byte_count: int | None = None,
    creation_time: str = "",
    further_properties: Mapping[str, str | None] | None = None,
) -> bytes:
    """Write ``hats.properties``.

    Parameters
    ----------
    name
        Of the catalogue: letters, digits, ``-`` and ``_`` stay, all else becomes ``_``.
    row_count
        Of all partitions.
    position
        Columns of longitude and latitude.
    order
        The finest order of a partition.
    columns
        Those that are read where nothing is said; none: all.
    sky_fraction
        Share of the sky that the partitions take, 0 to 1.
    byte_count
        Of all files, bytes.
    creation_time
        When, as ISO 8601 with minutes.
    further_properties
        Further properties: ``obs_title``, ``creator_did`` ...; those that are None are left out.

    Returns
    -------
    text
        Lines ``name=value``.
    """
    properties = {
        "obs_collection": re.sub(r"[^A-Za-z0-9_-]+", "_", name),
        "dataproduct_type": "object",
        "hats_nrows": str(row_count),
        "hats_col_ra": position[0],
        "hats_col_dec": position[1],
        "hats_cols_default": " ".join(columns) or None,
        "hats_col_healpix": CELL_COLUMN,
        "hats_col_healpix_order": str(healpix.MAX_ORDER),
        "hats_npix_suffix": ".parquet",
        "hats_order": str(order),
        "hats_skymap_order": str(SKYMAP_ORDER),
        "hats_max_rows": str(MAX_PARTITION_ROWS),
        "moc_sky_fraction": None if sky_fraction is None else f"{sky_fraction:.6g}",
        "hats_estsize": None if byte_count is None else str(-(-byte_count // 1024)),
        "hats_creation_date": creation_time or None,
        "hats_builder": "Hven",
        "hats_version": "v1.0",
        "hats_release_date": "2025-08-22",
        **(further_properties or {}),
    }
    lines = [f"{key}={_escape_value(value)}" for key, value in properties.items() if value]
    return "\n".join(["#HATS catalog", *lines, ""]).encode()


def _escape_value(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\r", "").replace("\n", "\\n")


def is_web_address(location: str) -> bool:
    """Return whether a place is an address.

    Parameters
    ----------
    location
        Of a catalogue or of one of its files.
    """
    return location.startswith(("http://", "https://"))


# --- Parquet -------------------------------------------------------------------------------------------------


def build_partition_schema(schema: pa.Schema) -> pa.Schema:
    """Return the schema of partitions: the cells come first.

    Parameters
    ----------
    schema
        Of the rows.

    Returns
    -------
    schema
        With `CELL_COLUMN`, whatever it was before.
    """
    return pa.schema([pa.field(CELL_COLUMN, pa.int64()), *(item for item in schema if item.name != CELL_COLUMN)])


def choose_writer_options(rows: pa.Table) -> dict[str, Any]:
    """Choose how each column of a partition is written, so that row groups are read quickly.

    A dictionary where it makes a column a tenth smaller, and LZ4 unless zstd saves a third: it is decoded five times as
    fast, and few rows of a catalogue are cheaper to read from the disk than to decode. What LZ4 saves less than a
    quarter of stands as it is: values of a few rows are read alone then, and none is decoded. So do cells, by which
    these are found.

    Parameters
    ----------
    rows
        Of the partition, some or all: the first `SAMPLE_ROWS` are tried.

    Returns
    -------
    options
        Of `pyarrow.parquet.ParquetWriter`.
    """
    import pyarrow.parquet as pq  # noqa: PLC0415  (slow to load, asked by few)

    def measure_column_sizes(codec: str, *, dictionary: bool) -> dict[str, int]:
        footers: list[Any] = []
        options = {"compression": codec, "use_dictionary": dictionary, "write_statistics": False}
        with pq.ParquetWriter(pa.BufferOutputStream(), rows.schema, metadata_collector=footers, **options) as writer:
            writer.write_table(rows.slice(0, SAMPLE_ROWS))
        groups = [footers[0].row_group(number) for number in range(footers[0].num_row_groups)]
        leaves = [group.column(number) for group in groups for number in range(group.num_columns)]
        return {leaf.path_in_schema: leaf.total_compressed_size for leaf in leaves}

    sizes = {
        (codec, has_dictionary): measure_column_sizes(codec, dictionary=has_dictionary)
        for codec in ("zstd", "lz4", "none")
        for has_dictionary in (False, True)
    }
    dictionary_columns = {
        name
        for name, size in sizes["zstd", True].items()
        if 10 * size < 9 * sizes["zstd", False][name] and name != CELL_COLUMN
    }
    codecs = {
        name: "none"
        if name == CELL_COLUMN
        or (name not in dictionary_columns and 4 * sizes["lz4", False][name] > 3 * sizes["none", False][name])
        else "lz4"
        if 2 * sizes["lz4", name in dictionary_columns][name] <= 3 * sizes["zstd", name in dictionary_columns][name]
        else "zstd"
        for name in sizes["zstd", True]
    }
    return {**PARQUET_WRITER_OPTIONS, "compression": codecs or "zstd", "use_dictionary": sorted(dictionary_columns)}


def write_common_metadata(schema: pa.Schema, votable: bytes | None = None) -> bytes:
    """Write ``dataset/_common_metadata``: a Parquet file without rows.

    Parameters
    ----------
    schema
        Of the partitions.
    votable
        The columns' metadata as a VOTable without rows (VOParquet 1.0).

    Returns
    -------
    file
        Its bytes.
    """
    import pyarrow.parquet as pq  # noqa: PLC0415  (slow to load, asked by few)

    sink = io.BytesIO()
    if votable is not None:
        votable_metadata = {"IVOA.VOTable-Parquet.version": "1.0", "IVOA.VOTable-Parquet.content": votable}
        schema = schema.with_metadata({**(schema.metadata or {}), **votable_metadata})
    with pq.ParquetWriter(sink, schema, store_schema=True):
        pass
    return sink.getvalue()


def write_skymap(counts: npt.NDArray[np.int64]) -> bytes:
    """Write how many rows lie in each pixel of the sky, as a FITS file of HEALPix (nested, implicit).

    Parameters
    ----------
    counts
        Of all pixels of `SKYMAP_ORDER`, shape (12 * 4 ** order,).

    Returns
    -------
    file
        Its bytes.
    """
    side = round((len(counts) / 12) ** 0.5)
    cards = [
        ("XTENSION", "'BINTABLE'"),
        ("BITPIX", 8),
        ("NAXIS", 2),
        ("NAXIS1", 8),
        ("NAXIS2", len(counts)),
        ("PCOUNT", 0),
        ("GCOUNT", 1),
        ("TFIELDS", 1),
        ("TTYPE1", "'VALUE   '"),
        ("TFORM1", "'1K      '"),
        ("PIXTYPE", "'HEALPIX '"),
        ("ORDERING", "'NESTED  '"),
        ("NSIDE", side),
        ("ORDER", side.bit_length() - 1),
        ("FIRSTPIX", 0),
        ("LASTPIX", len(counts) - 1),
        ("INDXSCHM", "'IMPLICIT'"),
        ("OBJECT", "'FULLSKY '"),
        ("COORDSYS", "'C       '"),
    ]
    data = counts.astype(">i8").tobytes()
    primary = _write_cards([("SIMPLE", "T"), ("BITPIX", 8), ("NAXIS", 0), ("EXTEND", "T")])
    return primary + _write_cards(cards) + data + bytes(-len(data) % 2880)


def write_sparse_map(cells: npt.NDArray[np.int64], order: int) -> bytes:
    """Write where there are rows, as a FITS file of HEALPix (nested, explicit).

    ``point_map.fits``, of which clients make a MOC.

    Parameters
    ----------
    cells
        Pixels of this order that have rows, ascending, shape (c,).
    order
        HEALPix order.

    Returns
    -------
    file
        Its bytes.
    """
    cards = [
        ("XTENSION", "'BINTABLE'"),
        ("BITPIX", 8),
        ("NAXIS", 2),
        ("NAXIS1", 9),
        ("NAXIS2", len(cells)),
        ("PCOUNT", 0),
        ("GCOUNT", 1),
        ("TFIELDS", 2),
        ("TTYPE1", "'PIXEL   '"),
        ("TTYPE2", "'VALUE   '"),
        ("TFORM1", "'K       '"),
        ("TFORM2", "'B       '"),
        ("PIXTYPE", "'HEALPIX '"),
        ("INDXSCHM", "'EXPLICIT'"),
        ("ORDERING", "'NESTED  '"),
        ("COORDSYS", "'C       '"),
        ("NSIDE", 1 << order),
        ("OBS_NPIX", len(cells)),
    ]
    rows = np.ones(len(cells), [("pixel", ">i8"), ("value", "u1")])
    rows["pixel"] = cells
    data = rows.tobytes()
    primary = _write_cards([("SIMPLE", "T"), ("BITPIX", 8), ("NAXIS", 0), ("EXTEND", "T")])
    return primary + _write_cards(cards) + data + bytes(-len(data) % 2880)


def _write_cards(cards: Sequence[tuple[str, object]]) -> bytes:
    lines = [
        f"{name:<8}= {value:<20}" if isinstance(value, str) and value[0] == "'" else f"{name:<8}= {value:>20}"
        for name, value in cards
    ]
    text = "".join(f"{line:<80}" for line in [*lines, "END"])
    return f"{text:<{-(-len(text) // 2880) * 2880}}".encode("ascii")


__all__ = [
    "CELL_COLUMN",
    "COLLECTION_FILE",
    "COMMON_METADATA_FILE",
    "DATASET_DIRECTORY",
    "MAX_PARTITION_ROWS",
    "METADATA_FILE",
    "OLD_PROPERTIES_FILE",
    "PARQUET_WRITER_OPTIONS",
    "PARTITION_INFO_FILE",
    "PROPERTIES_FILE",
    "READ_NOTE_REMEDY",
    "REWRITE_REMEDY",
    "ROW_GROUP_ROWS",
    "SKYMAP_FILE",
    "SKYMAP_ORDER",
    "build_partition_schema",
    "choose_writer_options",
    "compute_cell_range",
    "create_row_counter",
    "divide_into_partitions",
    "format_partition_path",
    "is_web_address",
    "parse_partition_path",
    "read_partition_info",
    "write_catalogue_properties",
    "write_common_metadata",
    "write_partition_info",
    "write_skymap",
    "write_sparse_map",
]
