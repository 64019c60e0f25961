"""Footprints of images by the WCS cards of their headers (FITS WCS I to IV).

On the sky, on the Sun's disc, on maps of bodies.

astropy turns pixels into places, distortions included (SIP, TPV); what lies between them follows the image's edges.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from hven.model.sky import _sun as sun
from hven.model.sky._contour_faults import ContourRegions, FaultRecorder
from hven.model.sky._direction_contours import build_regions_from_directions
from hven.model.sky._disc_image import RADIANS_PER_ARCSECOND, DiscImage
from hven.model.sky._frame import rotate_positions
from hven.model.sky._planetary_frames import to_planetocentric, to_planetographic
from hven.model.sky._ragged_arrays import compute_offsets
from hven.model.sky._regions import Regions
from hven.model.sky._solar_headers import find_date, find_number, find_observer_geometry
from hven.model.sky._sphere import compute_arc_distances, compute_arc_normals, measure_angles, to_unit_vectors

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    Numbers = npt.NDArray[np.float64]
    Card = str | float | bool | None

EDGE_TOLERANCE_PIXELS = 0.1
"""Pixels that an edge of a footprint may be away from the image's."""
MAX_EDGE_PIECES = 1024  # pieces of an edge
MAX_ANGLE_VALUE = 1e8  # what is more is no angle, in seconds of arc either
_WCS_KEYWORD_PATTERN = re.compile(
    r"WCSAXES|CTYPE\d|CUNIT\d|CRVAL\d|CRPIX\d|CDELT\d|CROTA\d|(CD|PC|PV|PS)\d_\d+|LONPOLE|LATPOLE|RADESYS|EQUINOX|(A|B|AP|BP)_(ORDER|DMAX|\d_\d)"
)
_SIP_KEYWORD_PATTERN = re.compile(r"[AB]P?_")  # polynomials (SIP) that wcslib does not know
_PLAIN_VALUE_PATTERN = re.compile(r"(?!-?inf|nan)[ -&(-~]{0,60}")  # what a card can have as it is
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
    """What the axes of an image are.

    Attributes
    ----------
    kind
        ``sky``, ``disc`` (helioprojective directions) or ``body``; empty: no places.
    projection
        Its three letters.
    frame
        Of the sky, as `rotate_positions` takes it.
    numbers
        Of the two axes, the lower one first.
    """

    kind: str
    projection: str
    frame: str = "ICRS"
    numbers: tuple[int, int] = (1, 2)


def identify_axes(header: Mapping[str, Card]) -> ImageAxes:
    """Tell what the longitudes and latitudes of a header are.

    Parameters
    ----------
    header
        Cards by keyword.
    """
    words = {number: _read_ctype(header, number) for number in range(1, 10)}
    numbers = sorted(number for number, word in words.items() if re.match(r"(RA|DEC|[GE]L(ON|AT)|..L[NT])(-|$)", word))
    name, projection = next(
        (
            (word[:4].strip("-"), word[4:].strip("-")[:3])
            for word in words.values()
            if re.match(r"RA-|RA$|[GE]LON|..LN", word)
        ),
        ("", ""),
    )
    if len(numbers) != 2 or not name:
        return ImageAxes("", "")
    axis_numbers = numbers[0], numbers[1]
    if name in _CELESTIAL_FRAMES:
        year = header.get("EQUINOX", header.get("EPOCH"))
        system = str(header.get("RADESYS") or header.get("RADECSYS") or "").strip().upper()
        if not system and isinstance(year, int | float):
            system = "FK4" if year < 1984.0 else "FK5"
        return ImageAxes(
            "sky",
            projection,
            system if name == "RA" and system in {"FK4", "FK5"} else _CELESTIAL_FRAMES[name],
            axis_numbers,
        )
    return ImageAxes("disc" if name == "HPLN" else "body", projection, numbers=axis_numbers)


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
    """Make regions of headers of images: what their pixels cover.

    Parameters
    ----------
    headers
        Cards by keyword: WCS, NAXISn (of compressed images ZNAXISn), for the Sun the observer's (CRLN_OBS, HGLT_OBS,
        DSUN_OBS, RSUN_OBS ..), for other bodies A_RADIUS and C_RADIUS where latitudes are planetographic (WCSNAME).
    stonyhurst
        Images of the Sun's disc are brought to Stonyhurst's longitudes, not Carrington's.
    west_positive
        Longitudes of maps of bodies grow to the west there; here all grow to the east.
    tolerance_pixels
        How far the edges may be away from those of the image, pixels.

    Returns
    -------
    contours
        A region or a fault for each: on the sky in ICRS, on bodies planetocentric.
    """
    footprints = [_build_footprint(header, stonyhurst, west_positive, tolerance_pixels) for header in headers]
    if footprints:
        return ContourRegions.concat(footprints)
    empty_result = _build_empty_result(FaultRecorder(1))
    return empty_result.take(np.empty(0, np.int64))


