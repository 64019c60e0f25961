"""Footprints of images by the WCS cards of their headers (FITS WCS I to IV): on the sky, on the Sun's disc, on maps of bodies.

astropy turns pixels into places, distortions included (SIP, TPV); what lies between them follows the image's edges.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from hven.model.sky import _sun as sun
from hven.model.sky._contour_faults import Check, Contours
from hven.model.sky._directions import polygons
from hven.model.sky._disc import ARCSEC, Disc
from hven.model.sky._frame import turned
from hven.model.sky._planets import planetocentric, planetographic
from hven.model.sky._ragged import ends
from hven.model.sky._regions import Regions
from hven.model.sky._sphere import angle, arc_gap, normals, vectors
from hven.model.sky._sun_cards import date, number, seen

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    Numbers = npt.NDArray[np.float64]
    Card = str | float | bool | None

ERROR = 0.1
"""Pixels that an edge of a footprint may be away from the image's."""
LONGEST = 1024  # pieces of an edge
WILD = 1e8  # what is more is no angle, in seconds of arc either
_CARDS = re.compile(
    r"WCSAXES|CTYPE\d|CUNIT\d|CRVAL\d|CRPIX\d|CDELT\d|CROTA\d|(CD|PC|PV|PS)\d_\d+|LONPOLE|LATPOLE|RADESYS|EQUINOX|(A|B|AP|BP)_(ORDER|DMAX|\d_\d)"
)
_BENT = re.compile(r"[AB]P?_")  # polynomials (SIP) that wcslib does not know
_WRITTEN = re.compile(r"(?!-?inf|nan)[ -&(-~]{0,60}")  # what a card can have as it is
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
_SKY = {"RA": "ICRS", "GLON": "GALACTIC", "ELON": "ECLIPTIC"}
_OLD = {"SOLARX": "HPLN-TAN", "SOLARY": "HPLT-TAN", "SOLAR-X": "HPLN-TAN", "SOLAR-Y": "HPLT-TAN", "SOLAR_X": "HPLN-TAN", "SOLAR_Y": "HPLT-TAN"}  # fmt: skip


class Axes(NamedTuple):
    """What the axes of an image are.

    Attributes
    ----------
    kind
        ``sky``, ``disc`` (helioprojective directions) or ``body``; empty: no places.
    projection
        Its three letters.
    frame
        Of the sky, as `turned` takes it.
    numbers
        Of the two axes, the lower one first.
    """

    kind: str
    projection: str
    frame: str = "ICRS"
    numbers: tuple[int, int] = (1, 2)


def axes(header: Mapping[str, Card]) -> Axes:
    """Tell what the longitudes and latitudes of a header are.

    Parameters
    ----------
    header
        Cards by keyword.
    """
    words = {number: _ctype(header, number) for number in range(1, 10)}
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
        return Axes("", "")
    own = numbers[0], numbers[1]
    if name in _SKY:
        year = header.get("EQUINOX", header.get("EPOCH"))
        system = str(header.get("RADESYS") or header.get("RADECSYS") or "").strip().upper()
        if not system and isinstance(year, int | float):
            system = "FK4" if year < 1984.0 else "FK5"
        return Axes("sky", projection, system if name == "RA" and system in {"FK4", "FK5"} else _SKY[name], own)
    return Axes("disc" if name == "HPLN" else "body", projection, numbers=own)


def _ctype(header: Mapping[str, Card], number: int) -> str:
    word = str(header.get(f"CTYPE{number}") or "").strip().upper()
    return _OLD.get(word, word)


def of_headers(
    headers: Sequence[Mapping[str, Card]], *, stonyhurst: bool = False, west: bool = False, error: float = ERROR
) -> Contours:
    """Make regions of headers of images: what their pixels cover.

    Parameters
    ----------
    headers
        Cards by keyword: WCS, NAXISn (of compressed images ZNAXISn), for the Sun the observer's (CRLN_OBS, HGLT_OBS, DSUN_OBS, RSUN_OBS ..), for other
        bodies A_RADIUS and C_RADIUS where latitudes are planetographic (WCSNAME).
    stonyhurst
        Images of the Sun's disc are brought to Stonyhurst's longitudes, not Carrington's.
    west
        Longitudes of maps of bodies grow to the west there; here all grow to the east.
    error
        How far the edges may be away from those of the image, pixels.

    Returns
    -------
    contours
        A region or a fault for each: on the sky in ICRS, on bodies planetocentric.
    """
    found = [_one(header, stonyhurst, west, error) for header in headers]
    return Contours.concat(found) if found else _none(Check(1)).take(np.empty(0, np.int64))


