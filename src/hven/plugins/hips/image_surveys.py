"""Write the HiPS of images (HiPS 1.0).

Tiles have 512 x 512 pixels in HEALPix order, as FITS and PNG; each level is half as fine as the one below.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from hven.formats.media import open_product
from hven.model.deadlines import ProgressMonitor
from hven.model.errors import HvenError, SourceError, TooLargeError, format_message
from hven.model.sky import Moc, healpix, region_files
from hven.plugins.previews.pictures import ColourStretch, PictureStyle, choose_stretch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from hven.formats.media import ArrayPart, OpenProductFile, Place
    from hven.model.sky import footprints

    Numbers = npt.NDArray[np.float64]
    Tile = npt.NDArray[np.float32]

TILE_PIXEL_ORDERS = 9  # orders from a tile to its pixels
TILE_WIDTH_PIXELS = 1 << TILE_PIXEL_ORDERS
MIN_ORDER, MAX_ORDER = 3, 20  # programs begin at order 3
ORDER_0_TILE_DEGREES = 58.6323  # the square root of the area of a tile of order 0
MAX_FINEST_TILES = 200_000  # approximate maximum of tiles of the finest order
NEAR_PIXELS = 40.0  # around an image, within which a tile may still contain some of it
MAX_OPEN_IMAGES = 16
MAX_READ_PIXELS = 64 << 20  # of an image that are read for a tile
COVERAGE_ORDERS = 3  # orders by which the coverage is finer than the tiles
SAMPLE_STEP = 997  # each such value of a tile counts for the colours
HEADER_BYTES = 2880


@dataclass(slots=True, kw_only=True)
class WrittenSkySurvey:
    """A survey that was written.

    Attributes
    ----------
    order
        Order of the finest tiles.
    tiles
        Number of tiles of all orders.
    used_images
        Names of the images in it.
    omitted_images
        Why the others are left out, by name.
    properties
        Properties of the survey.
    """

    order: int
    tiles: int = 0
    used_images: list[str] = field(default_factory=list)
    omitted_images: dict[str, str] = field(default_factory=dict)
    properties: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class SkyImage:
    """An image of the sky, and the mapping of its pixels."""

    array: ArrayPart
    sky_mapping: footprints.ImageWcs
    horizontal_axis: int
    vertical_axis: int
    close: Callable[[], None]
    fixed_pixels: Mapping[int, int] = field(default_factory=dict)  # pixel of each other axis, from 0

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.array.shape[self.horizontal_axis], self.array.shape[self.vertical_axis]

    def read_window(self, x_range: tuple[int, int], y_range: tuple[int, int]) -> Tile:
        """Read a window: shape (y, x)."""
        window = []
        for axis_number in range(len(self.array.shape)):
            pixel = self.fixed_pixels.get(axis_number, 0)
            window.append(slice(pixel, pixel + 1))
        window[self.horizontal_axis] = slice(*x_range)
        window[self.vertical_axis] = slice(*y_range)
        array_values = self.array.read(window)
        values = np.moveaxis(array_values, (self.vertical_axis, self.horizontal_axis), (-2, -1))
        return np.asarray(values, np.float32).reshape(y_range[1] - y_range[0], x_range[1] - x_range[0])


def open_sky_image(path: Place, name: str) -> SkyImage:
    """Open an image of the sky, and check that it is complete to its last pixel.

    Parameters
    ----------
    path, name
        Path and name of the file.

    Returns
    -------
    image
        The open image, which the caller closes.

    Raises
    ------
    SourceError
        The file has no image of the sky, or is damaged.
    """
    product = open_product(path, name)
    try:
        return _find_sky_image(product)
    except BaseException as error:
        product.close()
        if isinstance(error, OSError | ValueError | IndexError):
            reason = str(error)[:100] or type(error).__name__
            raise SourceError(format_message("it is damaged: {reason}", reason)) from None
        raise


def _find_sky_image(product: OpenProductFile) -> SkyImage:
    array = sky_mapping = None
    for array_item in product.arrays:
        is_image = sum(size > 1 for size in array_item.shape) >= 2
        if array_item.role == "data" and is_image and array_item.create_sky_mapping is not None:
            array = array_item
            sky_mapping = create_sky_mapping(array)
            break
    if array is None or sky_mapping is None:
        raise SourceError(format_message("it contains no image whose header states a position on the sky"))
    if sky_mapping.image_axes.kind != "sky":
        raise SourceError(format_message("it shows a planetary body or the Sun's disc, not the sky"))
    kinds = [axis.kind for axis in array.axes]
    up, across = sorted((kinds.index("longitude"), kinds.index("latitude")))
    image = SkyImage(array, sky_mapping, across, up, product.close)
    if int(np.prod(image.size)) != int(np.prod(array.shape)):
        raise SourceError(format_message("it is a cube; a cube needs its own HiPS"))
    width, height = image.size
    image.read_window((width - 1, width), (height - 1, height))
    return image


def create_sky_mapping(array: ArrayPart) -> footprints.ImageWcs | None:
    """Create the mapping between the pixels of an array and the sky; None if its file has none that can be read."""
    if array.create_sky_mapping is None:
        return None
    try:
        return array.create_sky_mapping()
    except Exception:  # noqa: BLE001  (wcslib has a class for each of its faults, of no common kind)
        return None


def write_hips_survey(
    files: Sequence[tuple[Place, str]],
    directory: Path,
    properties: Mapping[str, str],
    *,
    order: int | None = None,
    look: PictureStyle | None = None,
    progress: ProgressMonitor = ProgressMonitor(),  # noqa: B008  (it is frozen)
) -> WrittenSkySurvey:
    """Write a HiPS of images. Where several have a value, it is their mean; between pixels, values are interpolated.

    Parameters
    ----------
    files
        Place and name of each file.
    directory
        An empty directory.
    properties
        Further properties.
    order
        Order of the finest tiles; None: at least as fine as the finest image.
    look
        Stretch, percentages and colours of the PNG tiles.
    progress
        Monitor of the progress.

    Returns
    -------
    survey
        Description of the survey, with the images that are left out.

    Raises
    ------
    SourceError
        No image can be used.
    TooLargeError
        The survey would have too many tiles.
    OperationCancelledError, UpstreamError
        The operation was stopped, or a server with images does not respond.
    """
    builder = _HipsBuilder({name: path for path, name in files}, directory, progress)
    builder.find_tiles(order)
    stretch = builder.write_tiles(look or PictureStyle())
    return builder.write_metadata(properties, stretch)


class _HipsBuilder:
    """The builder of a survey: images, the tiles that contain them, and the progress."""

    def __init__(self, files: Mapping[str, Place], directory: Path, progress: ProgressMonitor) -> None:
        self.files = files
        self.directory = directory
        self.progress = progress
        self.survey = WrittenSkySurvey(order=0)
        self.open_images: OrderedDict[str, SkyImage] = OrderedDict()
        self.images_by_tile: dict[int, list[str]] = {}  # finest tile -> images
        self.tiles_by_order: list[set[int]] = []  # by order
        self.coverage_cells: list[npt.NDArray[np.int64]] = []
        self.sampled_values: list[Tile] = []
        self.initial_view: tuple[float, float, float] = (0.0, 0.0, 60.0)
        self.finished_tiles = 0

    def open_image(self, name: str) -> SkyImage:
        sky_image = self.open_images.pop(name, None)
        if sky_image is None:
            sky_image = open_sky_image(self.files[name], name)
            while len(self.open_images) >= MAX_OPEN_IMAGES:
                self.open_images.popitem(last=False)[1].close()
        self.open_images[name] = sky_image
        return sky_image

    def close_images(self) -> None:
        while self.open_images:
            self.open_images.popitem()[1].close()

    def report_progress(self, share: float) -> None:
        try:
            self.progress.report_progress(share)
        except HvenError:
            self.close_images()
            raise

    def find_tiles(self, order: int | None) -> None:
        """Find the tiles that contain the images."""
        scales = {}
        for number_or_order, name in enumerate(self.files):
            self.report_progress(0.05 * number_or_order / len(self.files))
            try:
                image = self.open_image(name)
                scales[name] = max(image.sky_mapping.scale, 1e-7)
            except SourceError as fault:
                self.survey.omitted_images[name] = str(fault)
        if not scales:
            first_omitted = list(self.survey.omitted_images.items())[:3]
            reasons = "; ".join(f"{name} ({reason})" for name, reason in first_omitted)
            raise SourceError(
                format_message("none of the {count} images can be used for a HiPS: {reason}", len(self.files), reasons)
            )
        finest = min(scales.values())
        if order is None:
            order = int(np.ceil(np.log2(ORDER_0_TILE_DEGREES / TILE_WIDTH_PIXELS / finest)))
        order = self.survey.order = int(np.clip(order, MIN_ORDER, MAX_ORDER))
        tile_degrees = ORDER_0_TILE_DEGREES / 2**order
        tile_count = 0.0
        for name, scale in scales.items():
            tile_count += np.prod(self.open_image(name).size) * (scale / tile_degrees) ** 2
        if tile_count > MAX_FINEST_TILES:
            self.close_images()
            raise TooLargeError(
                format_message("at order {order}, the HiPS would have more than {most} tiles", order, MAX_FINEST_TILES),
                remedy=format_message("choose a lower order, or leave out the images with the smallest pixels"),
            )
        for name, scale in scales.items():
            self.report_progress(0.05)
            # tiles about as large as the pixels of the image need
            image_order = np.log2(ORDER_0_TILE_DEGREES / TILE_WIDTH_PIXELS / scale)
            first_order = int(np.clip(image_order, 0, order))
            image = self.open_image(name)
            lon, lat = _sample_image_positions(image)
            if not len(lon):
                continue
            self.initial_view = _choose_initial_view(image, lon, lat)
            for tile_number in _find_image_tiles(image, lon, lat, first_order, order):
                self.images_by_tile.setdefault(tile_number, []).append(name)
        for tile_order in range(order + 1):
            shift = 2 * (order - tile_order)
            self.tiles_by_order.append({tile >> shift for tile in self.images_by_tile})

    def write_tiles(self, look: PictureStyle) -> ColourStretch:
        """Write all tiles: FITS from the finest up, then PNG in colours that fit all of them."""
        used: set[str] = set()
        try:
            for base in sorted(self.tiles_by_order[0]):
                self._write_tile(0, base, used)
        finally:
            self.close_images()
        if not self.coverage_cells:
            raise SourceError(format_message("none of the {count} images contains pixel values", len(self.files)))
        self.survey.used_images = sorted(used)
        for name in self.files.keys() - used - self.survey.omitted_images.keys():
            self.survey.omitted_images[name] = str(format_message("it contains no pixel values"))
        stretch = choose_stretch(np.concatenate(self.sampled_values).astype(np.float64), look)
        tile_paths = sorted(self.directory.rglob("Npix*.fits"))
        for path_number, path in enumerate(tile_paths):
            self.report_progress(0.75 + 0.24 * path_number / len(tile_paths))
            values = np.frombuffer(path.read_bytes(), ">f4", TILE_WIDTH_PIXELS * TILE_WIDTH_PIXELS, HEADER_BYTES)
            tile_values = values.reshape(TILE_WIDTH_PIXELS, TILE_WIDTH_PIXELS)
            _create_tile_image(tile_values[::-1], stretch).save(path.with_suffix(".png"))
        self.survey.tiles = len(tile_paths)
        return stretch

    def _write_tile(self, order: int, tile: int, used_images: set[str]) -> Tile | None:
        """Write a tile from images, or from the four tiles below; pixels are by x and y of HEALPix."""
        if order == self.survey.order:
            self.report_progress(0.05 + 0.7 * self.finished_tiles / len(self.images_by_tile))
            self.finished_tiles += 1
            tile_values = self._compute_tile_means(tile, used_images)
            if tile_values is not None:
                self._record_tile_values(tile, tile_values)
        else:
            tile_values = self._write_children_into_mean_tile(order, tile, used_images)
        if tile_values is not None:
            folder = self.directory / f"Norder{order}" / f"Dir{tile // 10_000 * 10_000}"
            folder.mkdir(parents=True, exist_ok=True)
            tile_bytes = write_fits_tile(tile_values[::-1], order, tile)
            (folder / f"Npix{tile}.fits").write_bytes(tile_bytes)
        return tile_values

    def _write_children_into_mean_tile(self, order: int, tile: int, used_images: set[str]) -> Tile | None:
        """Write the four tiles below a tile, and average them; return None if they have no value."""
        half_width = TILE_WIDTH_PIXELS // 2
        tile_values = None
        for child in range(4):
            child_tile = 4 * tile + child
            if child_tile not in self.tiles_by_order[order + 1]:
                continue
            part = self._write_tile(order + 1, child_tile, used_images)
            if part is None:
                continue
            if tile_values is None:
                tile_values = np.full((TILE_WIDTH_PIXELS, TILE_WIDTH_PIXELS), np.nan, np.float32)
            pixel_groups = part.reshape(half_width, 2, half_width, 2).transpose(1, 3, 0, 2)
            x = (child & 1) * half_width
            y = (child >> 1) * half_width
            mean_tile = compute_mean_tile(pixel_groups.reshape(4, half_width, -1))
            tile_values[x : x + half_width, y : y + half_width] = mean_tile
        return tile_values

    def _compute_tile_means(self, tile: int, used_images: set[str]) -> Tile | None:
        """Compute the mean of all images at each pixel of a tile; None: none has a value there."""
        total = np.zeros(TILE_WIDTH_PIXELS * TILE_WIDTH_PIXELS)
        value_counts = np.zeros(TILE_WIDTH_PIXELS * TILE_WIDTH_PIXELS, np.int32)
        pixels = (tile << 2 * TILE_PIXEL_ORDERS) + list_nested_cells(TILE_PIXEL_ORDERS)
        lon, lat = healpix.compute_cell_centers(self.survey.order + TILE_PIXEL_ORDERS, pixels)
        for name in self.images_by_tile[tile]:
            if name in self.survey.omitted_images:
                continue
            try:
                values = interpolate_image(self.open_image(name), lon, lat)
            except (SourceError, OSError, ValueError) as fault:
                message = format_message("it is damaged: {reason}", str(fault)[:100])
                self.survey.omitted_images[name] = str(message)
                continue
            has_value = np.isfinite(values)
            if has_value.any():
                used_images.add(name)
                total[has_value] += values[has_value]
                value_counts += has_value
        if not value_counts.any():
            return None
        with np.errstate(invalid="ignore"):
            pixel_means = total / np.where(value_counts, value_counts, np.nan)
        return pixel_means.astype(np.float32).reshape(TILE_WIDTH_PIXELS, TILE_WIDTH_PIXELS)

    def _record_tile_values(self, tile: int, mean_values: Tile) -> None:
        """Add the cells of a tile with values to the coverage, and some values to the samples for the stretch."""
        cells_per_side = 1 << COVERAGE_ORDERS
        cell_width = TILE_WIDTH_PIXELS >> COVERAGE_ORDERS
        cell_values = np.isfinite(mean_values).reshape(cells_per_side, -1, cells_per_side, cell_width)
        cells = cell_values.any((1, 3)).ravel()
        self.coverage_cells.append((tile << 2 * COVERAGE_ORDERS) + list_nested_cells(COVERAGE_ORDERS)[cells])
        self.sampled_values.append(mean_values[np.isfinite(mean_values)][::SAMPLE_STEP])

    def write_metadata(self, properties: Mapping[str, str], stretch: ColourStretch) -> WrittenSkySurvey:
        """Write the files that describe the tiles."""
        order = self.survey.order
        write_allsky(self.directory, sorted(self.tiles_by_order[MIN_ORDER]))
        moc = Moc.from_cells(np.concatenate(self.coverage_cells), order + COVERAGE_ORDERS)
        (self.directory / "Moc.fits").write_bytes(region_files.write_moc(moc))
        lon, lat, field_degrees = self.initial_view
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%MZ")
        self.survey.properties = {
            **properties,
            "hips_version": "1.4",
            "hips_builder": "Hven",
            "hips_creation_date": now,
            "hips_release_date": now,
            "hips_frame": "equatorial",
            "hips_order": str(order),
            "hips_order_min": "0",
            "hips_tile_width": str(TILE_WIDTH_PIXELS),
            "hips_tile_format": "png fits",
            "hips_pixel_bitpix": "-32",
            "hips_pixel_cut": f"{stretch.low:g} {stretch.high:g}",
            "hips_initial_ra": f"{lon:.6f}",
            "hips_initial_dec": f"{lat:.6f}",
            "hips_initial_fov": f"{field_degrees:.6g}",
            "hips_overlay": "mean",
            "hips_sampling": "bilinear",
            "hips_hierarchy": "mean",
            "dataproduct_type": "image",
            "moc_sky_fraction": f"{moc.fraction:.6g}",
        }
        return self.survey


@cache
def list_nested_cells(order_difference: int) -> npt.NDArray[np.int64]:
    """List the nested numbers of the cells in a coarser cell, by x (to the north-east), then y.

    `order_difference` is the difference of their orders.
    """
    axis = np.arange(1 << order_difference, dtype=np.int64)
    spread_bits = np.zeros_like(axis)
    for bit in range(order_difference):
        spread_bits += (axis >> bit & 1) << 2 * bit
    cell_numbers = spread_bits[:, None] + 2 * spread_bits[None, :]
    return np.asarray(cell_numbers.ravel())


def compute_mean_tile(parts: npt.NDArray[np.float32]) -> Tile:
    """Average over the first axis, without missing values."""
    is_finite = np.isfinite(parts)
    with np.errstate(invalid="ignore"):
        sums = np.where(is_finite, parts, 0).sum(0)
        counts = np.where(is_finite.any(0), is_finite.sum(0), np.nan)
        return np.asarray(sums / counts, np.float32)


def _is_near_image(image: SkyImage, order: int, tile: int) -> bool:
    """Return whether a tile may contain some of an image."""
    cells = np.arange(tile << 10, (tile + 1) << 10)
    xy = image.sky_mapping.to_pixels(*healpix.compute_cell_centers(order + 5, cells))
    with np.errstate(invalid="ignore"):
        is_near = (xy > -NEAR_PIXELS) & (xy < np.array(image.size) + NEAR_PIXELS)
        return bool(is_near.all(1).any())


def list_near_tiles(image: SkyImage, order: int, tile_ranges: npt.NDArray[np.int64]) -> list[int]:
    """List the tiles in half-open ranges that may contain some of an image."""
    near_tiles = []
    for start, stop in tile_ranges.tolist():
        near_tiles += [tile for tile in range(start, stop) if _is_near_image(image, order, tile)]
    return near_tiles


def interpolate_image(image: SkyImage, lon: Numbers, lat: Numbers) -> Numbers:
    """Interpolate an image between the four pixels around each place that have a value, if the nearest one has."""
    width, height = image.size
    xy = image.sky_mapping.to_pixels(lon, lat) - 1.0
    with np.errstate(invalid="ignore"):
        inside = ((xy >= -0.5) & (xy <= [width - 0.5, height - 0.5])).all(1)
    interpolated = np.full(len(lon), np.nan)
    if not inside.any():
        return interpolated
    x, y = xy[inside].T
    low = np.floor([x.min(), y.min()]).astype(int).clip(0)
    end = np.ceil([x.max(), y.max()]).astype(int) + 1
    high = np.minimum(end, [width, height])
    if int(np.prod(high - low)) > MAX_READ_PIXELS:
        raise SourceError(format_message("its pixels are much smaller than the pixels of the tiles"))
    values = image.read_window((low[0], high[0]), (low[1], high[1]))
    x = x - low[0]
    y = y - low[1]
    last_pixels = values.shape[1] - 1, values.shape[0] - 1
    total = np.zeros(len(x))
    weights = np.zeros(len(x))
    left_columns = np.floor(x).astype(int)
    lower_rows = np.floor(y).astype(int)
    for horizontal_step, vertical_step in ((0, 0), (1, 0), (0, 1), (1, 1)):
        rows = (lower_rows + vertical_step).clip(0, last_pixels[1])
        columns = (left_columns + horizontal_step).clip(0, last_pixels[0])
        part = values[rows, columns]
        horizontal_weight = np.abs(1 - horizontal_step - (x - left_columns))
        vertical_weight = np.abs(1 - vertical_step - (y - lower_rows))
        weight = horizontal_weight * vertical_weight * np.isfinite(part)
        total += np.where(weight > 0, part, 0.0) * weight
        weights += weight
    with np.errstate(invalid="ignore", divide="ignore"):
        interpolated[inside] = np.where(weights >= 0.25, total / weights, np.nan)
    return interpolated


def write_fits_tile(values: Tile, order: int, tile: int) -> bytes:
    """Write a tile as one HDU, which programs for HiPS read."""
    cards = {
        "SIMPLE": "T",
        "BITPIX": "-32",
        "NAXIS": "2",
        "NAXIS1": str(values.shape[1]),
        "NAXIS2": str(values.shape[0]),
        "ORDER": str(order),
        "NPIX": str(tile),
    }
    body = values.astype(">f4").tobytes()
    return write_fits_header(cards) + body + bytes(-len(body) % HEADER_BYTES)


def write_fits_header(cards: Mapping[str, object]) -> bytes:
    """Write the header of a tile as one block of FITS."""
    lines = [f"{name:<8}= {value:>20}".ljust(80) for name, value in cards.items()]
    header = "".join([*lines, "END".ljust(80)])
    return header.ljust(HEADER_BYTES).encode()


def _create_tile_image(values: npt.NDArray[Any], stretch: ColourStretch) -> Any:
    from PIL import Image  # noqa: PLC0415  (loaded for pictures alone)

    return Image.fromarray(stretch.to_rgba(values.astype(np.float64)), "RGBA")


def write_allsky(directory: Path, tiles: Sequence[int]) -> None:
    """Draw all tiles of order 3 in one image, each as 64 x 64 pixels, 27 in a row (HiPS 1.0 section 4.3.2)."""
    from PIL import Image  # noqa: PLC0415  (loaded already)

    tiles_per_row = 27
    allsky_image = Image.new("RGBA", (64 * tiles_per_row, 64 * -(-768 // tiles_per_row)))
    for tile in tiles:
        path = directory / f"Norder{MIN_ORDER}" / "Dir0" / f"Npix{tile}.png"
        if path.exists():
            with Image.open(path) as tile_image:
                left = 64 * (tile % tiles_per_row)
                top = 64 * (tile // tiles_per_row)
                allsky_image.paste(tile_image.resize((64, 64)), (left, top))
    allsky_image.save(directory / f"Norder{MIN_ORDER}" / "Allsky.png")


def _sample_image_positions(image: SkyImage) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Compute the longitudes and latitudes of a grid of an image's pixels; those without a position are left out."""
    step = TILE_WIDTH_PIXELS // 8
    grid_points = [np.unique(np.append(np.arange(1, size, step), [1, size])) for size in image.size]
    x, y = (grid_axis.ravel().astype(float) for grid_axis in np.meshgrid(*grid_points))
    lon, lat = image.sky_mapping(np.stack([x, y], 1)).T
    is_known = np.isfinite(lon) & np.isfinite(lat)
    return lon[is_known], lat[is_known]