def _build_footprint(
    header: Mapping[str, Card], stonyhurst: bool, west_positive: bool, tolerance_pixels: float
) -> ContourRegions:
    recorder = FaultRecorder(1)
    image_axes = identify_axes(header)
    size = [find_number(header, f"ZNAXIS{axis}", f"NAXIS{axis}") for axis in image_axes.numbers]
    needed = [find_number(header, f"{word}{axis}") for word in ("CRVAL", "CRPIX") for axis in image_axes.numbers]
    angles = [
        find_number(header, name)
        for name in (f"CRVAL{image_axes.numbers[0]}", f"CRVAL{image_axes.numbers[1]}", "LONPOLE", "LATPOLE")
    ]
    wild = not min(size) >= 1.0 or not np.isfinite(needed).all() or np.nanmax(np.abs(angles)) > MAX_ANGLE_VALUE
    recorder.mark_rows("no_wcs", np.array([not image_axes.kind or wild]))
    recorder.mark_rows("projection", np.array([image_axes.projection not in _PROJECTIONS]))
    if np.isfinite(size).all():
        pixels = np.array([np.prod(size)])
    else:
        pixels = np.zeros(1)
    if recorder.fault.any():
        return _build_empty_result(recorder)
    orders = [header.get(f"{word}_ORDER") for word in ("A", "B", "AP", "BP")]
    recorder.mark_rows(
        "distortion",
        np.array([not all(order is None or (isinstance(order, int) and 0 <= order <= 9) for order in orders)]),
    )
    if recorder.fault.any():
        return _build_empty_result(recorder)
    try:
        wcs = _build_wcs(_select_plane_cards(header, image_axes))
    except (ValueError, KeyError, TypeError, ArithmeticError, MemoryError) as fault:
        recorder.mark_rows(
            "singular" if "ingular" in f"{type(fault).__name__} {fault}" else "no_wcs", np.ones(1, np.bool_)
        )
        return _build_empty_result(recorder)
    image_wcs = ImageWcs(wcs, image_axes, header, west_positive)
    recorder.mark_rows("no_place", np.array([not image_wcs.scale * min(size) < 720.0]))
    if recorder.fault.any():
        return _build_empty_result(recorder)
    edges = [_sample_edge(image_wcs, a, b, tolerance_pixels) for a, b in _list_sides(size)]
    middle = image_wcs(np.array([[size[0] / 2.0 + 0.5, size[1] / 2.0 + 0.5]]))
    if image_axes.kind == "disc":
        return _build_disc_regions(edges, header, image_axes.numbers, recorder, stonyhurst, pixels)
    if not all(np.isfinite(edge).all() for edge in edges):
        covers_sphere = _is_all_sky(wcs, size)
        recorder.mark_rows("no_place", np.array([not covers_sphere]))
        if recorder.fault.any():
            return _build_empty_result(recorder)
        return _build_result(Regions.from_lists([[[]]]), pixels, recorder)
    regions = _build_regions(edges, middle, image_wcs.scale * tolerance_pixels)
    empty = regions is None or regions.rows[-1] == 0
    recorder.mark_rows("no_place", np.array([empty]))
    if regions is None or empty:
        return _build_empty_result(recorder)
    return _build_result(regions, pixels, recorder)


def _build_empty_result(recorder: FaultRecorder) -> ContourRegions:
    empty = Regions.create_empty(1)
    return _build_result(empty, np.zeros(1), recorder)


