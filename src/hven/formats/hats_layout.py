"""HATS catalogues (IVOA Note HATS 1.0): the names and texts of the files that one is made of, and how rows are divided among partitions."""

from __future__ import annotations

import csv
import io
import itertools
import re
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

from hven.model.errors import Place, SourceError, say
from hven.model.sky import healpix

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    import numpy.typing as npt

    Pixels = npt.NDArray[np.int64]

CELL: Final = "_healpix_29"
"""The column of HEALPix indexes of order 29 (nested), by which rows are sorted."""
PROPERTIES: Final = "hats.properties"
PROPERTIES_TOO: Final = "properties"
"""What readers of older versions look for."""
COLLECTION: Final = "collection.properties"
"""What names the main catalogue of several that belong together."""
PARTITIONS: Final = "partition_info.csv"
DATASET: Final = "dataset"
COMMON: Final = f"{DATASET}/_common_metadata"
METADATA: Final = f"{DATASET}/_metadata"
SKYMAP: Final = "skymap.fits"
MOST_ROWS: Final = 1_000_000
"""Of a partition."""
GROUP_ROWS: Final = 16_384
"""Of a row group: so much is read for a small cone."""
SAMPLE: Final = 4_096
"""Rows by which it is decided how columns are written."""
SKYMAP_ORDER: Final = 6
WRITING: Final[Mapping[str, Any]] = {
    "compression": "zstd",
    "write_page_index": True,
    "store_schema": True,
    "write_statistics": True,
}
"""Of `pyarrow.parquet.ParquetWriter`, for partitions."""

_PIXEL = re.compile(r"(?:^|.*/)Norder=(\d{1,2})/Dir=(\d{1,20})/Npix=(\d{1,20})(\.[\w.]+|/.*)?$")
ANEW: Final = "get the catalogue anew, or write it anew with hats-import"
"""What helps where one is damaged."""
READ: Final = "read https://www.ivoa.net/documents/HATS for what a catalogue has, or write it anew with hats-import"
"""What helps who does not know what a catalogue has."""


# --- names ---------------------------------------------------------------------------------------------------


def partition_path(order: int, pixel: int) -> str:
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
    return f"{DATASET}/Norder={order}/Dir={pixel // 10_000 * 10_000}/Npix={pixel}.parquet"


def partition_of(path: str) -> tuple[int, int] | None:
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
    found = _PIXEL.match(path)
    if found is None:
        return None
    order, pixel = int(found[1]), int(found[3])
    return (order, pixel) if order <= healpix.ORDER and pixel < 12 << 2 * order else None


def cells_of(order: int, pixel: int) -> tuple[int, int]:
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
    shift = 2 * (healpix.ORDER - order)
    return pixel << shift, (pixel + 1) << shift


# --- partitions ----------------------------------------------------------------------------------------------


def divided(
    count: Callable[[Pixels], npt.NDArray[np.int64]],
    most: int = MOST_ROWS,
    finest: int = 20,
    *,
    begin: tuple[int, int] | None = None,
    kept: Sequence[tuple[int, int]] = (),
) -> list[tuple[int, int, int]]:
    """Divide the sky into pixels of at most so many rows each, as large as may be. Those without rows are left out.

    Parameters
    ----------
    count
        Counts rows: of cells of order 29, ascending, shape (c,), how many rows lie in cells before each, shape (c,).
    most
        Rows of a pixel, unless it is of the finest order.
    finest
        That order.
    begin
        Order and pixel that is divided; None: the whole sky.
    kept
        Cells of other partitions, half-open and ascending, which none of these may overlap.

    Returns
    -------
    pixels
        Order, pixel and rows of each, in the order of their cells.
    """
    found: list[tuple[int, int, int]] = []
    order, pixels = (0, np.arange(12, dtype=np.int64)) if begin is None else (begin[0], np.array([begin[1]], np.int64))
    others = np.array(kept, np.int64).reshape(-1, 2)
    while len(pixels):
        shift = 2 * (healpix.ORDER - order)
        rows = count((pixels + 1) << shift) - count(pixels << shift)
        free = others[:, 0].searchsorted((pixels + 1) << shift) == others[:, 1].searchsorted(
            pixels << shift, side="right"
        )
        whole = (rows > 0) & free & ((rows <= most) | (order >= finest))
        found += zip([order] * int(whole.sum()), pixels[whole].tolist(), rows[whole].tolist(), strict=True)
        parts = pixels[(rows > 0) & ~whole]
        order, pixels = order + 1, (parts[:, None] * 4 + np.arange(4)).ravel()
    return sorted(found, key=lambda one: cells_of(one[0], one[1])[0])


