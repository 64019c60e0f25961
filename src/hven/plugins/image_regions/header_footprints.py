"""Compute footprints of images from the WCS cards of their headers: regions that the pixels cover.

Between positions that `hven.model.sky.footprints.ImageWcs` computes, footprints follow the edges of the image.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from hven.model.sky import Regions, footprints, sphere
from hven.model.sky.api.ragged_arrays import compute_offsets
from hven.model.types import CONTOUR
from hven.plugins.image_regions import sun
from hven.plugins.image_regions.contour_regions import ContourFaultRecorder, ContourRegions
from hven.plugins.image_regions.direction_contours import build_regions_from_arcsecond_outlines
from hven.plugins.image_regions.disc_image import RADIANS_PER_ARCSECOND, DiscImage
from hven.plugins.image_regions.solar_headers import find_observation_date, find_solar_observer_geometry

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt
    import pyarrow as pa

    Numbers = npt.NDArray[np.float64]
    Card = str | float | bool | None

EDGE_TOLERANCE_PIXELS = 0.1
"""Pixels that an edge of a footprint may be away from the image's edge."""
MAX_EDGE_PIECES = 1024  # pieces of one edge at most
MAX_ANGLE_VALUE = 1e8  # a larger number is no angle, not even in seconds of arc


def compute_footprint_column(headers: Sequence[Mapping[str, Any]], longitudes: str) -> pa.Array:
    """Compute the column ``file.footprint`` of images.

    Parameters
    ----------
    headers
        Cards by keyword, as for `build_regions_from_headers`.
    longitudes
        What the option ``longitudes`` of the source says: ``stonyhurst``, ``west``, or another word.

    Returns
    -------
    column
        Contours.
    """
    found = build_regions_from_headers(
        headers, stonyhurst=longitudes == "stonyhurst", west_positive=longitudes == "west"
    )
    return found.to_arrow(CONTOUR.arrow)


def build_regions_from_headers(
    headers: Sequence[Mapping[str, Card]],
    *,
    stonyhurst: bool = False,
    west_positive: bool = False,
    tolerance_pixels: float = EDGE_TOLERANCE_PIXELS,
) -> ContourRegions:
    """Make regions that the pixels of images cover, from the images' headers.

    Parameters
    ----------
    headers
        Cards by keyword: WCS, NAXISn (of compressed images ZNAXISn), for the Sun the observer's (CRLN_OBS, HGLT_OBS,
        DSUN_OBS, RSUN_OBS ..), for other bodies A_RADIUS and C_RADIUS where latitudes are planetographic (WCSNAME).
    stonyhurst
        Whether regions on the Sun's disc have Stonyhurst longitudes instead of Carrington longitudes.
    west_positive
        Whether longitudes of maps of bodies increase westward; those of the regions increase eastward.
    tolerance_pixels
        The largest distance of edges from those of the image, pixels.

    Returns
    -------
    contours
        A region or a fault for each header: on the sky in ICRS, on bodies planetocentric.
    """
    results = [
        _build_header_footprint(
            header, stonyhurst=stonyhurst, west_positive=west_positive, tolerance_pixels=tolerance_pixels
        )
        for header in headers
    ]
    no_rows = _build_footprint_result(Regions.create_empty(0), np.zeros(0), ContourFaultRecorder(0))
    return ContourRegions.concat([no_rows, *results])


