"""Contours' faults: regions that were made of contours, and by name what is wrong with the others."""

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
"""Pixels of a contour, and of an image from side to side, are fewer."""

FAULT_MESSAGES = {
    "no_contour": "there is no contour",
    "no_file": "the image that the contour is in is not there, or cannot be read",
    "no_labels": "the file has no image of labels: two axes, and whole numbers, 100,000 of them at most",
    "too_large": "the image has {number:,} bytes: it must not have more than 536,870,912",
    "no_label": "no pixel of the image has this label",
    "letter": "character {number} of the chain code is no digit from 0 to 7",
    "open": "the contour ends {number} pixels from where it begins, and does not close",
    "no_start": "a place of the contour is missing, or no number",
    "too_long": "the contour has {number:,} pixels, or is as wide: it must be fewer than 1,000,000",
    "no_radius": "the radius of the disc is missing, or not above 0",
    "no_scale": "the scale or the centre of the image is missing, or 0",
    "no_observer": "the point below the observer is missing: its longitude and latitude, or the date that tells them",
    "latitude": "a latitude is above 90 degrees",
    "off_disc": "the contour lies wholly beyond the limb",
    "round": "the contour goes all round a map whose pixels are no whole turn",
    "rotation": "the rotation number is not that of the date",
    "no_geometry": "the text is no geometry of GeoJSON on a sphere",
    "no_area": "a point or line has no area",
    "no_wcs": (
        "the header does not say where its pixels are: CTYPEi, CRVALi, CRPIXi or NAXISi is missing, or no "
        "longitude and latitude"
    ),
    "projection": "the header names a projection that is none of FITS",
    "singular": (
        "the header's scale (CDi_j, or CDELTi with PCi_j) is missing or singular: all pixels would lie on a line"
    ),
    "distortion": "the header's order of distortion (A_ORDER, B_ORDER) is no whole number from 0 to 9",
    "no_place": "a part of the image's edge has no place in its projection",
}
"""Names of faults -> what they say, with one number."""
FAULT_REMEDIES = {
    "no_contour": "give it, or leave such rows out",
    "no_file": "look at the path, which is relative to the descriptor",
    "no_labels": "give an image in which each region's pixels have a whole number of their own",
    "too_large": "cut or bin the image",
    "no_label": "labels are the values of pixels, whole and not 0",
    "letter": "correct the code, or say the table of its steps (helio, freeman, or one of its own)",
    "open": (
        "correct the code or its start, or say the table of its steps: the last pixel of a contour touches the first"
    ),
    "no_start": "correct it, or leave such rows out",
    "too_long": "give fewer corners, or a coarser image",
    "no_radius": "give the radius of this very observation: R_SUN or RSUN_OBS",
    "no_scale": "give those of this very observation: CDELT1, CENTER_X and the like",
    "no_observer": "give the date, or CRLN_OBS and CRLT_OBS",
    "latitude": "look whether longitude and latitude have changed places, or radians are no degrees",
    "off_disc": "look at centre, scale, radius and origin: they have to be those of this very observation",
    "round": "make a pixel 360 degrees by a whole number",
    "rotation": "correct the number or the date; without a number the date is believed",
    "no_geometry": "give a Polygon or MultiPolygon of longitudes and latitudes",
    "no_area": "give a Polygon or MultiPolygon, of three corners or more",
    "no_wcs": "complete the header",
    "projection": "CTYPEi ends with one of FITS: -TAN, -CAR ..",
    "singular": "complete the header",
    "distortion": "correct the header's order, or leave it out",
    "no_place": "cut the image to where its projection has places; CUNITi that is not there says degrees",
}
"""Names of faults -> what to do about them."""
_COLUMN_NAMES = ("pixels", "clipped", "fault", "number", "minimal", "mended")
REGION_QUALITIES = ("", "degenerate", "clipped_at_limb", "multi_part", "exact", "mended")
_FAULT_CODES = {name: code for code, name in enumerate(FAULT_MESSAGES, 1)}


class ContourFault(NamedTuple):
    """What is wrong with a row.

    Attributes
    ----------
    row
        Its index.
    name
        Of `FAULT_MESSAGES`.
    message
        For people, with a remedy.
    """

    row: int
    name: str
    message: str


