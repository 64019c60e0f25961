"""A HiPS of a cube (HiPS3D, draft of HiPS 2.0): tiles of 64 x 64 pixels in HEALPix order and 16 channels, whose widths are equal in the logarithm of frequency."""

from __future__ import annotations

from collections import OrderedDict
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from hven.formats.media import open_product
from hven.formats.pictures._appearance import Look, stretched
from hven.formats.pictures._surveys import CELL, HEAD, SAMPLE, Survey, _between, _Image, _mean, _near, _nested, _placed
from hven.model.clock import Task
from hven.model.errors import SourceError, TooLarge, say
from hven.model.sky import healpix

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import numpy.typing as npt

    from hven.formats.media import Place, Product

    Numbers = npt.NDArray[np.float64]
    Box = npt.NDArray[np.float32]  # channels, x, y of HEALPix

LIGHT = 299_792_458.0  # m/s
INNER = 6  # orders from a tile to its pixels
WIDTH, CHANNELS = 1 << INNER, 16
LOWEST, DECADES = -18.0, 56.0  # of frequencies (log10 of Hz), as MOCs of frequency number them
FINEST = 51  # order of frequencies
DEEPEST = 20
MOST = 20_000  # tiles of the finest orders, about: 5 GB
KEPT = 24  # planes that are kept for the next channels


def cube_survey(
    file: tuple[Place, str],
    place: Path,
    said: Mapping[str, str],
    *,
    order: int | None = None,
    look: Look | None = None,
    task: Task = Task(),  # noqa: B008  (it is frozen)
) -> Survey | None:
    """Make a HiPS3D of a cube of the sky; between its pixels and planes, values are interpolated.

    Parameters
    ----------
    file
        With its name.
    place
        A directory that is there, and empty.
    said
        Properties besides.
    order
        Of the finest tiles; None: no coarser than the cube's pixels.
    look
        Stretch and percentages of the values that programs show first.
    task
        What it is told to.

    Returns
    -------
    survey
        What it is; None: it is no cube of the sky with wavelengths, and no tile was written.

    Raises
    ------
    SourceError
        It is damaged, or has no value.
    TooLarge
        It would have too many tiles.
    Cancelled, FarFault
        It was stopped; a server with the cube is away.
    """
    path, name = file
    try:
        product = open_product(path, name)
    except SourceError:
        return None
    with product:
        cube = _cube(product)
        if cube is None:
            return None
        made = _Tiles(cube, place, task).written(order)
        if made is None:
            raise SourceError(say("{name} has no value", name))
        survey, values = made
        stretch = stretched(values.astype(np.float64), look or Look())
        survey.used = [name]
        survey.properties = {**said, **survey.properties, "hips_pixel_cut": f"{stretch.low:g} {stretch.high:g}"}
        return survey


class _Cube:
    """A cube, its planes in the order of their frequencies."""

    def __init__(self, image: _Image, axis: int, frequencies: Numbers) -> None:
        self.image, self.axis = image, axis
        self.order = np.argsort(frequencies)
        self.logs = np.log10(frequencies[self.order])
        self.kept: OrderedDict[tuple[int, int], Numbers] = OrderedDict()

    def plane(self, number: int, tile: int, lon: Numbers, lat: Numbers) -> Numbers:
        """Interpolate a plane at the places of a tile."""
        key = tile, number
        if key not in self.kept:
            while len(self.kept) >= KEPT:
                self.kept.popitem(last=False)
            self.image.held = {self.axis: int(self.order[number])}
            self.kept[key] = _between(self.image, lon, lat)
        return self.kept[key]

    def channel(self, log: float, tile: int, lon: Numbers, lat: Numbers) -> Numbers | None:
        """Interpolate between planes; None: the channel is beyond all of them."""
        logs = self.logs
        half = (logs[1] - logs[0]) / 2.0, (logs[-1] - logs[-2]) / 2.0
        if not logs[0] - half[0] <= log <= logs[-1] + half[1]:
            return None
        at = float(np.interp(log, logs, np.arange(len(logs))))
        low, share = int(at), at - int(at)
        first = self.plane(low, tile, lon, lat)
        if share == 0.0:
            return first
        second = self.plane(low + 1, tile, lon, lat)
        mixed = (1.0 - share) * first + share * second
        return np.where(np.isfinite(mixed), mixed, first if share < 0.5 else second)