def _build_header_footprint(
    header: Mapping[str, Card], *, stonyhurst: bool, west_positive: bool, tolerance_pixels: float
) -> ContourRegions:
    recorder = ContourFaultRecorder(1)
    image_axes = footprints.identify_image_axes(header)
    size = [footprints.find_header_number(header, f"ZNAXIS{axis}", f"NAXIS{axis}") for axis in image_axes.numbers]
    if not image_axes.kind or not _has_plausible_cards(header, image_axes, size):
        return _build_faulty_footprint(recorder, "no_wcs")
    try:
        image_wcs = footprints.parse_image_wcs(header, west_positive=west_positive)
    except footprints.ImageWcsError as error:
        return _build_faulty_footprint(recorder, error.fault)
    if not image_wcs.scale * min(size) < 720.0:  # nor if it is NaN
        return _build_faulty_footprint(recorder, "no_place")
    pixels = np.array([np.prod(size)])
    edges = [_sample_image_side(image_wcs, a, b, tolerance_pixels) for a, b in _list_image_sides(size)]
    if image_axes.kind == "disc":
        observer = _find_disc_observer(header, image_axes.numbers, stonyhurst=stonyhurst)
        return _build_disc_regions(edges, observer, recorder, pixels)
    regions: Regions | None = None
    if all(np.isfinite(edge).all() for edge in edges):
        middle = image_wcs(np.array([[size[0] / 2.0 + 0.5, size[1] / 2.0 + 0.5]]))
        regions = _build_region_from_sides(edges, middle, image_wcs.scale * tolerance_pixels)
    elif _is_all_sky_image(image_wcs.wcs, size):
        regions = Regions.from_lists([[[]]])
    if regions is None or regions.rows[-1] == 0:
        return _build_faulty_footprint(recorder, "no_place")
    return _build_footprint_result(regions, pixels, recorder)


def _build_faulty_footprint(recorder: ContourFaultRecorder, fault: str) -> ContourRegions:
    recorder.mark_faulty_rows(fault, np.ones(1, np.bool_))
    return _build_footprint_result(Regions.create_empty(1), np.zeros(1), recorder)


def _has_plausible_cards(header: Mapping[str, Card], image_axes: footprints.ImageAxes, size: Sequence[float]) -> bool:
    """Return whether the image has pixels, and the reference has finite numbers that may be angles."""
    first, second = image_axes.numbers
    required = [
        footprints.find_header_number(header, f"{word}{axis}")
        for word in ("CRVAL", "CRPIX")
        for axis in image_axes.numbers
    ]
    angle_names = (f"CRVAL{first}", f"CRVAL{second}", "LONPOLE", "LATPOLE")
    if not min(size) >= 1.0 or not np.isfinite(required).all():
        return False
    angles = [footprints.find_header_number(header, name) for name in angle_names]
    return bool(np.nanmax(np.abs(angles)) <= MAX_ANGLE_VALUE)


def _build_footprint_result(regions: Regions, pixels: Numbers, recorder: ContourFaultRecorder) -> ContourRegions:
    minimal, mended = np.zeros((2, len(pixels)), np.bool_)
    return ContourRegions(
        regions, pixels.astype(np.int64), np.zeros(len(pixels)), recorder.fault, recorder.number, minimal, mended
    )


def _list_image_sides(image_size: Sequence[float]) -> list[tuple[Numbers, Numbers]]:
    """List the four sides of an image, as pixels' edges."""
    begin = 0.5
    end_x, end_y = (pixel_count + 0.5 for pixel_count in image_size)
    four = np.array([[begin, begin], [end_x, begin], [end_x, end_y], [begin, end_y]])
    return list(zip(four, np.roll(four, -1, axis=0), strict=True))


def _sample_image_side(image_wcs: footprints.ImageWcs, a: Numbers, b: Numbers, tolerance_pixels: float) -> Numbers:
    """Sample a side from its first to its last corner, with as many points as keep it within the tolerance."""
    count = 1
    max_deviation = np.radians(tolerance_pixels * image_wcs.scale)
    disc = image_wcs.image_axes.kind == "disc"
    while True:
        share = np.linspace(0.0, 1.0, 4 * count + 1)[:, None]
        directions = image_wcs(a + share * (b - a))
        if not np.isfinite(directions).all() or count > MAX_EDGE_PIECES:
            return np.full((2, 2), np.nan)
        if disc:
            flat = _project_to_disc_plane(directions)
            gap = np.abs(_measure_line_deviations(flat)).max() * RADIANS_PER_ARCSECOND
        else:
            gap = _measure_largest_arc_deviation(directions)
        if gap <= max_deviation:
            return directions[::4]
        count *= 2


