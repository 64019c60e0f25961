"""Define the layout of HATS catalogues (IVOA Note HATS 1.0).

The module has the names and contents of the files of a catalogue, and divides rows among partitions.
"""

from __future__ import annotations

import csv
import io
import itertools
import re
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

from hven.model.errors import SourceError, TextPlace, format_message
from hven.model.sky import healpix

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    import numpy.typing as npt

    Pixels = npt.NDArray[np.int64]

CELL_COLUMN: Final = "_healpix_29"
"""Column of HEALPix indexes of order 29 (nested), by which rows are sorted."""
PROPERTIES_FILE: Final = "hats.properties"
OLD_PROPERTIES_FILE: Final = "properties"
"""File that readers of older versions look for."""
COLLECTION_FILE: Final = "collection.properties"
"""File that names the main catalogue of several that belong together."""
PARTITION_INFO_FILE: Final = "partition_info.csv"
DATASET_DIRECTORY: Final = "dataset"
COMMON_METADATA_FILE: Final = f"{DATASET_DIRECTORY}/_common_metadata"
METADATA_FILE: Final = f"{DATASET_DIRECTORY}/_metadata"
SKYMAP_FILE: Final = "skymap.fits"
MAX_PARTITION_ROWS: Final = 1_000_000
"""Maximum rows of a partition."""
ROW_GROUP_ROWS: Final = 16_384
"""Rows of a row group, which is what a small cone reads."""
SAMPLE_ROWS: Final = 4_096
"""Rows that decide how columns are written."""
SKYMAP_ORDER: Final = 6
PARQUET_WRITER_OPTIONS: Final[Mapping[str, Any]] = {
    "compression": "zstd",
    "write_page_index": True,
    "store_schema": True,
    "write_statistics": True,
}
"""Options of `pyarrow.parquet.ParquetWriter` for partitions."""

_PARTITION_PATH_PATTERN = re.compile(r"(?:^|.*/)Norder=(\d{1,2})/Dir=(\d{1,20})/Npix=(\d{1,20})(\.[\w.]+|/.*)?$")
REWRITE_REMEDY: Final = "download the catalogue again, or create it again with hats-import"
"""Remedy for a damaged catalogue."""
READ_NOTE_REMEDY: Final = (
    "correct the file as https://www.ivoa.net/documents/HATS defines it, or create the catalogue again with hats-import"
)
"""Remedy for files that are not as a catalogue has them."""


# --- names ---------------------------------------------------------------------------------------------------


def format_partition_path(order: int, pixel: int) -> str:
    """Return the path of the file of a partition, below the directory of the catalogue.

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


def parse_pixel_path(path: str) -> tuple[int, int] | None:
    """Return the order and the pixel that the path of a file states.

    Parameters
    ----------
    path
        Any path.

    Returns
    -------
    pixel
        Order and pixel; None if the path is not that of a partition.
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
        The first cell, and the one past the last.
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
    """Divide the sky into pixels that are as large as possible and hold at most `row_limit` rows each.

    Pixels without rows are left out.

    Parameters
    ----------
    count_rows_before
        Counts rows: for cells of order 29, ascending, shape (c,), it returns how many rows lie in cells before each,
        shape (c,).
    row_limit
        Maximum rows of a pixel, unless it is of the finest order.
    max_order
        The finest order.
    start_pixel
        Order and pixel to divide; None: the whole sky.
    reserved_cells
        Cells of other partitions, half-open and ascending, which the new ones must not overlap.

    Returns
    -------
    pixels
        Order, pixel and number of rows of each, in the order of their cells.
    """
    partitions: list[tuple[int, int, int]] = []
    if start_pixel is None:
        order, pixels = (0, np.arange(12, dtype=np.int64))
    else:
        order = start_pixel[0]
        pixels = np.array([start_pixel[1]], np.int64)
    reserved_ranges = np.array(reserved_cells, np.int64).reshape(-1, 2)
    while len(pixels):
        shift = 2 * (healpix.MAX_ORDER - order)
        first_cells = pixels << shift
        end_cells = (pixels + 1) << shift
        rows = count_rows_before(end_cells) - count_rows_before(first_cells)
        reserved_starts_before = reserved_ranges[:, 0].searchsorted(end_cells)
        reserved_ends_before = reserved_ranges[:, 1].searchsorted(first_cells, side="right")
        is_free = reserved_starts_before == reserved_ends_before
        is_small = (rows <= row_limit) | (order >= max_order)
        is_partition = (rows > 0) & is_free & is_small
        partition_pixels = pixels[is_partition].tolist()
        partition_rows = rows[is_partition].tolist()
        orders = [order] * len(partition_pixels)
        partitions += zip(orders, partition_pixels, partition_rows, strict=True)
        divided_pixels = pixels[(rows > 0) & ~is_partition]
        order = order + 1
        children = divided_pixels[:, None] * 4 + np.arange(4)
        pixels = children.ravel()
    return sorted(partitions, key=lambda partition: compute_cell_range(partition[0], partition[1]))


