"""Compute footprints of images from the WCS cards of their headers (FITS WCS I to IV).

The images may show the sky, the Sun's disc or maps of bodies. astropy converts pixels to positions, with distortions
(SIP, TPV). Between these positions, footprints follow the edges of the image.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from hven.model.sky import _sun as sun
from hven.model.sky._contour_faults import ContourFaultRecorder, ContourRegions
from hven.model.sky._direction_contours import build_regions_from_directions
from hven.model.sky._disc_image import RADIANS_PER_ARCSECOND, DiscImage
from hven.model.sky._frame import rotate_positions
from hven.model.sky._planetary_frames import to_planetocentric, to_planetographic
from hven.model.sky._ragged_arrays import compute_offsets
from hven.model.sky._regions import Regions
from hven.model.sky._solar_headers import find_header_number, find_observation_date, find_solar_observer_geometry
from hven.model.sky._sphere import compute_arc_distances, compute_arc_normals, measure_angles, to_unit_vectors

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    Numbers = npt.NDArray[np.float64]
    Card = str | float | bool | None

EDGE_TOLERANCE_PIXELS = 0.1
"""Pixels that an edge of a footprint may be away from the image's edge."""
MAX_EDGE_PIECES = 1024  # pieces of one edge at most
MAX_ANGLE_VALUE = 1e8  # a larger number is no angle, not even in seconds of arc
_WCS_KEYWORD_PATTERN = re.compile(
    r"WCSAXES|CTYPE\d|CUNIT\d|CRVAL\d|CRPIX\d|CDELT\d|CROTA\d|(CD|PC|PV|PS)\d_\d+|LONPOLE|LATPOLE|RADESYS|EQUINOX"
    r"|(A|B|AP|BP)_(ORDER|DMAX|\d_\d)"
)
_AXIS_KEYWORD_PATTERN = re.compile(r"([A-Z]+|[AB]P?_)(?:(\d)(?:_(\d+))?|.*)")
_SIP_KEYWORD_PATTERN = re.compile(r"[AB]P?_")  # polynomials (SIP) that wcslib does not know
_PLAIN_VALUE_PATTERN = re.compile(r"(?!-?inf|nan)[ -&(-~]{0,60}")  # values that a card can have without escapes
_LON_CTYPE_PATTERN = re.compile(r"RA-|RA$|[GE]LON|..LN")
_LON_LAT_CTYPE_PATTERN = re.compile(r"(RA|DEC|[GE]L(ON|AT)|..L[NT])(-|$)")
_PROJECTIONS = frozenset(
    [
        "AZP",
        "SZP",
        "TAN",
        "STG",
        "SIN",
        "ARC",
        "ZPN",
        "ZEA",
        "AIR",
        "CYP",
        "CEA",
        "CAR",
        "MER",
        "SFL",
        "GLS",
        "PAR",
        "MOL",
        "AIT",
        "COP",
        "COE",
        "COD",
        "COO",
        "BON",
        "PCO",
        "TSC",
        "CSC",
        "QSC",
        "HPX",
        "XPH",
        "TPV",
    ]
)
_CELESTIAL_FRAMES = {"RA": "ICRS", "GLON": "GALACTIC", "ELON": "ECLIPTIC"}
_OLD_SOLAR_CTYPES = {
    "SOLARX": "HPLN-TAN",
    "SOLARY": "HPLT-TAN",
    "SOLAR-X": "HPLN-TAN",
    "SOLAR-Y": "HPLT-TAN",
    "SOLAR_X": "HPLN-TAN",
    "SOLAR_Y": "HPLT-TAN",
}


class ImageAxes(NamedTuple):
    """Describe the axes of an image.

    Attributes
    ----------
    kind
        ``sky``, ``disc`` (helioprojective directions) or ``body``; empty if the axes are not positions.
    projection
        The three letters of the projection.
    frame
        Frame of the sky, as `rotate_positions` takes it.
    numbers
        Numbers of the two axes, the lower one first.
    """

    kind: str
    projection: str
    frame: str = "ICRS"
    numbers: tuple[int, int] = (1, 2)


