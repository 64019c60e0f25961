"""A HiPS of images: tiles of 512 x 512 pixels in HEALPix order, FITS and PNG, each level half as fine as the one below (HiPS 1.0)."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from hven.formats.media import open_product
from hven.formats.pictures._appearance import Look, Stretch, stretched
from hven.model.clock import Task
from hven.model.errors import HvenError, SourceError, TooLarge, say
from hven.model.sky import Moc, healpix, region_files

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from hven.formats.media import Array, Place, Product
    from hven.model.sky import footprints

    Numbers = npt.NDArray[np.float64]
    Tile = npt.NDArray[np.float32]

DEPTH = 9  # orders from a tile to its pixels
WIDTH = 1 << DEPTH
LEAST, DEEPEST = 3, 20  # orders: programs begin at 3
CELL = 58.6323  # degrees: the square root of the area of a tile of order 0
MOST = 200_000  # tiles of the finest order, about
NEAR = 40.0  # pixels about an image within which a tile may still have some of it
OPEN = 16  # images at once
LARGEST = 64 << 20  # pixels of an image that are read for a tile
COVERED = 3  # orders by which the coverage is finer than the tiles
SAMPLE = 997  # each such value of a tile counts for the colours
HEAD = 2880


@dataclass(slots=True, kw_only=True)
class Survey:
    """What was made.

    Attributes
    ----------
    order
        Of the finest tiles.
    tiles
        Of all orders.
    used
        Names of the images that are in it.
    left_out
        Why others are not, by name.
    properties
        What it says of itself.
    """

    order: int
    tiles: int = 0
    used: list[str] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    properties: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class _Image:
    """An image of the sky, and how its pixels are found."""

    array: Array
    places: footprints.Places
    across: int
    up: int
    close: Callable[[], None]
    held: Mapping[int, int] = field(default_factory=dict)  # of other axes their pixel, from 0

    @property
    def size(self) -> tuple[int, int]:
        return self.array.shape[self.across], self.array.shape[self.up]

    def read(self, x: tuple[int, int], y: tuple[int, int]) -> Tile:
        """Read a window: shape (y, x)."""
        window = [slice(self.held.get(at, 0), self.held.get(at, 0) + 1) for at in range(len(self.array.shape))]
        window[self.across], window[self.up] = slice(*x), slice(*y)
        values = np.moveaxis(self.array.read(window), (self.up, self.across), (-2, -1))
        return np.asarray(values, np.float32).reshape(y[1] - y[0], x[1] - x[0])


def on_sky(path: Place, name: str) -> _Image:
    """Open an image of the sky, and see that it is there to its last pixel.

    Parameters
    ----------
    path, name
        Of the file.

    Returns
    -------
    image
        To be closed.

    Raises
    ------
    SourceError
        It is none, or damaged.
    """
    product = open_product(path, name)
    try:
        return _looked(product)
    except BaseException as error:
        product.closing()
        if isinstance(error, OSError | ValueError | IndexError):
            raise SourceError(say("it is damaged: {reason}", str(error)[:100] or type(error).__name__)) from None
        raise


def _looked(product: Product) -> _Image:
    flat = [one for one in product.arrays if one.role == "data" and sum(size > 1 for size in one.shape) >= 2]
    array = next((one for one in flat if one.places is not None), None)
    places = None if array is None or array.places is None else _placed(array)
    if array is None or places is None:
        raise SourceError(say("it has no image whose header says where it is on the sky"))
    if places.of.kind != "sky":
        raise SourceError(say("it shows a body or the Sun's disc, and not the sky"))
    kinds = [axis.kind for axis in array.axes]
    up, across = sorted((kinds.index("longitude"), kinds.index("latitude")))
    image = _Image(array, places, across, up, product.closing)
    if int(np.prod(image.size)) != int(np.prod(array.shape)):
        raise SourceError(say("it is a cube: make a HiPS of it alone"))
    width, height = image.size
    image.read((width - 1, width), (height - 1, height))
    return image


def _placed(array: Array) -> footprints.Places | None:
    try:
        return array.places() if array.places is not None else None
    except Exception:  # noqa: BLE001  (wcslib has a class for each of its faults, of no common kind)
        return None


def survey(
    files: Sequence[tuple[Place, str]],
    place: Path,
    said: Mapping[str, str],
    *,
    order: int | None = None,
    look: Look | None = None,
    task: Task = Task(),  # noqa: B008  (it is frozen)
) -> Survey:
    """Make a HiPS of images. Where several have a value, it is their mean; between pixels, values are interpolated.

    Parameters
    ----------
    files
        Each with its name.
    place
        A directory that is there, and empty.
    said
        Properties besides.
    order
        Of the finest tiles; None: no coarser than the finest image.
    look
        Stretch, percentages, colours of the PNG tiles.
    task
        What it is told to.

    Returns
    -------
    survey
        What it is, and which images are not in it.

    Raises
    ------
    SourceError
        None can be used.
    TooLarge
        It would have too many tiles.
    Cancelled, FarFault
        It was stopped; a server with images is away.
    """
    work = _Work({name: path for path, name in files}, place, task)
    work.look(order)
    stretch = work.draw(look or Look())
    return work.finish(said, stretch)


class _Work:
    """Images, the tiles that they are in, and how far it is."""

    def __init__(self, files: Mapping[str, Place], place: Path, task: Task) -> None:
        self.files, self.place, self.task = files, place, task
        self.made = Survey(order=0)
        self.open: OrderedDict[str, _Image] = OrderedDict()
        self.of: dict[int, list[str]] = {}  # finest tile -> images
        self.wanted: list[set[int]] = []  # by order
        self.cells: list[npt.NDArray[np.int64]] = []
        self.sample: list[Tile] = []
        self.first: tuple[float, float, float] = (0.0, 0.0, 60.0)
        self.done = 0

    def image(self, name: str) -> _Image:
        found = self.open.pop(name, None)
        if found is None:
            found = on_sky(self.files[name], name)
            while len(self.open) >= OPEN:
                self.open.popitem(last=False)[1].close()
        self.open[name] = found
        return found

    def close(self) -> None:
        while self.open:
            self.open.popitem()[1].close()

    def go(self, share: float) -> None:
        try:
            self.task.go(share)
        except HvenError:
            self.close()
            raise

    def look(self, order: int | None) -> None:
        """Find which tiles the images are in."""
        scales = {}
        for at, name in enumerate(self.files):
            self.go(0.05 * at / len(self.files))
            try:
                image = self.image(name)
                scales[name] = max(image.places.scale, 1e-7)
            except SourceError as fault:
                self.made.left_out[name] = str(fault)
        if not scales:
            why = "; ".join(f"{name}: {reason}" for name, reason in list(self.made.left_out.items())[:3])
            raise SourceError(say("none of {count} images can be in a HiPS: {reason}", len(self.files), why))
        finest = min(scales.values())
        if order is None:
            order = int(np.ceil(np.log2(CELL / WIDTH / finest)))
        order = self.made.order = int(np.clip(order, LEAST, DEEPEST))
        tile = CELL / 2**order
        if sum(np.prod(self.image(name).size) * (scale / tile) ** 2 for name, scale in scales.items()) > MOST:
            self.close()
            raise TooLarge(
                say("at order {order} it has more than {most} tiles", order, MOST),
                remedy=say("say a lower order, or leave out the finest images"),
            )
        for name, scale in scales.items():
            self.go(0.05)
            begin = int(
                np.clip(np.log2(CELL / WIDTH / scale), 0, order)
            )  # tiles about as large as the image's pixels have it
            for one in self._tiles(self.image(name), begin, order):
                self.of.setdefault(one, []).append(name)
        self.wanted = [{tile >> 2 * (order - at) for tile in self.of} for at in range(order + 1)]

    def _tiles(self, image: _Image, begin: int, order: int) -> list[int]:
        """Find the tiles that an image may be in: from about its own pixels' order down."""
        steps = [np.unique(np.append(np.arange(1, size, WIDTH // 8), [1, size])) for size in image.size]
        x, y = (one.ravel().astype(float) for one in np.meshgrid(*steps))
        lon, lat = image.places(np.stack([x, y], 1)).T
        known = np.isfinite(lon) & np.isfinite(lat)
        if not known.any():
            return []
        middle = int(known.sum()) // 2
        field_ = min(60.0, max(image.size) * image.places.scale * 1.2)
        self.first = float(lon[known][middle]), float(lat[known][middle]), field_
        begun = np.unique(healpix.index(begin, lon[known], lat[known]))
        shift = 2 * (healpix.ORDER - begin)
        ranges = np.stack([begun << shift, (begun + 1) << shift], 1)
        around = healpix.neighbourhood(healpix.merge(ranges), begin) >> shift
        found = [tile for start, stop in around.tolist() for tile in range(start, stop) if _near(image, begin, tile)]
        for at in range(begin + 1, order + 1):
            found = [tile for above in found for tile in range(4 * above, 4 * above + 4) if _near(image, at, tile)]
        return found

    def draw(self, look: Look) -> Stretch:
        """Write all tiles: FITS from the finest on, then PNG in colours of all."""
        used: set[str] = set()
        try:
            for base in sorted(self.wanted[0]):
                self._drawn(0, base, used)
        finally:
            self.close()
        if not self.cells:
            raise SourceError(say("none of {count} images has a value", len(self.files)))
        self.made.used = sorted(used)
        for name in self.files.keys() - used - self.made.left_out.keys():
            self.made.left_out[name] = str(say("it has no value"))
        stretch = stretched(np.concatenate(self.sample).astype(np.float64), look)
        written = sorted(self.place.rglob("Npix*.fits"))
        for at, path in enumerate(written):
            self.go(0.75 + 0.24 * at / len(written))
            values = np.frombuffer(path.read_bytes(), ">f4", WIDTH * WIDTH, HEAD).reshape(WIDTH, WIDTH)
            _painted(values[::-1], stretch).save(path.with_suffix(".png"))
        self.made.tiles = len(written)
        return stretch

    def _drawn(self, order: int, tile: int, used: set[str]) -> Tile | None:
        """Make a tile: of images, or of the four below; pixels by x and y of HEALPix."""
        if order == self.made.order:
            self.go(0.05 + 0.7 * self.done / len(self.of))
            self.done += 1
            made = self._sampled(tile, used)
        else:
            made = None
            for child in range(4):
                below = 4 * tile + child
                part = self._drawn(order + 1, below, used) if below in self.wanted[order + 1] else None
                if part is not None:
                    made = np.full((WIDTH, WIDTH), np.nan, np.float32) if made is None else made
                    x, y = ((child & 1) * WIDTH // 2, (child >> 1) * WIDTH // 2)
                    made[x : x + WIDTH // 2, y : y + WIDTH // 2] = _mean(
                        part.reshape(WIDTH // 2, 2, WIDTH // 2, 2).transpose(1, 3, 0, 2).reshape(4, WIDTH // 2, -1)
                    )
        if made is not None:
            folder = self.place / f"Norder{order}" / f"Dir{tile // 10_000 * 10_000}"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"Npix{tile}.fits").write_bytes(_fits(made[::-1], order, tile))
        return made

    def _sampled(self, tile: int, used: set[str]) -> Tile | None:
        total, known = np.zeros(WIDTH * WIDTH), np.zeros(WIDTH * WIDTH, np.int32)
        lon, lat = healpix.center(self.made.order + DEPTH, (tile << 2 * DEPTH) + _nested(DEPTH))
        for name in self.of[tile]:
            if name in self.made.left_out:
                continue
            try:
                values = _between(self.image(name), lon, lat)
            except (SourceError, OSError, ValueError) as fault:
                self.made.left_out[name] = str(say("it is damaged: {reason}", str(fault)[:100]))
                continue
            has = np.isfinite(values)
            if has.any():
                used.add(name)
                total[has] += values[has]
                known += has
        if not known.any():
            return None
        with np.errstate(invalid="ignore"):
            made = (total / np.where(known, known, np.nan)).astype(np.float32).reshape(WIDTH, WIDTH)
        cells = np.isfinite(made).reshape(1 << COVERED, -1, 1 << COVERED, WIDTH >> COVERED).any((1, 3)).ravel()
        self.cells.append((tile << 2 * COVERED) + _nested(COVERED)[cells])
        self.sample.append(made[np.isfinite(made)][::SAMPLE])
        return made

    def finish(self, said: Mapping[str, str], stretch: Stretch) -> Survey:
        """Write what tells of the tiles."""
        order = self.made.order
        _allsky(self.place, sorted(self.wanted[LEAST]))
        moc = Moc.of_cells(np.concatenate(self.cells), order + COVERED)
        (self.place / "Moc.fits").write_bytes(region_files.moc_written(moc))
        lon, lat, field_ = self.first
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%MZ")
        self.made.properties = {
            **said,
            "hips_version": "1.4",
            "hips_builder": "Hven",
            "hips_creation_date": now,
            "hips_release_date": now,
            "hips_frame": "equatorial",
            "hips_order": str(order),
            "hips_order_min": "0",
            "hips_tile_width": str(WIDTH),
            "hips_tile_format": "png fits",
            "hips_pixel_bitpix": "-32",
            "hips_pixel_cut": f"{stretch.low:g} {stretch.high:g}",
            "hips_initial_ra": f"{lon:.6f}",
            "hips_initial_dec": f"{lat:.6f}",
            "hips_initial_fov": f"{field_:.6g}",
            "hips_overlay": "mean",
            "hips_sampling": "bilinear",
            "hips_hierarchy": "mean",
            "dataproduct_type": "image",
            "moc_sky_fraction": f"{moc.fraction:.6g}",
        }
        return self.made


@cache
def _nested(depth: int) -> npt.NDArray[np.int64]:
    """Return the nested numbers of the cells in one that is `depth` orders coarser, by x (to the north-east), then y."""
    axis = np.arange(1 << depth, dtype=np.int64)
    spread = np.array([(axis >> bit & 1) << 2 * bit for bit in range(depth)]).sum(0)
    return np.asarray((spread[:, None] + 2 * spread[None, :]).ravel())


def _mean(parts: npt.NDArray[np.float32]) -> Tile:
    """Average those of the first axis that have a value."""
    known = np.isfinite(parts)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(known, parts, 0).sum(0) / np.where(known.any(0), known.sum(0), np.nan), np.float32)


def _near(image: _Image, order: int, tile: int) -> bool:
    """Tell whether a tile may have some of an image."""
    xy = image.places.pixels(*healpix.center(order + 5, np.arange(tile << 10, (tile + 1) << 10)))
    with np.errstate(invalid="ignore"):
        return bool(((xy > -NEAR) & (xy < np.array(image.size) + NEAR)).all(1).any())


def _between(image: _Image, lon: Numbers, lat: Numbers) -> Numbers:
    """Interpolate an image at places: of the four pixels around, those that have a value, where the nearest one has."""
    width, height = image.size
    xy = image.places.pixels(lon, lat) - 1.0
    with np.errstate(invalid="ignore"):
        inside = ((xy >= -0.5) & (xy <= [width - 0.5, height - 0.5])).all(1)
    found = np.full(len(lon), np.nan)
    if not inside.any():
        return found
    x, y = xy[inside].T
    low = np.floor([x.min(), y.min()]).astype(int).clip(0)
    high = np.minimum(np.ceil([x.max(), y.max()]).astype(int) + 1, [width, height])
    if int(np.prod(high - low)) > LARGEST:
        raise SourceError(say("its pixels are much finer than the tiles"))
    values = image.read((low[0], high[0]), (low[1], high[1]))
    x, y = x - low[0], y - low[1]
    most = values.shape[1] - 1, values.shape[0] - 1
    total, weights = np.zeros(len(x)), np.zeros(len(x))
    left, below = np.floor(x).astype(int), np.floor(y).astype(int)
    for right, above in ((0, 0), (1, 0), (0, 1), (1, 1)):
        part = values[(below + above).clip(0, most[1]), (left + right).clip(0, most[0])]
        weight = np.abs(1 - right - (x - left)) * np.abs(1 - above - (y - below)) * np.isfinite(part)
        total += np.where(weight > 0, part, 0.0) * weight
        weights += weight
    with np.errstate(invalid="ignore", divide="ignore"):
        found[inside] = np.where(weights >= 0.25, total / weights, np.nan)
    return found


def _fits(values: Tile, order: int, tile: int) -> bytes:
    """Write a tile: one HDU, as programs of HiPS read it."""
    cards = {"SIMPLE": "T", "BITPIX": "-32", "NAXIS": "2", "NAXIS1": str(WIDTH), "NAXIS2": str(WIDTH), "ORDER": str(order), "NPIX": str(tile)}  # fmt: skip
    head = "".join(f"{name:<8}= {value:>20}".ljust(80) for name, value in cards.items()) + "END".ljust(80)
    body = values.astype(">f4").tobytes()
    return head.ljust(HEAD).encode() + body + bytes(-len(body) % HEAD)


def _painted(values: npt.NDArray[Any], stretch: Stretch) -> Any:
    from PIL import Image  # noqa: PLC0415  (loaded for pictures alone)

    return Image.fromarray(stretch.painted(values.astype(np.float64)), "RGBA")


def _allsky(place: Path, tiles: Sequence[int]) -> None:
    """Draw all tiles of order 3 in one picture, each as 64 x 64 pixels, 27 in a row (HiPS 1.0 section 4.3.2)."""
    from PIL import Image  # noqa: PLC0415  (loaded already)

    across = 27
    whole = Image.new("RGBA", (64 * across, 64 * -(-768 // across)))
    for tile in tiles:
        path = place / f"Norder{LEAST}" / "Dir0" / f"Npix{tile}.png"
        if path.exists():
            with Image.open(path) as one:
                whole.paste(one.resize((64, 64)), (64 * (tile % across), 64 * (tile // across)))
    whole.save(place / f"Norder{LEAST}" / "Allsky.png")
