"""SPoCA's ``ChainCodes`` and masks of one region: what the catalogue did between the two, done again by other means, and told to the pixel.

A map's header says that blobs nearer than AGGREGAT arcseconds are one region, closed in a sinusoidal projection; its chain codes are the corners that are
left of that outline when it may be 10 arcseconds off (Verbeeck et al. 2014, and the configuration of the code). The masks are the blobs themselves.
"""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from astropy.io import fits
from scipy import ndimage

from shared import shared

MAPS = "20111231_220001.ARMap", "20111231_220008.CHMap", "20111231_230008.CHMap"
HALF = 2048  # pixels of a quarter of a turn in the projection: SPoCA's is as large as the image
DEVIATION = 10.0  # arcseconds
PIXEL = 1.5  # a pixel, aslant too
SHARE = 2 / 3  # .. of the projection, on the middle of the disc


class Region:
    """A region of a map: its mask, the corners of its code, and the mask closed as the header says."""

    def __init__(self, image, head, colour, box, corners, closing=None):
        self.scale = head["CDELT1"]
        closing = head["AGGREGAT"] if closing is None else closing
        y, x = np.nonzero(image[box] == colour)
        y, x = y + box[0].start, x + box[1].start
        self.low = np.minimum([x.min(), y.min()], corners.min(axis=0)) - 90
        high = np.maximum([x.max(), y.max()], corners.max(axis=0)) + 90
        self.mask = image[self.low[1] : high[1], self.low[0] : high[0]] == colour
        self.corners = corners - self.low
        radius, centre = float(head["R_SUN"]), np.array([head["CRPIX1"], head["CRPIX2"]]) - 1
        column, row = _project((x - centre[0]) / radius, (y - centre[1]) / radius)
        first = np.array([column.min(), row.min()], int) - 60
        size = np.array([column.max(), row.max()], int) + 61 - first
        # the projection, each of its pixels from the nearest of the image
        rows, columns = np.mgrid[: size[1], : size[0]]
        lat = (rows + first[1]) * np.pi / (2 * HALF) - np.pi / 2
        lon = ((columns + first[0]) * np.pi / (2 * HALF) - np.pi / 2) / np.cos(lat)
        at = [np.rint(centre[0] + radius * np.cos(lat) * np.sin(lon)), np.rint(centre[1] + radius * np.sin(lat))]
        x, y = (np.clip(one.astype(int), 0, len(image) - 1) for one in at)
        drawn = (image[y, x] == colour) & (np.abs(lon) <= np.pi / 2)
        reach = closing / self.scale * SHARE
        closed = ndimage.distance_transform_edt(~drawn) <= reach
        closed &= ndimage.distance_transform_edt(closed) > reach
        # and back
        rows, columns = np.mgrid[: self.mask.shape[0], : self.mask.shape[1]]
        there = [
            (one + low - middle) / radius for one, low, middle in zip((columns, rows), self.low, centre, strict=True)
        ]
        column, row = (np.rint(one).astype(int) - begin for one, begin in zip(_project(*there), first, strict=True))
        inside = (np.hypot(*there) <= 1) & (column >= 0) & (row >= 0) & (column < size[0]) & (row < size[1])
        found = np.zeros(self.mask.shape, bool)
        found[inside] = closed[row[inside], column[inside]]
        parts = ndimage.label(found, np.ones((3, 3)))[0]
        self.closed = parts == 1 + np.bincount(parts[parts > 0] - 1).argmax()

    def measure_corner_distances(self, mask):
        """Return how far each corner is from the outline of a mask, pixels."""
        return ndimage.distance_transform_edt(~_rim(mask))[self.corners[:, 1], self.corners[:, 0]]


def _project(x, y):
    lat = np.arcsin(np.clip(y, -1, 1))
    lon = np.arcsin(np.clip(x / np.cos(lat), -1, 1))
    return (lon * np.cos(lat) / np.pi + 0.5) * 2 * HALF, (lat / np.pi + 0.5) * 2 * HALF


def _rim(mask):
    return mask & ~ndimage.binary_erosion(mask)


def _fill_polygon(corners, shape):
    """Fill a polygon by the crossings of its edges with each row of pixels' centres, an edge a time."""
    inside = np.zeros(shape, bool)
    columns = np.arange(shape[1])
    for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        for y in range(min(y0, y1), max(y0, y1)):
            inside[y] ^= columns > x0 + (y - y0) * (x1 - x0) / (y1 - y0)
    return inside


