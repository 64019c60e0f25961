"""Open rasters with the program that reads their format: GDAL through rasterio, or astropy."""

from __future__ import annotations

import re
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio
from rasterio.errors import NotGeoreferencedWarning, RasterioError

from hven.model import plugins
from hven.model.errors import ParamError, SourceError

if TYPE_CHECKING:
    from pathlib import Path

    from hven.plugins.maps.frames import Frame

# other drivers may read files that the raster names (VRT), or addresses
DRIVERS = ("GTiff", "PDS", "PDS4", "ISIS3", "ISIS2", "VICAR", "PNG", "JPEG")
NETCDF_BEGINNINGS = (b"CDF\x01", b"CDF\x02", b"CDF\x05", b"\x89HDF")
FITS_BEGINNING = b"SIMPLE  ="
VARIABLE_PATTERN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./-]*")
MAX_AXIS_ERROR_PIXELS = 0.05  # of the places in an axis of netCDF, from those of pixels with one size
MAX_LABEL_BYTES = 256 << 10  # of PDS3, which are searched
_WESTWARD_PATTERN = re.compile(rb"POSITIVE_LONGITUDE_DIRECTION\s*=\s*\"?WEST", re.IGNORECASE)
_OGRAPHIC_PATTERN = re.compile(rb"COORDINATE_SYSTEM_NAME\s*=\s*\"?PLANETOGRAPHIC", re.IGNORECASE)
_METRES_BY_UNIT = {"km": 1000.0, "kilometer": 1000.0, "kilometre": 1000.0}


def open_raster(path: Path, variable: str = "", overview: int | None = None) -> Any:
    """Open a file, or an overview in it.

    Parameters
    ----------
    variable
        Name of the variable of netCDF, or of the extension of FITS; empty: the only one, or the first one.
    overview
        Number of the overview.

    Returns
    -------
    dataset
        A dataset of rasterio, or an image of FITS with the same interface.

    Raises
    ------
    SourceError
        No program reads it.
    """
    with path.open("rb") as file:
        beginning = file.read(len(FITS_BEGINNING))
    if beginning == FITS_BEGINNING:
        # astropy takes a second to load
        module = plugins.import_hven_module("hven.plugins.maps.fits_rasters", "reading FITS")
        return module.FitsImage(path, variable)
    if beginning.startswith(NETCDF_BEGINNINGS):
        return _open_netcdf(path, variable)
    if variable:
        raise SourceError(f"the raster {path.name} has no variables", remedy="remove `variable`")
    options = {} if overview is None else {"overview_level": overview}
    for driver in DRIVERS:
        try:
            with warnings.catch_warnings(action="ignore", category=NotGeoreferencedWarning):
                return rasterio.open(path, driver=driver, **options)
        except (RasterioError, ValueError):
            continue
    raise SourceError(f"the raster {path.name} cannot be read", remedy="convert it to GeoTIFF")


def _open_netcdf(path: Path, variable: str) -> Any:
    dataset = _open_variable(path, variable)
    if dataset.count:
        return dataset
    names = [name.rpartition(":")[2] for name in dataset.subdatasets]
    dataset.close()
    example = "the name of a variable with two dimensions"
    if names:
        example = f"one of {', '.join(names[:20])}"
    message = f"the file {path.name} has {len(names)} variables that can be a map"
    raise SourceError(message, remedy=f"write `variable`: {example}")


def _open_variable(path: Path, variable: str) -> Any:
    """Open a variable of a file, or the file itself.

    Raises
    ------
    SourceError
        There is no such variable.
    """
    name = str(path)
    if variable:
        if '"' in name or not VARIABLE_PATTERN.fullmatch(variable):
            raise SourceError(f"{variable[:60]!r} is not the name of a variable", remedy="correct `variable`")
        name = f'NETCDF:"{name}":{variable}'
    try:
        with warnings.catch_warnings(action="ignore", category=NotGeoreferencedWarning):
            return rasterio.open(name, driver="netCDF")
    except (RasterioError, ValueError) as error:
        message = f"the file {path.name} cannot be read as netCDF"
        if variable:
            message = f"the file {path.name} has no variable {variable!r} that can be a map"
        raise SourceError(message, remedy="correct the file or `variable`") from error


def check_pds3_label(path: Path, frame: Frame) -> None:
    """Refuse what GDAL does not read in labels of PDS3: longitudes to the west, and planetographic latitudes.

    Raises
    ------
    ParamError
        The label has other longitudes or latitudes than the frame that GDAL finds.
    """
    with path.open("rb") as file:
        label = file.read(MAX_LABEL_BYTES)
    is_flattened = frame.body.equatorial_radius_m != frame.body.polar_radius_m
    reasons = {
        "longitudes that grow to the west": _WESTWARD_PATTERN.search(label),
        "planetographic latitudes": is_flattened and _OGRAPHIC_PATTERN.search(label),
    }
    for reason, is_found in reasons.items():
        if is_found:
            message = f"the label of {path.name} has {reason}, which GDAL does not read"
            raise ParamError(message, name="bounds", remedy="write `frame` and `bounds: [west, south, east, north]`")


def check_netcdf_axes(dataset: Any, path: Path, frame: Frame) -> None:
    """Compare the axes of a netCDF file with the pixels that GDAL makes of it, because GDAL takes uneven ones for even.

    Raises
    ------
    ParamError, SourceError
        The longitudes grow to the west, unlike those of the frame; or the axes are uneven.
    """
    tags = {key.lower(): str(value) for key, value in dataset.tags().items()}
    axis_names = [name.rpartition("#")[0] for name in dataset.tags() if name.endswith("#units")]
    for axis_name in axis_names:
        unit = tags.get(f"{axis_name.lower()}#units", "").lower()
        kind = tags.get(f"{axis_name.lower()}#standard_name", "")
        is_vertical = unit.startswith(("degrees_n", "degree_n")) or kind == "projection_y_coordinate"
        is_west = unit.startswith(("degrees_w", "degree_w"))
        is_horizontal = is_west or unit.startswith(("degrees_e", "degree_e")) or kind == "projection_x_coordinate"
        if not is_vertical and not is_horizontal:
            continue
        if is_horizontal and unit.startswith("degree") and is_west != frame.is_west_positive:
            message = f"the longitudes of {path.name} are in {unit}, unlike the longitudes of {frame.name}"
            remedy = "write a `frame` whose longitudes increase in the same direction as those of the file"
            raise ParamError(message, name="frame", remedy=remedy)
        with _open_variable(path, axis_name) as axis:
            places = axis.read(1).ravel().astype(float) * _METRES_BY_UNIT.get(unit, 1.0)
        steps, transform = np.arange(len(places)) + 0.5, dataset.transform
        if is_vertical:
            expected, step = transform.f + steps * transform.e, transform.e
        else:
            expected, step = transform.c + steps * transform.a, transform.a
        errors = min(np.abs(places - expected).max(), np.abs(places[::-1] - expected).max())
        if errors > MAX_AXIS_ERROR_PIXELS * abs(step):
            message = f"the steps of the axis {axis_name!r} of {path.name} are not equal"
            raise SourceError(message, remedy="resample the variable to pixels of equal size")
