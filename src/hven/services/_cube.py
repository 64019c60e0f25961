"""A cube: an array as a person looks at it: an image of two of its axes, one that is gone through, the others held at a pixel. Slices, spectra, means."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from hven.formats.media import Array
from hven.model.errors import HvenError, ParamError, SourceError, Timeout, TooLarge, say

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from hven.formats.media import Axis, Product

    Floats = npt.NDArray[np.floating[Any]]
    Box = tuple[int, int, int, int]

CHUNK = 8 << 20  # bytes that are read at a time
MOST = 1 << 30  # bytes of the file that an answer reads
SECONDS = 20.0  # that it reads for
GRID = 17  # places along each side of an image
VALUES = 200_000  # pixels of an axis whose values are told
BESIDE = 6  # parts whose spectra are given together
STATES = ("spectral", "time", "polarization")


@dataclass(frozen=True)
class Cube:
    """An array, and how it is looked at.

    Attributes
    ----------
    array
        With two axes or more.
    through
        Index of the axis that is gone through, in the order of C; None: it is an image.
    held
        Index of an axis -> its pixel, from 0.
    """

    array: Array
    through: int | None
    held: Mapping[int, int]

    @cached_property
    def image(self) -> tuple[int, int]:
        """Indices of the axes of the image: y and x, of which x changes faster."""
        axes = self.array.axes
        named = [at for at, axis in enumerate(axes) if axis.kind in {"longitude", "latitude"} and at != self.through]
        if len(named) != 2:
            free = [at for at in range(len(axes)) if at != self.through]
            plain = [at for at in free if axes[at].kind not in STATES]
            wide = [at for at in plain if axes[at].size > 1]
            named = next((some for some in (wide, plain, free) if len(some) >= 2), free)[-2:]
        return named[0], named[1]

    @property
    def depth(self) -> int:
        """Number of slices."""
        return 1 if self.through is None else self.array.shape[self.through]

    @property
    def height(self) -> int:
        """Pixels along y."""
        return self.array.shape[self.image[0]]

    @property
    def width(self) -> int:
        """Pixels along x."""
        return self.array.shape[self.image[1]]

    def read(self, slices: tuple[int, int], box: Box) -> npt.NDArray[Any]:
        """Read some slices of a box (x from, x to, y from, y to; from 0, the ends not in it): shape (slices, y, x)."""
        found = [slice(self.held.get(at, 0), self.held.get(at, 0) + 1) for at in range(len(self.array.axes))]
        y, x = self.image
        found[x], found[y] = slice(box[0], box[1]), slice(box[2], box[3])
        if self.through is not None:
            found[self.through] = slice(*slices)
        values = self.array.read(tuple(found))
        first = () if self.through is None else (self.through,)
        rest = [at for at in range(values.ndim) if at not in {*first, y, x}]
        return values.transpose(*rest, *first, y, x).reshape(slices[1] - slices[0], box[3] - box[2], box[1] - box[0])

    def tile(self, at: int, box: Box, size: int) -> npt.NDArray[Any]:
        """Read a slice, each n-th of its pixels where it has more than `size` along a side."""
        width, height = box[1] - box[0], box[3] - box[2]
        self.afford(width * height)
        step = max(1, -(-max(width, height) // size))
        row, clock = width * self.array.dtype.itemsize, Clock()
        many = max(1, CHUNK // row // step) * step if row * step <= CHUNK else 1
        rows = []
        for start in range(box[2], box[3], max(many, step)):
            clock.look()
            part = self.read((at, at + 1), (box[0], box[1], start, min(start + many, box[3])))
            rows.append(part[0, ::step, ::step].copy())
        return np.concatenate(rows)

    def spectrum(self, x: int, y: int) -> npt.NDArray[Any]:
        """Read all values of a pixel, as the file means them: shape (depth,)."""
        return self.read((0, self.depth), (x, x + 1, y, y + 1))[:, 0, 0]

    def mean(self, box: Box, inside: npt.NDArray[np.bool_]) -> tuple[Floats, Floats, npt.NDArray[np.int64]]:
        """Average those pixels of a box that are `inside` (shape of the box): means, standard deviations, numbers of values, of each slice."""
        plane, clock = inside.size, Clock()
        self.afford(plane * self.depth)
        many = max(1, CHUNK // (plane * self.array.dtype.itemsize))
        means, spreads, counts = (
            np.full(self.depth, np.nan),
            np.full(self.depth, np.nan),
            np.zeros(self.depth, np.int64),
        )
        for start in range(0, self.depth, many):
            clock.look()
            end = min(start + many, self.depth)
            values = self.read((start, end), box)[:, inside].astype(np.float64)
            lost = ~np.isfinite(values)
            number = counts[start:end] = len(values[0]) - lost.sum(1)
            some = bool(lost.any())
            with np.errstate(all="ignore"):
                if some:
                    values[lost] = 0.0
                middle = means[start:end] = values.sum(1) / np.where(number, number, np.nan)
                values -= middle[:, None]
                if some:
                    values[lost] = 0.0
                spreads[start:end] = np.sqrt(np.einsum("ij,ij->i", values, values) / np.where(number, number, np.nan))
        return means, spreads, counts

    def afford(self, pixels: int) -> None:
        """Refuse what reads too much."""
        size = pixels * self.array.dtype.itemsize
        if size > MOST:
            raise TooLarge(
                say("this would read {size} MB of the file, and {most} MB at most are read at once", size // 10**6, MOST // 10**6),
                remedy=say("ask for a smaller region"),
            )  # fmt: skip

    def place(self, x: int, y: int) -> list[float] | None:
        """Return longitude and latitude of a pixel's centre, degrees."""
        places = self.array.places() if self.array.places is not None else None
        found = None if places is None else places(np.array([[x + 1.0, y + 1.0]]))[0]
        return found.tolist() if found is not None and np.isfinite(found).all() else None

    def facts(self) -> dict[str, Any]:
        """Tell how it is looked at, and where its pixels are."""
        count, (y, x) = len(self.array.axes), self.image
        places = self.array.places() if self.array.places is not None else None
        grid = None
        if places is not None:
            xs, ys = np.linspace(1.0, self.width, GRID), np.linspace(1.0, self.height, GRID)
            lon, lat = places(np.stack([one.ravel() for one in np.meshgrid(xs, ys)], 1)).T
            frame = {"kind": places.of.kind, "frame": "ICRS" if places.of.kind == "sky" else places.of.frame}
            grid = {"x": xs, "y": ys, "lon": lon, "lat": lat, **frame}
        through = None if self.through is None else count - self.through
        return {"image": [count - x, count - y], "through": through, "width": self.width, "height": self.height, "depth": self.depth, "places": grid}  # fmt: skip


