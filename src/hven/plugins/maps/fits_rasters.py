"""Read FITS images with the WCS of a map, with the interface of rasterio's datasets as far as layers need it.

Rows of FITS begin in the south. The images here begin in the north, and columns run to larger longitudes.
"""

from __future__ import annotations

import math
import re
import warnings
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from affine import Affine
from astropy.io import fits
from astropy.wcs import WCS, FITSFixedWarning, WcsError
from rasterio.enums import ColorInterp, MaskFlags

from hven.formats.media.api import find_body_ctype_code
from hven.model.errors import ParamError, SourceError
from hven.plugins.maps.frames import AUTHORITY, CelestialBody, Frame, compute_place_errors, find_body

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from rasterio.windows import Window

# projection in CTYPE -> suffixes of the frames that it can be
_SUFFIXES_BY_PROJECTION = {"CAR": (0,), "STG": (30, 35), "SIN": (65, 70)}
_TYPES_BY_BITPIX = {8: ">u1", 16: ">i2", 32: ">i4", 64: ">i8", -32: ">f4", -64: ">f8"}
# cards that describe the array, its extension or its WCS
_PIXEL_CARD_PATTERN = re.compile(
    r"SIMPLE|XTENSION|EXTEND|EXT(NAME|VER|LEVEL)|BITPIX|NAXIS\d*|[PG]COUNT|GROUPS|BSCALE|BZERO|BLANK|DATA(MIN|MAX|SUM)"
    r"|CHECKSUM|INHERIT|(CTYPE|CUNIT|CRVAL|CRPIX|CDELT|CROTA|CNAME|CRDER|CSYER)\d+[A-Z]?|(PC|CD|PV|PS)\d+_\d+[A-Z]?"
    r"|(WCSAXES|WCSNAME|LONPOLE|LATPOLE|RADESYS|EQUINOX)[A-Z]?"
)
MAX_KEPT_CARDS = 2000
MAX_PLACE_ERROR_DEG = 1e-6  # between the frame that is found and the WCS
GENERAL_BODY_LETTERS = frozenset({"OB", "ST", "DW", "AS", "CO"})  # in CTYPE, of bodies without letters of their own


