"""Hold the regions of contours, and the faults of contours without a region."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa

from hven.model.errors import format_message
from hven.model.sky import contour_faults
from hven.plugins.image_regions.disc_image import DiscImage

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

    from hven.model.sky import Regions
    from hven.plugins.image_regions.cylindrical_map import CylindricalMap

    Numbers = npt.NDArray[np.float64]
    Whole = npt.NDArray[np.int64]
    Flags = npt.NDArray[np.bool_]

MAX_CONTOUR_PIXELS = 1_000_000
"""A contour has fewer pixels, and so has an image from side to side."""

_COLUMN_NAMES = ("pixels", "clipped", "fault", "number", "minimal", "mended")
REGION_QUALITIES = ("", "degenerate", "clipped_at_limb", "multi_part", "exact", "mended")
_FAULT_CODES = {name: code for code, name in enumerate(contour_faults.FAULT_MESSAGES, 1)}


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
        names = list(contour_faults.FAULT_MESSAGES)
        for row in np.flatnonzero(self.fault).tolist():
            name = names[self.fault[row] - 1]
            text = f"{contour_faults.FAULT_MESSAGES[name]}; {contour_faults.FAULT_REMEDIES[name]}"
            arguments = []
            if "{" in text:
                arguments = [int(self.number[row])]
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