def read(name):
    with fits.open(shared(f"data/helio/spoca/{name}.fits")) as file:
        image, head, regions, lists = file[1].data, file[1].header, file["Regions"].data, file["ChainCodes"].data
        for at, colour in enumerate(regions["COLOR"]):
            corners = np.stack([lists[f"{axis}{regions['ID'][at]:07d}"] for axis in "XY"]).T.astype(int)
            # all is counted from 1
            rows, columns = (slice(regions[f"{axis}BOXMIN"][at] - 1, regions[f"{axis}BOXMAX"][at]) for axis in "YX")
            yield image, head, colour, (rows, columns), corners[(corners != 0).any(axis=1)] - 1


def small(one):
    """Tell whether a region is soon looked at."""
    return (one[0][one[3]] == one[2]).sum() < 100_000


@pytest.fixture(scope="module")
def regions():
    return [Region(*one) for name in MAPS for one in read(name)]


def test_the_corners_lie_on_the_outline_of_the_mask_closed_as_its_header_says(regions):
    apart = np.concatenate([one.measure_corner_distances(one.closed) for one in regions])
    assert (len(regions), len(apart), (apart <= PIXEL).sum()) == (18, 225, 223)
    assert apart.max() <= 2.0
    # what the header says is told apart from half and twice as much, and from no closing at all
    some = [one for one in regions if one.mask.sum() < 100_000]
    assert sum(len(one.corners) for one in some) == 125
    for arcsec, most in ((16.0, 118), (64.0, 95)):
        other = [Region(*one, closing=arcsec) for name in MAPS for one in read(name) if small(one)]
        assert sum((one.measure_corner_distances(one.closed) <= PIXEL).sum() for one in other) <= most
    plain = [one.measure_corner_distances(one.mask) for one in regions]
    assert sum((far <= PIXEL).sum() for far in plain) == 201
    assert sum(far.max() <= PIXEL for far in plain) == 10
    assert max(far.max() for far in plain) == pytest.approx(16.3, abs=0.1)


def test_edges_leave_that_outline_by_no_more_than_the_catalogue_allows(regions):
    off = []
    for one in regions:
        y, x = np.nonzero(_rim(ndimage.binary_fill_holes(one.closed)))
        off.append(shapely.distance(shapely.points(x, y), shapely.Polygon(one.corners).exterior).max() * one.scale)
    assert all(5.0 < far < DEVIATION for far in off)
    assert max(off) > 9.9  # which is all that it allows: codes within a pixel of the masks there are none
    # the mask, too, is nowhere farther outside of its code than that; where the code holds what the mask does not, blobs were joined
    beyond, joined = [], []
    for one in regions:
        drawn = _fill_polygon(one.corners, one.mask.shape)
        y, x = np.nonzero(one.mask & ~drawn)
        beyond.append(shapely.distance(shapely.points(x, y), shapely.Polygon(one.corners)).max() * one.scale)
        joined.append(drawn.sum() / one.mask.sum() - 1)
    assert max(beyond) < DEVIATION
    assert (round(min(joined), 2), round(max(joined), 2)) == (-0.27, 0.37)


def test_both_ways_to_draw_a_code_agree(regions):
    """An edge at a time here, GEOS there: centres that lie on an edge aside, no pixel is drawn otherwise."""
    for one in regions[:6]:
        shape = shapely.Polygon(one.corners)
        y, x = np.mgrid[: one.mask.shape[0], : one.mask.shape[1]]
        other = shapely.contains_xy(shape, x, y)
        differs = np.argwhere(_fill_polygon(one.corners, one.mask.shape) != other)
        assert (shapely.distance(shapely.points(differs[:, ::-1]), shape.exterior) < 1e-9).all()


def test_the_mask_of_another_hour_is_not_meant():
    """Codes of 22 h over masks of 23 h of the same holes (TRACKED by their colours): farther than over their own."""
    now, later = ({one[2]: one for one in read(name)} for name in MAPS[1:])
    both = [colour for colour in now if colour in later and small(now[colour])]
    assert len(both) == 4
    own = [Region(*now[colour]) for colour in both]
    other = [Region(*later[colour][:4], now[colour][4]) for colour in both]
    assert max(one.measure_corner_distances(one.closed).max() for one in own) <= 1
    # an hour is 15 pixels in the middle of the disc, and less at the limb, where one of the holes is
    assert sorted(round(np.median(one.measure_corner_distances(one.closed))) for one in other) == [1, 9, 9, 9]
    assert min(one.measure_corner_distances(one.closed).max() for one in other) > 2.5