class NoCube(SourceError):
    """A file has nothing that is gone through."""


class Clock:
    """Ends what takes too long."""

    def __init__(self) -> None:
        self.end = time.monotonic() + SECONDS

    def look(self) -> None:
        """Raise after `SECONDS`."""
        if time.monotonic() > self.end:
            raise Timeout(
                say("reading the file took longer than {seconds} s", SECONDS), remedy=say("ask for a smaller region")
            )


def single(values: npt.NDArray[Any]) -> Floats:
    """Return little-endian float32; what is too great becomes infinite."""
    with np.errstate(over="ignore"):
        return values.astype("<f4")


def cube_of(product: Product, part: str | None, through: int | None, at: Mapping[int, int]) -> Cube:
    """Find how a part is looked at; numbers of axes and pixels count from 1, as FITS counts them."""
    if part is None:
        array = next(iter(sorted(cubes(product), key=lambda one: (one.role != "data", sum(size > 1 for size in one.shape) < 3))), None)  # fmt: skip
    else:
        named = product.part(part)
        array = named if isinstance(named, Array) and len(named.axes) > 1 else None
    if array is None:
        raise NoCube(say("there is no image and no cube in it"))
    axes = array.axes
    for name, number in (("THROUGH", through), *(("AT", number) for number in at)):
        if number is not None and not 1 <= number <= len(axes):
            raise ParamError(say("the array has {count} axes, and no axis {number}", len(axes), number), name=name)
    chosen = None if through is None else len(axes) - through
    if through is None and len(axes) > 2:
        sphere = {at for at, axis in enumerate(axes) if axis.kind in {"longitude", "latitude"}}
        left = [at for at in range(len(axes)) if at not in sphere or len(sphere) != 2]
        kinds = [next((at for at in left if axes[at].kind == kind and axes[at].size > 1), None) for kind in STATES]
        wide = [at for at in left if axes[at].size > 1]
        if not any(axes[at].size > 1 and axes[at].kind not in STATES for at in range(len(axes))):
            kinds.reverse()  # a dynamic spectrum is an image: of times and frequencies
        chosen = next((one for one in kinds if one is not None), wide[0] if wide else left[0])
    if len(axes) == 2:
        chosen = None
    held = {}
    for number, pixel in at.items():
        index = len(axes) - number
        if not 1 <= pixel <= axes[index].size:
            raise ParamError(
                say("axis {number} has {size} pixels, and no {pixel}", number, axes[index].size, pixel), name="AT"
            )
        held[index] = pixel - 1
    return Cube(array, chosen, held)


def cubes(product: Product) -> list[Array]:
    """List the arrays that can be looked at; of two views of the same, the one that says more."""
    viewed = {one.cells for one in product.arrays}
    return [one for one in product.arrays if len(one.axes) > 1 and one.index not in viewed]


def beside(product: Product, array: Array) -> list[Array]:
    """List the part itself and the others of its grid: errors, flags, coverage."""
    return [array, *(one for one in cubes(product) if one is not array and one.shape == array.shape)][:BESIDE]


def told(array: Array) -> dict[str, Any]:
    """Tell what a part is; axes in the order of FITS."""
    count = len(array.axes)
    return {
        "index": array.index, "name": array.name, "role": array.role, "unit": array.unit or "", "type": array.dtype.name,
        "axes": [{"number": count - at, **_axis(axis)} for at, axis in reversed(list(enumerate(array.axes)))],
    }  # fmt: skip


def _axis(axis: Axis) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "name": axis.name,
        "kind": axis.kind,
        "size": axis.size,
        "unit": axis.unit or "",
        "values": None,
    }
    if axis.values is None or axis.size > VALUES:
        return facts
    try:
        return {**facts, **_own(axis)}
    except HvenError as fault:
        return {**facts, "fault": str(fault)}


def _own(axis: Axis) -> dict[str, Any]:
    """Return the values as the file has them; where only what they stand for is known, that."""
    if axis.own is not None:
        return {"values": axis.own()}
    assert axis.values is not None  # noqa: S101  (asked for before)
    unit = {"spectral": "m", "time": "d"}.get(axis.kind, axis.unit or "")
    return {"values": axis.values().tolist(), "unit": unit}
