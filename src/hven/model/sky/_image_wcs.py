"""Convert between pixels and positions of images by the WCS cards of their headers (FITS WCS I to IV).

The images may show the sky, the Sun's disc or maps of bodies. astropy converts pixels to positions, with distortions
(SIP, TPV).
"""

from __future__ import annotations

import itertools
import math
import re
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from hven.model.sky._frame import rotate_positions
from hven.model.sky._planetary_frames import to_planetocentric, to_planetographic
from hven.model.sky._sphere import measure_angles, to_unit_vectors

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    Numbers = npt.NDArray[np.float64]
    Card = str | float | bool | None

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


def find_header_number(cards: Mapping[str, Any], *keywords: str) -> float:
    """Find a number among cards.

    Parameters
    ----------
    cards
        Cards of a header.
    keywords
        Keywords in order of preference.

    Returns
    -------
    number
        The first finite number, in its own unit; NaN if there is none.
    """
    for name in keywords:
        value = cards.get(name)
        if value is None or isinstance(value, bool):
            continue
        try:
            parsed = float(value)
        except (TypeError, ValueError):
            continue
        if math.isfinite(parsed):
            return parsed
    return math.nan


def identify_image_axes(header: Mapping[str, Card]) -> ImageAxes:
    """Identify what the longitudes and latitudes of a header are.

    Parameters
    ----------
    header
        Cards by keyword.

    Returns
    -------
    image_axes
        The axes; without a kind if they are not positions.
    """
    words = {number: _read_modernized_ctype(header, number) for number in range(1, 10)}
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


def _read_modernized_ctype(header: Mapping[str, Card], axis: int) -> str:
    word = str(header.get(f"CTYPE{axis}") or "").strip().upper()
    return _OLD_SOLAR_CTYPES.get(word, word)


def _has_valid_sip_orders(header: Mapping[str, Card]) -> bool:
    """Return whether the orders of the SIP polynomials are absent or from 0 to 9."""
    for word in ("A", "B", "AP", "BP"):
        order = header.get(f"{word}_ORDER")
        if order is not None and not (isinstance(order, int) and 0 <= order <= 9):
            return False
    return True


def _build_two_axis_cards(header: Mapping[str, Card], image_axes: ImageAxes) -> dict[str, Card]:
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
        cards[f"CTYPE{place}"] = _read_modernized_ctype(header, axis)
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

    cards, scale = _normalize_scale_cards(cards)
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


def _normalize_scale_cards(cards: Mapping[str, Card]) -> tuple[Mapping[str, Card], Numbers]:
    """Return the cards and the scale matrix; for TPV without CDi_j, the matrix replaces the other cards of the scale.

    The polynomials of TPV are of degrees, and wcslib takes them as such only with CDi_j.
    """
    scale = compute_scale_matrix(cards)
    if str(cards.get("CTYPE1"))[5:8] != "TPV" or np.isfinite(_read_matrix(cards, "CD")).any():
        return cards, scale
    new_cards = {name: value for name, value in cards.items() if not re.match("CDELT|PC|CROTA", name)}
    for i, j in itertools.product((0, 1), repeat=2):
        new_cards[f"CD{i + 1}_{j + 1}"] = float(scale[i, j])
    return new_cards, scale


def compute_scale_matrix(cards: Mapping[str, Any]) -> Numbers:
    """Compute the matrix that leads from pixels to the plane of projection.

    Parameters
    ----------
    cards
        Cards of an image with two axes: CDi_j, or CDELTi with PCi_j or CROTA2.

    Returns
    -------
    matrix
        In the unit of the cards, shape (2, 2); NaN if CDELTi is missing.
    """
    matrix = _read_matrix(cards, "CD")
    if np.isfinite(matrix).any():
        return np.nan_to_num(matrix)
    steps = np.array([find_header_number(cards, "CDELT1"), find_header_number(cards, "CDELT2")])
    pc = _read_matrix(cards, "PC")
    if np.isfinite(pc).any():
        return steps[:, None] * np.where(np.isfinite(pc), pc, np.eye(2))
    turn = np.radians(np.nan_to_num(find_header_number(cards, "CROTA2")))
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    scale: Numbers = rotation * steps
    return scale


def _read_matrix(cards: Mapping[str, Any], word: str) -> Numbers:
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
        if np.isfinite(sizes[1]):
            second_axis = sizes[1]
        else:
            second_axis = sizes[0]
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
        if self.wcs.wcs.lng == 0:
            axes = [lon, lat]
        else:
            axes = [lat, lon]
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


class ImageWcsError(ValueError):
    """Cards of a header do not give the positions of pixels.

    Attributes
    ----------
    fault
        Why, as a name of `hven.model.sky.contour_faults.FAULT_MESSAGES`: ``no_wcs``, ``projection``, ``distortion`` or
        ``singular``.
    """

    def __init__(self, fault: str) -> None:
        super().__init__(fault)
        self.fault = fault


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
    try:
        return parse_image_wcs(header, west_positive=west_positive)
    except ImageWcsError:
        return None


def parse_image_wcs(header: Mapping[str, Card], *, west_positive: bool = False) -> ImageWcs:
    """Make the converter as `build_image_wcs` does, or tell why there is none.

    Parameters
    ----------
    header, west_positive
        As for `build_image_wcs`.

    Returns
    -------
    places
        As of `build_image_wcs`.

    Raises
    ------
    ImageWcsError
        The cards have no WCS, or have a wrong one.
    """
    image_axes = identify_image_axes(header)
    if not image_axes.kind:
        raise ImageWcsError("no_wcs")
    if image_axes.projection not in _PROJECTIONS:
        raise ImageWcsError("projection")
    if not _has_valid_sip_orders(header):
        raise ImageWcsError("distortion")
    try:
        wcs = _build_wcs(_build_two_axis_cards(header, image_axes))
        return ImageWcs(wcs, image_axes, header, west_positive)
    except (ValueError, KeyError, TypeError, ArithmeticError, MemoryError) as error:
        is_singular = "ingular" in f"{type(error).__name__} {error}"
        raise ImageWcsError("singular" if is_singular else "no_wcs") from error