def counting(*cells: npt.NDArray[np.int64]) -> Callable[[Pixels], npt.NDArray[np.int64]]:
    """Make what counts rows for `divided`.

    Parameters
    ----------
    cells
        Of order 29, of all rows: one array or several, each of its own shape (n,), each sorted by itself.

    Returns
    -------
    count
        Of cells, shape (c,), how many rows lie before each, shape (c,).
    """

    def count(before: Pixels) -> npt.NDArray[np.int64]:
        found = np.zeros(len(before), np.int64)
        for one in cells:
            found += one.searchsorted(before)
        return found

    return count


def write_partitions(pixels: Iterable[tuple[int, int]]) -> bytes:
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


def read_partitions(data: bytes, name: str = PARTITIONS) -> list[tuple[int, int]]:
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
    head = [word.strip() for word in next(rows, [])]
    if "Norder" not in head or "Npix" not in head:
        raise SourceError(
            say("the columns Norder and Npix are not in its first line"), place=Place(file=name), remedy=READ
        )
    at = head.index("Norder"), head.index("Npix")
    found: list[tuple[int, int, int, int]] = []
    for row in rows:
        if not row:
            continue
        try:
            order, pixel = (int(row[number]) for number in at)
        except (ValueError, IndexError):
            order = pixel = -1
        if not 0 <= order <= healpix.ORDER or not 0 <= pixel < 12 << 2 * order:
            raise SourceError(
                say("{line!r} is no HEALPix order and pixel", ",".join(row)),
                place=Place(file=name, line=rows.line_num),
                remedy=READ,
            )
        found.append((*cells_of(order, pixel), order, pixel))
    if len(set(found)) < len(found):  # older catalogues have a line for each piece of a partition
        found = list(set(found))
    found.sort()
    for one, two in itertools.pairwise(found):
        if two[0] < one[1]:
            raise SourceError(
                say(
                    "the partitions Norder={order} Npix={pixel} and Norder={finer} Npix={inner} overlap",
                    *one[2:],
                    *two[2:],
                ),
                place=Place(file=name),
                remedy=READ,
            )
    return [(order, pixel) for _, _, order, pixel in found]


# --- properties ----------------------------------------------------------------------------------------------


