"""Compute with regions and contours on a sphere, in notebooks and scripts: the public API of `hven.model.sky`.

Angles are degrees, areas steradians, columns numpy arrays of shape (n,). Longitudes increase eastward. The inside of a
region is to the left of its rings, seen from outside the sphere. In texts, whose rings may run in both directions, it
is the smaller side.

========================== =========================================================================================
``Regions``                a column of regions: area, box, hull, union, distance, MOCs, GeoArrow, WKB
``Moc``                    a set of HEALPix cells (IVOA MOC 2.0)
``chain_codes`` ..         contours of disc images (``Disc``) or of maps (``Chart``): ``Contours`` with ``.regions``
``sun``                    helioprojective, Stonyhurst's and Carrington's coordinates (Thompson 2006; Meeus 1998)
``frames``                 frames of the sky and of bodies, and positions from one into another
``read_regions``           files of regions: GeoJSON, MOC, STC-S, DALI; DS9, CRTF with ``pip install 'hven[regions]'``
``from_texts, to_texts``   DALI 1.2 (polygon, shape, multishape), STC-S 1.33
``from_geojson`` ..        GeoJSON (RFC 7946)
``read_moc, write_moc``    MOC 2.0 in FITS, JSON and ASCII
========================== =========================================================================================

How to: ``docs/howto/regions.md``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hven.model.sky import (
    Circle,
    Moc,
    Polygon,
    Range,
    Regions,
    compute_angular_distance,
    contours,
    frames,
    region_files,
)

if TYPE_CHECKING:
    import os

Contours = contours.ContourRegions
Disc = contours.DiscImage
Chart = contours.CylindricalMap
HELIO = contours.HELIO_STEPS
FREEMAN = contours.FREEMAN_STEPS
chain_codes = contours.build_regions_from_chain_codes
pixel_lists = contours.build_regions_from_pixel_lists
masks = contours.build_regions_from_labels
boxes = contours.build_regions_from_pixel_boxes
directions = contours.build_regions_from_directions
sun = contours.sun
from_texts = region_files.parse_region_texts
to_texts = region_files.write_region_texts
from_geojson = region_files.parse_geojson
to_geojson = region_files.write_geojson_features
read_moc = region_files.read_moc
write_moc = region_files.write_moc


def read_regions(
    file: str | os.PathLike[str] | bytes, name: str = "", *, mend: bool = False
) -> region_files.ParsedRegions:
    """Read a file of regions.

    Parameters
    ----------
    file
        The path of the file, or its bytes.
    name
        The name of the file if `file` is bytes, for messages and for its ending.
    mend
        Whether to note polygons that cross themselves instead of reporting a fault. What they wind round replaces them.

    Returns
    -------
    read
        The regions, their names and frame, and the faults by row.

    Raises
    ------
    ValueError
        The file is empty, its format is unknown, or it violates its format.
    UserError
        The library for DS9 and CRTF files is not installed.
    """
    if isinstance(file, bytes):
        return region_files.parse_region_file(file, name, make_valid=mend)
    path = Path(file)
    return region_files.parse_region_file(path.read_bytes(), name or path.name, make_valid=mend)


__all__ = [
    "FREEMAN",
    "HELIO",
    "Chart",
    "Circle",
    "Contours",
    "Disc",
    "Moc",
    "Polygon",
    "Range",
    "Regions",
    "boxes",
    "chain_codes",
    "compute_angular_distance",
    "directions",
    "frames",
    "from_geojson",
    "from_texts",
    "masks",
    "pixel_lists",
    "read_moc",
    "read_regions",
    "sun",
    "to_geojson",
    "to_texts",
    "write_moc",
]
