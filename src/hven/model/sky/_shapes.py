"""Define point, circle, polygon, box, range and their unions on the sphere; angles in degrees, edges great-circle arcs.

The boundary belongs to a shape. `hven.model.sky.sphere.TOLERANCE_DEGREES` (one nano-arcsecond) widens each shape
against rounding.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from hven.model import cache_results
from hven.model.sky import _healpix as healpix
from hven.model.sky._polygon_arrays import build_rings, compute_box_corners
from hven.model.sky._ragged_arrays import compute_element_numbers
from hven.model.sky._rings import PolygonRings
from hven.model.sky._sphere import (
    SKY_AREA_SQUARE_DEGREES,
    TOLERANCE_DEGREES,
    compute_angular_distance,
    compute_circle_area,
    cross_vectors,
    is_point_in_circle,
    measure_angles,
    to_lon_lat,
    to_unit_vectors,
    wrap_longitudes,
)

if TYPE_CHECKING:
    import numpy.typing as npt

    Numbers = npt.NDArray[np.float64]
    Indexes = npt.NDArray[np.int64]
    Flags = npt.NDArray[np.bool_]


def _check_position(lon: float, lat: float) -> None:
    if not (math.isfinite(lon) and math.isfinite(lat)):
        message = f"({lon}, {lat}) is not a position"
        raise ValueError(message)
    if abs(lat) > 90.0:
        message = f"the latitude {lat} is not between -90 and 90 degrees"
        raise ValueError(message)


def _format_coordinate(value: float) -> str:
    text = repr(float(value))
    return text.removesuffix(".0")


def _flatten_positions(lon: npt.ArrayLike, lat: npt.ArrayLike) -> tuple[Numbers, Numbers, tuple[int, ...]]:
    a, b = np.broadcast_arrays(np.asarray(lon, dtype=np.float64), np.asarray(lat, dtype=np.float64))
    return a.ravel(), b.ravel(), a.shape


@dataclass(frozen=True, slots=True)
class Shape(ABC):
    """Define what all shapes can do."""

    def contains(self, lon: npt.ArrayLike, lat: npt.ArrayLike) -> Flags:
        """Return which positions are inside, the boundary included; NaN never is.

        Parameters
        ----------
        lon, lat
            Degrees, broadcast against each other.

        Returns
        -------
        inside
            Of the broadcast shape.
        """
        flat_lon, flat_lat, shape = _flatten_positions(lon, lat)
        return self._contains_flat_arrays(flat_lon, flat_lat).reshape(shape)

    @abstractmethod
    def _contains_flat_arrays(self, lon: Numbers, lat: Numbers) -> Flags:
        """Return which finite and other positions are inside; flat arrays."""

    @abstractmethod
    def compute_area(self) -> float:
        """Return the area in square degrees."""

    @abstractmethod
    def compute_centroid(self) -> Point:
        """Return the centroid of the shape."""

    @abstractmethod
    def cover_with_cells(self, order: int) -> Indexes:
        """Cover the shape with HEALPix cells.

        Parameters
        ----------
        order
            Finest cells to use, 0 to 29.

        Returns
        -------
        ranges
            Half-open, sorted, at order 29, shape (n, 2); they contain the shape.
        """

    @abstractmethod
    def to_text(self) -> str:
        """Serialize the shape in DALI 1.2's ``shape`` form: a word, then numbers.

        Returns
        -------
        text
            Degrees: ``circle 10 20 0.5``.
        """


@dataclass(frozen=True, slots=True)
class Point(Shape):
    """Represent a position.

    Attributes
    ----------
    lon, lat
        Degrees.
    """

    lon: float
    lat: float

    def __post_init__(self) -> None:
        """Refuse values that are not a position."""
        _check_position(self.lon, self.lat)

    def _contains_flat_arrays(self, lon: Numbers, lat: Numbers) -> Flags:
        is_inside: Flags = is_point_in_circle(lon, lat, self.lon, self.lat, 0.0)
        return is_inside

    def compute_area(self) -> float:
        """Return 0 square degrees."""
        return 0.0

    def compute_centroid(self) -> Point:
        """Return the point itself."""
        return self

    def cover_with_cells(self, order: int) -> Indexes:
        """Cover the point by every cell that it may touch."""
        return healpix.cover_cone(self.lon, self.lat, 0.0, order)

    def to_text(self) -> str:
        """Write ``lon lat`` (DALI 1.1 section 3.3.5)."""
        return f"{_format_coordinate(self.lon)} {_format_coordinate(self.lat)}"


@dataclass(frozen=True, slots=True)
class Circle(Shape):
    """Represent a cone around a position; `radius` is from 0 to 180 degrees.

    Attributes
    ----------
    lon, lat
        Degrees, the centre.
    """

    lon: float
    lat: float
    radius: float

    def __post_init__(self) -> None:
        """Refuse values that are not a circle."""
        _check_position(self.lon, self.lat)
        if not 0.0 <= self.radius <= 180.0:
            message = f"the radius {self.radius} is not between 0 and 180 degrees"
            raise ValueError(message)

    def _contains_flat_arrays(self, lon: Numbers, lat: Numbers) -> Flags:
        is_inside: Flags = is_point_in_circle(lon, lat, self.lon, self.lat, self.radius)
        return is_inside

    def compute_area(self) -> float:
        """Compute ``2 pi (1 - cos r)`` in square degrees."""
        return float(compute_circle_area(self.radius))

    def compute_centroid(self) -> Point:
        """Return the centre."""
        return Point(self.lon, self.lat)

    def cover_with_cells(self, order: int) -> Indexes:
        """Cover the circle; see `healpix.cover_cone`."""
        return healpix.cover_cone(self.lon, self.lat, self.radius, order)

    def to_text(self) -> str:
        """Write ``circle lon lat radius``."""
        return f"circle {_format_coordinate(self.lon)} {_format_coordinate(self.lat)} {_format_coordinate(self.radius)}"


@cache_results(256)
def _build_ring(lons: tuple[float, ...], lats: tuple[float, ...], side: str) -> PolygonRings:
    return PolygonRings(lons, lats, side="right" if side == "dali" else side)


@dataclass(frozen=True, slots=True)
class Polygon(Shape):
    """Represent a polygon of three or more vertices, joined by great-circle arcs shorter than half a turn; not closed.

    Attributes
    ----------
    lons, lats
        Degrees, the vertices.
    side
        ``smaller``: inside is the side with the smaller area, in whichever direction the vertices run. ``dali``: they
        run counter-clockwise seen from the origin (DALI 1.1 section 3.3.7), so a polygon may be more than half the sky.
    """

    lons: tuple[float, ...]
    lats: tuple[float, ...]
    side: str = field(default="smaller", kw_only=True)

    def __post_init__(self) -> None:
        """Refuse values that are not a polygon."""
        if len(self.lons) != len(self.lats) or len(self.lons) < 3:
            message = (
                "a polygon needs three or more pairs of longitude and latitude, not "
                f"{len(self.lons)} longitudes and {len(self.lats)} latitudes"
            )
            raise ValueError(message)
        if self.side not in {"smaller", "dali"}:
            message = f"the side of a polygon must be 'smaller' or 'dali', not {self.side!r}"
            raise ValueError(message)
        for lon, lat in zip(self.lons, self.lats, strict=True):
            _check_position(lon, lat)
        xyz = to_unit_vectors(self.lons, self.lats)
        sums = np.linalg.norm(xyz + np.roll(xyz, -1, axis=0), axis=1)
        opposite = np.flatnonzero(sums < 1e-14)
        if len(opposite):
            message = (
                f"vertex {int(opposite[0]) + 1} of the polygon and the next vertex are antipodes, so the edge between "
                "them is not unique"
            )
            raise ValueError(message)

    @property
    def ring(self) -> PolygonRings:
        """Vertices, edges and normals as arrays, computed once."""
        return _build_ring(self.lons, self.lats, self.side)

    def _contains_flat_arrays(self, lon: Numbers, lat: Numbers) -> Flags:
        return self.ring.contains_points(lon, lat)

    def compute_area(self) -> float:
        """Compute the exact spherical area in square degrees (of simple polygons)."""
        return float(self.ring.area[0])

    def compute_centroid(self) -> Point:
        """Return the direction of the integral of the unit vector over the area.

        A polygon without such a direction gets the middle of its vertices.
        """
        (lon,), (lat,) = self.ring.compute_centroids()
        return Point(float(lon), float(lat))

    def cover_with_cells(self, order: int) -> Indexes:
        """Cover the polygon by the cells that touch it.

        A polygon of more than half the sky is covered by all cells except those wholly outside.
        """
        ring = self.ring
        lons = ring.lon[ring.has_edge_length]
        lats = ring.lat[ring.has_edge_length]
        is_arc = self._is_arc()
        if not is_arc and (len(lons) < 3 or ring.area[0] == 0.0):
            middle = self.compute_centroid()
            return healpix.cover_cone(middle.lon, middle.lat, float(ring.max_vertex_distances[0]), order)
        # cdshealpix 0.9 may miss a cell that only an edge passes through
        edge_cells = healpix.cover_arcs(
            ring.edge_begin_vectors[ring.has_edge_length], ring.edge_end_vectors[ring.has_edge_length], order
        )
        if is_arc:
            return edge_cells
        if ring.area[0] <= SKY_AREA_SQUARE_DEGREES / 2.0:
            cells = healpix.cover_polygon(lons, lats, order)
        else:
            outside_cells = healpix.cover_polygon(lons, lats, order, inner_only=True)
            cells = healpix.complement_ranges(outside_cells)
        return healpix.merge_ranges(np.concatenate([cells, edge_cells]))

    def _is_arc(self) -> bool:
        """Return whether all vertices are on one arc, so that nothing is inside."""
        ring = self.ring
        if not ring.has_edge_length.any() or ring.area[0] > SKY_AREA_SQUARE_DEGREES / 4.0:  # a hemisphere
            return False
        longest_edge = int(np.argmax(ring.edge_lengths_radians))
        plane_distances = np.abs(ring.edge_begin_vectors @ ring.edge_normals[longest_edge])
        return bool(plane_distances.max() <= math.radians(TOLERANCE_DEGREES))

    def to_text(self) -> str:
        """Write ``polygon lon lat lon lat ...``."""
        vertices = zip(self.lons, self.lats, strict=True)
        return "polygon " + " ".join(f"{_format_coordinate(lon)} {_format_coordinate(lat)}" for lon, lat in vertices)


# the name is ADQL's; the function makes a polygon
def Box(lon: float, lat: float, width: float, height: float) -> Polygon:  # noqa: N802
    """Make the polygon of ADQL 2.1, 4.2.10: a cross with its middle at the position, arms of half `width` and `height`.

    The sides are great circles at right angles to the ends of the arms.

    Parameters
    ----------
    lon, lat
        Degrees, the middle.
    width, height
        Degrees, above 0 and below 180.

    Returns
    -------
    polygon
        A polygon with four corners.

    Raises
    ------
    ValueError
        The position is not valid, or a size is out of bounds.
    """
    _check_position(lon, lat)
    for name, size in (("width", width), ("height", height)):
        if not 0.0 < size < 180.0:
            message = f"the {name} of the box must be above 0 and below 180 degrees, not {size}"
            raise ValueError(message)
    lons, lats = compute_box_corners([lon], [lat], [width], [height])
    return Polygon(tuple(lons[0].tolist()), tuple(lats[0].tolist()))


@dataclass(frozen=True, slots=True)
class Range(Shape):
    """Represent all positions between two longitudes (eastward from the first) and two latitudes (DALI 1.2 ``range``).

    `lon1` > `lon2` crosses longitude 0; `lon2 - lon1` >= 360 is all the way round.

    Attributes
    ----------
    lat1, lat2
        Degrees, the lower and the upper latitude.
    """

    lon1: float
    lon2: float
    lat1: float
    lat2: float

    def __post_init__(self) -> None:
        """Refuse values that are not a range; replace infinite bounds by the largest ones."""
        for name, low, high in (
            ("lon1", -math.inf, 0.0),
            ("lat1", -math.inf, -90.0),
            ("lon2", math.inf, 360.0),
            ("lat2", math.inf, 90.0),
        ):
            if getattr(self, name) == low:
                object.__setattr__(self, name, high)
        _check_position(self.lon1, self.lat1)
        _check_position(self.lon2, self.lat2)
        if self.lat1 > self.lat2:
            message = f"the range begins at latitude {self.lat1}, which is north of its end at latitude {self.lat2}"
            raise ValueError(message)

    @property
    def width(self) -> float:
        """Degrees of longitude, 0 to 360."""
        span = self.lon2 - self.lon1
        if span >= 360.0:
            return 360.0
        return span % 360.0

    def _contains_flat_arrays(self, lon: Numbers, lat: Numbers) -> Flags:
        is_in_latitudes = (lat >= self.lat1 - TOLERANCE_DEGREES) & (lat <= self.lat2 + TOLERANCE_DEGREES)
        is_position = (np.abs(lat) <= 90.0) & np.isfinite(lon)
        inside = is_in_latitudes & is_position
        if self.width < 360.0:
            # a pole has every longitude
            east = wrap_longitudes(lon - self.lon1 + TOLERANCE_DEGREES)
            is_in_longitudes = east <= self.width + 2.0 * TOLERANCE_DEGREES
            is_at_pole = np.abs(lat) >= 90.0 - TOLERANCE_DEGREES
            inside &= is_in_longitudes | is_at_pole
        return inside

    def compute_area(self) -> float:
        """Compute the area: the width times the difference of the sines."""
        low = math.radians(self.lat1)
        high = math.radians(self.lat2)
        sine_difference = 2.0 * math.cos((low + high) / 2.0) * math.sin((high - low) / 2.0)
        return self.width * math.degrees(sine_difference)

    def compute_centroid(self) -> Point:
        """Return the middle of both intervals; for a ring around the sky, the nearer pole."""
        if self.width == 360.0:
            return Point(0.0, math.copysign(90.0, self.lat1 + self.lat2))
        return self.compute_middle()

    def cover_with_cells(self, order: int) -> Indexes:
        """Cover the range by the cells that touch it."""
        if self.width == 360.0 and self.lat1 <= -90.0 and self.lat2 >= 90.0:
            return healpix.FULL_SKY_RANGES
        return healpix.cover_shape_by_distance(self._compute_distances, order)

    def _compute_distances(self, lon: Numbers, lat: Numbers) -> tuple[Numbers, Numbers]:
        boundary_distance = self.compute_boundary_distances(lon, lat)
        return np.where(self._contains_flat_arrays(lon, lat), 0.0, boundary_distance), boundary_distance

    @property
    def parallels(self) -> list[float]:
        """The latitudes at which the range ends; a range that reaches a pole does not end there."""
        latitudes = []
        if self.lat1 > -90.0:
            latitudes.append(self.lat1)
        if self.lat2 < 90.0:
            latitudes.append(self.lat2)
        return latitudes

    def compute_boundary_distances(self, lon: npt.ArrayLike, lat: npt.ArrayLike) -> Numbers:
        """Compute the distance of positions to the boundary.

        Parameters
        ----------
        lon, lat
            Degrees, of one shape (n,).

        Returns
        -------
        distance
            Degrees, shape (n,); infinite if there is no boundary.
        """
        lon = np.atleast_1d(np.asarray(lon, dtype=np.float64))
        lat = np.atleast_1d(np.asarray(lat, dtype=np.float64))
        nearest = np.full(lon.shape, np.inf)
        for parallel in self.parallels:
            beside = wrap_longitudes(lon - self.lon1) <= self.width
            first_corner = compute_angular_distance(lon, lat, self.lon1, parallel)
            second_corner = compute_angular_distance(lon, lat, self.lon2, parallel)
            distance = np.where(beside, np.abs(lat - parallel), np.minimum(first_corner, second_corner))
            nearest = np.minimum(nearest, distance)
        if self.width < 360.0:
            phi = np.radians(lat)
            for end in (self.lon1, self.lon2):
                # the foot of the perpendicular on that meridian, or the nearer corner
                along_meridian = np.cos(phi) * np.cos(np.radians(lon - end))
                foot = np.degrees(np.arctan2(np.sin(phi), along_meridian))
                is_on_edge = (foot >= self.lat1) & (foot <= self.lat2)
                foot = np.where(is_on_edge, foot, self.lat1)
                for choice in (foot, self.lat1, self.lat2):
                    nearest = np.minimum(nearest, compute_angular_distance(lon, lat, end, choice))
        return nearest

    def list_corners(self) -> tuple[list[float], list[float]]:
        """Return the longitudes and latitudes of the four corners."""
        return [self.lon1, self.lon2, self.lon2, self.lon1], [self.lat1, self.lat1, self.lat2, self.lat2]

    def compute_middle(self) -> Point:
        """Return the position in the middle of both intervals."""
        return Point((self.lon1 + self.width / 2.0) % 360.0, (self.lat1 + self.lat2) / 2.0)

    def find_touching_polygons(self, offsets: npt.ArrayLike, coordinates: npt.ArrayLike) -> Flags:
        """Find the polygons that have a position in common with the range.

        Parameters
        ----------
        offsets, coordinates
            N polygons as in `polygon_arrays`, shapes (n + 1,) and (m,), in the frame of the range.

        Returns
        -------
        is_touching
            Shape (n,).
        """
        is_touching, rings = build_rings(offsets, coordinates)
        is_touching[is_touching] = self.find_touching_rings(rings)
        return is_touching

    def find_touching_rings(self, rings: PolygonRings) -> Flags:
        """Find the rings that have a position in common with the range.

        Parameters
        ----------
        rings
            N rings in the frame of the range.

        Returns
        -------
        is_touching
            Shape (n,).
        """
        is_touching = np.zeros(len(rings.first), np.bool_)
        if not len(is_touching):
            return is_touching
        is_vertex_inside = self.contains(rings.lon, rings.lat)
        is_touching[rings.owner[is_vertex_inside]] = True
        distances, _ = self._compute_distances(*to_lon_lat(rings.mean_directions))
        is_far = rings.is_within_cap & (distances > rings.max_vertex_distances + 4.0 * TOLERANCE_DEGREES)
        rows = np.flatnonzero(~is_touching & ~is_far)
        middle = self.compute_middle()
        corner_lons, corner_lats = self.list_corners()
        for lon, lat in zip([*corner_lons, middle.lon], [*corner_lats, middle.lat], strict=True):
            if not len(rows):
                return is_touching
            is_inside = rings.take(rows).contains_pairwise(np.full(len(rows), lon), np.full(len(rows), lat))
            is_touching[rows[is_inside]] = True
            rows = rows[~is_inside]
        is_touching[rows] = self.find_crossing_rings(rings.take(rows))
        return is_touching

    def find_crossing_rings(self, rings: PolygonRings) -> Flags:
        """Find the rings of which an edge crosses a side of the range.

        Parameters
        ----------
        rings
            N rings in the frame of the range.

        Returns
        -------
        is_crossing
            Shape (n,).
        """
        is_crossing = np.zeros(len(rings.first), np.bool_)
        along = cross_vectors(rings.edge_normals, rings.edge_begin_vectors)
        # meridians and parallels lie in planes; a point of the edge is a cos t + along sin t; find t where the point is
        # in the plane
        planes = [(np.array([0.0, 0.0, 1.0]), math.sin(math.radians(lat))) for lat in self.parallels]
        if self.width < 360.0:
            meridians = np.radians([self.lon1, self.lon2]).tolist()
            planes += [(np.array([math.sin(lon), -math.cos(lon), 0.0]), 0.0) for lon in meridians]
        for normal, height in planes:
            start_component = rings.edge_begin_vectors @ normal
            along_component = along @ normal
            size = np.hypot(start_component, along_component)
            phase = np.arctan2(along_component, start_component)
            with np.errstate(invalid="ignore", divide="ignore"):
                relative_height = np.where(size > 1e-12, height / size, np.nan)
                turn = np.arccos(relative_height)
            for angle in (phase + turn, phase - turn):
                t = angle % (2.0 * math.pi)
                is_on_edge = np.isfinite(t) & (t > 1e-14) & (t < rings.edge_lengths_radians - 1e-14)
                hit = np.flatnonzero(is_on_edge & (np.abs(turn) > 1e-9))
                along_begin = rings.edge_begin_vectors[hit] * np.cos(t[hit])[:, None]
                along_end = along[hit] * np.sin(t[hit])[:, None]
                lon, lat = to_lon_lat(along_begin + along_end)
                is_crossing[rings.owner[hit[self.contains(lon, lat)]]] = True
        return is_crossing

    def to_text(self) -> str:
        """Write ``range lon1 lon2 lat1 lat2``."""
        numbers = (self.lon1, self.lon2, self.lat1, self.lat2)
        return "range " + " ".join(_format_coordinate(value) for value in numbers)


@dataclass(frozen=True, slots=True)
class ShapeUnion(Shape):
    """Represent the union of shapes (DALI 1.2 ``multishape``).

    Attributes
    ----------
    parts
        The shapes of the union.
    """

    parts: tuple[Shape, ...]

    def __post_init__(self) -> None:
        """Refuse an empty union."""
        if not self.parts:
            message = "a region needs at least one shape"
            raise ValueError(message)

    def _contains_flat_arrays(self, lon: Numbers, lat: Numbers) -> Flags:
        inside = np.zeros(len(lon), dtype=np.bool_)
        for part in self.parts:
            inside |= part._contains_flat_arrays(lon, lat)  # noqa: SLF001  (a class of the same family)
        return inside

    def compute_area(self) -> float:
        """Sum the areas of the parts, and subtract overlaps, to a few thousandths of the largest part.

        Overlaps are counted by the centres of HEALPix cells.
        """
        total = sum(part.compute_area() for part in self.parts)
        if self._has_separate_parts():
            return total
        size = max(math.sqrt(max(part.compute_area(), 1e-12)) for part in self.parts)
        order = min(max(round(math.log2(58.6 / size)) + 8, 0), healpix.MAX_ORDER)
        covers = [part.cover_with_cells(order) for part in self.parts]
        first, last = _find_shared_cells(covers, order)
        at, number = compute_element_numbers(last - first)
        lon, lat = healpix.compute_cell_centers(order, first[at] + number)
        depth = np.zeros(len(lon), np.int64)
        for part in self.parts:
            depth += part._contains_flat_arrays(lon, lat)  # noqa: SLF001  (a class of the same family)
        extra_cells = float(np.maximum(depth - 1, 0).sum())
        return total - extra_cells / (12 << 2 * order) * SKY_AREA_SQUARE_DEGREES

    def _has_separate_parts(self) -> bool:
        """Return whether the parts are small polygons and circles in caps that do not meet."""
        caps = []
        for part in self.parts:
            if isinstance(part, Circle):
                caps.append((*to_unit_vectors(part.lon, part.lat), part.radius))
            elif isinstance(part, Polygon) and part.ring.is_within_cap[0]:
                caps.append((*part.ring.mean_directions[0], part.ring.max_vertex_distances[0]))
            else:
                return False
        cap_array = np.array(caps)
        first_caps, second_caps = cap_array[np.array(np.triu_indices(len(caps), 1))]
        distances = np.degrees(measure_angles(first_caps[:, :3], second_caps[:, :3]))
        return bool((distances > first_caps[:, 3] + second_caps[:, 3]).all())

    def compute_centroid(self) -> Point:
        """Return the mean direction of the parts' centroids, weighted by area."""
        weights = np.array([part.compute_area() for part in self.parts])
        centroids = [part.compute_centroid() for part in self.parts]
        xyz = to_unit_vectors([point.lon for point in centroids], [point.lat for point in centroids])
        if not weights.any():
            weights = np.ones(len(weights))
        total = (xyz * weights[:, None]).sum(axis=0)
        if np.linalg.norm(total) > 1e-12:
            direction = total
        else:
            direction = xyz[0]
        lon, lat = to_lon_lat(direction)
        return Point(float(lon), float(lat))

    def cover_with_cells(self, order: int) -> Indexes:
        """Unite the covers of the parts."""
        return healpix.merge_ranges(np.concatenate([part.cover_with_cells(order) for part in self.parts]))

    def to_text(self) -> str:
        """Write the parts one after the other, each with its word."""
        texts = []
        for part in self.parts:
            text = part.to_text()
            texts.append(f"point {text}" if isinstance(part, Point) else text)
        return " ".join(texts)