def _measure_largest_arc_deviation(directions: Numbers) -> float:
    """Measure how far directions between every fourth one are from great circles, radians."""
    xyz = sphere.to_unit_vectors(*directions.T)
    ahead = np.repeat(xyz[:-1:4], 3, axis=0)
    behind = np.repeat(xyz[4::4], 3, axis=0)
    between = xyz[:-1].reshape(-1, 4, 3)[:, 1:].reshape(-1, 3)
    arc_distances = sphere.compute_arc_distances(between, ahead, behind, sphere.compute_arc_normals(ahead, behind))
    gap = float(np.radians(arc_distances.max()))
    # a quarter of a turn is too much for one great circle
    is_too_long = bool(sphere.measure_angles(ahead, behind).max() > np.pi / 2.0)
    return max(gap, float(is_too_long))


def _measure_line_deviations(points: Numbers) -> Numbers:
    """Measure how far points between every fourth one are from straight lines."""
    a = points[:-1:4, None]
    b = points[4::4, None]
    p = points[:-1].reshape(-1, 4, 2)[:, 1:]
    direction = b - a
    offset = p - a
    cross = direction[..., 0] * offset[..., 1] - direction[..., 1] * offset[..., 0]
    length = np.hypot(direction[..., 0], direction[..., 1])
    return cross / np.maximum(length, 1e-300)


def _project_to_disc_plane(lonlat: Numbers) -> Numbers:
    """Project helioprojective directions in degrees onto the plane that touches the centre of the disc; arcseconds."""
    x = np.radians((lonlat[:, 0] + 180.0) % 360.0 - 180.0)
    y = np.radians(lonlat[:, 1])
    plane_positions = np.stack([np.tan(x), np.tan(y) / np.cos(x)], 1)
    return plane_positions / RADIANS_PER_ARCSECOND


def _build_region_from_sides(edges: list[Numbers], middle: Numbers, tolerance_degrees: float) -> Regions | None:
    """Join sides to rings with the middle of the image to their left; drop pairs of sides that coincide."""
    spots = [sphere.to_unit_vectors(*edge.T) for edge in edges]
    sides = list(range(4))
    rings = [np.concatenate([edge[:-1] for edge in edges])]
    max_distance = np.radians(max(tolerance_degrees, 1e-9))
    for first_side, second_side in ((0, 2), (1, 3)):
        opposite_side = spots[second_side][::-1]
        if len(spots[first_side]) != len(opposite_side):
            continue
        if np.abs(spots[first_side] - opposite_side).max() < max_distance:
            sides = [side for side in sides if side not in {first_side, second_side}]
            rings = [edges[side][:-1] for side in sides]
    oriented_rings = []
    for ring in rings:
        xyz = sphere.to_unit_vectors(*ring.T)
        after = np.roll(xyz, -1, axis=0)
        lengths = np.linalg.norm(after - xyz, axis=1)
        corners = ring[lengths > 1e-13]
        if len(corners) < 3:  # a pole
            continue
        region = Regions.from_lists([[[corners.tolist()]]])
        is_oriented = region.contains(*middle.T)[0]
        oriented_rings.append(corners if is_oriented else corners[::-1])
    if not np.isfinite(middle).all():
        return None
    all_points = np.concatenate(spots)
    extent = np.linalg.norm(all_points - all_points[0], axis=1).max()
    if not oriented_rings and extent < 1.99:
        return None  # the whole image is at one place; the sides of a map of the whole sphere go from pole to pole
    return Regions.from_lists([[[ring.tolist() for ring in oriented_rings]]]).make_valid()