def write_properties(
    name: str,
    *,
    rows: int,
    position: tuple[str, str],
    order: int,
    columns: Sequence[str] = (),
    sky: float | None = None,
    size: int | None = None,
    made: str = "",
    more: Mapping[str, str | None] | None = None,
) -> bytes:
    """Write ``hats.properties``.

    Parameters
    ----------
    name
        Of the catalogue: letters, digits, ``-`` and ``_`` stay, all else becomes ``_``.
    rows
        Of all partitions.
    position
        Columns of longitude and latitude.
    order
        The finest order of a partition.
    columns
        Those that are read where nothing is said; none: all.
    sky
        Share of the sky that the partitions take, 0 to 1.
    size
        Of all files, bytes.
    made
        When, as ISO 8601 with minutes.
    more
        Further properties: ``obs_title``, ``creator_did`` ...; those that are None are left out.

    Returns
    -------
    text
        Lines ``name=value``.
    """
    said = {
        "obs_collection": re.sub(r"[^A-Za-z0-9_-]+", "_", name),
        "dataproduct_type": "object",
        "hats_nrows": str(rows),
        "hats_col_ra": position[0],
        "hats_col_dec": position[1],
        "hats_cols_default": " ".join(columns) or None,
        "hats_col_healpix": CELL,
        "hats_col_healpix_order": str(healpix.ORDER),
        "hats_npix_suffix": ".parquet",
        "hats_order": str(order),
        "hats_skymap_order": str(SKYMAP_ORDER),
        "hats_max_rows": str(MOST_ROWS),
        "moc_sky_fraction": None if sky is None else f"{sky:.6g}",
        "hats_estsize": None if size is None else str(-(-size // 1024)),
        "hats_creation_date": made or None,
        "hats_builder": "Hven",
        "hats_version": "v1.0",
        "hats_release_date": "2025-08-22",
        **(more or {}),
    }
    lines = [f"{key}={_escaped(value)}" for key, value in said.items() if value]
    return "\n".join(["#HATS catalog", *lines, ""]).encode()


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\r", "").replace("\n", "\\n")


def on_web(place: str) -> bool:
    """Return whether a place is an address.

    Parameters
    ----------
    place
        Of a catalogue or of one of its files.
    """
    return place.startswith(("http://", "https://"))


# --- Parquet -------------------------------------------------------------------------------------------------


def stored(schema: pa.Schema) -> pa.Schema:
    """Return the schema of partitions: the cells come first.

    Parameters
    ----------
    schema
        Of the rows.

    Returns
    -------
    schema
        With `CELL`, whatever it was before.
    """
    return pa.schema([pa.field(CELL, pa.int64()), *(item for item in schema if item.name != CELL)])


def writing(rows: pa.Table) -> dict[str, Any]:
    """Choose how each column of a partition is written, so that row groups are read quickly.

    A dictionary where it makes a column a tenth smaller, and LZ4 unless zstd saves a third: it is decoded five times as fast, and few rows of a catalogue
    are cheaper to read from the disk than to decode. What LZ4 saves less than a quarter of stands as it is: values of a few rows are read alone then, and none is decoded. So do cells, by which these are found.

    Parameters
    ----------
    rows
        Of the partition, some or all: the first `SAMPLE` are tried.

    Returns
    -------
    options
        Of `pyarrow.parquet.ParquetWriter`.
    """
    import pyarrow.parquet as pq  # noqa: PLC0415  (slow to load, asked by few)

    def tried(codec: str, *, dictionary: bool) -> dict[str, int]:
        footers: list[Any] = []
        options = {"compression": codec, "use_dictionary": dictionary, "write_statistics": False}
        with pq.ParquetWriter(pa.BufferOutputStream(), rows.schema, metadata_collector=footers, **options) as writer:
            writer.write_table(rows.slice(0, SAMPLE))
        groups = [footers[0].row_group(number) for number in range(footers[0].num_row_groups)]
        leaves = [group.column(number) for group in groups for number in range(group.num_columns)]
        return {leaf.path_in_schema: leaf.total_compressed_size for leaf in leaves}

    sizes = {(codec, some): tried(codec, dictionary=some) for codec in ("zstd", "lz4", "none") for some in (False, True)}  # fmt: skip
    words = {
        name
        for name, size in sizes["zstd", True].items()
        if 10 * size < 9 * sizes["zstd", False][name] and name != CELL
    }
    codecs = {
        name: "none"
        if name == CELL or (name not in words and 4 * sizes["lz4", False][name] > 3 * sizes["none", False][name])
        else "lz4"
        if 2 * sizes["lz4", name in words][name] <= 3 * sizes["zstd", name in words][name]
        else "zstd"
        for name in sizes["zstd", True]
    }
    return {**WRITING, "compression": codecs or "zstd", "use_dictionary": sorted(words)}


def common_metadata(schema: pa.Schema, votable: bytes | None = None) -> bytes:
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
        known = {"IVOA.VOTable-Parquet.version": "1.0", "IVOA.VOTable-Parquet.content": votable}
        schema = schema.with_metadata({**(schema.metadata or {}), **known})
    with pq.ParquetWriter(sink, schema, store_schema=True):
        pass
    return sink.getvalue()


def skymap(counts: npt.NDArray[np.int64]) -> bytes:
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
    head = [
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
    primary = _cards([("SIMPLE", "T"), ("BITPIX", 8), ("NAXIS", 0), ("EXTEND", "T")])
    return primary + _cards(head) + data + bytes(-len(data) % 2880)


def sparse_map(cells: npt.NDArray[np.int64], order: int) -> bytes:
    """Write where there are rows, as a FITS file of HEALPix (nested, explicit): ``point_map.fits``, of which clients make a MOC.

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
    head = [
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
    primary = _cards([("SIMPLE", "T"), ("BITPIX", 8), ("NAXIS", 0), ("EXTEND", "T")])
    return primary + _cards(head) + data + bytes(-len(data) % 2880)


def _cards(cards: Sequence[tuple[str, object]]) -> bytes:
    lines = [
        f"{name:<8}= {value:<20}" if isinstance(value, str) and value[0] == "'" else f"{name:<8}= {value:>20}"
        for name, value in cards
    ]
    text = "".join(f"{line:<80}" for line in [*lines, "END"])
    return f"{text:<{-(-len(text) // 2880) * 2880}}".encode("ascii")


__all__ = [
    "ANEW",
    "CELL",
    "COLLECTION",
    "COMMON",
    "DATASET",
    "GROUP_ROWS",
    "METADATA",
    "MOST_ROWS",
    "PARTITIONS",
    "PROPERTIES",
    "PROPERTIES_TOO",
    "READ",
    "SKYMAP",
    "SKYMAP_ORDER",
    "WRITING",
    "cells_of",
    "common_metadata",
    "counting",
    "divided",
    "on_web",
    "partition_of",
    "partition_path",
    "read_partitions",
    "skymap",
    "sparse_map",
    "stored",
    "write_partitions",
    "write_properties",
    "writing",
]
