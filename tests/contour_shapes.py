"""Difficult contours with a fixed seed, and the pixels that they cover by an algorithm other than Hven's."""

from __future__ import annotations

import numpy as np
import shapely

CHAIN_DIGITS = {(-1, 0): 0, (-1, -1): 1, (0, -1): 2, (1, -1): 3, (1, 0): 4, (1, 1): 5, (0, 1): 6, (-1, 1): 7}  # HELIO's
NEIGHBOURS = [(1, 0), (1, 1), (0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1)]
KINDS = (
    "disc", "blob", "spiral", "eight", "comb", "walk", "rings", "on_limb", "over_limb", "thin_at_limb", "whole", "pixel", "line", "diagonal", "chequers",
)  # fmt: skip


def trace_border(mask):
    """Trace the outer border of the first 8-connected component of a mask (Moore neighbours), as catalogues do.

    Returns pixels; the first is not repeated at the end.
    """
    ys, xs = np.nonzero(mask)
    start = (int(xs[0]), int(ys[0]))  # the lowest, then leftmost pixel
    there = set(zip(xs.tolist(), ys.tolist(), strict=True))
    path, at, towards, first = [start], start, 0, None
    while True:
        for turn in range(8):
            way = (towards + 6 + turn) % 8
            to = (at[0] + NEIGHBOURS[way][0], at[1] + NEIGHBOURS[way][1])
            if to in there:
                break
        else:
            return path
        if (at, way) == first:
            return path[:-1]
        first = first or (at, way)
        at, towards = to, way
        path.append(at)


def connect_points(points):
    """Connect points by straight lines of pixels, and the last point with the first."""
    path = []
    for (x0, y0), (x1, y1) in zip(points, [*points[1:], points[0]], strict=True):
        count = max(abs(x1 - x0), abs(y1 - y0), 1)
        path += [(x0 + round((x1 - x0) * k / count), y0 + round((y1 - y0) * k / count)) for k in range(count)]
    return [at for k, at in enumerate(path) if at != path[k - 1]] or path[:1]


def encode_chain(path):
    """Encode a path in the digits of HELIO's chain codes."""
    if len(path) == 1:
        return ""
    return "".join(str(CHAIN_DIGITS[b[0] - a[0], b[1] - a[1]]) for a, b in zip(path, [*path[1:], path[0]], strict=True))


def fill_path(path, size):
    """Mark the pixels that a closed path visits or winds around, counted along the columns of an array."""
    cross = np.zeros((size + 1, size), dtype=int)
    on = np.zeros((size, size), dtype=bool)
    for (x0, y0), (x1, y1) in zip(path, [*path[1:], path[0]], strict=True):
        on[y0, x0] = True
        if x1 != x0:
            x, y = (x0, y0) if x1 > x0 else (x1, y1)
            cross[y + 1, x] += 1 if x1 > x0 else -1
    return on | (np.cumsum(cross, axis=0)[:-1] != 0)


def draw_shape(kind, rng, size, centre, radius):
    """Draw a path of a kind over the pixels of a square image with a solar disc."""
    y, x = np.mgrid[:size, :size]

    def around(cx, cy, r):
        return (x - cx) ** 2 + (y - cy) ** 2 <= r * r

    def inside(share):
        angle, far = rng.uniform(0, 2 * np.pi), radius * np.sqrt(rng.uniform(*share))
        return centre[0] + far * np.cos(angle), centre[1] + far * np.sin(angle)

    if kind == "disc":
        return trace_border(around(*inside((0, 0.6)), rng.uniform(1, radius / 3)))
    if kind in ("blob", "on_limb", "over_limb"):
        share = {"blob": (0, 0.4), "on_limb": (0.8, 1.0), "over_limb": (1.0, 1.15)}[kind]
        cx, cy = inside(share)
        mask = np.zeros((size, size), dtype=bool)
        for _ in range(rng.integers(1, 9)):
            mask |= around(cx + rng.normal(0, 4), cy + rng.normal(0, 4), rng.uniform(1, 5))
        mask &= rng.random((size, size)) < rng.choice([0.75, 1.0])
        mask[[0, -1]] = mask[:, [0, -1]] = False
        mask[round(cy), round(cx)] = True
        return trace_border(mask)
    if kind == "whole":
        return trace_border(around(*centre, radius + rng.uniform(-1, 4)))
    if kind == "pixel":
        return [tuple(int(v) for v in inside((0, 1)))]
    if kind in ("line", "diagonal"):
        ax, ay = (int(v) for v in inside((0, 1.1)))
        to = [tuple(int(v) for v in inside((0, 1.1)))] if kind == "line" else [(ax + n, ay + n) for n in (8,)]
        return connect_points([(ax, ay), *to])
    if kind == "thin_at_limb":
        angle = rng.uniform(0, 2 * np.pi)
        turn = angle + np.linspace(0, rng.uniform(0.1, 2.0), 25)
        far = radius - rng.uniform(0, 1.5)
        return connect_points(
            [(round(centre[0] + far * np.cos(t)), round(centre[1] + far * np.sin(t))) for t in [*turn, *turn[::-1]]]
        )
    cx, cy = inside((0, 0.5))
    if kind == "spiral":
        t = np.linspace(0, rng.uniform(2, 5) * np.pi, 60)
        r = 2 + t * rng.uniform(0.8, 1.6)
        arm = [(round(cx + q * np.cos(p)), round(cy + q * np.sin(p))) for p, q in zip(t, r, strict=True)]
        return connect_points(arm + arm[::-1])
    if kind == "eight":
        t = np.linspace(0, 2 * np.pi, 40, endpoint=False)
        a, b = rng.uniform(3, 14, 2)
        return connect_points([(round(cx + a * np.sin(p)), round(cy + b * np.sin(2 * p))) for p in t])
    if kind == "comb":
        left, low, teeth, high = int(cx) - 8, int(cy) - 4, int(rng.integers(2, 9)), int(rng.integers(2, 12))
        points = []
        for k in range(teeth):
            points += [(left + 2 * k, low), (left + 2 * k, low + high), (left + 2 * k, low)]
        return connect_points(points)
    if kind == "rings":  # out on one circle and back on another that crosses it
        t = np.linspace(0, 2 * np.pi, 30, endpoint=False)
        a, b, off = rng.uniform(4, 12, 3)
        turn = t if rng.random() < 0.5 else t[::-1]
        one = [(round(cx + a * np.cos(p)), round(cy + a * np.sin(p))) for p in t]
        two = [(round(cx + a - b + off / 2 + b * np.cos(p)), round(cy + b * np.sin(p))) for p in turn]
        return connect_points([*one, one[0], *two, two[0]])
    if kind == "chequers":
        at = [(int(cx), int(cy))]
        for _ in range(rng.integers(5, 40)):
            step = [(1, 1), (1, -1), (-1, 1), (-1, -1)][rng.integers(4)]
            at.append((at[-1][0] + step[0], at[-1][1] + step[1]))
        return connect_points(at)
    at = [(int(cx), int(cy))]
    for _ in range(rng.integers(3, 12)):
        at.append(
            (
                int(np.clip(at[-1][0] + rng.integers(-9, 10), 1, size - 2)),
                int(np.clip(at[-1][1] + rng.integers(-9, 10), 1, size - 2)),
            )
        )
    return connect_points(at)


