"""Write the tiles of the HiPS of a layer of a planet or moon (HiPS 1.0).

Longitudes are to the east and latitudes are planetocentric. Tiles are cut as those of the sky; programs that know the
property ``hips_body`` mirror them, so that east is to the right. A tile is written after the four tiles below it. An
interrupted command therefore continues with the first tile that is missing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from hven.model.errors import ParamError, SourceError, TooLargeError, format_message
from hven.model.sky import Moc, healpix, region_files
from hven.plugins.hips.image_surveys import (
    HEADER_BYTES,
    MAX_FINEST_TILES,
    MIN_ORDER,
    ORDER_0_TILE_DEGREES,
    TILE_PIXEL_ORDERS,
    WrittenSkySurvey,
    compute_mean_tile,
    list_nested_cells,
    write_allsky,
    write_fits_tile,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    import numpy.typing as npt

    from hven.model.deadlines import ProgressMonitor

    Numbers = npt.NDArray[np.float64]
    BodyTile = npt.NDArray[np.float32]  # by band, x and y of HEALPix; not-a-number without data

MIN_TILE_PIXEL_ORDERS = 6  # tiles of coarse layers are smaller, because programs begin at order 3
GRID_POINTS_PER_TILE = 4  # places of the layer along the side of a tile
TEST_POINT_ORDERS = 3  # orders from a tile to the places at which it is compared with the layer
TILES_PER_TEST = 1024
POLAR_LATITUDE_DEG = 60.0  # from there on, tiles are read in blocks
POLAR_BLOCK_ORDERS = 6  # orders from such a block to its pixels
MAX_COVERAGE_ORDER = 8
TILE_BYTES_PER_PIXEL = 5  # of FITS and PNG together, for the space on the disk


@dataclass(frozen=True, slots=True, kw_only=True)
class BodyLayer:
    """A layer of a body, as its package reads it.

    Attributes
    ----------
    body
        Name of the body in English: ``Mars``.
    title, description, licence, credit
        Texts for people, which may be empty except for the title.
    path
        Path of the raster among the files of its collection.
    compute_state
        Returns a text that changes with the raster and with its colours.
    pixel_degrees
        Size of a pixel in degrees of the body.
    value_range
        Values of the first and the last colour; None: the pixels are colours.
    is_averaged
        Whether coarser tiles have means; False: values are codes.
    center
        Longitude and latitude of its middle, and the degrees that it covers.
    iterate_places
        Yields longitudes and latitudes of every n-th pixel, row by row.
    contains_places
        Whether places are in the layer.
    read_values
        Returns values by band and place.
    find_colours
        Returns red, green, blue and opacity of the bands of places.
    """

    body: str
    title: str
    description: str
    licence: str
    credit: str
    path: str
    compute_state: Callable[[], str]
    pixel_degrees: float
    value_range: tuple[float, float] | None
    is_averaged: bool
    center: tuple[float, float, float]
    iterate_places: Callable[[int], Iterator[tuple[Numbers, Numbers]]]
    contains_places: Callable[[Numbers, Numbers], npt.NDArray[np.bool_]]
    read_values: Callable[[Numbers, Numbers], BodyTile]
    find_colours: Callable[[BodyTile], npt.NDArray[np.uint8]]


def choose_tiles(layer: BodyLayer, order: int | None) -> tuple[int, int]:
    """Choose the order of the finest tiles, whose pixels are as small as those of the layer, and the size of tiles.

    Parameters
    ----------
    order
        The order that is requested; None: that of the layer.

    Returns
    -------
    order, tile_pixel_orders
        Order of the finest tiles, and orders from a tile to its pixels.

    Raises
    ------
    ParamError
        The order is finer than the layer.
    TooLargeError
        There would be too many tiles.
    """
    pixel_order = math.ceil(math.log2(ORDER_0_TILE_DEGREES / layer.pixel_degrees) - 1e-6)
    finest_order = max(pixel_order - TILE_PIXEL_ORDERS, MIN_ORDER)
    if order is None:
        order = finest_order
    if not MIN_ORDER <= order <= finest_order:
        raise ParamError(
            format_message("the layer has no pixels for tiles of order {order}", order),
            name="ORDER",
            remedy=format_message("choose an order from {first} to {last}", MIN_ORDER, finest_order),
        )
    tile_pixel_orders = min(max(pixel_order - order, MIN_TILE_PIXEL_ORDERS), TILE_PIXEL_ORDERS)
    return order, tile_pixel_orders


def list_finest_tiles(layer: BodyLayer, order: int) -> npt.NDArray[np.int64]:
    """List the tiles of an order that may contain some of a layer: at its pixels, and around places in it.

    Raises
    ------
    TooLargeError
        There are too many.
    """
    step = max(int(ORDER_0_TILE_DEGREES / 2**order / layer.pixel_degrees / GRID_POINTS_PER_TILE), 1)
    known_tiles = np.zeros(0, np.int64)
    for lon, lat in layer.iterate_places(step):
        is_place = np.isfinite(lon) & np.isfinite(lat)
        cells = known_tiles
        if is_place.any():
            cells = healpix.compute_cell_indexes(order, lon[is_place], lat[is_place])
        known_tiles = np.union1d(known_tiles, cells[cells >= 0])
        _require_few_tiles(known_tiles, order)
    tiles = np.arange(12, dtype=np.int64)
    for tile_order in range(order + 1):
        shift = 2 * (healpix.MAX_ORDER - tile_order)
        is_kept = np.isin(tiles, known_tiles >> 2 * (order - tile_order)) | _are_in_layer(layer, tile_order, tiles)
        kept_tiles = tiles[is_kept]
        ranges = healpix.merge_ranges(np.stack([kept_tiles << shift, (kept_tiles + 1) << shift], 1))
        # the edge of a layer may pass between the places of a tile beside these
        ranges = healpix.add_neighbour_cells(ranges, tile_order) >> shift
        tiles = np.concatenate([np.arange(*tile_range) for tile_range in ranges] or [tiles[:0]])
        _require_few_tiles(tiles, tile_order)
        if tile_order < order:
            tiles = (4 * tiles[:, np.newaxis] + np.arange(4)).ravel()
    return tiles


def _require_few_tiles(tiles: npt.NDArray[np.int64], order: int) -> None:
    if len(tiles) > MAX_FINEST_TILES:
        raise TooLargeError(
            format_message("at order {order}, the HiPS would have more than {most} tiles", order, MAX_FINEST_TILES),
            remedy=format_message("choose a lower order"),
        )


def _are_in_layer(layer: BodyLayer, order: int, tiles: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Return for each tile whether one of its places is in a layer."""
    places_per_tile = 1 << 2 * TEST_POINT_ORDERS
    are_inside = np.zeros(len(tiles), bool)
    for first in range(0, len(tiles), TILES_PER_TEST):
        some_tiles = tiles[first : first + TILES_PER_TEST]
        cells = (some_tiles[:, np.newaxis] * places_per_tile + np.arange(places_per_tile)).ravel()
        lon, lat = healpix.compute_cell_centers(order + TEST_POINT_ORDERS, cells)
        are_inside[first : first + TILES_PER_TEST] = layer.contains_places(lon, lat).reshape(-1, places_per_tile).any(1)
    return are_inside