def _one(header: Mapping[str, Card], stonyhurst: bool, west: bool, error: float) -> Contours:
    check, of = Check(1), axes(header)
    size = [number(header, f"ZNAXIS{axis}", f"NAXIS{axis}") for axis in of.numbers]
    needed = [number(header, f"{word}{axis}") for word in ("CRVAL", "CRPIX") for axis in of.numbers]
    angles = [number(header, name) for name in (f"CRVAL{of.numbers[0]}", f"CRVAL{of.numbers[1]}", "LONPOLE", "LATPOLE")]
    wild = not min(size) >= 1.0 or not np.isfinite(needed).all() or np.nanmax(np.abs(angles)) > WILD
    check.mark("no_wcs", np.array([not of.kind or wild]))
    check.mark("projection", np.array([of.projection not in _PROJECTIONS]))
    pixels = np.array([np.prod(size)]) if np.isfinite(size).all() else np.zeros(1)
    if check.fault.any():
        return _none(check)
    orders = [header.get(f"{word}_ORDER") for word in ("A", "B", "AP", "BP")]
    check.mark(
        "distortion", np.array([not all(one is None or (isinstance(one, int) and 0 <= one <= 9) for one in orders)])
    )
    if check.fault.any():
        return _none(check)
    try:
        wcs = _wcs(_planar(header, of))
    except (ValueError, KeyError, TypeError, ArithmeticError, MemoryError) as fault:
        check.mark("singular" if "ingular" in f"{type(fault).__name__} {fault}" else "no_wcs", np.ones(1, np.bool_))
        return _none(check)
    place = Places(wcs, of, header, west)
    check.mark("no_place", np.array([not place.scale * min(size) < 720.0]))
    if check.fault.any():
        return _none(check)
    edges = [_edge(place, a, b, error) for a, b in _corners(size)]
    middle = place(np.array([[size[0] / 2.0 + 0.5, size[1] / 2.0 + 0.5]]))
    if of.kind == "disc":
        return _on_disc(edges, header, of.numbers, check, stonyhurst, pixels)
    if not all(np.isfinite(edge).all() for edge in edges):
        whole = _everywhere(wcs, size)
        check.mark("no_place", np.array([not whole]))
        return _none(check) if check.fault.any() else _made(Regions.of([[[]]]), pixels, check)
    regions = _regions(edges, middle, place.scale * error)
    empty = regions is None or regions.rows[-1] == 0
    check.mark("no_place", np.array([empty]))
    return _none(check) if regions is None or empty else _made(regions, pixels, check)


def _none(check: Check) -> Contours:
    return _made(Regions.empty(1), np.zeros(1), check)


def _made(regions: Regions, pixels: Numbers, check: Check) -> Contours:
    return Contours(
        regions, pixels.astype(np.int64), np.zeros(1), check.fault, check.number, *np.zeros((2, 1), np.bool_)
    )


def _planar(header: Mapping[str, Card], of: Axes) -> dict[str, Card]:
    """Take the cards of the two axes that are longitude and latitude, as those of an image of no more axes."""
    new = {str(number): place for place, number in enumerate(of.numbers, 1)}
    found: dict[str, Card] = {}
    for name, value in header.items():
        match = _CARDS.fullmatch(name)
        if match is None or value is None or name == "WCSAXES":
            continue
        word, first, second = re.fullmatch(r"([A-Z]+|[AB]P?_)(?:(\d)(?:_(\d+))?|.*)", name).groups()  # type: ignore[union-attr]
        if first is None or word in {"A_", "B_", "AP_", "BP_"}:
            found[name] = value
        elif first in new and (second is None or word in {"PV", "PS"} or second in new):
            tail = "" if second is None else f"_{second if word in {'PV', 'PS'} else new[second]}"
            found[f"{word}{new[first]}{tail}"] = value
    old = any("SOLAR" in str(header.get(f"CTYPE{axis}")).upper() for axis in of.numbers)
    for place, axis in enumerate(of.numbers, 1):
        found[f"CTYPE{place}"] = _ctype(header, axis)
        if old:
            found.setdefault(f"CUNIT{place}", "arcsec")
    if of.kind == "sky" and of.projection == "TAN" and {"PV1_1", "PV2_1"} <= found.keys():
        for place in (1, 2):  # as SCAMP writes TPV
            found[f"CTYPE{place}"] = str(found[f"CTYPE{place}"])[:5] + "TPV"
    return found


