"""Control points: each pixel shows the place where pyproj, and GDAL's own warp, find its centre."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyproj
import pytest
import rasterio
from rasterio.warp import Resampling, reproject

from hven.model.errors import TextPlace
from hven.plugins.maps.frames import find_frame
from hven.plugins.maps.map_drawing import LayerRaster
from hven.plugins.maps.map_layers import MapLayer
from hven.plugins.maps.map_views import MapView
from hven.plugins.maps.raster_sampling import sample_places, sample_view

RADIUS_M, EQUATORIAL_M, POLAR_M = 3_396_190.0, 3_396_190.0, 3_376_200.0
POINTS = 1_000
MAX_ERROR_PIXELS = 0.5
EDGE_SINE = np.sin(np.radians(89.75))
SQUARE_M = (-1_800_000.0, -1_800_000.0, 1_800_000.0, 1_800_000.0)
PLANE_M = (-10_600_000.0, -5_300_000.0, 10_600_000.0, 5_300_000.0)
DISC_M = (-3_390_000.0, -3_390_000.0, 3_390_000.0, 3_390_000.0)
VIEWS = {  # code -> box, width, height
    49900: ((-180.0, -90.0, 180.0, 90.0), 720, 360),
    49901: ((-180.0, -90.0, 180.0, 90.0), 720, 360),
    49910: (PLANE_M, 600, 300),
    49911: (PLANE_M, 600, 300),
    49915: (PLANE_M, 600, 300),
    49930: (SQUARE_M, 300, 300),
    49935: (SQUARE_M, 300, 300),
    49965: (DISC_M, 300, 300),
}
OGRAPHIC_CODES = {49901, 49911}


@pytest.fixture(scope="module")
def place_raster(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a raster whose three bands are the direction from the body's centre: it has no seam and no poles."""
    path = tmp_path_factory.mktemp("places") / "places.tif"
    lon, lat = np.meshgrid(np.radians(np.arange(1440) / 4 - 179.875), np.radians(89.875 - np.arange(720) / 4))
    directions = np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])
    transform = rasterio.transform.from_bounds(-180, -90, 180, 90, 1440, 720)
    with rasterio.open(
        path, "w", driver="GTiff", width=1440, height=720, count=3, dtype="float32", crs="IAU_2015:49900",
        transform=transform,
    ) as dataset:  # fmt: skip
        dataset.write(directions.astype("float32"))
    return path


def find_pixels(directions: np.ndarray, code: int) -> tuple[np.ndarray, np.ndarray]:
    """Find columns and rows of directions in a view by pyproj alone."""
    lon = np.degrees(np.arctan2(directions[1], directions[0]))
    lat = np.degrees(np.arctan2(directions[2], np.hypot(directions[0], directions[1])))
    if code in OGRAPHIC_CODES:
        ocentric = pyproj.Transformer.from_pipeline(f"+proj=geoc +a={EQUATORIAL_M} +b={POLAR_M}")
        lat = ocentric.transform(lon, lat, direction="INVERSE", radians=False)[1]
    crs = pyproj.CRS.from_authority("IAU_2015", code)
    if code == 49901:
        x, y = -lon, lat
    elif code == 49900:
        x, y = lon, lat
    else:
        base = crs.geodetic_crs
        assert base is not None
        if base.axis_info[1].direction == "west":
            lon = -lon
        x, y = pyproj.Transformer.from_crs(base, crs).transform(lat, lon)
        if crs.axis_info[0].direction == "north":
            x, y = y, x
    (west, south, east, north), width, height = VIEWS[code]
    return (x - west) / (east - west) * width, (north - y) / (north - south) * height


def measure_error(columns: np.ndarray, rows: np.ndarray, points: np.ndarray, code: int) -> float:
    """Measure the largest distance of places from the centres of their pixels."""
    distances = columns - points[:, 0] - 0.5
    if code in {49900, 49901}:  # a turn of 720 pixels
        distances = (distances + 360) % 720 - 360
    return float(np.hypot(distances, rows - points[:, 1] - 0.5).max())


