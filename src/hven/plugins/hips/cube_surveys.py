"""Write the HiPS of a cube (HiPS3D, draft of HiPS 2.0).

Tiles have 64 x 64 pixels in HEALPix order and 16 channels, of equal width in the logarithm of frequency.
"""

from __future__ import annotations

from collections import OrderedDict
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from hven.formats.media import open_product
from hven.model.deadlines import ProgressMonitor
from hven.model.errors import SourceError, TooLargeError, format_message
from hven.model.sky import healpix
from hven.plugins.hips.image_surveys import (
    HEADER_BYTES,
    ORDER_0_TILE_DEGREES,
    SAMPLE_STEP,
    SkyImage,
    WrittenSkySurvey,
    compute_mean_tile,
    create_sky_mapping,
    interpolate_image,
    list_near_tiles,
    list_nested_cells,
    write_fits_header,
)
from hven.plugins.previews.pictures import PictureStyle, choose_stretch

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import numpy.typing as npt

    from hven.formats.media import OpenProductFile, Place

    Numbers = npt.NDArray[np.float64]
    Box = npt.NDArray[np.float32]  # channels, x, y of HEALPix

LIGHT_SPEED_METRES_PER_SECOND = 299_792_458.0
TILE_PIXEL_ORDERS = 6  # orders from a tile to its pixels
TILE_WIDTH_PIXELS, TILE_CHANNELS = 1 << TILE_PIXEL_ORDERS, 16
LOWEST_LOG_FREQUENCY, LOG_FREQUENCY_DECADES = -18.0, 56.0  # log10 of Hz, as in MOCs of frequency
MAX_FREQUENCY_ORDER = 51
MAX_SPATIAL_ORDER = 20
MAX_FINEST_TILES = 20_000  # tiles of the finest orders: about 5 GB
MAX_CACHED_PLANES = 24  # planes that are kept for the next channels


def write_hips3d_survey(
    file: tuple[Place, str],
    directory: Path,
    properties: Mapping[str, str],
    *,
    order: int | None = None,
    look: PictureStyle | None = None,
    progress: ProgressMonitor = ProgressMonitor(),  # noqa: B008  (it is frozen)
) -> WrittenSkySurvey | None:
    """Write a HiPS3D of a cube of the sky; values between its pixels and planes are interpolated.

    Parameters
    ----------
    file
        Place and name of the file.
    directory
        An empty directory.
    properties
        Further properties.
    order
        Order of the finest tiles; None: at least as fine as the pixels of the cube.
    look
        Stretch and percentages of the values that programs show first.
    progress
        Monitor of the progress.

    Returns
    -------
    survey
        Description of the survey; None if the file is no cube of the sky with wavelengths, and no tile was written.

    Raises
    ------
    SourceError
        The file is damaged, or has no value.
    TooLargeError
        The survey would have too many tiles.
    OperationCancelledError, UpstreamError
        The operation was stopped, or a server with the cube does not respond.
    """
    path, name = file
    try:
        product = open_product(path, name)
    except SourceError:
        return None
    with product:
        cube = _find_spectral_cube(product)
        if cube is None:
            return None
        survey_and_values = _CubeTileWriter(cube, directory, progress).write_all_tiles_with_samples(order)
        if survey_and_values is None:
            raise SourceError(format_message("{name} contains no pixel values", name))
        survey, values = survey_and_values
        stretch = choose_stretch(values.astype(np.float64), look or PictureStyle())
        survey.used_images = [name]
        survey.properties = {**properties, **survey.properties, "hips_pixel_cut": f"{stretch.low:g} {stretch.high:g}"}
        return survey