def _card(pair: tuple[str, Card]) -> str:
    """Write a card as FITS has it (4.0, section 4.1)."""
    name, value = pair
    word = (
        f"'{value:<8}'" if isinstance(value, str) else "FT"[value] if isinstance(value, bool) else repr(value).upper()
    )
    return f"{name:<8}= {word:>20}".ljust(80)


def _wcs(cards: Mapping[str, Card]) -> Any:
    """Make astropy's WCS of an image."""
    import warnings  # noqa: PLC0415  (beside astropy)

    from astropy.io import fits  # noqa: PLC0415  (a second to load, asked by few)
    from astropy.wcs import WCS, FITSFixedWarning, WcsError, Wcsprm  # noqa: PLC0415  (a second to load, asked by few)

    matrix = np.array([[number(cards, f"CD{i}_{j}") for j in (1, 2)] for i in (1, 2)])
    if np.isfinite(matrix).any():
        scale = np.nan_to_num(matrix)
    else:
        pc = np.array([[number(cards, f"PC{i}_{j}") for j in (1, 2)] for i in (1, 2)])
        step = np.array([[number(cards, "CDELT1")], [number(cards, "CDELT2")]])
        scale = step * np.where(np.isfinite(pc), pc, np.eye(2))
    if str(cards.get("CTYPE1"))[5:8] == "TPV" and not np.isfinite(matrix).any():
        # its polynomials are of degrees, which wcslib takes them for only where CDi_j gives these
        turn = np.radians(np.nan_to_num(number(cards, "CROTA2")))
        if not np.isfinite(pc).any():
            cos, sin = np.cos(turn), np.sin(turn)
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
            if any(map(_BENT.match, cards)) or not all(map(_WRITTEN.fullmatch, map(str, cards.values()))):
                made = WCS(fits.Header(cards))
            else:  # without polynomials of its own: half a millisecond less, most of which astropy's cards take
                made = WCS(naxis=2)
                made.wcs = Wcsprm("".join(map(_card, cards.items())).encode())
                made.fix()
            made.wcs.set()
        except (WcsError, fits.VerifyError) as fault:
            raise ValueError(str(fault)) from None
    return made


class Places:
    """Where pixels are: longitude and latitude in degrees, eastward; of the Sun's disc helioprojective ones.

    Attributes
    ----------
    of
        What the axes are.
    scale
        Degrees a pixel, at the reference.
    """

    def __init__(self, wcs: Any, of: Axes, header: Mapping[str, Card], west: bool) -> None:
        self.wcs, self.of, self.west = wcs, of, west
        sizes = [number(header, f"{axis}_RADIUS") for axis in "ABC"]
        graphic = "GRAPHIC" in str(header.get("WCSNAME") or "").upper().replace("GEOGRAPHIC", "")
        self.axes = (sizes[0], sizes[1] if np.isfinite(sizes[1]) else sizes[0], sizes[2])
        self.graphic = of.kind == "body" and graphic and bool(np.isfinite(self.axes).all()) and min(self.axes) > 0.0
        self.scale = float(np.sqrt(abs(np.linalg.det(wcs.pixel_scale_matrix))))  # degrees

    def __call__(self, xy: Numbers) -> Numbers:
        """Return directions of pixels (the first has its centre at 1): shapes (n, 2)."""
        from astropy.wcs import WcsError  # noqa: PLC0415  (loaded already)

        try:
            lon, lat = self.wcs.all_pix2world(xy, 1)[:, [self.wcs.wcs.lng, self.wcs.wcs.lat]].T
        except (WcsError, ValueError):
            return np.full(xy.shape, np.nan)
        if self.of.kind == "sky" and self.of.frame != "ICRS":
            lon, lat = turned(lon, lat, self.of.frame, "ICRS")
        if self.of.kind == "body":
            lon = -lon if self.west else lon
            if self.graphic:
                lon, lat = planetocentric(lon, lat, self.axes)
        return np.stack([lon % 360.0, lat], 1)

    def pixels(self, lon: Numbers, lat: Numbers) -> Numbers:
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
        if self.of.kind == "sky" and self.of.frame != "ICRS":
            lon, lat = turned(lon, lat, "ICRS", self.of.frame)
        if self.of.kind == "body":
            if self.graphic:
                lon, lat = planetographic(lon, lat, self.axes)
            lon = -lon if self.west else lon
        world = np.stack([lon, lat] if self.wcs.wcs.lng == 0 else [lat, lon], 1)
        try:
            there = np.asarray(self.wcs.all_world2pix(world, 1, quiet=True), np.float64)
        except Exception:  # noqa: BLE001  (wcslib has a class for each of its faults, of no common kind)
            return np.full(world.shape, np.nan)
        back = self(there)
        with np.errstate(invalid="ignore"):
            far = angle(vectors(*back.T), vectors(*self._shown(lon, lat))) > np.radians(max(self.scale, 1e-9))
        there[~np.isfinite(back).all(1) | far] = np.nan
        return there

    def _shown(self, lon: Numbers, lat: Numbers) -> tuple[Numbers, Numbers]:
        """Return directions of the image's own frame as `__call__` gives them."""
        if self.of.kind == "sky" and self.of.frame != "ICRS":
            return turned(lon, lat, self.of.frame, "ICRS")
        if self.of.kind == "body":
            lon = -lon if self.west else lon
            if self.graphic:
                return planetocentric(lon, lat, self.axes)
        return lon, lat


