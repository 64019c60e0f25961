"""ivo_simbadpoint in queries: a constant of the plan, served by the position index, never another name's place."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from hypothesis import given, settings
from hypothesis import strategies as st

from hven import query
from hven.adql import bind_query, parse_query
from hven.adql.scope import StaticTableCatalogue
from hven.model.errors import BindError, OverloadedError
from hven.model.settings import Settings
from hven.model.table import Column, Table
from hven.plugins.resolvers.settings import NameResolverSettings
from hven.query import resolver
from hven.services.faces._tapregext import write_table_access_xml
from hven.site import Site
from hven.testing.site import build_table_from_arrow, open_tiny_site, publish_rows

M31 = SkyCoord("00h42m44.330s +41d16m07.50s")
M33 = SkyCoord("01h33m50.8965749232s +30d39m36.630403128s")
CONE = "SELECT id FROM s.t WHERE 1 = CONTAINS(POINT(ra, dec), CIRCLE(ivo_simbadpoint('{}'), {}))"


def build_places(*places: tuple[str, SkyCoord]) -> pa.Table:
    return pa.table(
        {
            "name": [name for name, _ in places],
            "ra": [at.ra.deg for _, at in places],
            "dec": [at.dec.deg for _, at in places],
        }
    )


@pytest.fixture(scope="module")
def stars() -> pa.Table:
    generator = np.random.default_rng(7)
    sin = generator.uniform(-1, 1, 40_000)
    return pa.table(
        {"id": np.arange(40_000), "ra": generator.uniform(0, 360, 40_000), "dec": np.degrees(np.arcsin(sin))}
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, stars: pa.Table) -> Iterator[Site]:
    tables = {"sky.objects": build_places(("M  31", M31), ("M  33", M33)), "s.t": stars}
    with open_tiny_site(
        tmp_path_factory.mktemp("s"), tables, brought={"resolver": NameResolverSettings(table="sky.objects")}
    ) as made:
        yield made


def ask(site: Site, text: str) -> list[Any]:
    with query.run_query(text, site=site) as result:
        return [tuple(row.values()) for batch in result.iterate_batches() for row in batch.to_pylist()]


@given(
    st.lists(
        st.tuples(st.sampled_from([("M31", M31), ("m 33", M33)]), st.sampled_from([1.5, 4.0, 9.5])),
        min_size=1,
        max_size=6,
    )
)
@settings(max_examples=20)
def test_cones_around_names_are_those_of_astropy(site: Site, stars: pa.Table, cones: list[Any]) -> None:
    everywhere = SkyCoord(stars["ra"].to_numpy(), stars["dec"].to_numpy(), unit="deg")
    for (name, at), radius in cones:
        wanted = np.flatnonzero(everywhere.separation(at) <= radius * u.deg)
        assert sorted(row[0] for row in ask(site, CONE.format(name, radius))) == wanted.tolist()


def test_the_position_index_serves_a_cone_around_a_name(site: Site) -> None:
    assert "candidates from the position index" in query.explain_query(CONE.format("M 31", 1), site=site)
    assert "simbadpoint" not in query.explain_query(CONE.format("M 31", 1), site=site).lower()


def test_it_is_a_point_like_any_other(site: Site) -> None:
    text = "SELECT ivo_simbadpoint('M31') AS p, COORD2(GAVO_SIMBADPOINT('M33')) AS y, DISTANCE(POINT(0, 0), ivo_simbadpoint('M31')) AS d FROM s.t WHERE id = 0"
    point, y, distance = ask(site, text)[0]
    assert point == pytest.approx([M31.ra.deg, M31.dec.deg], abs=1e-9)
    assert y == pytest.approx(M33.dec.deg, abs=1e-9)
    assert distance == pytest.approx(M31.separation(SkyCoord(0, 0, unit="deg")).deg)
    assert ask(site, "SELECT COORD1(ivo_simbadpoint('M31')) AS x") == [(pytest.approx(M31.ra.deg),)]
    assert ask(
        site, "WITH a AS (SELECT ivo_simbadpoint('M33') AS p FROM s.t WHERE id = 0) SELECT COORD1(p) AS x FROM a"
    )[0][0] == pytest.approx(M33.ra.deg)


def test_a_plan_that_is_kept_follows_a_name_that_moves(tmp_path: Path) -> None:
    with open_tiny_site(
        tmp_path,
        {"sky.objects": build_places(("A", M31))},
        brought={"resolver": NameResolverSettings(table="sky.objects")},
    ) as site:
        text = "SELECT COORD1(ivo_simbadpoint('a')) AS x"
        assert ask(site, text) == ask(site, text) == [(pytest.approx(M31.ra.deg),)]
        publish_rows(site, build_table_from_arrow("sky.objects", build_places(("A", M33))), build_places(("A", M33)))
        site.refresh_published_state()
        assert ask(site, text) == [(pytest.approx(M33.ra.deg),)]


def test_a_kept_plan_follows_a_far_name_too(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    places = iter([(1.0, 1.0), (1.0, 1.0), (2.0, 2.0), (2.0, 2.0)])
    asked = []

    def position(name: str, **_: Any) -> tuple[float, float]:
        asked.append(name)
        return next(places)

    monkeypatch.setattr(resolver, "resolve_object_position", position)
    text = "SELECT COORD1(ivo_simbadpoint('far away')) AS x"
    assert ask(site, text) == [(1.0,)]  # asked for the key and for the plan
    assert ask(site, text) == [(2.0,)]
    assert asked == ["far away"] * 4


@pytest.mark.parametrize(
    ("text", "said", "column"),
    [
        ("SELECT ivo_simbadpoint('M 99999')", "no service knows the name 'M 99999'", 24),
        ("SELECT ivo_simbadpoint('Mars')", r"Mars \(planet\) moves across the sky", 24),
        ("SELECT ivo_simbadpoint(name) FROM sky.objects", r"before the query runs, so its argument must be a literal", 8),
        ("SELECT ivo_simbadpoint('M' || '31')", "argument must be a literal; write one name in quotes", 8),
        ("SELECT ivo_simbadpoint(31)", "must be a string", 8),
        ("SELECT ivo_simbadpoint()", "takes 1 argument", 8),
        ("SELECT ivo_simbadpoint('M31', 'M33')", "takes 1 argument", 8),
        ("SELECT ivo_simbadpoint('')", "cannot be the name of an object", 24),
    ],
)  # fmt: skip
def test_refusals_have_their_place(site: Site, text: str, said: str, column: int) -> None:
    with pytest.raises(BindError, match=said) as error:
        ask(site, text)
    assert error.value.column == column


def test_a_service_that_cannot_be_reached_is_no_fault_of_the_query(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def position(*_: Any, **__: Any) -> tuple[float, float]:
        raise OverloadedError("not known here, and Sesame could not be asked")

    monkeypatch.setattr(resolver, "resolve_object_position", position)
    with pytest.raises(OverloadedError):
        ask(site, "SELECT ivo_simbadpoint('x')")


def test_it_is_declared_where_names_can_be_resolved(tmp_path: Path) -> None:
    form = "<form>ivo_simbadpoint(identifier VARCHAR) -&gt; POINT</form>"
    assert form not in write_table_access_xml(Settings(directory=tmp_path))
    assert form in write_table_access_xml(
        Settings(directory=tmp_path, brought={"resolver": NameResolverSettings(remote=True)})
    )
    assert form in write_table_access_xml(
        Settings(directory=tmp_path, brought={"resolver": NameResolverSettings(table="sky.objects")})
    )


def test_where_it_is_not_declared_it_is_refused(tmp_path: Path) -> None:
    with (
        open_tiny_site(tmp_path, {"s.t": pa.table({"x": [1]})}) as site,
        pytest.raises(BindError, match=r"this site does not resolve object names.*POINT"),
    ):
        ask(site, "SELECT ivo_simbadpoint('M31') FROM s.t")
    with pytest.raises(BindError, match="this site does not resolve object names"):  # as a view is checked
        bind_query(
            parse_query("SELECT ivo_simbadpoint('M31') FROM s.t"),
            StaticTableCatalogue([Table(schema="s", name="t", columns=(Column(name="x"),))]),
        )
