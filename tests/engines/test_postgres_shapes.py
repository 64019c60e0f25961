"""PostgreSQL's functions over shapes and HEALPix say what hven.model.sky says."""

from __future__ import annotations

import numpy as np
import pytest

from hven.engines import postgres
from hven.model.sky import contains, from_array, healpix, intersects
from postgres import server
from shared import MORE

KINDS = {2: "point", 3: "circle"}


@pytest.fixture(scope="module")
def connection(tmp_path_factory):
    with server() as url:
        engine = postgres.open(tmp_path_factory.mktemp("engine"), memory=256 * 1024**2, url=f"postgresql://{url}")
        with engine.askers.borrowed() as found:
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
    for _ in range(400 * MORE):
        one, two = shape(rng), shape(rng)
        here, there = (from_array(KINDS.get(len(numbers), "polygon"), numbers) for numbers in (one, two))
        text = "SELECT hven_contains($1::float8[], $2::float8[]), hven_intersects($1::float8[], $2::float8[]), hven_area($1::float8[])"
        inside, touch, area = connection.execute(text, [one, two]).fetchone()
        assert (inside, touch) == (contains(there, here), intersects(here, there)), (one, two)
        assert area == pytest.approx(here.area(), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("order", [0, 3, 13, 29])
def test_cells(connection, order):
    rng = np.random.default_rng(order)
    lon, lat = rng.uniform(-400, 400, 2000), np.degrees(np.arcsin(rng.uniform(-1, 1, 2000)))
    text = "SELECT hven_healpix($1::int, a, b) FROM unnest($2::float8[], $3::float8[]) AS u(a, b)"
    cells = [row[0] for row in connection.execute(text, [order, lon.tolist(), lat.tolist()]).fetchall()]
    assert cells == healpix.index(order, lon, lat).tolist()
    found = connection.execute(
        "SELECT hven_healpix_center($1::int, c) FROM unnest($2::bigint[]) AS u(c)", [order, cells]
    ).fetchall()
    middles = np.array([row[0] for row in found])
    wanted = np.stack(healpix.center(order, cells), axis=1)
    assert np.abs((middles[:, 0] - wanted[:, 0] + 180) % 360 - 180).max() < 1e-6
    assert np.abs(middles[:, 1] - wanted[:, 1]).max() < 1e-9
