"""Hold the regions of contours, and the faults of contours without a region."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa

from hven.model.errors import format_message
from hven.model.sky._disc_image import DiscImage

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

    from hven.model.sky._cylindrical_map import CylindricalMap
    from hven.model.sky._regions import Regions

    Numbers = npt.NDArray[np.float64]
    Whole = npt.NDArray[np.int64]
    Flags = npt.NDArray[np.bool_]

MAX_CONTOUR_PIXELS = 1_000_000
"""A contour has fewer pixels, and so has an image from side to side."""

FAULT_MESSAGES = {
    "no_contour": "there is no contour",
    "no_file": "the image of the contour is missing, or cannot be read",
    "no_labels": "the file has no label image, which needs two axes and at most 100,000 different whole numbers",
    "too_large": "the image has {number:,} bytes; the limit is 536,870,912",
    "no_label": "no pixel of the image has this label",
    "letter": "character {number} of the chain code is not a digit from 0 to 7",
    "open": "the contour does not close: it ends {number} pixels from its start",
    "no_start": "a position of the contour is missing, or is not a number",
    "too_long": "the contour contains or spans {number:,} pixels; there must be fewer than 1,000,000",
    "no_radius": "the radius of the disc is missing, or is not above 0",
    "no_scale": "the scale or the centre of the image is missing, or is 0",
    "no_observer": (
        "the point below the observer is missing: its longitude and latitude, or the date from which they follow"
    ),
    "latitude": "a latitude is above 90 degrees",
    "off_disc": "the contour is entirely beyond the limb",
    "round": "the contour goes all around a map whose pixels do not add up to 360 degrees",
    "rotation": "the rotation number does not match the date",
    "no_geometry": "the text is not a GeoJSON geometry on a sphere",
    "no_area": "a point or line has no area",
    "no_wcs": (
        "the header does not give the positions of its pixels: CTYPEi, CRVALi, CRPIXi or NAXISi is missing, or "
        "is not for longitude and latitude"
    ),
    "projection": "the header names a projection that FITS does not define",
    "singular": (
        "the header's scale (CDi_j, or CDELTi with PCi_j) is missing or singular: all pixels would lie on a line"
    ),
    "distortion": "the header's distortion order (A_ORDER, B_ORDER) is not a whole number from 0 to 9",
    "no_place": "a part of the image's edge has no position in its projection",
}
"""Names of faults -> their messages, with one number."""
FAULT_REMEDIES = {
    "no_contour": "give the contour, or leave such rows out",
    "no_file": "check the path, which is relative to the descriptor",
    "no_labels": "give an image in which the pixels of each region have their own whole number",
    "too_large": "cut or bin the image",
    "no_label": "give a label that is the value of a pixel: a whole number other than 0",
    "letter": "correct the code, or write the table of its steps (helio, freeman, or your own)",
    "open": (
        "correct the code or its start, or write the table of its steps; the last pixel of a contour must touch "
        "the first"
    ),
    "no_start": "correct it, or leave such rows out",
    "too_long": "give fewer corners, or a coarser image",
    "no_radius": "give the radius in this observation: R_SUN or RSUN_OBS",
    "no_scale": "give the values of this observation: CDELT1, CENTER_X and the like",
    "no_observer": "give the date, or CRLN_OBS and CRLT_OBS",
    "latitude": "check whether longitude and latitude are swapped, or are in radians",
    "off_disc": "check the centre, scale, radius and origin, which must be those of this observation",
    "round": "choose a pixel size of 360 degrees divided by a whole number",
    "rotation": "correct the number or the date; without a number, Hven uses the date",
    "no_geometry": "give a Polygon or MultiPolygon of longitudes and latitudes",
    "no_area": "give a Polygon or MultiPolygon, of three corners or more",
    "no_wcs": "complete the header",
    "projection": "end CTYPEi with a FITS projection: -TAN, -CAR ..",
    "singular": "complete the header",
    "distortion": "correct the header's order, or leave it out",
    "no_place": "cut the image to the part that has positions in its projection; a missing CUNITi means degrees",
}
"""Names of faults -> their remedies."""
_COLUMN_NAMES = ("pixels", "clipped", "fault", "number", "minimal", "mended")
REGION_QUALITIES = ("", "degenerate", "clipped_at_limb", "multi_part", "exact", "mended")
_FAULT_CODES = {name: code for code, name in enumerate(FAULT_MESSAGES, 1)}


class ContourFault(NamedTuple):
    """Describe the fault of a row.

    Attributes
    ----------
    row
        Index of the row.
    name
        Name of the fault in `FAULT_MESSAGES`.
    message
        Text for people, with a remedy.
    """

    row: int
    name: str
    message: str


@dataclass(frozen=True, slots=True)
class ContourRegions:
    """Hold the regions of contours.

    Attributes
    ----------
    regions
        A region for each row; empty where there is a fault.
    pixels
        The number of pixels of each region, shape (n,).
    clipped
        The share of the area in the image that lies beyond the limb.
    fault, number
        The fault of each row in `FAULT_MESSAGES`, counted from 1 (0: none), and the number in its message.
    minimal
        Whether the contour is a line or a point, which a small polygon replaces.
    mended
        Whether the contour had polygons that cross or touch themselves or each other.
    """

    regions: Regions
    pixels: Whole
    clipped: Numbers
    fault: Whole
    number: Whole
    minimal: Flags
    mended: Flags

    @classmethod
    def concat(cls, columns: Sequence[ContourRegions]) -> ContourRegions:
        """Join columns.

        Parameters
        ----------
        columns
            At least one column.

        Returns
        -------
        contours
            The rows of all columns.
        """
        regions = columns[0].regions.concat([column.regions for column in columns])
        arrays = [np.concatenate([getattr(column, name) for column in columns]) for name in _COLUMN_NAMES]
        return cls(regions, *arrays)

    def take(self, rows: npt.ArrayLike) -> ContourRegions:
        """Select rows.

        Parameters
        ----------
        rows
            Indexes of the rows, shape (m,).

        Returns
        -------
        contours
            The m selected rows.
        """
        arrays = [getattr(self, name)[rows] for name in _COLUMN_NAMES]
        return ContourRegions(self.regions.take(rows), *arrays)

    def to_arrow(self, struct_type: pa.StructType) -> pa.StructArray:
        """Write an Arrow array.

        Parameters
        ----------
        struct_type
            The fields: fault, number, pixels, region and quality, as its number in `REGION_QUALITIES`.

        Returns
        -------
        array
            Shape (n,).
        """
        quality = self.classify_quality()
        codes = np.select([quality == word for word in REGION_QUALITIES], range(len(REGION_QUALITIES)))
        fields = {"fault": self.fault, "number": self.number, "pixels": self.pixels, "quality": codes}
        arrays = []
        for field in struct_type:
            if field.name == "region":
                array = self.regions.to_geoarrow(closes_rings=False)
            else:
                array = pa.array(fields[field.name])
            arrays.append(array.cast(field.type))
        return pa.StructArray.from_arrays(arrays, fields=list(struct_type))

    def iterate_faults(self) -> Iterator[ContourFault]:
        """List the faults of all rows.

        Yields
        ------
        fault
            A fault for each row without a region, in the order of rows.
        """
        names = list(FAULT_MESSAGES)
        for row in np.flatnonzero(self.fault).tolist():
            name = names[self.fault[row] - 1]
            text = f"{FAULT_MESSAGES[name]}; {FAULT_REMEDIES[name]}"
            arguments = [int(self.number[row])] if "{" in text else []
            yield ContourFault(row, name, format_message(text, *arguments))

    def classify_quality(self) -> npt.NDArray[np.str_]:
        """Describe how each region represents its contour.

        Returns
        -------
        quality
            The first of these that applies: ``degenerate`` (it replaces a line or a point), ``clipped_at_limb``,
            ``mended``, ``multi_part`` (or with holes: no polygon), ``exact``; empty for an empty region; shape (n,).
        """
        rings = self.regions.ring_counts
        conditions = [rings == 0, self.minimal, self.clipped > 0.0, self.mended, rings > 1]
        names = ["", "degenerate", "clipped_at_limb", "mended", "multi_part"]
        return np.select(conditions, names, "exact")


class ContourFaultRecorder:
    """Record the first fault of each row."""

    def __init__(self, row_count: int) -> None:
        self.fault = np.zeros(row_count, dtype=np.int64)
        self.number = np.zeros(row_count, dtype=np.int64)

    def mark_faulty_rows(
        self, fault_name: str, has_fault: Any, number: npt.ArrayLike = 0, row_indexes: Any = None
    ) -> None:
        """Mark rows that have no fault yet.

        Parameters
        ----------
        fault_name
            Name of the fault in `FAULT_MESSAGES`.
        has_fault, number
            Whether each row has the fault, and the number in its message; shape (n,).
        row_indexes
            The rows of `has_fault`, shape (n,); None for all rows.
        """
        if row_indexes is None:
            new = has_fault & (self.fault == 0)
            rows = np.flatnonzero(new)
        else:
            new = has_fault & (self.fault[row_indexes] == 0)
            rows = row_indexes[new]
        self.fault[rows] = _FAULT_CODES[fault_name]
        self.number[rows] = np.broadcast_to(number, new.shape)[new]

    def mark_rows_of_invalid_images(self, image_geometry: DiscImage | CylindricalMap) -> None:
        """Mark rows whose image lacks values, or has impossible ones.

        Parameters
        ----------
        image_geometry
            The images, shape (n,).
        """

        def is_finite(*names: str) -> Flags:
            finite: Flags = np.logical_and.reduce([np.isfinite(getattr(image_geometry, name)) for name in names])
            return finite

        if isinstance(image_geometry, DiscImage):
            # check the scale before the radius, which tables may give in pixels of that scale
            has_scale = image_geometry.scale_x * image_geometry.scale_y != 0
            is_complete = is_finite("x", "y", "scale_x", "scale_y", "roll")
            self.mark_faulty_rows("no_scale", ~(is_complete & has_scale))
            is_possible_radius = (image_geometry.radius > 0.0) & (image_geometry.radius < 324_000.0)
            self.mark_faulty_rows("no_radius", ~(is_finite("radius") & is_possible_radius))
        else:
            has_scale = image_geometry.step_x * image_geometry.step_y != 0.0
            is_complete = is_finite("x", "y", "step_x", "step_y")
            self.mark_faulty_rows("no_scale", ~(is_complete & has_scale))
        # an infinite longitude means that the date and the rotation number contradict each other
        self.mark_faulty_rows("rotation", np.isposinf(image_geometry.lon))
        self.mark_faulty_rows("no_observer", ~is_finite("lon", "lat"))
        self.mark_faulty_rows("latitude", np.abs(image_geometry.lat) > 90.0)