def places(header: Mapping[str, Card], *, west: bool = False) -> Places | None:
    """Make what turns pixels of an image into directions and back, by its cards.

    Parameters
    ----------
    header
        Cards by keyword.
    west
        Longitudes of maps of bodies grow to the west there; here all grow to the east.

    Returns
    -------
    places
        On the sky in ICRS, on bodies planetocentric, of the Sun helioprojective; None: the cards say no such thing, or cannot be right.
    """
    of = axes(header)
    if not of.kind or of.projection not in _PROJECTIONS:
        return None
    orders = [header.get(f"{word}_ORDER") for word in ("A", "B", "AP", "BP")]
    if not all(one is None or (isinstance(one, int) and 0 <= one <= 9) for one in orders):
        return None
    try:
        return Places(_wcs(_planar(header, of)), of, header, west)
    except (ValueError, KeyError, TypeError, ArithmeticError, MemoryError):
        return None


def _corners(size: Sequence[float]) -> list[tuple[Numbers, Numbers]]:
    """List the four sides of an image, as pixels' edges."""
    a, b = 0.5, [each + 0.5 for each in size]
    four = np.array([[a, a], [b[0], a], [b[0], b[1]], [a, b[1]]])
    return list(zip(four, np.roll(four, -1, axis=0), strict=True))


def _edge(place: Places, a: Numbers, b: Numbers, error: float) -> Numbers:
    """Follow a side from its first corner, its last one included: as many points as keep it within the error."""
    count, most = 1, np.radians(error * place.scale)
    disc = place.of.kind == "disc"
    while True:
        share = np.linspace(0.0, 1.0, 4 * count + 1)[:, None]
        found = place(a + share * (b - a))
        if not np.isfinite(found).all() or count > LONGEST:
            return np.full((2, 2), np.nan)
        if disc:
            flat = _plane(found)
            gap = np.abs(_off(flat)).max() * ARCSEC
        else:
            xyz = vectors(*found.T)
            ahead, behind = np.repeat(xyz[:-1:4], 3, axis=0), np.repeat(xyz[4::4], 3, axis=0)
            between = xyz[:-1].reshape(-1, 4, 3)[:, 1:].reshape(-1, 3)
            gap = np.radians(arc_gap(between, ahead, behind, normals(ahead, behind)).max())
            gap = max(
                gap, float(angle(ahead, behind).max() > np.pi / 2.0)
            )  # a quarter of a turn is too much for one great circle
        if gap <= most:
            return found[::4]
        count *= 2


def _off(flat: Numbers) -> Numbers:
    """Measure how far points between every fourth one are from straight lines."""
    a, b = flat[:-1:4, None], flat[4::4, None]
    p = flat[:-1].reshape(-1, 4, 2)[:, 1:]
    way = b - a
    cross = way[..., 0] * (p - a)[..., 1] - way[..., 1] * (p - a)[..., 0]
    return cross / np.maximum(np.hypot(way[..., 0], way[..., 1]), 1e-300)


def _plane(lonlat: Numbers) -> Numbers:
    """Put helioprojective directions in degrees on the plane that touches at the centre of the disc; arcseconds."""
    x, y = np.radians((lonlat[:, 0] + 180.0) % 360.0 - 180.0), np.radians(lonlat[:, 1])
    return np.stack([np.tan(x), np.tan(y) / np.cos(x)], 1) / ARCSEC


