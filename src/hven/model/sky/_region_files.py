"""Files of regions: which form one is in, and DS9's and CASA's region files through Astropy's library `regions`."""

from __future__ import annotations

import re
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from hven.model.errors import UserError
from hven.model.sky import _tfcat as tfcat
from hven.model.sky._geojson import (
    Features,
    GeoJsonError,
    centric,
    from_geojson,
    geometries,
    opening,
    to_geojson,
    turning,
)
from hven.model.sky._moc_files import moc_read, moc_written
from hven.model.sky._region_texts import KINDS, Read, checked, crossed, of_mocs, of_shapes, of_texts, simple, texts
from hven.model.sky._regions import Regions
from hven.model.sky._sphere import angles, vectors

if TYPE_CHECKING:
    import numpy.typing as npt

    Numbers = npt.NDArray[np.float64]

__all__ = [
    "KINDS",
    "KNOWN",
    "Features",
    "GeoJsonError",
    "Read",
    "centric",
    "form",
    "from_geojson",
    "geometries",
    "moc_read",
    "moc_written",
    "of_shapes",
    "of_texts",
    "opening",
    "read",
    "simple",
    "texts",
    "tfcat",
    "to_geojson",
    "turning",
    "written",
]  # fmt: skip

KNOWN = "GeoJSON, DS9 (.reg), CRTF (.crtf), MOC (FITS, JSON, ASCII), or lines of STC-S or DALI's shapes"
_DS9 = re.compile(
    rb"\s*#\s*Region file format: *DS9|\s*(?:icrs|fk5|fk4|galactic|ecliptic|j2000|b1950|image|physical)\s*(?:;|\r?\n)",
    re.IGNORECASE,
)
_CRTF = re.compile(rb"\s*#\s*CRTF", re.IGNORECASE)
_MOC = re.compile(rb"(?:\s*s?\d+/[\d\s,\-]*)+\s*", re.IGNORECASE)
TURNED = "its outline runs clockwise, and was turned (RFC 7946)"
_ROUND = 128  # corners of an ellipse


def form(data: bytes, name: str = "") -> str | None:
    """Tell in which form a file of regions is.

    Parameters
    ----------
    data
        Its bytes, or the first thousands of them.
    name
        Its name, whose ending tells DS9's files that do not say what they are.

    Returns
    -------
    form
        ``geojson``, ``moc``, ``ds9``, ``crtf``, ``text``; None: it is none of these.
    """
    start, ending = data.lstrip()[:4096], name.lower().rsplit(".", 1)[-1]
    if start.startswith(b"{"):
        return "geojson" if re.search(rb'"type"\s*:', data) else "moc" if re.match(rb'\{\s*("\d+"|\})', start) else None
    if start.startswith(b"SIMPLE  ="):
        return "moc" if re.search(rb"ORDERING= '(?:RANGE|NUNIQ)", data) else None
    if _CRTF.match(start) or ending == "crtf":
        return "crtf"
    if _DS9.match(start) or ending == "reg":
        return "ds9"
    if _MOC.fullmatch(data):
        return "moc"
    return "text" if re.match(rb"(?i)(circle|polygon|range|box|position|union|allsky|multishape)\b", start) else None


def read(data: bytes, name: str = "", *, mend: bool = False) -> Read:
    """Read a file of regions.

    Parameters
    ----------
    data
        The file's bytes.
    name
        Its name, for messages and for its ending.
    mend
        Polygons that cross themselves are no fault but noted: what they wind round stands for them.

    Returns
    -------
    read
        Regions, and faults by row.

    Raises
    ------
    ValueError
        Empty, in no form that is known, or not what its form wants.
    UserError
        DS9 or CRTF without the library for them.
    """
    if not data.strip():
        message = "the file is empty"
        raise ValueError(message)
    kind = form(data, name)
    if kind is None:
        message = f"the file is none of what regions are read from: {KNOWN}"
        raise ValueError(message)
    if kind == "moc":
        regions, faults = of_mocs({0: moc_read(data)})
        return checked(regions, [faults.get(0, "")], [None], None)
    text = data.decode("utf-8", "replace")
    if kind == "geojson":
        found = from_geojson(data, mend=mend)
        names = [None if one is None else str(one) for one in found.ids]
        turned = {row: TURNED for row in np.flatnonzero(found.turned).tolist() if not found.faults[row]}
        return crossed(Read(found.regions, found.faults, names, found.crs, turned), np.flatnonzero(found.crossing))
    if kind == "text":
        return of_texts([line for line in text.splitlines() if line.strip()], mend=mend)
    return _drawn(text, kind)


def _library() -> Any:
    try:
        import regions  # noqa: PLC0415  (half a second, and an extra of its own)
    except ImportError:
        raise UserError(
            "region files of DS9 and CASA are read by Astropy's library regions, which is not installed",
            remedy="pip install 'hven[regions]'",
        ) from None
    return regions