def identify_image_axes(header: Mapping[str, Card]) -> ImageAxes:
    """Identify what the longitudes and latitudes of a header are.

    Parameters
    ----------
    header
        Cards by keyword.
    """
    words = {number: _read_ctype(header, number) for number in range(1, 10)}
    numbers = [number for number, word in words.items() if _LON_LAT_CTYPE_PATTERN.match(word)]
    lon_words = [word for word in words.values() if _LON_CTYPE_PATTERN.match(word)]
    if len(numbers) != 2 or not lon_words:
        return ImageAxes("", "")
    axis_numbers = numbers[0], numbers[1]
    name = lon_words[0][:4].strip("-")
    projection = lon_words[0][4:].strip("-")[:3]
    if not name:
        return ImageAxes("", "")
    if name not in _CELESTIAL_FRAMES:
        kind = "disc" if name == "HPLN" else "body"
        return ImageAxes(kind, projection, numbers=axis_numbers)
    frame = _CELESTIAL_FRAMES[name]
    system = _read_equatorial_system(header)
    if name == "RA" and system in {"FK4", "FK5"}:
        frame = system
    return ImageAxes("sky", projection, frame, axis_numbers)


def _read_equatorial_system(header: Mapping[str, Card]) -> str:
    """Read the name of the equatorial system; before FITS WCS, the equinox told it."""
    year = header.get("EQUINOX", header.get("EPOCH"))
    system = str(header.get("RADESYS") or header.get("RADECSYS") or "").strip().upper()
    if not system and isinstance(year, int | float):
        system = "FK4" if year < 1984.0 else "FK5"
    return system


def _read_ctype(header: Mapping[str, Card], axis: int) -> str:
    word = str(header.get(f"CTYPE{axis}") or "").strip().upper()
    return _OLD_SOLAR_CTYPES.get(word, word)


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
    footprints = []
    for header in headers:
        footprint = _build_header_footprint(
            header, stonyhurst=stonyhurst, west_positive=west_positive, tolerance_pixels=tolerance_pixels
        )
        footprints.append(footprint)
    if footprints:
        return ContourRegions.concat(footprints)
    empty_result = _build_empty_footprint(ContourFaultRecorder(1))
    return empty_result.take(np.empty(0, np.int64))


def _build_header_footprint(
    header: Mapping[str, Card], *, stonyhurst: bool, west_positive: bool, tolerance_pixels: float
) -> ContourRegions:
    recorder = ContourFaultRecorder(1)
    image_axes = identify_image_axes(header)
    size = [find_header_number(header, f"ZNAXIS{axis}", f"NAXIS{axis}") for axis in image_axes.numbers]
    recorder.mark_faulty_rows(
        "no_wcs", np.array([not image_axes.kind or not _has_plausible_cards(header, image_axes, size)])
    )
    recorder.mark_faulty_rows("projection", np.array([image_axes.projection not in _PROJECTIONS]))
    if not recorder.fault.any():
        recorder.mark_faulty_rows("distortion", np.array([not _has_valid_sip_orders(header)]))
    image_wcs = None
    if not recorder.fault.any():
        image_wcs = _build_wcs_or_record_fault(header, image_axes, west_positive, recorder)
    if image_wcs is not None:
        recorder.mark_faulty_rows("no_place", np.array([not image_wcs.scale * min(size) < 720.0]))
    if image_wcs is None or recorder.fault.any():
        return _build_empty_footprint(recorder)
    pixels = np.array([np.prod(size)])
    edges = [_sample_image_side(image_wcs, a, b, tolerance_pixels) for a, b in _list_image_sides(size)]
    middle = image_wcs(np.array([[size[0] / 2.0 + 0.5, size[1] / 2.0 + 0.5]]))
    if image_axes.kind == "disc":
        observer = _find_disc_observer(header, image_axes.numbers, stonyhurst=stonyhurst)
        return _build_disc_regions(edges, observer, recorder, pixels)
    regions: Regions | None = None
    if all(np.isfinite(edge).all() for edge in edges):
        regions = _build_region_from_sides(edges, middle, image_wcs.scale * tolerance_pixels)
    elif _is_all_sky_image(image_wcs.wcs, size):
        return _build_footprint_result(Regions.from_lists([[[]]]), pixels, recorder)
    if regions is None or regions.rows[-1] == 0:
        recorder.mark_faulty_rows("no_place", np.ones(1, np.bool_))
        return _build_empty_footprint(recorder)
    return _build_footprint_result(regions, pixels, recorder)