def _build_result(regions: Regions, pixels: Numbers, recorder: FaultRecorder) -> ContourRegions:
    return ContourRegions(
        regions, pixels.astype(np.int64), np.zeros(1), recorder.fault, recorder.number, *np.zeros((2, 1), np.bool_)
    )


def _select_plane_cards(header: Mapping[str, Card], image_axes: ImageAxes) -> dict[str, Card]:
    """Take the cards of the two axes that are longitude and latitude, as those of an image of no more axes."""
    new = {str(number): place for place, number in enumerate(image_axes.numbers, 1)}
    cards: dict[str, Card] = {}
    for name, value in header.items():
        match = _WCS_KEYWORD_PATTERN.fullmatch(name)
        if match is None or value is None or name == "WCSAXES":
            continue
        word, first, second = re.fullmatch(r"([A-Z]+|[AB]P?_)(?:(\d)(?:_(\d+))?|.*)", name).groups()  # type: ignore[union-attr]
        if first is None or word in {"A_", "B_", "AP_", "BP_"}:
            cards[name] = value
        elif first in new and (second is None or word in {"PV", "PS"} or second in new):
            if second is None:
                tail = ""
            else:
                tail = f"_{second if word in {'PV', 'PS'} else new[second]}"
            cards[f"{word}{new[first]}{tail}"] = value
    old = any("SOLAR" in str(header.get(f"CTYPE{axis}")).upper() for axis in image_axes.numbers)
    for place, axis in enumerate(image_axes.numbers, 1):
        cards[f"CTYPE{place}"] = _read_ctype(header, axis)
        if old:
            cards.setdefault(f"CUNIT{place}", "arcsec")
    if image_axes.kind == "sky" and image_axes.projection == "TAN" and {"PV1_1", "PV2_1"} <= cards.keys():
        for place in (1, 2):  # as SCAMP writes TPV
            cards[f"CTYPE{place}"] = str(cards[f"CTYPE{place}"])[:5] + "TPV"
    return cards


def _format_card(pair: tuple[str, Card]) -> str:
    """Write a card as FITS has it (4.0, section 4.1)."""
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

    from astropy.io import fits  # noqa: PLC0415  (a second to load, asked by few)
    from astropy.wcs import WCS, FITSFixedWarning, WcsError, Wcsprm  # noqa: PLC0415  (a second to load, asked by few)

    matrix = np.array([[find_number(cards, f"CD{i}_{j}") for j in (1, 2)] for i in (1, 2)])
    if np.isfinite(matrix).any():
        scale = np.nan_to_num(matrix)
    else:
        pc = np.array([[find_number(cards, f"PC{i}_{j}") for j in (1, 2)] for i in (1, 2)])
        number = find_number(cards, "CDELT1")
        step = np.array([[number], [find_number(cards, "CDELT2")]])
        scale = step * np.where(np.isfinite(pc), pc, np.eye(2))
    if str(cards.get("CTYPE1"))[5:8] == "TPV" and not np.isfinite(matrix).any():
        # its polynomials are of degrees, which wcslib takes them for only where CDi_j gives these
        turn = np.radians(np.nan_to_num(find_number(cards, "CROTA2")))
        if not np.isfinite(pc).any():
            cos = np.cos(turn)
            sin = np.sin(turn)
            scale = np.array([[step[0, 0] * cos, -step[1, 0] * sin], [step[0, 0] * sin, step[1, 0] * cos]])
        cards = {name: value for name, value in cards.items() if not re.match("CDELT|PC|CROTA", name)}
        cards |= {f"CD{i + 1}_{j + 1}": float(scale[i, j]) for i in (0, 1) for j in (0, 1)}
    if not np.isfinite(scale).all() or abs(scale[0, 0] * scale[1, 1] - scale[0, 1] * scale[1, 0]) < 1e-30:
        message = "the scale is singular"
        raise ValueError(message)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FITSFixedWarning)
        warnings.simplefilter("ignore", UserWarning)
        try:
            if any(map(_SIP_KEYWORD_PATTERN.match, cards)) or not all(
                map(_PLAIN_VALUE_PATTERN.fullmatch, map(str, cards.values()))
            ):
                wcs = WCS(fits.Header(cards))
            else:  # without polynomials of its own: half a millisecond less, most of which astropy's cards take
                wcs = WCS(naxis=2)
                wcs.wcs = Wcsprm("".join(map(_format_card, cards.items())).encode())
                wcs.fix()
            wcs.wcs.set()
        except (WcsError, fits.VerifyError) as fault:
            raise ValueError(str(fault)) from None
    return wcs