def write_body_survey(
    layer: BodyLayer,
    directory: Path,
    properties: Mapping[str, str],
    *,
    tile_sizes: tuple[int, int],
    finest_tiles: npt.NDArray[np.int64],
    progress: ProgressMonitor,
) -> WrittenSkySurvey:
    """Write the HiPS of a layer, or continue it.

    Parameters
    ----------
    directory
        Directory of the survey, which may have tiles of an earlier run.
    properties
        Further properties.
    tile_sizes, finest_tiles
        Results of `choose_tiles` and `list_finest_tiles`.
    progress
        Gets the progress.

    Raises
    ------
    SourceError
        The layer has no data, or it changed in the meantime.
    OperationCancelledError
        It was cancelled.
    """
    builder = _BodyHipsBuilder(layer, directory, tile_sizes, finest_tiles, progress)
    for base_tile in builder.tiles_by_order[0].tolist():
        builder.write_tile(0, base_tile)
    return builder.write_metadata(properties)


def estimate_bytes(tile_sizes: tuple[int, int], tile_count: int) -> int:
    """Estimate the bytes of a survey: its finest tiles, and a third as many above them."""
    return tile_count * TILE_BYTES_PER_PIXEL * (1 << 2 * tile_sizes[1]) * 4 // 3


class _BodyHipsBuilder:
    """The builder of a survey: the layer, and the tiles that may contain some of it."""

    def __init__(
        self,
        layer: BodyLayer,
        directory: Path,
        tile_sizes: tuple[int, int],
        finest_tiles: npt.NDArray[np.int64],
        progress: ProgressMonitor,
    ) -> None:
        self.layer = layer
        self.directory = directory
        self.order, self.pixel_orders = tile_sizes
        self.width = 1 << self.pixel_orders
        self.progress = progress
        self.tiles_by_order = [np.unique(finest_tiles >> 2 * (self.order - order)) for order in range(self.order + 1)]
        self.finished_tiles = 0

    @property
    def tile_extension(self) -> str:
        """Ending of the file that is written last."""
        if self.layer.value_range is None:
            return ".png"
        return ".fits"

    def write_tile(self, order: int, tile: int) -> BodyTile | None:
        """Write a tile and those below it, unless it exists; None: it has no data."""
        path = self._locate_tile(order, tile)
        if path.is_file():
            first, last = tile << 2 * (self.order - order), (tile + 1) << 2 * (self.order - order)
            self._report_finished(int(np.diff(np.searchsorted(self.tiles_by_order[-1], [first, last]))[0]))
            return self._read_tile(path)
        if order == self.order:
            values = self._sample_tile(tile)
            self._report_finished(1)
        else:
            values = self._build_tile_by_writing_children(order, tile)
        if np.isnan(values).all():
            return None
        if self.layer.value_range is None:
            values = np.rint(values)  # as the picture, from which an interrupted command continues
        path.parent.mkdir(parents=True, exist_ok=True)
        self._save_picture(values, path.with_suffix(".png"))
        if self.layer.value_range is not None:
            unfinished_path = path.with_suffix(".part")
            unfinished_path.write_bytes(write_fits_tile(values[0, ::-1], order, tile))
            unfinished_path.replace(path)
        return values

    def _locate_tile(self, order: int, tile: int) -> Path:
        return self.directory / f"Norder{order}" / f"Dir{tile // 10_000 * 10_000}" / f"Npix{tile}{self.tile_extension}"

    def _report_finished(self, tile_count: int) -> None:
        self.finished_tiles += tile_count
        self.progress.report_progress(0.02 + 0.96 * self.finished_tiles / len(self.tiles_by_order[-1]))

    def _read_tile(self, path: Path) -> BodyTile:
        if self.layer.value_range is not None:
            values = np.frombuffer(path.read_bytes(), ">f4", self.width * self.width, HEADER_BYTES)
            return values.reshape(1, self.width, self.width)[:, ::-1].astype(np.float32)
        from PIL import Image  # noqa: PLC0415  (loaded for pictures alone)

        with Image.open(path) as picture:
            pixels = np.asarray(picture.convert("RGBA"))
        values = np.moveaxis(pixels[..., :3], 2, 0).astype(np.float32)
        values[:, pixels[..., 3] == 0] = np.nan
        return values

    def _sample_tile(self, tile: int) -> BodyTile:
        """Read the values of a tile; near a pole in blocks, because a part at the pole reaches around the body."""
        latitude = healpix.compute_cell_centers(self.order, [tile])[1][0]
        split_orders = 0
        if abs(latitude) > POLAR_LATITUDE_DEG:
            split_orders = self.pixel_orders - POLAR_BLOCK_ORDERS
        block_orders = self.pixel_orders - split_orders
        block_width = 1 << block_orders
        values: BodyTile | None = None
        for block, block_cell in enumerate(list_nested_cells(split_orders).tolist()):
            first_cell = ((tile << 2 * split_orders) + block_cell) << 2 * block_orders
            cells = first_cell + list_nested_cells(block_orders)
            lon, lat = healpix.compute_cell_centers(self.order + self.pixel_orders, cells)
            shape = block_width, block_width
            block_values = self.layer.read_values(lon.reshape(shape), lat.reshape(shape))
            if values is None:
                values = np.empty((len(block_values), self.width, self.width), np.float32)
            x, y = (place * block_width for place in divmod(block, 1 << split_orders))
            values[:, x : x + block_width, y : y + block_width] = block_values
        assert values is not None  # noqa: S101  (there is a block)
        return values

    def _build_tile_by_writing_children(self, order: int, tile: int) -> BodyTile:
        """Write the four tiles below a tile, and combine their pixels."""
        half_width = self.width // 2
        band_count = 1
        if self.layer.value_range is None:
            band_count = 3
        values = np.full((band_count, self.width, self.width), np.nan, np.float32)
        for child in range(4):
            child_tile = 4 * tile + child
            lower_tiles = self.tiles_by_order[order + 1]
            place = int(np.searchsorted(lower_tiles, child_tile))
            if place == len(lower_tiles) or lower_tiles[place] != child_tile:
                continue
            part = self.write_tile(order + 1, child_tile)
            if part is None:
                continue
            groups = part.reshape(band_count, half_width, 2, half_width, 2).transpose(2, 4, 0, 1, 3)
            x, y = (child & 1) * half_width, (child >> 1) * half_width
            if self.layer.is_averaged:
                merged = compute_mean_tile(groups.reshape(4, band_count, half_width, half_width))
            else:
                merged = groups[0, 0]
            values[:, x : x + half_width, y : y + half_width] = merged
        return values

    def _save_picture(self, values: BodyTile, path: Path) -> None:
        from PIL import Image  # noqa: PLC0415  (loaded for pictures alone)

        unfinished_path = path.with_suffix(".part")
        Image.fromarray(self.layer.find_colours(values), "RGBA").save(unfinished_path, "PNG")
        unfinished_path.replace(path)

    def write_metadata(self, properties: Mapping[str, str]) -> WrittenSkySurvey:
        """Write the files that describe the tiles, and remove what an interrupted command has left."""
        for path in self.directory.glob("Norder*/Dir*/*.part"):
            path.unlink()
        order_3_tiles = [tile for tile in self.tiles_by_order[MIN_ORDER].tolist() if self._has_order_3_tile(tile)]
        if not order_3_tiles:
            raise SourceError(
                format_message("the layer {name} has no pixels with data", self.layer.title),
                remedy=format_message("correct the key `nodata` of the layer"),
            )
        moc = self._build_coverage(order_3_tiles)
        (self.directory / "Moc.fits").write_bytes(region_files.write_moc(moc, body=self.layer.body))
        write_allsky(self.directory, order_3_tiles)
        lon, lat, field_degrees = self.layer.center
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%MZ")
        body = self.layer.body.lower()
        survey = WrittenSkySurvey(order=self.order, used_images=[self.layer.path])
        survey.tiles = sum(1 for _ in self.directory.glob(f"Norder*/Dir*/Npix*{self.tile_extension}"))
        survey.properties = {
            **properties,
            "client_category": f"Solar system/{self.layer.body}",
            "hips_version": "1.4",
            "hips_builder": "Hven",
            "hips_creation_date": now,
            "hips_release_date": now,
            "hips_frame": body,
            "hips_body": body,
            "hips_order": str(self.order),
            "hips_order_min": "0",
            "hips_tile_width": str(self.width),
            "hips_tile_format": "png",
            "hips_initial_ra": f"{lon:.6f}",
            "hips_initial_dec": f"{lat:.6f}",
            "hips_initial_fov": f"{field_degrees:.6g}",
            "hips_sampling": "bilinear" if self.layer.is_averaged else "nearest",
            "hips_hierarchy": "mean" if self.layer.is_averaged else "nearest",
            "hips_pixel_scale": f"{ORDER_0_TILE_DEGREES / 2 ** (self.order + self.pixel_orders):.4g}",
            "dataproduct_type": "image",
            "moc_sky_fraction": f"{moc.fraction:.6g}",
        }
        if self.layer.value_range is None:
            survey.properties["dataproduct_subtype"] = "color"
        else:
            low, high = self.layer.value_range
            survey.properties |= {
                "hips_tile_format": "png fits",
                "hips_pixel_bitpix": "-32",
                "hips_pixel_cut": f"{low:g} {high:g}",
            }
        return survey

    def _has_order_3_tile(self, tile: int) -> bool:
        return self._locate_tile(MIN_ORDER, tile).is_file()

    def _build_coverage(self, order_3_tiles: list[int]) -> Moc:
        """Build the coverage from the pixels of the tiles of order 3."""
        cell_orders = min(self.pixel_orders, MAX_COVERAGE_ORDER - MIN_ORDER)
        side, cell_width = 1 << cell_orders, self.width >> cell_orders
        cells = []
        for tile in order_3_tiles:
            has_data = np.isfinite(self._read_tile(self._locate_tile(MIN_ORDER, tile))[0])
            is_covered = has_data.reshape(side, cell_width, side, cell_width).any((1, 3)).ravel()
            cells.append((tile << 2 * cell_orders) + list_nested_cells(cell_orders)[is_covered])
        return Moc.from_cells(np.concatenate(cells), MIN_ORDER + cell_orders)
