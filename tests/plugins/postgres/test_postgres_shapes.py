"""PostgreSQL's functions over shapes and HEALPix say what hven.model.sky says."""

from __future__ import annotations

import json

import numpy as np
import pytest

from hven.model.sky import are_shapes_intersecting, build_shape_from_array, has_shape_inside, healpix
from hven.plugins.postgres import engine as postgres
from postgres_cluster import run_server
from shared import EXAMPLES_FACTOR

KINDS = {2: "point", 3: "circle"}


@pytest.fixture(scope="module")
def connection(tmp_path_factory):
    with run_server() as url:
        engine = postgres.open(tmp_path_factory.mktemp("engine"), memory=256 * 1024**2, url=f"postgresql://{url}")
        with engine.query_pool.borrow_connection() as found:
            yield found
        engine.close()


def shape(rng) -> list[float]:
    lon, lat = 40 + round(rng.uniform(-3, 3), 3), 10 + round(rng.uniform(-3, 3), 3)
    if rng.random() < 0.15:
        lon, lat = round(rng.uniform(0, 360), 2), round(rng.uniform(84, 88), 3)
    width, height = rng.uniform(0.05, 2, 2).round(3).tolist()
    made = [
        [lon, lat],
        [lon, lat, width],
        [lon, lat, lon + width, lat, lon + width / 2, lat + height, lon - width / 3, lat + height / 2],
    ]
    return made[rng.integers(3)]


def test_pairs_of_shapes(connection):
    rng = np.random.default_rng(5)
    for _ in range(400 * EXAMPLES_FACTOR):
        one, two = shape(rng), shape(rng)
        here, there = (build_shape_from_array(KINDS.get(len(numbers), "polygon"), numbers) for numbers in (one, two))
        text = "SELECT hven_contains($1::float8[], $2::float8[]), hven_intersects($1::float8[], $2::float8[]), hven_area($1::float8[])"
        inside, touch, area = connection.execute(text, [one, two]).fetchone()
        assert (inside, touch) == (has_shape_inside(there, here), are_shapes_intersecting(here, there)), (one, two)
        assert area == pytest.approx(here.compute_area(), rel=1e-9, abs=1e-12)


def ring(rng) -> list[float]:
    """Draw a polygon of any kind: small or large, narrow, closed, crossing itself, at a pole, at the equator, across 0, its corners on one line."""
    lon, lat = (
        rng.uniform(-20, 20) if rng.random() < 0.7 else rng.uniform(-360, 720),
        float(rng.choice([rng.uniform(-80, 80), 0.0, 89.95, -89.0])),
    )
    corners, size = int(rng.integers(3, 9)), 10 ** rng.uniform(-4, 1.7)
    angle = np.sort(rng.uniform(0, 2 * np.pi, corners)) if rng.random() < 0.7 else rng.uniform(0, 2 * np.pi, corners)
    reach = size * rng.uniform(0.3, 1, corners)
    narrow = float(rng.choice([1.0, 1.0, 1e-4, 0.0]))
    lats = np.clip(lat + narrow * reach * np.sin(angle), -90, 90)
    lons = lon + reach * np.cos(angle) / max(np.cos(np.radians(lat)), 0.02)
    pairs = [*zip(lons.tolist(), lats.tolist(), strict=True)]
    return [number for pair in ([*pairs, pairs[0]] if rng.random() < 0.2 else pairs) for number in pair]


def draw_position_near(rng, p: list[float]) -> tuple[float, float]:
    """Draw a position: near the polygon, at a corner, in the middle of an edge, or a very little beside one of these."""
    at = 2 * int(rng.integers(len(p) // 2))
    lon, lat = p[at], p[at + 1]
    kind = rng.integers(5)
    if kind == 0:
        lon, lat = (lon + p[at - 2]) / 2, (lat + p[at - 1]) / 2
    if kind == 1:
        lon, lat = (lon + p[(at + 4) % len(p)]) / 2, (lat + p[(at + 5) % len(p)]) / 2
    if kind in {2, 3}:
        away = 10 ** rng.uniform(*((-14, -8) if kind == 2 else (-5, 1.5)))
        lon, lat = lon + away * rng.uniform(-1, 1), lat + away * rng.uniform(-1, 1)
    return lon + 360 * int(rng.integers(-1, 2)), min(max(lat, -90.0), 90.0)


def test_quick_looks_say_what_the_exact_test_says(connection):
    rng = np.random.default_rng(11)
    drawn = [ring(rng) for _ in range(4000 * EXAMPLES_FACTOR)]
    rows = [
        dict(zip(("lon", "lat"), draw_position_near(rng, p), strict=True), r=10 ** rng.uniform(-5, 1), p=p)
        for p in drawn
    ]
    text = (
        "SELECT lon, lat, p, hven_in_ring(lon, lat, hven_ring(p)), hven_holds(lon, lat, p), hven_aside(lon, lat, 0, p), hven_aside(lon, lat, r, p),"
        " hven_gap(lon, lat, hven_ring(p)) <= r FROM jsonb_to_recordset($1::jsonb) AS q(lon float8, lat float8, r float8, p float8[])"
    )
    aside = inside = 0
    for lon, lat, p, exact, quick, away, far, near in connection.execute(text, [json.dumps(rows)]).fetchall():
        assert quick == exact, (lon, lat, p)
        assert not (away and exact), (lon, lat, p)
        assert not (far and (exact or near)), (lon, lat, p)
        aside, inside = aside + far, inside + exact
    assert min(4 * aside, inside) > len(rows) // 10  # the looks decide, and there is something to decide


@pytest.mark.parametrize("p", ["{}", "{1,2,3,4}", "{0,0,1,0,1,NULL}", "{0,0,1,0,NaN,1}", "{0,0,1,0,Infinity,1}", "{0,0,1,0,1,91}", "{0,0,1,0,1,1,0}"])  # fmt: skip
@pytest.mark.parametrize(("lon", "lat"), [(0.5, 0.2), (5.0, 0.2), ("NaN", 0.2), (0.5, "Infinity"), (0.5, 91.0)])
def test_what_is_no_polygon_holds_nothing(connection, p, lon, lat):
    text = "SELECT hven_holds(a, b, p), hven_in_ring(a, b, hven_ring(p)), hven_aside(a, b, 0, p) IS NULL FROM (SELECT $1::float8, $2::float8, $3::float8[]) AS q(a, b, p)"
    assert connection.execute(text, [str(lon), str(lat), p]).fetchone() == (False, False, False)


@pytest.mark.parametrize("order", [0, 3, 13, 29])
def test_cells(connection, order):
    rng = np.random.default_rng(order)
    lon, lat = rng.uniform(-400, 400, 2000), np.degrees(np.arcsin(rng.uniform(-1, 1, 2000)))
    text = "SELECT hven_healpix($1::int, a, b) FROM unnest($2::float8[], $3::float8[]) AS u(a, b)"
    cells = [row[0] for row in connection.execute(text, [order, lon.tolist(), lat.tolist()]).fetchall()]
    assert cells == healpix.compute_cell_indexes(order, lon, lat).tolist()
    found = connection.execute(
        "SELECT hven_healpix_center($1::int, c) FROM unnest($2::bigint[]) AS u(c)", [order, cells]
    ).fetchall()
    middles = np.array([row[0] for row in found])
    wanted = np.stack(healpix.compute_cell_centers(order, cells), axis=1)
    assert np.abs((middles[:, 0] - wanted[:, 0] + 180) % 360 - 180).max() < 1e-6
    assert np.abs(middles[:, 1] - wanted[:, 1]).max() < 1e-9