class ImageWcs:
    """Where pixels are: longitude and latitude in degrees, eastward; of the Sun's disc helioprojective ones.

    Attributes
    ----------
    image_axes
        What the axes are.
    scale
        Degrees a pixel, at the reference.
    """

    def __init__(self, wcs: Any, image_axes: ImageAxes, header: Mapping[str, Card], west_positive: bool) -> None:
        self.wcs = wcs
        self.image_axes = image_axes
        self.west_positive = west_positive
        sizes = [find_number(header, f"{axis}_RADIUS") for axis in "ABC"]
        graphic = "GRAPHIC" in str(header.get("WCSNAME") or "").upper().replace("GEOGRAPHIC", "")
        self.ellipsoid_axes = (sizes[0], sizes[1] if np.isfinite(sizes[1]) else sizes[0], sizes[2])
        self.is_planetographic = (
            image_axes.kind == "body"
            and graphic
            and bool(np.isfinite(self.ellipsoid_axes).all())
            and min(self.ellipsoid_axes) > 0.0
        )
        self.scale = float(np.sqrt(abs(np.linalg.det(wcs.pixel_scale_matrix))))  # degrees

    def __call__(self, xy: Numbers) -> Numbers:
        """Return directions of pixels (the first has its centre at 1): shapes (n, 2)."""
        from astropy.wcs import WcsError  # noqa: PLC0415  (loaded already)

        try:
            lon, lat = self.wcs.all_pix2world(xy, 1)[:, [self.wcs.wcs.lng, self.wcs.wcs.lat]].T
        except (WcsError, ValueError):
            return np.full(xy.shape, np.nan)
        if self.image_axes.kind == "sky" and self.image_axes.frame != "ICRS":
            lon, lat = rotate_positions(lon, lat, self.image_axes.frame, "ICRS")
        if self.image_axes.kind == "body":
            lon = -lon if self.west_positive else lon
            if self.is_planetographic:
                lon, lat = to_planetocentric(lon, lat, self.ellipsoid_axes)
        return np.stack([lon % 360.0, lat], 1)

    def to_pixels(self, lon: Numbers, lat: Numbers) -> Numbers:
        """Return where directions are on the image; NaN where its projection does not show them.

        Parameters
        ----------
        lon, lat
            Degrees, as they come from pixels: on the sky ICRS; shape (n,).

        Returns
        -------
        pixels
            The first has its centre at 1; shape (n, 2).
        """
        if self.image_axes.kind == "sky" and self.image_axes.frame != "ICRS":
            lon, lat = rotate_positions(lon, lat, "ICRS", self.image_axes.frame)
        if self.image_axes.kind == "body":
            if self.is_planetographic:
                lon, lat = to_planetographic(lon, lat, self.ellipsoid_axes)
            lon = -lon if self.west_positive else lon
        world = np.stack([lon, lat] if self.wcs.wcs.lng == 0 else [lat, lon], 1)
        try:
            positions = np.asarray(self.wcs.all_world2pix(world, 1, quiet=True), np.float64)
        except Exception:  # noqa: BLE001  (wcslib has a class for each of its faults, of no common kind)
            return np.full(world.shape, np.nan)
        directions = self(positions)
        with np.errstate(invalid="ignore"):
            is_too_far = measure_angles(
                to_unit_vectors(*directions.T), to_unit_vectors(*self._to_output_frame(lon, lat))
            ) > np.radians(max(self.scale, 1e-9))
        positions[~np.isfinite(directions).all(1) | is_too_far] = np.nan
        return positions

    def _to_output_frame(self, lon: Numbers, lat: Numbers) -> tuple[Numbers, Numbers]:
        """Return directions of the image's own frame as `__call__` gives them."""
        if self.image_axes.kind == "sky" and self.image_axes.frame != "ICRS":
            return rotate_positions(lon, lat, self.image_axes.frame, "ICRS")
        if self.image_axes.kind == "body":
            lon = -lon if self.west_positive else lon
            if self.is_planetographic:
                return to_planetocentric(lon, lat, self.ellipsoid_axes)
        return lon, lat