def _cube(product: Product) -> _Cube | None:
    """Find a cube of the sky whose planes have wavelengths."""
    for array in product.arrays:
        kinds = [axis.kind for axis in array.axes]
        axis = next((at for at, one in enumerate(array.axes) if one.kind == "spectral" and one.size > 1), None)
        places = None if array.places is None or array.role != "data" else _placed(array)
        waves = None if axis is None else array.axes[axis].values
        if places is None or axis is None or waves is None or places.of.kind != "sky":
            continue
        with np.errstate(all="ignore"):
            frequencies = LIGHT / np.asarray(waves(), np.float64)
        if np.isfinite(frequencies).all() and frequencies.min() > 0.0 and np.unique(frequencies).size == len(frequencies):  # fmt: skip
            up, across = sorted((kinds.index("longitude"), kinds.index("latitude")))
            return _Cube(_Image(array, places, across, up, product.closing), axis, frequencies)
    return None


class _Tiles:
    """Tiles of a cube, from the finest up."""

    def __init__(self, cube: _Cube, place: Path, task: Task) -> None:
        self.cube, self.place, self.task = cube, place, task
        self.order = self.fine = 0

    def written(self, order: int | None) -> tuple[Survey, Box] | None:
        """Write all; return what they are and some of their values, or None: there is no value."""
        cube, scale = self.cube, max(self.cube.image.places.scale, 1e-7)
        wanted = int(np.ceil(np.log2(CELL / WIDTH / scale))) if order is None else order
        self.order = int(np.clip(wanted, 0, DEEPEST))
        step = float(np.median(np.diff(cube.logs)))
        self.fine = int(np.clip(np.ceil(np.log2(DECADES / (step * CHANNELS))) - 1, 0, FINEST))
        width = DECADES / 2 ** (self.fine + 1)  # of a tile
        low, high = (int((log - LOWEST) / width) for log in (cube.logs[0] - step, cube.logs[-1] + step))
        places = self._places()
        if len(places) * (high - low + 1) > MOST:
            raise TooLarge(
                say("at order {order} it has more than {most} tiles", self.order, MOST),
                remedy=say("say a lower order, or leave out the finest images"),
            )
        count, sample = 0, []
        there: set[tuple[int, int]] = set()
        for at, tile in enumerate(places):
            lon, lat = healpix.center(self.order + INNER, (tile << 2 * INNER) + _nested(INNER))
            for number in range(low, high + 1):
                self.task.go(0.9 * (at + (number - low) / (high - low + 1)) / len(places))
                box = self._sampled(tile, number, width, lon, lat)
                if box is not None:
                    self._write(box, self.order, self.fine, tile, number)
                    there.add((tile, number))
                    sample.append(box[np.isfinite(box)][::SAMPLE])
        if not there:
            return None
        count = len(there) + sum(self._coarser(there))
        survey = Survey(order=self.order, tiles=count, properties=self._properties(places))
        return survey, np.concatenate(sample)

    def _places(self) -> list[int]:
        """Find the tiles that the cube may be in: those of its pixels, and around."""
        image = self.cube.image
        step = max(1, int(CELL / 2**self.order / max(image.places.scale, 1e-7) / 4))
        x, y = (one.ravel() for one in np.meshgrid(*(np.unique(np.append(np.arange(1.0, size, step), size)) for size in image.size)))  # fmt: skip
        lon, lat = image.places(np.stack([x, y], 1)).T
        known = np.isfinite(lon) & np.isfinite(lat)
        shift = 2 * (healpix.ORDER - self.order)
        begun = np.unique(healpix.index(self.order, lon[known], lat[known])) << shift
        if not len(begun):
            return []
        cells = healpix.neighbourhood(healpix.merge(np.stack([begun, begun + (1 << shift)], 1)), self.order) >> shift
        return [tile for start, stop in cells.tolist() for tile in range(start, stop) if _near(image, self.order, tile)]

    def _sampled(self, tile: int, number: int, width: float, lon: Numbers, lat: Numbers) -> Box | None:
        box = np.full((CHANNELS, WIDTH, WIDTH), np.nan, np.float32)
        for channel in range(CHANNELS):
            log = LOWEST + (number + (channel + 0.5) / CHANNELS) * width
            values = self.cube.channel(log, tile, lon, lat)
            if values is not None:
                box[channel] = values.reshape(WIDTH, WIDTH)
        return box if np.isfinite(box).any() else None

    def _coarser(self, there: set[tuple[int, int]]) -> Iterator[int]:
        """Write each order above by means of the one below, half as fine in frequencies, too, down to order 0 of these."""
        half, fine = WIDTH // 2, self.fine
        for order in range(self.order - 1, -1, -1):
            self.task.go(0.9 + 0.1 * (self.order - order) / (self.order + 1))
            deep = 2 if fine else 1
            fine = max(0, fine - 1)
            above: dict[tuple[int, int], list[tuple[int, int]]] = {}
            for tile, number in sorted(there):
                above.setdefault((tile >> 2, number // deep), []).append((tile, number))
            for (tile, number), parts in above.items():
                box = np.full((CHANNELS, WIDTH, WIDTH), np.nan, np.float32)
                for part in parts:
                    below = self._read(order + 1, fine + deep - 1, *part)
                    some = below.reshape(CHANNELS // deep, deep, half, 2, half, 2).transpose(1, 3, 5, 0, 2, 4)
                    x, y, first = (part[0] & 1) * half, (part[0] >> 1 & 1) * half, part[1] % deep * CHANNELS // deep
                    box[first : first + CHANNELS // deep, x : x + half, y : y + half] = _mean(some.reshape(4 * deep, CHANNELS // deep, half, half))  # fmt: skip
                self._write(box, order, fine, tile, number)
            there = set(above)
            yield len(there)

    def _path(self, order: int, fine: int, tile: int, number: int) -> Path:
        folder = f"Dir{tile // 10_000 * 10_000}_{number // 10 * 10}"
        return self.place / f"Norder{order}_{fine}" / folder / f"Npix{tile}_{number}.fits"

    def _read(self, order: int, fine: int, tile: int, number: int) -> Box:
        body = self._path(order, fine, tile, number).read_bytes()
        values = np.frombuffer(body, ">f4", CHANNELS * WIDTH * WIDTH, HEAD)
        return values.reshape(CHANNELS, WIDTH, WIDTH)[:, ::-1].astype(np.float32)

    def _write(self, box: Box, order: int, fine: int, tile: int, number: int) -> None:
        cards = {"SIMPLE": "T", "BITPIX": "-32", "NAXIS": "3", "NAXIS1": WIDTH, "NAXIS2": WIDTH, "NAXIS3": CHANNELS, "ORDER": order, "NPIX": tile, "FORDER": fine, "FPIX": number}  # fmt: skip
        head = "".join(f"{name:<8}= {value:>20}".ljust(80) for name, value in cards.items()) + "END".ljust(80)
        body = box[:, ::-1].astype(">f4").tobytes()
        path = self._path(order, fine, tile, number)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(head.ljust(HEAD).encode() + body + bytes(-len(body) % HEAD))

    def _properties(self, places: list[int]) -> dict[str, str]:
        cube, now = self.cube, datetime.now(UTC).strftime("%Y-%m-%dT%H:%MZ")
        size, logs = cube.image.size, cube.logs
        middle = cube.image.places(np.array([[(size[0] + 1) / 2, (size[1] + 1) / 2]]))[0]
        rest = next((card.value for card in cube.image.array.cards if card.keyword in {"RESTFRQ", "RESTFREQ"} and isinstance(card.value, float) and card.value > 0), None)  # fmt: skip
        return {
            "hips_version": "1.4",
            "hips_builder": "Hven",
            "hips_creation_date": now,
            "hips_release_date": now,
            "hips_frame": "equatorial",
            "hips_order": str(self.order),
            "hips_order_min": "0",
            "hips_order_freq": str(self.fine),
            "hips_tile_width": str(WIDTH),
            "hips_tile_depth": str(CHANNELS),
            "hips_tile_format": "fits",
            "hips_pixel_bitpix": "-32",
            "hips_initial_ra": f"{middle[0]:.6f}",
            "hips_initial_dec": f"{middle[1]:.6f}",
            "hips_initial_fov": f"{min(60.0, max(size) * cube.image.places.scale * 1.2):.6g}",
            "hips_sampling": "bilinear",
            "hips_hierarchy": "mean",
            "dataproduct_type": "spectral-cube",
            "em_min": f"{LIGHT / 10 ** logs[-1]:.12g}",
            "em_max": f"{LIGHT / 10 ** logs[0]:.12g}",
            "moc_sky_fraction": f"{len(places) / (12 * 4**self.order):.6g}",
            **({"obs_restfreq": f"{rest:.12g}"} if rest else {}),
        }