class _SpectralCube:
    """A cube, with its planes in the order of their frequencies."""

    def __init__(self, image: SkyImage, axis: int, frequencies: Numbers) -> None:
        self.image = image
        self.axis = axis
        self.order = np.argsort(frequencies)
        self.log_frequencies = np.log10(frequencies[self.order])
        self._cached_planes: OrderedDict[tuple[int, int], Numbers] = OrderedDict()

    def interpolate_plane(self, number: int, tile: int, lon: Numbers, lat: Numbers) -> Numbers:
        """Interpolate a plane at the pixels of a tile."""
        key = tile, number
        if key not in self._cached_planes:
            while len(self._cached_planes) >= MAX_CACHED_PLANES:
                self._cached_planes.popitem(last=False)
            self.image.fixed_pixels = {self.axis: int(self.order[number])}
            self._cached_planes[key] = interpolate_image(self.image, lon, lat)
        return self._cached_planes[key]

    def interpolate_channel(self, log_frequency: float, tile: int, lon: Numbers, lat: Numbers) -> Numbers | None:
        """Interpolate between planes; return None if the channel lies beyond all of them."""
        logs = self.log_frequencies
        first_half_step = (logs[1] - logs[0]) / 2.0
        last_half_step = (logs[-1] - logs[-2]) / 2.0
        if not logs[0] - first_half_step <= log_frequency <= logs[-1] + last_half_step:
            return None
        plane_numbers = np.arange(len(logs))
        plane_position = float(np.interp(log_frequency, logs, plane_numbers))
        low = int(plane_position)
        share = plane_position - int(plane_position)
        first = self.interpolate_plane(low, tile, lon, lat)
        if share == 0.0:
            return first
        second = self.interpolate_plane(low + 1, tile, lon, lat)
        mixed_values = (1.0 - share) * first + share * second
        nearest_values = first if share < 0.5 else second
        return np.where(np.isfinite(mixed_values), mixed_values, nearest_values)


def _find_spectral_cube(product: OpenProductFile) -> _SpectralCube | None:
    """Find a cube of the sky whose planes have wavelengths."""
    for array in product.arrays:
        kinds = [axis.kind for axis in array.axes]
        axis = None
        for axis_number, axis_item in enumerate(array.axes):
            if axis_item.kind == "spectral" and axis_item.size > 1:
                axis = axis_number
                break
        if axis is None or array.role != "data" or array.create_sky_mapping is None:
            continue
        sky_mapping = create_sky_mapping(array)
        read_wavelengths = array.axes[axis].read_values
        if sky_mapping is None or read_wavelengths is None or sky_mapping.image_axes.kind != "sky":
            continue
        with np.errstate(all="ignore"):
            frequencies = LIGHT_SPEED_METRES_PER_SECOND / np.asarray(read_wavelengths(), np.float64)
        is_positive = np.isfinite(frequencies).all() and frequencies.min() > 0.0
        if is_positive and np.unique(frequencies).size == len(frequencies):
            up, across = sorted((kinds.index("longitude"), kinds.index("latitude")))
            image = SkyImage(array, sky_mapping, across, up, product.close)
            return _SpectralCube(image, axis, frequencies)
    return None