def _is_all_sky_image(wcs: Any, image_size: Sequence[float]) -> bool:
    """Return whether an image shows the whole sphere."""
    from astropy.wcs import WcsError  # noqa: PLC0415  (loaded already)

    index = np.arange(3000) + 0.5
    lat = np.degrees(np.arcsin(1.0 - index / 1500.0))
    lon = np.degrees(index * 2.399963229728653) % 360.0
    if wcs.wcs.lng == 0:
        world = np.stack([lon, lat], 1)
    else:
        world = np.stack([lat, lon], 1)
    try:
        pixel = wcs.wcs_world2pix(world, 1)
    except (WcsError, ValueError):
        return False
    is_after_begin = pixel >= 0.5 - EDGE_TOLERANCE_PIXELS
    is_before_end = pixel <= np.array(image_size) + 0.5 + EDGE_TOLERANCE_PIXELS
    return bool((is_after_begin & is_before_end).all())


def _find_disc_observer(
    header: Mapping[str, Card], numbers: tuple[int, int], *, stonyhurst: bool
) -> tuple[float, float, float]:
    """Find the radius of the disc in arcseconds, and the point of the Sun below the observer; NaN if unknown."""
    number = footprints.find_header_number(header, f"CDELT{numbers[0]}")
    radius, lon, lat = find_solar_observer_geometry(header, number, stonyhurst=stonyhurst)
    if not np.isfinite(radius):
        ephemeris = sun.compute_solar_ephemeris(find_observation_date(header))
        apparent_radius = sun.compute_apparent_radius(ephemeris.distance * sun.ASTRONOMICAL_UNIT_KM)
        radius = float(apparent_radius)
    return radius if radius > 1e-3 else np.nan, lon, lat


def _build_disc_regions(
    edges: list[Numbers], observer: tuple[float, float, float], recorder: ContourFaultRecorder, pixels: Numbers
) -> ContourRegions:
    """Bring the outline of an image of the Sun onto its sphere, cut at the limb."""
    radius, lon, lat = observer
    recorder.mark_faulty_rows("no_observer", np.array([not max(abs(lon), abs(lat)) < MAX_ANGLE_VALUE]))
    flat = np.concatenate([_project_to_disc_plane(edge[:-1]) for edge in edges])
    angles = (np.concatenate(edges) + 180.0) % 360.0 - 180.0
    is_valid = np.isfinite(flat).all() and np.abs(angles).max() < 89.0
    recorder.mark_faulty_rows("no_place", np.array([not is_valid]))
    scale = 1.0
    if radius > 0.0:
        plane_radius = np.tan(radius * RADIANS_PER_ARCSECOND) / RADIANS_PER_ARCSECOND
        scale = radius / plane_radius
    x, y = np.nan_to_num(flat).T * scale
    disc = DiscImage(*np.array([0.0, 0.0, 1.0, 1.0, radius, lon, lat]))
    contours = build_regions_from_arcsecond_outlines([0, len(flat)], x, y, disc, recorder=recorder)
    count = np.where(contours.fault > 0, 0, pixels).astype(np.int64)
    regions = _reduce_limb_corners(contours.regions, lon, lat, radius)
    return replace(contours, regions=regions, pixels=count)


def _reduce_limb_corners(regions: Regions, lon: float, lat: float, radius: float) -> Regions:
    """Remove most corners along the limb, which is nearly a great circle."""
    height = sphere.to_unit_vectors(regions.lon, regions.lat) @ sphere.to_unit_vectors(lon, lat)
    is_on_limb = np.abs(height - np.sin(radius * RADIANS_PER_ARCSECOND)) < 1e-6
    corner_count = len(is_on_limb)
    before = np.empty(corner_count, np.int64)
    before[regions.vertex_successors] = np.arange(corner_count)
    is_inner = is_on_limb & is_on_limb[before] & is_on_limb[regions.vertex_successors]
    is_sample = np.arange(corner_count) % 40 == 0
    keep = ~is_inner | is_sample
    rings = compute_offsets(keep)[regions.rings]
    return Regions(regions.lon[keep], regions.lat[keep], rings, regions.parts, regions.rows)