def _has_plausible_cards(header: Mapping[str, Card], image_axes: ImageAxes, size: Sequence[float]) -> bool:
    """Return whether the image has pixels, and the reference has finite numbers that may be angles."""
    first, second = image_axes.numbers
    required = [
        find_header_number(header, f"{word}{axis}") for word in ("CRVAL", "CRPIX") for axis in image_axes.numbers
    ]
    angle_names = (f"CRVAL{first}", f"CRVAL{second}", "LONPOLE", "LATPOLE")
    if not min(size) >= 1.0 or not np.isfinite(required).all():
        return False
    angles = [find_header_number(header, name) for name in angle_names]
    return bool(np.nanmax(np.abs(angles)) <= MAX_ANGLE_VALUE)


def _has_valid_sip_orders(header: Mapping[str, Card]) -> bool:
    """Return whether the orders of the SIP polynomials are absent or from 0 to 9."""
    for word in ("A", "B", "AP", "BP"):
        order = header.get(f"{word}_ORDER")
        if order is not None and not (isinstance(order, int) and 0 <= order <= 9):
            return False
    return True


def _build_wcs_or_record_fault(
    header: Mapping[str, Card], image_axes: ImageAxes, west_positive: bool, recorder: ContourFaultRecorder
) -> ImageWcs | None:
    """Make the WCS of an image, or record why that fails."""
    try:
        wcs = _build_wcs(_select_plane_cards(header, image_axes))
    except (ValueError, KeyError, TypeError, ArithmeticError, MemoryError) as error:
        is_singular = "ingular" in f"{type(error).__name__} {error}"
        fault = "singular" if is_singular else "no_wcs"
        recorder.mark_faulty_rows(fault, np.ones(1, np.bool_))
        return None
    return ImageWcs(wcs, image_axes, header, west_positive)


def _build_empty_footprint(recorder: ContourFaultRecorder) -> ContourRegions:
    empty = Regions.create_empty(1)
    return _build_footprint_result(empty, np.zeros(1), recorder)


def _build_footprint_result(regions: Regions, pixels: Numbers, recorder: ContourFaultRecorder) -> ContourRegions:
    minimal, mended = np.zeros((2, 1), np.bool_)
    return ContourRegions(
        regions, pixels.astype(np.int64), np.zeros(1), recorder.fault, recorder.number, minimal, mended
    )


def _select_plane_cards(header: Mapping[str, Card], image_axes: ImageAxes) -> dict[str, Card]:
    """Select the cards of the longitude and the latitude axis, renumbered as those of an image with two axes."""
    new_numbers = {str(number): place for place, number in enumerate(image_axes.numbers, 1)}
    cards: dict[str, Card] = {}
    for name, value in header.items():
        if value is None or name == "WCSAXES" or not _WCS_KEYWORD_PATTERN.fullmatch(name):
            continue
        new_name = _replace_keyword_number(name, new_numbers)
        if new_name is not None:
            cards[new_name] = value
    ctypes = [str(header.get(f"CTYPE{axis}")).upper() for axis in image_axes.numbers]
    is_old_solar = any("SOLAR" in ctype for ctype in ctypes)
    for place, axis in enumerate(image_axes.numbers, 1):
        cards[f"CTYPE{place}"] = _read_ctype(header, axis)
        if is_old_solar:
            cards.setdefault(f"CUNIT{place}", "arcsec")
    is_tangential = image_axes.kind == "sky" and image_axes.projection == "TAN"
    if is_tangential and {"PV1_1", "PV2_1"} <= cards.keys():
        for place in (1, 2):  # the way in which SCAMP writes TPV
            cards[f"CTYPE{place}"] = str(cards[f"CTYPE{place}"])[:5] + "TPV"
    return cards


def _replace_keyword_number(name: str, new_numbers: Mapping[str, int]) -> str | None:
    """Return a keyword with the new numbers of its axes; None for a keyword of another axis."""
    match = _AXIS_KEYWORD_PATTERN.fullmatch(name)
    if match is None:
        return name
    word, first, second = match.groups()
    if first is None or word in {"A_", "B_", "AP_", "BP_"}:
        return name
    second_is_axis = second is not None and word not in {"PV", "PS"}
    if first not in new_numbers or (second_is_axis and second not in new_numbers):
        return None
    tail = ""
    if second_is_axis:
        tail = f"_{new_numbers[second]}"
    elif second is not None:
        tail = f"_{second}"
    return f"{word}{new_numbers[first]}{tail}"