@pytest.mark.parametrize("code", VIEWS)
def test_pixels_show_their_places(place_raster: Path, code: int) -> None:
    bounds, width, height = VIEWS[code]
    view = MapView(frame=find_frame(f"IAU_2015:{code}"), bounds=bounds, width=width, height=height)
    layers = [
        MapLayer(name="x", title="x", files={"": place_raster.name}, band=band, place=TextPlace()) for band in (1, 2, 3)
    ]
    bands = [
        sample_view(LayerRaster(layer, place_raster, place_raster.parent).read_info(), view, is_smooth=True)
        for layer in layers
    ]
    directions = np.stack([values[0] for values, _ in bands])
    is_valid = bands[0][1]
    points = choose_points(is_valid, code)
    drawn = directions[:, points[:, 1], points[:, 0]]
    assert measure_error(*find_pixels(drawn, code), points, code) <= MAX_ERROR_PIXELS
    if code in OGRAPHIC_CODES:  # GDAL loses their longitudes and latitudes
        return
    warped = np.full((3, height, width), np.nan, dtype="float32")
    with rasterio.open(place_raster) as dataset:
        reproject(
            rasterio.band(dataset, [1, 2, 3]), warped, dst_crs=f"IAU_2015:{code}", resampling=Resampling.bilinear,
            dst_transform=rasterio.transform.from_bounds(*bounds, width, height), dst_nodata=np.nan,
        )  # fmt: skip
    # GDAL does not interpolate across the edges of the raster
    is_inside = (np.abs(np.degrees(np.arctan2(drawn[1], drawn[0]))) < 179.75) & (np.abs(drawn[2]) < EDGE_SINE)
    points, drawn = points[is_inside], drawn[:, is_inside]
    by_gdal = warped[:, points[:, 1], points[:, 0]]
    assert np.isfinite(by_gdal).all()
    columns, rows = find_pixels(by_gdal, code)
    assert measure_error(columns, rows, points, code) <= MAX_ERROR_PIXELS, "GDAL's warp agrees with pyproj"
    own_columns, own_rows = find_pixels(drawn, code)
    between = np.stack([own_columns - columns + points[:, 0] + 0.5, own_rows - rows + points[:, 1] + 0.5])
    assert measure_error(*between, points, code) <= MAX_ERROR_PIXELS, "GDAL's warp agrees with the map"


def choose_points(is_valid: np.ndarray, code: int) -> np.ndarray:
    """Choose pixels on the body; those near the edge of the disc look at it too obliquely to tell a place."""
    height, width = is_valid.shape
    rows, columns = np.nonzero(is_valid)
    if code == 49965:
        is_inside = np.hypot(columns + 0.5 - width / 2, rows + 0.5 - height / 2) <= 0.48 * width
        rows, columns = rows[is_inside], columns[is_inside]
    chosen = np.random.default_rng(code).choice(len(rows), POINTS, replace=False)
    return np.stack([columns[chosen], rows[chosen]], axis=1)


@pytest.mark.parametrize("code", [49930, 49931, 49935, 49965])
@pytest.mark.parametrize("share", [1.0, 0.05])
def test_places_between_nodes_are_as_good_as_exact_ones(place_raster: Path, code: int, share: float) -> None:
    """The map is compared with one for which each pixel is located by itself."""
    (west, south, east, north), width, height = SQUARE_M, 230, 170
    if code == 49965:
        west, south, east, north = DISC_M
    bounds = (west * share, south * share, east * share, north * share)
    view = MapView(frame=find_frame(f"IAU_2015:{code}"), bounds=bounds, width=width, height=height)
    x, y = np.broadcast_arrays(
        view.compute_x(np.arange(width)[np.newaxis]), view.compute_y(np.arange(height)[:, np.newaxis])
    )
    lon, lat = view.frame.convert_to_lon_lat(x, y)
    for band in (1, 2, 3):
        layer = MapLayer(name="x", title="x", files={"": place_raster.name}, band=band, place=TextPlace())
        info = LayerRaster(layer, place_raster, place_raster.parent).read_info()
        (found,), is_valid = sample_view(info, view, is_smooth=True)
        (expected,), is_expected = sample_places(info, lon, lat, is_smooth=True)
        assert (is_valid == is_expected).all()
        steps = np.abs(np.gradient(expected)).max(axis=0)
        steps = np.maximum(steps, np.median(steps))[is_valid]
        assert (np.abs(found - expected)[is_valid] <= 0.2 * steps).all()