class _CubeTileWriter:
    """The writer of the tiles of a cube, from the finest up."""

    def __init__(self, cube: _SpectralCube, directory: Path, progress: ProgressMonitor) -> None:
        self.cube = cube
        self.directory = directory
        self.progress = progress
        self.order = self.frequency_order = 0

    def write_all_tiles_with_samples(self, order: int | None) -> tuple[WrittenSkySurvey, Box] | None:
        """Write all tiles; return their description and some of their values, or None if there is no value."""
        cube = self.cube
        scale = max(self.cube.image.sky_mapping.scale, 1e-7)
        if order is None:
            wanted_order = int(np.ceil(np.log2(ORDER_0_TILE_DEGREES / TILE_WIDTH_PIXELS / scale)))
        else:
            wanted_order = order
        self.order = int(np.clip(wanted_order, 0, MAX_SPATIAL_ORDER))
        step = float(np.median(np.diff(cube.log_frequencies)))
        needed_order = np.ceil(np.log2(LOG_FREQUENCY_DECADES / (step * TILE_CHANNELS))) - 1
        self.frequency_order = int(np.clip(needed_order, 0, MAX_FREQUENCY_ORDER))
        width = LOG_FREQUENCY_DECADES / 2 ** (self.frequency_order + 1)  # of a tile
        low = int((cube.log_frequencies[0] - step - LOWEST_LOG_FREQUENCY) / width)
        high = int((cube.log_frequencies[-1] + step - LOWEST_LOG_FREQUENCY) / width)
        tile_numbers = self._find_tiles()
        if len(tile_numbers) * (high - low + 1) > MAX_FINEST_TILES:
            raise TooLargeError(
                format_message(
                    "at order {order}, the HiPS would have more than {most} tiles", self.order, MAX_FINEST_TILES
                ),
                remedy=format_message("choose a lower order"),
            )
        sample = []
        written_tiles: set[tuple[int, int]] = set()
        channel_count = high - low + 1
        for tile_position, tile in enumerate(tile_numbers):
            pixels = (tile << 2 * TILE_PIXEL_ORDERS) + list_nested_cells(TILE_PIXEL_ORDERS)
            lon, lat = healpix.compute_cell_centers(self.order + TILE_PIXEL_ORDERS, pixels)
            for number in range(low, high + 1):
                finished_tiles = tile_position + (number - low) / channel_count
                self.progress.report_progress(0.9 * finished_tiles / len(tile_numbers))
                box = self._interpolate_tile(tile, number, width, lon, lat)
                if box is not None:
                    self._write_tile(box, self.order, self.frequency_order, tile, number)
                    written_tiles.add((tile, number))
                    sample.append(box[np.isfinite(box)][::SAMPLE_STEP])
        if not written_tiles:
            return None
        count = len(written_tiles) + sum(self._write_coarser_orders(written_tiles))
        properties = self._build_properties(tile_numbers)
        survey = WrittenSkySurvey(order=self.order, tiles=count, properties=properties)
        return survey, np.concatenate(sample)

    def _find_tiles(self) -> list[int]:
        """Find the tiles that may contain the cube: those of its pixels, and their neighbours."""
        image = self.cube.image
        pixel_degrees = max(image.sky_mapping.scale, 1e-7)
        step = max(1, int(ORDER_0_TILE_DEGREES / 2**self.order / pixel_degrees / 4))
        grid_points = [np.unique(np.append(np.arange(1.0, size, step), size)) for size in image.size]
        x, y = (grid_axis.ravel() for grid_axis in np.meshgrid(*grid_points))
        lon, lat = image.sky_mapping(np.stack([x, y], 1)).T
        is_known = np.isfinite(lon) & np.isfinite(lat)
        shift = 2 * (healpix.MAX_ORDER - self.order)
        cell_indexes = healpix.compute_cell_indexes(self.order, lon[is_known], lat[is_known])
        first_tiles = np.unique(cell_indexes) << shift
        if not len(first_tiles):
            return []
        tile_ranges = np.stack([first_tiles, first_tiles + (1 << shift)], 1)
        neighbourhood = healpix.add_neighbour_cells(healpix.merge_ranges(tile_ranges), self.order)
        return list_near_tiles(image, self.order, neighbourhood >> shift)

    def _interpolate_tile(
        self, tile: int, number: int, width: float, longitudes: Numbers, latitudes: Numbers
    ) -> Box | None:
        box = np.full((TILE_CHANNELS, TILE_WIDTH_PIXELS, TILE_WIDTH_PIXELS), np.nan, np.float32)
        for channel in range(TILE_CHANNELS):
            log_frequency = LOWEST_LOG_FREQUENCY + (number + (channel + 0.5) / TILE_CHANNELS) * width
            values = self.cube.interpolate_channel(log_frequency, tile, longitudes, latitudes)
            if values is not None:
                box[channel] = values.reshape(TILE_WIDTH_PIXELS, TILE_WIDTH_PIXELS)
        if np.isfinite(box).any():
            return box
        return None

    def _write_coarser_orders(self, finer_tiles: set[tuple[int, int]]) -> Iterator[int]:
        """Write each coarser order from the finer one, with half the frequency order too; yield the number of tiles."""
        half_width = TILE_WIDTH_PIXELS // 2
        frequency_order = self.frequency_order
        for order in range(self.order - 1, -1, -1):
            finished_share = (self.order - order) / (self.order + 1)
            self.progress.report_progress(0.9 + 0.1 * finished_share)
            frequency_factor = 2 if frequency_order else 1
            channels = TILE_CHANNELS // frequency_factor  # of the coarser tile, that a finer one fills
            frequency_order = max(0, frequency_order - 1)
            finer_by_coarser: dict[tuple[int, int], list[tuple[int, int]]] = {}
            for tile, number in sorted(finer_tiles):
                coarser_tile = (tile >> 2, number // frequency_factor)
                finer_by_coarser.setdefault(coarser_tile, []).append((tile, number))
            for (tile, number), parts in finer_by_coarser.items():
                box = np.full((TILE_CHANNELS, TILE_WIDTH_PIXELS, TILE_WIDTH_PIXELS), np.nan, np.float32)
                for part in parts:
                    finer_box = self._read_tile(order + 1, frequency_order + frequency_factor - 1, *part)
                    split_box = finer_box.reshape(channels, frequency_factor, half_width, 2, half_width, 2)
                    split_values = split_box.transpose(1, 3, 5, 0, 2, 4)
                    averaged_values = split_values.reshape(4 * frequency_factor, channels, half_width, half_width)
                    x = (part[0] & 1) * half_width
                    y = (part[0] >> 1 & 1) * half_width
                    first = part[1] % frequency_factor * TILE_CHANNELS // frequency_factor
                    mean_tile = compute_mean_tile(averaged_values)
                    box[first : first + channels, x : x + half_width, y : y + half_width] = mean_tile
                self._write_tile(box, order, frequency_order, tile, number)
            finer_tiles = set(finer_by_coarser)
            yield len(finer_tiles)

    def _build_tile_path(self, order: int, frequency_order: int, tile: int, number: int) -> Path:
        folder = f"Dir{tile // 10_000 * 10_000}_{number // 10 * 10}"
        return self.directory / f"Norder{order}_{frequency_order}" / folder / f"Npix{tile}_{number}.fits"

    def _read_tile(self, order: int, frequency_order: int, tile: int, number: int) -> Box:
        tile_path = self._build_tile_path(order, frequency_order, tile, number)
        body = tile_path.read_bytes()
        values = np.frombuffer(body, ">f4", TILE_CHANNELS * TILE_WIDTH_PIXELS * TILE_WIDTH_PIXELS, HEADER_BYTES)
        box = values.reshape(TILE_CHANNELS, TILE_WIDTH_PIXELS, TILE_WIDTH_PIXELS)
        return box[:, ::-1].astype(np.float32)

    def _write_tile(self, box: Box, order: int, frequency_order: int, tile: int, number: int) -> None:
        cards = {
            "SIMPLE": "T",
            "BITPIX": "-32",
            "NAXIS": "3",
            "NAXIS1": TILE_WIDTH_PIXELS,
            "NAXIS2": TILE_WIDTH_PIXELS,
            "NAXIS3": TILE_CHANNELS,
            "ORDER": order,
            "NPIX": tile,
            "FORDER": frequency_order,
            "FPIX": number,
        }
        body = box[:, ::-1].astype(">f4").tobytes()
        path = self._build_tile_path(order, frequency_order, tile, number)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(write_fits_header(cards) + body + bytes(-len(body) % HEADER_BYTES))

    def _build_properties(self, tile_numbers: list[int]) -> dict[str, str]:
        cube = self.cube
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%MZ")
        size = cube.image.size
        logs = cube.log_frequencies
        image_middle = [(size[0] + 1) / 2, (size[1] + 1) / 2]
        middle = cube.image.sky_mapping(np.array([image_middle]))[0]
        field_degrees = min(60.0, max(size) * cube.image.sky_mapping.scale * 1.2)
        shortest_metres = LIGHT_SPEED_METRES_PER_SECOND / 10 ** logs[-1]
        longest_metres = LIGHT_SPEED_METRES_PER_SECOND / 10 ** logs[0]
        sky_fraction = len(tile_numbers) / (12 * 4**self.order)
        properties = {
            "hips_version": "1.4",
            "hips_builder": "Hven",
            "hips_creation_date": now,
            "hips_release_date": now,
            "hips_frame": "equatorial",
            "hips_order": str(self.order),
            "hips_order_min": "0",
            "hips_order_freq": str(self.frequency_order),
            "hips_tile_width": str(TILE_WIDTH_PIXELS),
            "hips_tile_depth": str(TILE_CHANNELS),
            "hips_tile_format": "fits",
            "hips_pixel_bitpix": "-32",
            "hips_initial_ra": f"{middle[0]:.6f}",
            "hips_initial_dec": f"{middle[1]:.6f}",
            "hips_initial_fov": f"{field_degrees:.6g}",
            "hips_sampling": "bilinear",
            "hips_hierarchy": "mean",
            "dataproduct_type": "spectral-cube",
            "em_min": f"{shortest_metres:.12g}",
            "em_max": f"{longest_metres:.12g}",
            "moc_sky_fraction": f"{sky_fraction:.6g}",
        }
        for card in cube.image.array.cards:
            if card.keyword in {"RESTFRQ", "RESTFREQ"} and isinstance(card.value, float) and card.value > 0:
                properties["obs_restfreq"] = f"{card.value:.12g}"
                break
        return properties