def _format_card(pair: tuple[str, Card]) -> str:
    """Format a card as FITS defines it (4.0, section 4.1)."""
    name, value = pair
    if isinstance(value, str):
        word = f"'{value:<8}'"
    elif isinstance(value, bool):
        word = "FT"[value]
    else:
        word = repr(value).upper()
    return f"{name:<8}= {word:>20}".ljust(80)


def _build_wcs(cards: Mapping[str, Card]) -> Any:
    """Make astropy's WCS of an image."""
    import warnings  # noqa: PLC0415  (beside astropy)

    from astropy.io import fits  # noqa: PLC0415  (it takes a second to load; few need it)
    from astropy.wcs import (  # noqa: PLC0415  (it takes a second to load; few need it)
        WCS,
        FITSFixedWarning,
        WcsError,
        Wcsprm,
    )

    cards, scale = _select_scale_cards(cards)
    determinant = scale[0, 0] * scale[1, 1] - scale[0, 1] * scale[1, 0]
    if not np.isfinite(scale).all() or abs(determinant) < 1e-30:
        message = "the scale is singular"
        raise ValueError(message)
    has_polynomials = any(map(_SIP_KEYWORD_PATTERN.match, cards))
    texts = [str(value) for value in cards.values()]
    has_plain_values = all(map(_PLAIN_VALUE_PATTERN.fullmatch, texts))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FITSFixedWarning)
        warnings.simplefilter("ignore", UserWarning)
        try:
            if has_polynomials or not has_plain_values:
                wcs = WCS(fits.Header(cards))
            else:  # this saves half a millisecond, most of which astropy's cards take
                card_bytes = "".join(map(_format_card, cards.items())).encode()
                wcs = WCS(naxis=2)
                wcs.wcs = Wcsprm(card_bytes)
                wcs.fix()
            wcs.wcs.set()
        except (WcsError, fits.VerifyError) as fault:
            raise ValueError(str(fault)) from None
    return wcs


def _select_scale_cards(cards: Mapping[str, Card]) -> tuple[Mapping[str, Card], Numbers]:
    """Return the cards and the scale matrix; for TPV without CDi_j, the matrix replaces the other cards of the scale.

    The polynomials of TPV are of degrees, and wcslib takes them as such only with CDi_j.
    """
    matrix = _find_scale_matrix(cards, "CD")
    if np.isfinite(matrix).any():
        return cards, np.nan_to_num(matrix)
    pc = _find_scale_matrix(cards, "PC")
    step = np.array([[find_header_number(cards, "CDELT1")], [find_header_number(cards, "CDELT2")]])
    scale = step * np.where(np.isfinite(pc), pc, np.eye(2))
    if str(cards.get("CTYPE1"))[5:8] != "TPV":
        return cards, scale
    if not np.isfinite(pc).any():
        turn = np.radians(np.nan_to_num(find_header_number(cards, "CROTA2")))
        cos = np.cos(turn)
        sin = np.sin(turn)
        step_x = step[0, 0]
        step_y = step[1, 0]
        scale = np.array([[step_x * cos, -step_y * sin], [step_x * sin, step_y * cos]])
    new_cards = {name: value for name, value in cards.items() if not re.match("CDELT|PC|CROTA", name)}
    for i, j in itertools.product((0, 1), repeat=2):
        new_cards[f"CD{i + 1}_{j + 1}"] = float(scale[i, j])
    return new_cards, scale


def _find_scale_matrix(cards: Mapping[str, Card], word: str) -> Numbers:
    return np.array([[find_header_number(cards, f"{word}{i}_{j}") for j in (1, 2)] for i in (1, 2)])