def _choose_initial_view(
    image: SkyImage, lon: npt.NDArray[np.float64], lat: npt.NDArray[np.float64]
) -> tuple[float, float, float]:
    """Choose where a survey opens: the middle one of an image's positions, and the width of the field in degrees."""
    middle = len(lon) // 2
    field_degrees = min(60.0, max(image.size) * image.sky_mapping.scale * 1.2)
    return float(lon[middle]), float(lat[middle]), field_degrees


def _find_image_tiles(
    image: SkyImage, lon: npt.NDArray[np.float64], lat: npt.NDArray[np.float64], first_order: int, order: int
) -> list[int]:
    """Find the tiles of an order that may contain an image, from the tiles of its positions in the first order down."""
    cell_indexes = healpix.compute_cell_indexes(first_order, lon, lat)
    first_tiles = np.unique(cell_indexes)
    shift = 2 * (healpix.MAX_ORDER - first_order)
    ranges = np.stack([first_tiles << shift, (first_tiles + 1) << shift], 1)
    neighbourhood = healpix.add_neighbour_cells(healpix.merge_ranges(ranges), first_order)
    tile_numbers = list_near_tiles(image, first_order, neighbourhood >> shift)
    for tile_order in range(first_order + 1, order + 1):
        child_ranges = np.array([(4 * tile, 4 * tile + 4) for tile in tile_numbers], np.int64)
        tile_numbers = list_near_tiles(image, tile_order, child_ranges.reshape(-1, 2))
    return tile_numbers