class FitsImage:
    """An image of a FITS file, whose values are read from the disk as they are needed.

    Attributes
    ----------
    driver
        Name of the format, as of rasterio's datasets.
    scales, offsets
        By band: how stored numbers become values.
    """

    driver = "FITS"

    def __init__(self, path: Path, variable: str) -> None:
        self._path = path
        try:
            with fits.open(path, memmap=True) as files:
                image = self._find_image_hdu(files, variable)
                self._header, self._start = image.header, image.fileinfo()["datLoc"]
            self._stored_type = np.dtype(_TYPES_BY_BITPIX[self._header["BITPIX"]])
        except (OSError, ValueError, KeyError) as error:
            raise SourceError(f"the FITS file {path.name} cannot be read: {error}", remedy="correct the file") from None
        self._steps = self._read_pixel_scales()
        self._flips_columns = self._steps[0] < 0
        sizes = [self._header[f"NAXIS{axis}"] for axis in range(1, self._header["NAXIS"] + 1)]
        self.width, self.height, self.count = sizes[0], sizes[1], math.prod(sizes[2:])
        if path.stat().st_size < self._start + math.prod(sizes) * self._stored_type.itemsize:
            raise self._build_truncation_error()
        self.dtypes = (self._stored_type.newbyteorder("=").name,) * self.count
        self.scales = (float(self._header.get("BSCALE", 1)),) * self.count
        self.offsets = (float(self._header.get("BZERO", 0)),) * self.count
        self.nodata = self._header.get("BLANK") if self._stored_type.kind in "iu" else None
        self.mask_flag_enums = ([MaskFlags.all_valid],) * self.count
        self.colorinterp = (ColorInterp.gray,) * self.count
        self.transform = Affine.identity()

    def _read_pixel_scales(self) -> tuple[float, float]:
        """Read the degrees from one column, and from one row, to the next, from CDELT or CD.

        `find_frame_and_set_transform` finds errors.
        """
        try:
            matrix = self._build_wcs().pixel_scale_matrix
        except (WcsError, ValueError, KeyError, TypeError):
            return 1.0, 1.0
        return float(matrix[0, 0]), float(matrix[1, 1])

    def _build_wcs(self) -> WCS:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FITSFixedWarning)
            return WCS(self._header, naxis=2)

    def _build_truncation_error(self) -> SourceError:
        return SourceError(
            f"the FITS file {self._path.name} is shorter than its header says", remedy="restore the file"
        )

    def _find_image_hdu(self, files: Sequence[Any], variable: str) -> Any:
        """Find the extension with a name, or the first one with an image.

        Raises
        ------
        SourceError
            There is no such image, or it is compressed.
        """
        images = [hdu for hdu in files if hdu.is_image and hdu.header.get("NAXIS", 0) >= 2]
        if variable:
            images = [hdu for hdu in images if hdu.name == variable.upper()]
        if not images:
            place = f" in the extension {variable!r}" if variable else ""
            message = f"the FITS file {self._path.name} has no image{place}"
            raise SourceError(message, remedy="set `variable` to the name of an extension with an image")
        if isinstance(images[0], fits.CompImageHDU):
            message = f"the image in {self._path.name} is tile-compressed"
            raise SourceError(message, remedy="uncompress it, for example with funpack")
        return images[0]

    def list_descriptive_cards(self) -> list[fits.Card]:
        """List the cards of the header that stay true of a part of the image, in another projection or size."""
        cards = [card for card in self._header.cards if not _PIXEL_CARD_PATTERN.fullmatch(card.keyword)]
        return cards[:MAX_KEPT_CARDS]

    def find_frame_and_set_transform(self, frame: Frame | None, body: CelestialBody | None) -> Frame:
        """Find the frame, and set the transformation from pixels, which astropy must find right.

        Parameters
        ----------
        frame, body
            What the descriptor says; None: the header tells it.

        Raises
        ------
        ParamError
            The header does not tell the frame, or contradicts it.
        """
        kind = str(self._header.get("CTYPE1", ""))
        letters, projection = kind[:2], kind.rpartition("-")[2]
        if kind[2:4] != "LN" or projection not in _SUFFIXES_BY_PROJECTION:
            message = f"the image {self._path.name} is not a map: CTYPE1 is {kind!r}"
            remedy = (
                "write `frame` and `bounds`, or correct CTYPE1 and CTYPE2 in the header, for example to MALN-CAR and "
                "MALT-CAR for a map of Mars"
            )
            raise ParamError(message, name="frame", remedy=remedy)
        if frame is not None:
            frames = [frame]
        else:
            body = body or self._find_body()
            frames = [body.get_frame(suffix) for suffix in _SUFFIXES_BY_PROJECTION[projection]]
            self._require_planetocentric_latitudes(body)
        known_letters = find_body_ctype_code(frames[0].body.name)
        if letters != known_letters and letters not in GENERAL_BODY_LETTERS:
            message = f"CTYPE1 of {self._path.name} is {kind!r}, but for a map of {frames[0].body.name} it begins with "
            raise ParamError(f"{message}{known_letters}LN", name="body", remedy="correct the header, `body` or `frame`")
        try:
            for candidate in frames:
                self.transform = self._compute_transform(candidate)
                if self._is_transform_confirmed_by_wcs(candidate):
                    return candidate
        except (WcsError, ValueError, KeyError, TypeError) as error:
            message = f"the WCS of {self._path.name} cannot be read: {error}"
            raise ParamError(message, name="frame", remedy="correct the header") from None
        names = " or ".join(candidate.name for candidate in frames)
        message = f"the WCS of {self._path.name} does not match the frame {names}"
        raise ParamError(message, name="frame", remedy=f"correct the header, or resample the image to {names}")

    def _find_body(self) -> CelestialBody:
        try:
            return find_body(str(self._header.get("OBJECT", "")))
        except ParamError:
            message = f"the header of {self._path.name} does not name a body in OBJECT"
            raise ParamError(message, name="body", remedy="write `body`, for example Mars") from None

    def _require_planetocentric_latitudes(self, body: CelestialBody) -> None:
        """Refuse latitudes that may be planetographic."""
        name, radii = str(self._header.get("WCSNAME", "")).upper(), [self._header.get(f"{a}_RADIUS") for a in "AC"]
        is_sphere = None not in radii and radii[0] == radii[1]
        if "CENTRIC" in name or is_sphere or body.equatorial_radius_m == body.polar_radius_m:
            return
        message = f"the header of {self._path.name} does not say that its latitudes are planetocentric"
        remedy = f"write `frame`, for example {AUTHORITY}:{body.number}01 for planetographic latitudes"
        raise ParamError(message, name="frame", remedy=remedy)

    def _compute_transform(self, frame: Frame) -> Affine:
        header = self._header
        units_per_degree = frame.body.metres_per_degree / frame.metres_per_unit
        units = [step * units_per_degree for step in self._steps]
        x, y = (float(header.get(f"CRVAL{axis}", 0)) if frame.is_geographic else 0.0 for axis in (1, 2))
        # the lower left corner of the first pixel is 0.5
        left, bottom = x + (0.5 - float(header["CRPIX1"])) * units[0], y + (0.5 - float(header["CRPIX2"])) * units[1]
        if self._flips_columns:
            left += units[0] * self.width
        return Affine(abs(units[0]), 0, left, 0, -units[1], bottom + units[1] * self.height)

    def _is_transform_confirmed_by_wcs(self, frame: Frame) -> bool:
        """Compare the places of some pixels with those that astropy finds."""
        columns, rows = (grid.ravel() for grid in np.meshgrid(*[np.linspace(0.03, 0.97, 7)] * 2))
        columns, rows = columns * self.width, rows * self.height
        x, y = (np.asarray(axis) for axis in self.transform * (columns, rows))
        lon, lat = (x, y) if frame.is_geographic else frame.convert_to_lon_lat(x, y)
        wcs = self._build_wcs().celestial
        if self._flips_columns:
            columns = self.width - columns
        found = wcs.all_pix2world(columns + 0.5, self.height - rows + 0.5, 1)
        errors = compute_place_errors((lon, lat), found)
        return bool(errors.size and errors.max() <= MAX_PLACE_ERROR_DEG)

    def read(self, bands: Sequence[int], window: Window, out_shape: tuple[int, int, int]) -> NDArray[Any]:
        """Read the nearest pixels of a window.

        Parameters
        ----------
        bands
            Numbers of bands, from 1.
        window
            Columns and rows in the image.
        out_shape
            Number of bands, rows and columns that are returned.
        """
        rows, columns = (
            offset + np.minimum(((np.arange(count) + 0.5) * size / count).astype(int), size - 1)
            for offset, size, count in (
                (round(window.row_off), round(window.height), out_shape[1]),
                (round(window.col_off), round(window.width), out_shape[2]),
            )
        )
        if self._flips_columns:
            columns = self.width - 1 - columns
        first, last = int(columns.min()), int(columns.max())
        row_values = np.empty(last - first + 1, self._stored_type)
        values = np.empty((len(bands), len(rows), len(columns)), self.dtypes[0])
        # a file that is mapped, and not read, would end the process if somebody shortened it
        with self._path.open("rb", buffering=0) as file:
            for plane, band in zip(values, bands, strict=True):
                for place, row in zip(plane, rows.tolist(), strict=True):
                    position = ((band - 1) * self.height + self.height - 1 - row) * self.width + first
                    file.seek(self._start + position * self._stored_type.itemsize)
                    if file.readinto(row_values.data) != row_values.nbytes:
                        raise self._build_truncation_error()
                    place[:] = row_values[columns - first]
        return values

    def close(self) -> None:
        """Do nothing: the file is open only while it is read."""

    def __enter__(self) -> Self:
        """Return the image."""
        return self

    def __exit__(self, *_: object) -> None:
        """Do nothing."""