def _regions(edges: list[Numbers], middle: Numbers, error: float) -> Regions | None:
    """Join sides to rings with the middle of the image to their left; sides that are one and the same go."""
    spots = [vectors(*edge.T) for edge in edges]
    sides = list(range(4))
    rings = [np.concatenate([edge[:-1] for edge in edges])]
    for one, other in ((0, 2), (1, 3)):
        back = spots[other][::-1]
        if len(spots[one]) == len(back) and np.abs(spots[one] - back).max() < np.radians(max(error, 1e-9)):
            sides = [side for side in sides if side not in {one, other}]
            rings = [edges[side][:-1] for side in sides]
    kept = []
    for ring in rings:
        xyz = vectors(*ring.T)
        after = np.roll(xyz, -1, axis=0)
        corners = ring[np.linalg.norm(after - xyz, axis=1) > 1e-13]
        if len(corners) < 3:  # a pole
            continue
        made = Regions.of([[[corners.tolist()]]])
        kept.append(corners if made.contains(*middle.T)[0] else corners[::-1])
    every = np.concatenate(spots)
    if not np.isfinite(middle).all() or (not kept and np.linalg.norm(every - every[0], axis=1).max() < 1.99):
        return None  # all of it is at one place; the sides of a map of everything go from pole to pole
    return Regions.of([[[ring.tolist() for ring in kept]]]).mended()


def _everywhere(wcs: Any, size: Sequence[float]) -> bool:
    """Tell whether an image shows all of the sphere."""
    from astropy.wcs import WcsError  # noqa: PLC0415  (loaded already)

    index = np.arange(3000) + 0.5
    lat, lon = np.degrees(np.arcsin(1.0 - index / 1500.0)), np.degrees(index * 2.399963229728653) % 360.0
    world = np.stack([lon, lat], 1) if wcs.wcs.lng == 0 else np.stack([lat, lon], 1)
    try:
        pixel = wcs.wcs_world2pix(world, 1)
    except (WcsError, ValueError):
        return False
    return bool(((pixel >= 0.5 - ERROR) & (pixel <= np.array(size) + 0.5 + ERROR)).all())


def _on_disc(
    edges: list[Numbers],
    header: Mapping[str, Card],
    numbers: tuple[int, int],
    check: Check,
    stonyhurst: bool,
    pixels: Numbers,
) -> Contours:
    """Bring the outline of an image of the Sun onto it, cut at the limb."""
    radius, lon, lat = seen(header, number(header, f"CDELT{numbers[0]}"), stonyhurst=stonyhurst)
    radius = radius if np.isfinite(radius) else float(sun.apparent_radius(sun.earth(date(header)).distance * sun.AU))
    radius = radius if radius > 1e-3 else np.nan
    check.mark("no_observer", np.array([not max(abs(lon), abs(lat)) < WILD]))
    flat = np.concatenate([_plane(edge[:-1]) for edge in edges])
    known = np.isfinite(flat).all() and np.abs((np.concatenate(edges) + 180.0) % 360.0 - 180.0).max() < 89.0
    check.mark("no_place", np.array([not known]))
    scale = radius / (np.tan(radius * ARCSEC) / ARCSEC) if radius > 0.0 else 1.0
    x, y = np.nan_to_num(flat).T * scale
    disc = Disc(*np.array([0.0, 0.0, 1.0, 1.0, radius, lon, lat]))
    found = polygons([0, len(flat)], x, y, disc, check=check)
    count = np.where(found.fault > 0, 0, pixels).astype(np.int64)
    return replace(found, regions=_thinned(found.regions, lon, lat, radius), pixels=count)


def _thinned(regions: Regions, lon: float, lat: float, radius: float) -> Regions:
    """Leave out most corners along the limb, which is nearly a great circle."""
    height = vectors(regions.lon, regions.lat) @ vectors(lon, lat)
    limb = np.abs(height - np.sin(radius * ARCSEC)) < 1e-6
    before = np.empty(len(limb), np.int64)
    before[regions.followers] = np.arange(len(limb))
    keep = ~(limb & limb[before] & limb[regions.followers]) | (np.arange(len(limb)) % 40 == 0)
    return Regions(regions.lon[keep], regions.lat[keep], ends(keep)[regions.rings], regions.parts, regions.rows)