def create_row_counter(*cells: npt.NDArray[np.int64]) -> Callable[[Pixels], npt.NDArray[np.int64]]:
    """Create the function that counts rows for `divide_into_partitions`.

    Parameters
    ----------
    cells
        Cells of order 29 of all rows: one or several arrays, each of its own shape (n,) and sorted by itself.

    Returns
    -------
    count
        Function that returns, for cells of shape (c,), the number of rows before each, shape (c,).
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
        A header line and a line for each partition.
    """
    return ("Norder,Npix\n" + "".join(f"{order},{pixel}\n" for order, pixel in pixels)).encode()


def parse_partition_info(data: bytes, file_name: str = PARTITION_INFO_FILE) -> list[tuple[int, int]]:
    """Read ``partition_info.csv``.

    Parameters
    ----------
    data
        Bytes of the file.
    file_name
        Name of the file in errors.

    Returns
    -------
    pixels
        Order and pixel of each partition, in the order of their cells.

    Raises
    ------
    SourceError
        The file is no such table, an order or a pixel does not exist, or partitions overlap. The error names the line.
    """
    rows = csv.reader(io.StringIO(data.decode("utf-8", "replace")))
    column_names = [word.strip() for word in next(rows, [])]
    if "Norder" not in column_names or "Npix" not in column_names:
        raise SourceError(
            format_message("the first line of the file does not name the columns Norder and Npix"),
            place=TextPlace(file=file_name),
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
            message = format_message("{line!r} is not a HEALPix order and pixel", ",".join(row))
            raise SourceError(message, place=TextPlace(file=file_name, line=rows.line_num), remedy=READ_NOTE_REMEDY)
        cell_range = compute_cell_range(order, pixel)
        partitions.append((*cell_range, order, pixel))
    if len(set(partitions)) < len(partitions):  # older catalogues have a line for each file of a partition
        partitions = list(set(partitions))
    partitions.sort()
    for previous, following in itertools.pairwise(partitions):
        if following[0] < previous[1]:
            message = format_message(
                "the partitions Norder={order} Npix={pixel} and Norder={finer} Npix={inner} overlap",
                *previous[2:],
                *following[2:],
            )
            raise SourceError(message, place=TextPlace(file=file_name), remedy=READ_NOTE_REMEDY)
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
        Name of the catalogue: letters, digits, ``-`` and ``_`` stay, all else becomes ``_``.
    row_count
        Rows of all partitions.
    position
        Columns of longitude and latitude.
    order
        The finest order of a partition.
    columns
        Columns that readers take by default; none: all.
    sky_fraction
        Share of the sky that the partitions take, 0 to 1.
    byte_count
        Bytes of all files.
    creation_time
        Time of creation, as ISO 8601 with minutes.
    further_properties
        Further properties: ``obs_title``, ``creator_did`` ...; those that are None are left out.

    Returns
    -------
    text
        Lines ``name=value``.
    """
    sky_fraction_text = size_text = None
    if sky_fraction is not None:
        sky_fraction_text = f"{sky_fraction:.6g}"
    if byte_count is not None:
        size_text = str(-(-byte_count // 1024))  # KiB, rounded up
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
        "moc_sky_fraction": sky_fraction_text,
        "hats_estsize": size_text,
        "hats_creation_date": creation_time or None,
        "hats_builder": "Hven",
        "hats_version": "v1.0",
        "hats_release_date": "2025-08-22",
        **(further_properties or {}),
    }
    lines = [f"{key}={_escape_property_value(value)}" for key, value in properties.items() if value]
    return "\n".join(["#HATS catalog", *lines, ""]).encode()


def _escape_property_value(value: str) -> str:
    escaped_backslashes = value.replace("\\", "\\\\")
    return escaped_backslashes.replace("\r", "").replace("\n", "\\n")


def is_web_address(location: str) -> bool:
    """Return whether a location is an address of the web.

    Parameters
    ----------
    location
        Location of a catalogue or of one of its files.
    """
    return location.startswith(("http://", "https://"))


# --- Parquet -------------------------------------------------------------------------------------------------


def build_partition_schema(schema: pa.Schema) -> pa.Schema:
    """Build the schema of partitions, in which the cells come first.

    Parameters
    ----------
    schema
        Schema of the rows.

    Returns
    -------
    schema
        Schema with one `CELL_COLUMN` of 64-bit integers, whatever that column was before.
    """
    cell_field = pa.field(CELL_COLUMN, pa.int64())
    other_fields = [item for item in schema if item.name != CELL_COLUMN]
    return pa.schema([cell_field, *other_fields])


def choose_parquet_writer_options(rows: pa.Table) -> dict[str, Any]:
    """Choose how each column of a partition is written, so that row groups are read quickly.

    A column gets a dictionary if this saves a tenth. It is compressed with LZ4, which is decoded five times as fast as
    zstd, unless zstd saves a third: few rows of a catalogue are cheaper to read from the disk than to decode. A column
    of which LZ4 saves less than a quarter is not compressed, so that the values of a few rows are read without decoding
    others. Neither are the cells, by which rows are found.

    Parameters
    ----------
    rows
        Some or all rows of the partition; the first `SAMPLE_ROWS` are tried.

    Returns
    -------
    options
        Options of `pyarrow.parquet.ParquetWriter`.
    """
    sample = rows.slice(0, SAMPLE_ROWS)
    sizes = {}
    for codec in ("zstd", "lz4", "none"):
        for has_dictionary in (False, True):
            sizes[codec, has_dictionary] = _measure_column_sizes(sample, codec, has_dictionary=has_dictionary)
    dictionary_columns = set()
    for name, size in sizes["zstd", True].items():
        if 10 * size < 9 * sizes["zstd", False][name] and name != CELL_COLUMN:
            dictionary_columns.add(name)
    codecs = {}
    for name in sizes["zstd", True]:
        has_dictionary = name in dictionary_columns
        is_incompressible = 4 * sizes["lz4", False][name] > 3 * sizes["none", False][name]
        if name == CELL_COLUMN or (is_incompressible and not has_dictionary):
            codecs[name] = "none"
        elif 2 * sizes["lz4", has_dictionary][name] <= 3 * sizes["zstd", has_dictionary][name]:
            codecs[name] = "lz4"
        else:
            codecs[name] = "zstd"
    return {**PARQUET_WRITER_OPTIONS, "compression": codecs or "zstd", "use_dictionary": sorted(dictionary_columns)}


def _measure_column_sizes(sample: pa.Table, codec: str, *, has_dictionary: bool) -> dict[str, int]:
    """Write a sample, and return the compressed bytes of each column."""
    import pyarrow.parquet as pq  # noqa: PLC0415  (slow to load, and few commands need it)

    footers: list[Any] = []
    options = {"compression": codec, "use_dictionary": has_dictionary, "write_statistics": False}
    with pq.ParquetWriter(pa.BufferOutputStream(), sample.schema, metadata_collector=footers, **options) as writer:
        writer.write_table(sample)
    sizes = {}
    for group_number in range(footers[0].num_row_groups):
        group = footers[0].row_group(group_number)
        for column_number in range(group.num_columns):
            leaf = group.column(column_number)
            sizes[leaf.path_in_schema] = leaf.total_compressed_size
    return sizes


def write_common_metadata(schema: pa.Schema, votable: bytes | None = None) -> bytes:
    """Write ``dataset/_common_metadata``: a Parquet file without rows.

    Parameters
    ----------
    schema
        Schema of the partitions.
    votable
        The columns' metadata as a VOTable without rows (VOParquet 1.0).

    Returns
    -------
    file
        Bytes of the file.
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
        Rows of all pixels of `SKYMAP_ORDER`, shape (12 * 4 ** order,).

    Returns
    -------
    file
        Bytes of the file.
    """
    side = round((len(counts) / 12) ** 0.5)
    data = counts.astype(">i8").tobytes()
    return _write_fits_table(
        _SKYMAP_CARDS.format(count=len(counts), last=len(counts) - 1, side=side, order=side.bit_length() - 1), data
    )


def write_occupied_cells_map(cells: npt.NDArray[np.int64], order: int) -> bytes:
    """Write where there are rows, as a FITS file of HEALPix (nested, explicit).

    Clients make a MOC of it. Its name is ``point_map.fits``.

    Parameters
    ----------
    cells
        Pixels of this order that have rows, ascending, shape (c,).
    order
        HEALPix order.

    Returns
    -------
    file
        Bytes of the file.
    """
    rows = np.ones(len(cells), [("pixel", ">i8"), ("value", "u1")])
    rows["pixel"] = cells
    return _write_fits_table(_SPARSE_MAP_CARDS.format(count=len(cells), side=1 << order), rows.tobytes())


_PRIMARY_CARDS: Final = """
SIMPLE   T
BITPIX   8
NAXIS    0
EXTEND   T
"""
_SKYMAP_CARDS: Final = """
XTENSION 'BINTABLE'
BITPIX   8
NAXIS    2
NAXIS1   8
NAXIS2   {count}
PCOUNT   0
GCOUNT   1
TFIELDS  1
TTYPE1   'VALUE   '
TFORM1   '1K      '
PIXTYPE  'HEALPIX '
ORDERING 'NESTED  '
NSIDE    {side}
ORDER    {order}
FIRSTPIX 0
LASTPIX  {last}
INDXSCHM 'IMPLICIT'
OBJECT   'FULLSKY '
COORDSYS 'C       '
"""
_SPARSE_MAP_CARDS: Final = """
XTENSION 'BINTABLE'
BITPIX   8
NAXIS    2
NAXIS1   9
NAXIS2   {count}
PCOUNT   0
GCOUNT   1
TFIELDS  2
TTYPE1   'PIXEL   '
TTYPE2   'VALUE   '
TFORM1   'K       '
TFORM2   'B       '
PIXTYPE  'HEALPIX '
INDXSCHM 'EXPLICIT'
ORDERING 'NESTED  '
COORDSYS 'C       '
NSIDE    {side}
OBS_NPIX {count}
"""


def _write_fits_table(table_cards: str, data: bytes) -> bytes:
    """Write a FITS file with a table; a card of its header is a line of text."""
    headers = _write_fits_header(_PRIMARY_CARDS) + _write_fits_header(table_cards)
    return headers + data + bytes(-len(data) % 2880)


def _write_fits_header(cards: str) -> bytes:
    lines = []
    for card in cards.strip().splitlines():
        name, value = card[:8], card[8:].strip()
        lines.append(f"{name}= {value:<20}" if value.startswith("'") else f"{name}= {value:>20}")
    text = "".join(f"{line:<80}" for line in [*lines, "END"])
    padded_characters = -(-len(text) // 2880) * 2880
    return text.ljust(padded_characters).encode("ascii")
