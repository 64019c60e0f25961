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
from typing import TYPE_CHECKING, Any

from hven.model import plugins
from hven.model.sky import (
    Circle,
    Moc,
    Polygon,
    Range,
    Regions,
    compute_angular_distance,
    frames,
    region_files,
)

if TYPE_CHECKING:
    import os

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


def _map_plugin_sky_names() -> dict[str, str]:
    """Return the names that plug-in packages add, with the place of each object."""
    return {name: place for package in plugins.list_plugin_packages() for name, place in package.sky_names.items()}


def __getattr__(name: str) -> Any:
    """Load a name of a plug-in package when it is first used."""
    place = _map_plugin_sky_names().get(name)
    if place is None:
        unused_error = plugins.find_disabled_plugin_error("sky_names", name)
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(str(unused_error) if unused_error else message)
    globals()[name] = plugins.load_named_object(place, f"hven.sky.{name}")
    return globals()[name]


def __dir__() -> list[str]:
    return __all__


__all__ = [
    "Circle",
    "Moc",
    "Polygon",
    "Range",
    "Regions",
    "compute_angular_distance",
    "frames",
    "from_geojson",
    "from_texts",
    "read_moc",
    "read_regions",
    "to_geojson",
    "to_texts",
    "write_moc",
]
__all__ += list(_map_plugin_sky_names())