def _drawn(text: str, kind: str) -> Read:
    """Read the regions of DS9 or CASA."""
    library = _library()
    try:
        with warnings.catch_warnings(record=True) as told:  # it passes over what it cannot read
            warnings.simplefilter("always")
            drawn = list(library.Regions.parse(text, format=kind))
    except Exception as error:  # noqa: BLE001  (it raises what comes, and says it in its words)
        message = f"the {'DS9' if kind == 'ds9' else 'CRTF'} file cannot be read: {str(error) or type(error).__name__}"
        raise ValueError(message) from None
    made, faults, names = [], [], []
    for one in drawn:
        fault, found = "", Regions.empty(1)
        word = type(one).__name__
        try:
            if "Pixel" in word:
                fault = "it is drawn in pixels of an image: save it in coordinates of the sky (icrs, fk5, galactic)"
            elif one.meta.get("include") in {False, "-"}:
                fault = "it is excluded (-), which is a condition on others and no region"
            else:
                found = _region(one, word.removesuffix("SkyRegion"))
        except ValueError as error:
            fault = str(error)
        made.append(found)
        faults.append(fault)
        names.append(one.meta.get("text") or one.meta.get("label") or None)
    lost = [str(one.message) for one in told if "skipping" in str(one.message)]
    if not drawn and not lost:
        message = f"no region stands in the {'DS9' if kind == 'ds9' else 'CRTF'} file"
        raise ValueError(message)
    regions = Regions.concat([*made, Regions.empty(len(lost))])
    return checked(regions, [*faults, *lost], [*names, *[None] * len(lost)], "ICRS")


def _region(one: Any, word: str) -> Regions:
    if word == "Polygon":
        corners = one.vertices.icrs
        numbers = np.stack([corners.ra.deg, corners.dec.deg], 1).ravel()
        return Regions.polygons([0, len(numbers)], numbers)
    if word.endswith("Annulus"):
        sizes = ("radius",) if word.startswith("Circle") else ("width", "height")
        outer, inner = (
            _round(one, word.removesuffix("Annulus"), *(getattr(one, f"{side}_{size}") for size in sizes))
            for side in ("outer", "inner")
        )
        return outer.difference(inner)
    if word == "Circle":
        return _round(one, word, one.radius)
    if word in {"Ellipse", "Rectangle"}:
        return _round(one, word, one.width, one.height)
    message = f"a {word.lower()} has no area" if word in {"Point", "Line", "Text"} else f"a {word} is not read"
    raise ValueError(message)


def _round(one: Any, word: str, *sizes: Any) -> Regions:
    """Make circles, ellipses and rectangles, whose width lies along the angle, counted from west to north."""
    lon, lat = one.center.icrs.ra.deg, one.center.icrs.dec.deg
    if word == "Circle":
        return Regions.circles(lon, lat, sizes[0].to_value("deg"))
    width, height = (size.to_value("rad") / 2.0 for size in sizes)
    angle = one.angle.to_value("rad")
    if word == "Rectangle":  # its sides are great circles: straight on a gnomonic plane
        x, y = np.tan(width) * np.array([1, -1, -1, 1]), np.tan(height) * np.array([1, 1, -1, -1])
    else:
        turn = 2.0 * np.pi * np.arange(_ROUND) / _ROUND
        x, y = width * np.cos(turn), height * np.sin(turn)
        far = np.hypot(x, y)
        x, y = (part * np.tan(far) / np.maximum(far, 1e-300) for part in (x, y))
    centre = vectors(lon, lat)
    north = vectors(lon, lat + 90.0) if lat <= 0.0 else -vectors(lon, lat - 90.0)
    east = np.cross(north, centre)
    along = np.sin(angle) * north - np.cos(angle) * east
    across = np.cos(angle) * north + np.sin(angle) * east
    lons, lats = angles(centre + x[:, None] * along + y[:, None] * across)
    return Regions.polygons([0, 2 * len(x)], np.stack([lons, lats], 1).ravel())


def written(regions: Regions, kind: str) -> str:
    """Write a region file for DS9 or CASA: polygons in ICRS.

    Parameters
    ----------
    regions
        Of the sky.
    kind
        ``ds9`` or ``crtf``.

    Returns
    -------
    text
        One polygon for each part; parts with holes, or of more than half the sky, in pieces.

    Raises
    ------
    UserError
        Astropy's library `regions` is not installed.
    """
    from astropy import coordinates  # noqa: PLC0415  (slow to load, asked by few)

    library = _library()
    pieces, _ = simple(regions.mended())
    drawn = [
        library.PolygonSkyRegion(coordinates.SkyCoord(pieces.lon[a:b], pieces.lat[a:b], unit="deg", frame="icrs"))
        for a, b in zip(pieces.rings[:-1], pieces.rings[1:], strict=True)
    ]
    digits = {"precision": 12} if kind == "ds9" else {"fmt": ".12f"}
    return str(library.Regions(drawn).serialize(format=kind, **digits))