def _find_shared_cells(covers: list[Indexes], order: int) -> tuple[Indexes, Indexes]:
    """Find the ranges of cells that are in several covers: first cells, and the cells after the last."""
    range_ends = []
    for cover in covers:
        steps = np.broadcast_to([1, -1], cover.shape)
        range_ends.append(np.stack([cover, steps], axis=-1).reshape(-1, 2))
    ends = np.concatenate(range_ends)
    ends = ends[np.lexsort((ends[:, 1], ends[:, 0]))]
    depth = np.cumsum(ends[:, 1])
    shared = np.flatnonzero(depth[:-1] > 1)
    shift = 2 * (healpix.MAX_ORDER - order)
    return ends[shared, 0] >> shift, ends[shared + 1, 0] >> shift


def build_shape_from_array(kind: str, values: Any) -> Shape:
    """Make a shape from the numbers of a DALI array.

    Parameters
    ----------
    kind
        Point, circle, range or polygon.
    values
        Degrees, in DALI's order.

    Returns
    -------
    shape
        The shape, without a frame.

    Raises
    ------
    ValueError
        The numbers are too few, too many or out of range.
    """
    numbers = [float(value) for value in values]
    if kind == "polygon":
        if len(numbers) % 2:
            message = f"a polygon needs an even number of coordinates, not {len(numbers)}"
            raise ValueError(message)
        return Polygon(tuple(numbers[::2]), tuple(numbers[1::2]))
    makers: dict[str, tuple[type[Shape], int]] = {"point": (Point, 2), "circle": (Circle, 3), "range": (Range, 4)}
    if kind not in makers:
        message = f"there is no shape {kind!r}; the shapes are point, circle, range and polygon"
        raise ValueError(message)
    maker, count = makers[kind]
    if len(numbers) != count:
        message = f"a {kind} needs {count} numbers, not {len(numbers)}"
        raise ValueError(message)
    return maker(*numbers)