def build_image_wcs(header: Mapping[str, Card], *, west_positive: bool = False) -> ImageWcs | None:
    """Make what turns pixels of an image into directions and back, by its cards.

    Parameters
    ----------
    header
        Cards by keyword.
    west_positive
        Longitudes of maps of bodies grow to the west there; here all grow to the east.

    Returns
    -------
    places
        On the sky in ICRS, on bodies planetocentric, of the Sun helioprojective; None: the cards say no such thing, or
        cannot be right.
    """
    image_axes = identify_axes(header)
    if not image_axes.kind or image_axes.projection not in _PROJECTIONS:
        return None
    orders = [header.get(f"{word}_ORDER") for word in ("A", "B", "AP", "BP")]
    if not all(order is None or (isinstance(order, int) and 0 <= order <= 9) for order in orders):
        return None
    try:
        wcs = _build_wcs(_select_plane_cards(header, image_axes))
        return ImageWcs(wcs, image_axes, header, west_positive)
    except (ValueError, KeyError, TypeError, ArithmeticError, MemoryError):
        return None


def _list_sides(image_size: Sequence[float]) -> list[tuple[Numbers, Numbers]]:
    """List the four sides of an image, as pixels' edges."""
    a = 0.5
    b = [each + 0.5 for each in image_size]
    four = np.array([[a, a], [b[0], a], [b[0], b[1]], [a, b[1]]])
    return list(zip(four, np.roll(four, -1, axis=0), strict=True))


def _sample_edge(image_wcs: ImageWcs, a: Numbers, b: Numbers, tolerance_pixels: float) -> Numbers:
    """Follow a side from its first corner, its last one included: as many points as keep it within the error."""
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
            gap = np.abs(_measure_deviations(flat)).max() * RADIANS_PER_ARCSECOND
        else:
            xyz = to_unit_vectors(*directions.T)
            ahead = np.repeat(xyz[:-1:4], 3, axis=0)
            behind = np.repeat(xyz[4::4], 3, axis=0)
            between = xyz[:-1].reshape(-1, 4, 3)[:, 1:].reshape(-1, 3)
            arc_distances = compute_arc_distances(between, ahead, behind, compute_arc_normals(ahead, behind))
            gap = np.radians(arc_distances.max())
            gap = max(
                gap, float(measure_angles(ahead, behind).max() > np.pi / 2.0)
            )  # a quarter of a turn is too much for one great circle
        if gap <= max_deviation:
            return directions[::4]
        count *= 2


def _measure_deviations(points: Numbers) -> Numbers:
    """Measure how far points between every fourth one are from straight lines."""
    a = points[:-1:4, None]
    b = points[4::4, None]
    p = points[:-1].reshape(-1, 4, 2)[:, 1:]
    direction = b - a
    cross = direction[..., 0] * (p - a)[..., 1] - direction[..., 1] * (p - a)[..., 0]
    return cross / np.maximum(np.hypot(direction[..., 0], direction[..., 1]), 1e-300)


def _project_to_tangent_plane(lonlat: Numbers) -> Numbers:
    """Put helioprojective directions in degrees on the plane that touches at the centre of the disc; arcseconds."""
    x = np.radians((lonlat[:, 0] + 180.0) % 360.0 - 180.0)
    y = np.radians(lonlat[:, 1])
    return np.stack([np.tan(x), np.tan(y) / np.cos(x)], 1) / RADIANS_PER_ARCSECOND