class ImageWcs:
    """Convert between pixels and positions: longitude and latitude in degrees, eastward.

    On the Sun's disc the positions are helioprojective directions.

    Attributes
    ----------
    image_axes
        The axes of the image.
    scale
        Degrees per pixel at the reference pixel.
    """

    def __init__(self, wcs: Any, image_axes: ImageAxes, header: Mapping[str, Card], west_positive: bool) -> None:
        self.wcs = wcs
        self.image_axes = image_axes
        self.west_positive = west_positive
        sizes = [find_header_number(header, f"{axis}_RADIUS") for axis in "ABC"]
        name = str(header.get("WCSNAME") or "").upper()
        has_graphic_latitudes = "GRAPHIC" in name.replace("GEOGRAPHIC", "")
        second_axis = sizes[1] if np.isfinite(sizes[1]) else sizes[0]
        self.ellipsoid_axes = (sizes[0], second_axis, sizes[2])
        has_axes = bool(np.isfinite(self.ellipsoid_axes).all()) and min(self.ellipsoid_axes) > 0.0
        self.is_planetographic = image_axes.kind == "body" and has_graphic_latitudes and has_axes
        pixel_area = abs(np.linalg.det(wcs.pixel_scale_matrix))
        self.scale = float(np.sqrt(pixel_area))  # degrees

    def __call__(self, xy: Numbers) -> Numbers:
        """Return the positions of pixels (the centre of the first pixel is at 1): shapes (n, 2)."""
        from astropy.wcs import WcsError  # noqa: PLC0415  (loaded already)

        try:
            world = self.wcs.all_pix2world(xy, 1)
        except (WcsError, ValueError):
            return np.full(xy.shape, np.nan)
        lon, lat = self._to_output_frame(world[:, self.wcs.wcs.lng], world[:, self.wcs.wcs.lat])
        return np.stack([lon % 360.0, lat], 1)

    def to_pixels(self, lon: Numbers, lat: Numbers) -> Numbers:
        """Return the pixels of positions; NaN where the projection does not show a position.

        Parameters
        ----------
        lon, lat
            Degrees, as they come from pixels: on the sky ICRS; shape (n,).

        Returns
        -------
        pixels
            Pixels, shape (n, 2); the centre of the first pixel is at 1.
        """
        if self.image_axes.kind == "sky" and self.image_axes.frame != "ICRS":
            lon, lat = rotate_positions(lon, lat, "ICRS", self.image_axes.frame)
        if self.image_axes.kind == "body":
            if self.is_planetographic:
                lon, lat = to_planetographic(lon, lat, self.ellipsoid_axes)
            lon = -lon if self.west_positive else lon
        axes = [lon, lat] if self.wcs.wcs.lng == 0 else [lat, lon]
        world = np.stack(axes, 1)
        try:
            positions = np.asarray(self.wcs.all_world2pix(world, 1, quiet=True), np.float64)
        except Exception:  # noqa: BLE001  (wcslib's faults have classes without a common base)
            return np.full(world.shape, np.nan)
        directions = self(positions)
        with np.errstate(invalid="ignore"):
            expected = to_unit_vectors(*self._to_output_frame(lon, lat))
            deviations = measure_angles(to_unit_vectors(*directions.T), expected)
            is_too_far = deviations > np.radians(max(self.scale, 1e-9))
        positions[~np.isfinite(directions).all(1) | is_too_far] = np.nan
        return positions

    def _to_output_frame(self, lon: Numbers, lat: Numbers) -> tuple[Numbers, Numbers]:
        """Convert positions in the image's own frame to those that `__call__` returns."""
        if self.image_axes.kind == "sky" and self.image_axes.frame != "ICRS":
            return rotate_positions(lon, lat, self.image_axes.frame, "ICRS")
        if self.image_axes.kind == "body":
            lon = -lon if self.west_positive else lon
            if self.is_planetographic:
                return to_planetocentric(lon, lat, self.ellipsoid_axes)
        return lon, lat


def build_image_wcs(header: Mapping[str, Card], *, west_positive: bool = False) -> ImageWcs | None:
    """Make the converter between pixels and positions of an image, from its cards.

    Parameters
    ----------
    header
        Cards by keyword.
    west_positive
        Whether longitudes of maps of bodies increase westward; those of the positions increase eastward.

    Returns
    -------
    places
        Positions on the sky in ICRS, on bodies planetocentric, of the Sun helioprojective; None if the cards have no
        WCS, or have a wrong one.
    """
    image_axes = identify_image_axes(header)
    if not image_axes.kind or image_axes.projection not in _PROJECTIONS:
        return None
    if not _has_valid_sip_orders(header):
        return None
    try:
        wcs = _build_wcs(_select_plane_cards(header, image_axes))
        return ImageWcs(wcs, image_axes, header, west_positive)
    except (ValueError, KeyError, TypeError, ArithmeticError, MemoryError):
        return None