def draw_shapes(count, seed, size=150, centre=(74.3, 75.1), radius=61.7):
    """Draw a number of paths, of each kind in turn."""
    rng = np.random.default_rng(seed)
    made = [draw_shape(KINDS[k % len(KINDS)], rng, size, centre, radius) for k in range(count)]
    # clip points to the image
    held = [[(min(max(a, 1), size - 2), min(max(b, 1), size - 2)) for a, b in path] for path in made]
    return [[at for k, at in enumerate(path) if at != path[k - 1]] or path[:1] for path in held]


def compute_pixel_areas(size, centre, radius, scale, transform, fine=3, finest=40, within=1e-13):
    """Compute the areas of pixels on the sphere in steradian, without the parts off the disc.

    Each pixel is a sum of small squares. Points nearer to the limb than `within` radii count as on it. `transform`
    takes x and y in arcseconds and the radius of the disc, and returns longitude and latitude.
    """
    far = np.hypot(*(np.mgrid[:size, :size] - np.array(centre)[::-1, None, None]))
    found = np.zeros((size, size))
    for pieces, which in ((fine, far <= radius - 1.5), (finest, np.abs(far - radius) < 1.5)):
        ys, xs = np.nonzero(which)
        step = np.arange(pieces + 1) / pieces - 0.5
        x = (xs[:, None, None] + step[None, None, :] + 0 * step[None, :, None] - centre[0]) / radius
        y = (ys[:, None, None] + step[None, :, None] + 0 * step[None, None, :] - centre[1]) / radius
        out = np.maximum(np.hypot(x, y), 1.0) * (1 + within)
        # places in the plane of the image -> angles on the observer's sky
        tan = np.tan(np.radians(radius * scale / 3600))
        a, b = np.arctan(x / out * tan), np.arctan(y / out * tan * np.cos(np.arctan(x / out * tan)))
        lon, lat = (
            np.radians(angle) for angle in transform(np.degrees(a) * 3600, np.degrees(b) * 3600, radius * scale)
        )
        p = np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=-1)
        corners = p[:, :-1, :-1], p[:, :-1, 1:], p[:, 1:, 1:], p[:, 1:, :-1]
        found[ys, xs] = (_compute_triangle_area(*corners[:3]) + _compute_triangle_area(corners[0], *corners[2:])).sum(
            axis=(1, 2)
        )
    return found


def _compute_triangle_area(a, b, c):
    return 2 * np.arctan2((a * np.cross(b, c)).sum(-1), 1 + (a * b).sum(-1) + (b * c).sum(-1) + (a * c).sum(-1))


def project_region(regions, row, disc):
    """Project the visible side of a region by Lambert's azimuthal projection; check the direction of its rings."""
    parts = []
    for part in range(regions.rows[row], regions.rows[row + 1]):
        drawn = []
        for ring in range(regions.parts[part], regions.parts[part + 1]):
            of = slice(regions.rings[ring], regions.rings[ring + 1])
            x, y, z = _project_points(regions.lon[of], regions.lat[of], disc.lon[row], disc.lat[row])
            drawn.append(np.stack([x, y], axis=1) * np.sqrt(2 / (1 + z))[:, None])
            assert shapely.LinearRing(drawn[-1]).is_ccw == (len(drawn) == 1)
        parts.append(shapely.Polygon(drawn[0], drawn[1:]))
    return shapely.MultiPolygon(parts)


def _project_points(lon, lat, from_lon, from_lat):
    turn, phi, tilt = np.radians(lon - from_lon), np.radians(lat), np.radians(from_lat)
    out = np.cos(phi) * np.cos(turn)
    return (
        np.cos(phi) * np.sin(turn),
        np.sin(phi) * np.cos(tilt) - out * np.sin(tilt),
        out * np.cos(tilt) + np.sin(phi) * np.sin(tilt),
    )