def _build_regions(edges: list[Numbers], middle: Numbers, tolerance_degrees: float) -> Regions | None:
    """Join sides to rings with the middle of the image to their left; sides that are one and the same go."""
    spots = [to_unit_vectors(*edge.T) for edge in edges]
    sides = list(range(4))
    rings = [np.concatenate([edge[:-1] for edge in edges])]
    for first_side, second_side in ((0, 2), (1, 3)):
        opposite_side = spots[second_side][::-1]
        if len(spots[first_side]) == len(opposite_side) and np.abs(
            spots[first_side] - opposite_side
        ).max() < np.radians(max(tolerance_degrees, 1e-9)):
            sides = [side for side in sides if side not in {first_side, second_side}]
            rings = [edges[side][:-1] for side in sides]
    oriented_rings = []
    for ring in rings:
        xyz = to_unit_vectors(*ring.T)
        after = np.roll(xyz, -1, axis=0)
        corners = ring[np.linalg.norm(after - xyz, axis=1) > 1e-13]
        if len(corners) < 3:  # a pole
            continue
        region = Regions.from_lists([[[corners.tolist()]]])
        oriented_rings.append(corners if region.contains(*middle.T)[0] else corners[::-1])
    all_points = np.concatenate(spots)
    if not np.isfinite(middle).all() or (
        not oriented_rings and np.linalg.norm(all_points - all_points[0], axis=1).max() < 1.99
    ):
        return None  # all of it is at one place; the sides of a map of everything go from pole to pole
    return Regions.from_lists([[[ring.tolist() for ring in oriented_rings]]]).make_valid()


def _is_all_sky(wcs: Any, image_size: Sequence[float]) -> bool:
    """Tell whether an image shows all of the sphere."""
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
    return bool(
        ((pixel >= 0.5 - EDGE_TOLERANCE_PIXELS) & (pixel <= np.array(image_size) + 0.5 + EDGE_TOLERANCE_PIXELS)).all()
    )


def _build_disc_regions(
    edges: list[Numbers],
    header: Mapping[str, Card],
    numbers: tuple[int, int],
    recorder: FaultRecorder,
    stonyhurst: bool,
    pixels: Numbers,
) -> ContourRegions:
    """Bring the outline of an image of the Sun onto it, cut at the limb."""
    number = find_number(header, f"CDELT{numbers[0]}")
    radius, lon, lat = find_observer_geometry(header, number, stonyhurst=stonyhurst)
    if not np.isfinite(radius):
        apparent_radius = sun.compute_apparent_radius(
            sun.compute_solar_ephemeris(find_date(header)).distance * sun.ASTRONOMICAL_UNIT_KM
        )
        radius = float(apparent_radius)
    radius = radius if radius > 1e-3 else np.nan
    recorder.mark_rows("no_observer", np.array([not max(abs(lon), abs(lat)) < MAX_ANGLE_VALUE]))
    flat = np.concatenate([_project_to_tangent_plane(edge[:-1]) for edge in edges])
    is_valid = np.isfinite(flat).all() and np.abs((np.concatenate(edges) + 180.0) % 360.0 - 180.0).max() < 89.0
    recorder.mark_rows("no_place", np.array([not is_valid]))
    if radius > 0.0:
        scale = radius / (np.tan(radius * RADIANS_PER_ARCSECOND) / RADIANS_PER_ARCSECOND)
    else:
        scale = 1.0
    x, y = np.nan_to_num(flat).T * scale
    disc = DiscImage(*np.array([0.0, 0.0, 1.0, 1.0, radius, lon, lat]))
    contours = build_regions_from_directions([0, len(flat)], x, y, disc, recorder=recorder)
    count = np.where(contours.fault > 0, 0, pixels).astype(np.int64)
    regions = _reduce_limb_corners(contours.regions, lon, lat, radius)
    return replace(contours, regions=regions, pixels=count)


def _reduce_limb_corners(regions: Regions, lon: float, lat: float, radius: float) -> Regions:
    """Leave out most corners along the limb, which is nearly a great circle."""
    height = to_unit_vectors(regions.lon, regions.lat) @ to_unit_vectors(lon, lat)
    limb = np.abs(height - np.sin(radius * RADIANS_PER_ARCSECOND)) < 1e-6
    before = np.empty(len(limb), np.int64)
    before[regions.successors] = np.arange(len(limb))
    keep = ~(limb & limb[before] & limb[regions.successors]) | (np.arange(len(limb)) % 40 == 0)
    return Regions(
        regions.lon[keep], regions.lat[keep], compute_offsets(keep)[regions.rings], regions.parts, regions.rows
    )