@dataclass(frozen=True, slots=True)
class ContourRegions:
    """Regions of contours.

    Attributes
    ----------
    regions
        One for each row; empty where there is a fault.
    pixels
        How many pixels each is the union of, shape (n,).
    clipped
        Share of their area in the image that lies beyond the limb.
    fault, number
        Which of `FAULT_MESSAGES` each row has, counted from 1 (0: none), and the number that it tells.
    minimal
        Whether it is a line or a point, for which a small polygon stands.
    mended
        Whether it was given as polygons that cross or touch themselves or each other.
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
            One at least.

        Returns
        -------
        contours
            The rows of all of them.
        """
        regions = columns[0].regions.concat([column.regions for column in columns])
        return cls(regions, *(np.concatenate([getattr(column, name) for column in columns]) for name in _COLUMN_NAMES))

    def take(self, rows: npt.ArrayLike) -> ContourRegions:
        """Take some rows.

        Parameters
        ----------
        rows
            Their indexes, shape (m,).

        Returns
        -------
        contours
            These m.
        """
        return ContourRegions(self.regions.take(rows), *(getattr(self, name)[rows] for name in _COLUMN_NAMES))

    def to_arrow(self, struct_type: pa.StructType) -> pa.StructArray:
        """Give an Arrow array.

        Parameters
        ----------
        struct_type
            The fields: fault, number, pixels, region and quality, by its number among `REGION_QUALITIES`.

        Returns
        -------
        array
            Shape (n,).
        """
        codes = np.select([self.classify_quality() == word for word in REGION_QUALITIES], range(len(REGION_QUALITIES)))
        fields = {"fault": self.fault, "number": self.number, "pixels": self.pixels, "quality": codes}
        arrays = [
            (self.regions.to_geoarrow(close=False) if field.name == "region" else pa.array(fields[field.name])).cast(
                field.type
            )
            for field in struct_type
        ]
        return pa.StructArray.from_arrays(arrays, fields=list(struct_type))

    def iterate_faults(self) -> Iterator[ContourFault]:
        """Tell the faults of all rows.

        Yields
        ------
        fault
            One for each row that has no region, in their order.
        """
        names = list(FAULT_MESSAGES)
        for row in np.flatnonzero(self.fault).tolist():
            name = names[self.fault[row] - 1]
            text = f"{FAULT_MESSAGES[name]}; {FAULT_REMEDIES[name]}"
            yield ContourFault(
                row, name, format_message(text, int(self.number[row])) if "{" in text else format_message(text)
            )

    def classify_quality(self) -> npt.NDArray[np.str_]:
        """Say how each region stands for its contour.

        Returns
        -------
        quality
            ``degenerate`` (it stands for a line or a point), ``clipped_at_limb``, ``mended``, ``multi_part`` (or with
            holes: no polygon says it) or ``exact``: the first that is so; empty where there is none; shape (n,).
        """
        rings = self.regions.ring_counts
        return np.select(
            [rings == 0, self.minimal, self.clipped > 0.0, self.mended, rings > 1],
            ["", "degenerate", "clipped_at_limb", "mended", "multi_part"],
            "exact",
        )


class FaultRecorder:
    """Faults of rows, of which the first is kept."""

    def __init__(self, rows: int) -> None:
        self.fault = np.zeros(rows, dtype=np.int64)
        self.number = np.zeros(rows, dtype=np.int64)

    def mark_rows(self, fault_name: str, has_fault: Any, number: npt.ArrayLike = 0, row_indexes: Any = None) -> None:
        """Mark rows that have no fault yet.

        Parameters
        ----------
        fault_name
            Of `FAULT_MESSAGES`.
        has_fault, number
            Whether each row has it, and the number that it tells; shape (n,).
        row_indexes
            Which rows are told of, shape (n,); all.
        """
        new = has_fault & ((self.fault if row_indexes is None else self.fault[row_indexes]) == 0)
        if row_indexes is None:
            at = np.flatnonzero(new)
        else:
            at = row_indexes[new]
        self.fault[at] = _FAULT_CODES[fault_name]
        self.number[at] = np.broadcast_to(number, new.shape)[new]

    def check_images(self, image_geometry: DiscImage | CylindricalMap) -> None:
        """Mark rows whose image says too little, or what cannot be.

        Parameters
        ----------
        image_geometry
            The images, shape (n,).
        """

        def is_finite(*names: str) -> Flags:
            finite: Flags = np.logical_and.reduce([np.isfinite(getattr(image_geometry, name)) for name in names])
            return finite

        if isinstance(image_geometry, DiscImage):
            # before the radius, which tables say in pixels of that scale
            self.mark_rows(
                "no_scale",
                ~(
                    is_finite("x", "y", "scale_x", "scale_y", "roll")
                    & (image_geometry.scale_x * image_geometry.scale_y != 0)
                ),
            )
            self.mark_rows(
                "no_radius",
                ~(is_finite("radius") & (image_geometry.radius > 0.0) & (image_geometry.radius < 324_000.0)),
            )
        else:
            self.mark_rows(
                "no_scale",
                ~(is_finite("x", "y", "step_x", "step_y") & (image_geometry.step_x * image_geometry.step_y != 0.0)),
            )
        self.mark_rows(
            "rotation", np.isposinf(image_geometry.lon)
        )  # so is a longitude that a date and a number contradict each other in
        self.mark_rows("no_observer", ~is_finite("lon", "lat"))
        self.mark_rows("latitude", np.abs(image_geometry.lat) > 90.0)