def _list_image_sides(image_size: Sequence[float]) -> list[tuple[Numbers, Numbers]]:
    """List the four sides of an image, as pixels' edges."""
    begin = 0.5
    end_x, end_y = (pixel_count + 0.5 for pixel_count in image_size)
    four = np.array([[begin, begin], [end_x, begin], [end_x, end_y], [begin, end_y]])
    return list(zip(four, np.roll(four, -1, axis=0), strict=True))


def _sample_image_side(image_wcs: ImageWcs, a: Numbers, b: Numbers, tolerance_pixels: float) -> Numbers:
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
            flat = _project_to_tangent_plane(directions)
            gap = np.abs(_measure_line_deviations(flat)).max() * RADIANS_PER_ARCSECOND
        else:
            gap = _measure_largest_arc_deviation(directions)
        if gap <= max_deviation:
            return directions[::4]
        count *= 2


def _measure_largest_arc_deviation(directions: Numbers) -> float:
    """Measure how far directions between every fourth one are from great circles, radians."""
    xyz = to_unit_vectors(*directions.T)
    ahead = np.repeat(xyz[:-1:4], 3, axis=0)
    behind = np.repeat(xyz[4::4], 3, axis=0)
    between = xyz[:-1].reshape(-1, 4, 3)[:, 1:].reshape(-1, 3)
    arc_distances = compute_arc_distances(between, ahead, behind, compute_arc_normals(ahead, behind))
    gap = float(np.radians(arc_distances.max()))
    # a quarter of a turn is too much for one great circle
    is_too_long = bool(measure_angles(ahead, behind).max() > np.pi / 2.0)
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


def _project_to_tangent_plane(lonlat: Numbers) -> Numbers:
    """Project helioprojective directions in degrees onto the plane that touches the centre of the disc; arcseconds."""
    x = np.radians((lonlat[:, 0] + 180.0) % 360.0 - 180.0)
    y = np.radians(lonlat[:, 1])
    plane_positions = np.stack([np.tan(x), np.tan(y) / np.cos(x)], 1)
    return plane_positions / RADIANS_PER_ARCSECOND


def _build_region_from_sides(edges: list[Numbers], middle: Numbers, tolerance_degrees: float) -> Regions | None:
    """Join sides to rings with the middle of the image to their left; drop pairs of sides that coincide."""
    spots = [to_unit_vectors(*edge.T) for edge in edges]
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
        xyz = to_unit_vectors(*ring.T)
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
    number = find_header_number(header, f"CDELT{numbers[0]}")
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
    flat = np.concatenate([_project_to_tangent_plane(edge[:-1]) for edge in edges])
    angles = (np.concatenate(edges) + 180.0) % 360.0 - 180.0
    is_valid = np.isfinite(flat).all() and np.abs(angles).max() < 89.0
    recorder.mark_faulty_rows("no_place", np.array([not is_valid]))
    scale = 1.0
    if radius > 0.0:
        plane_radius = np.tan(radius * RADIANS_PER_ARCSECOND) / RADIANS_PER_ARCSECOND
        scale = radius / plane_radius
    x, y = np.nan_to_num(flat).T * scale
    disc = DiscImage(*np.array([0.0, 0.0, 1.0, 1.0, radius, lon, lat]))
    contours = build_regions_from_directions([0, len(flat)], x, y, disc, recorder=recorder)
    count = np.where(contours.fault > 0, 0, pixels).astype(np.int64)
    regions = _reduce_limb_corners(contours.regions, lon, lat, radius)
    return replace(contours, regions=regions, pixels=count)


def _reduce_limb_corners(regions: Regions, lon: float, lat: float, radius: float) -> Regions:
    """Remove most corners along the limb, which is nearly a great circle."""
    height = to_unit_vectors(regions.lon, regions.lat) @ to_unit_vectors(lon, lat)
    is_on_limb = np.abs(height - np.sin(radius * RADIANS_PER_ARCSECOND)) < 1e-6
    corner_count = len(is_on_limb)
    before = np.empty(corner_count, np.int64)
    before[regions.vertex_successors] = np.arange(corner_count)
    is_inner = is_on_limb & is_on_limb[before] & is_on_limb[regions.vertex_successors]
    is_sample = np.arange(corner_count) % 40 == 0
    keep = ~is_inner | is_sample
    rings = compute_offsets(keep)[regions.rings]
    return Regions(regions.lon[keep], regions.lat[keep], rings, regions.parts, regions.rows)
