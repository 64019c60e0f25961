"""Names in columns of any table: alternates in one text, observations of one target, and what must not resolve."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from hven.model.table import Column, ReferenceFrame, Table
from hven.model.types import INT64, STRING
from hven.plugins.resolvers.settings import NameResolverSettings
from hven.query import resolver
from hven.site import Site
from hven.testing.policies import build_odd_rows_hidden_policies
from hven.testing.site import open_tiny_site, publish_rows


def build_table(name: str, *columns: Column, frame: str = "", ra_ucd: str = "pos.eq.ra;meta.main") -> Table:
    """Describe a table with positions."""
    places = (
        Column(name="ra", unit="deg", ucd=ra_ucd, frame="f" if frame else None),
        Column(name="dec", unit="deg", ucd="pos.eq.dec;meta.main"),
    )
    frames = (ReferenceFrame(id="f", kind="coosys", system=frame),) if frame else ()
    return Table(schema="sky", name=name, columns=(*columns, *places), position=("ra", "dec"), frames=frames)


CLUSTERS = build_table(
    "clusters",
    Column(name="name", type=STRING, ucd="meta.id;meta.main"),
    Column(name="alternates", type=STRING, ucd="meta.id"),
)
CLUSTER_ROWS = pa.table(
    {
        "name": ["PSZ2 G057.80+88.00", "PSZ2 G000.04+45.13"],
        "alternates": ["ABELL 1656; Coma|MCXC J1259.7+2756", None],
        "ra": [194.9, 229.2],
        "dec": [27.96, -1.0],
    }
)
OBSERVATIONS = build_table(
    "observations", Column(name="target", type=STRING, ucd="meta.id;src"), Column(name="t", ucd="time.start")
)
OBSERVATION_ROWS = pa.table(
    {
        "target": ["Seam", "Seam", "Comet", "Comet", None, "coma", "Vega", "Spelt twice", "SPELT TWICE"],
        "t": [1.0, 2, 3, 4, 5, 6, 7, 8, 9],
        "ra": [359.9999, 0.0001, 10.0, 11.0, 5.0, 194.9001, 1.0, 2.0, 3.0],
        "dec": [10.0, 10.0, 0.0, 0.0, 0.0, 27.96, 1.0, 2.0, 3.0],
    }
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    galactic = build_table("galactic", Column(name="n", type=STRING, ucd="meta.id;src"), frame="GALACTIC")
    planet = build_table("planet", Column(name="n", type=STRING, ucd="meta.id;src"), ra_ucd="pos.bodyrc.lon")
    rows = pa.table({"n": ["Mons"], "ra": [1.0], "dec": [2.0]})
    tables = {
        "sky.clusters": (CLUSTERS, CLUSTER_ROWS),
        "sky.observations": (OBSERVATIONS, OBSERVATION_ROWS),
        "sky.galactic": (galactic, rows),
        "sky.planet": (planet, rows),
    }
    with open_tiny_site(tmp_path_factory.mktemp("columns"), tables) as opened:
        yield opened


@pytest.mark.parametrize("name", ["abell1656", "MCXC J1259.7+2756", "psz2 g057.80+88.00"])
def test_each_alternate_in_a_text_resolves(site: Site, name: str) -> None:
    found = resolver.resolve_object_name(name, site=site)
    assert found.name == "PSZ2 G057.80+88.00"
    assert found.position == pytest.approx((194.9, 27.96))
    assert found.source == "table sky.clusters"
    assert "ABELL 1656" in found.ids


def test_observations_of_a_target_are_one_object_across_the_meridian(site: Site) -> None:
    found = resolver.resolve_object_name("seam", site=site)
    assert found.position is not None
    assert found.position[1] == pytest.approx(10)
    assert min(found.position[0], 360 - found.position[0]) < 1e-9
    assert (found.source, found.confidence) == ("table sky.observations", 0.7)
    assert found.note == "the mean position of 2 rows, which are up to 0.7 arcsec apart"


def test_headers_come_last_and_never_make_a_name_ambiguous(site: Site) -> None:
    assert resolver.resolve_object_name("Coma", site=site).source == "table sky.clusters"
    assert resolver.resolve_object_name("Vega", site=site).source == "Hven's list of bright objects"
    with pytest.raises(resolver.UnresolvedNameError):
        resolver.resolve_object_name("Spelt twice", site=site)


def test_a_name_in_two_tables_at_one_place_is_one_object(tmp_path: Path) -> None:
    near, far = (CLUSTER_ROWS.set_column(2, "ra", pa.array([194.9 + step, 0.0])) for step in (0.001, 1.0))
    tables = {f"sky.{name}": (replace(CLUSTERS, name=name), rows) for name, rows in (("a", CLUSTER_ROWS), ("b", near))}
    with open_tiny_site(tmp_path / "near", tables) as site:
        assert resolver.resolve_object_name("Coma", site=site).source == "table sky.a"
    tables["sky.b"] = (replace(CLUSTERS, name="b"), far)
    with open_tiny_site(tmp_path / "far", tables) as site, pytest.raises(resolver.AmbiguousObjectNameError) as error:
        resolver.resolve_object_name("Coma", site=site)
    assert len(error.value.candidates) == 2


@pytest.mark.parametrize("name", ["Comet", "Mons"])
def test_moving_targets_and_other_frames_do_not_resolve(site: Site, name: str) -> None:
    with pytest.raises(
        resolver.UnresolvedNameError,
        match=r"the names of objects in this site's tables.*the targets of this site's observations",
    ):
        resolver.resolve_object_name(name, site=site)


def test_new_rows_resolve_at_once_and_hidden_rows_never(tmp_path: Path) -> None:
    table = build_table(
        "stars", Column(name="id", type=INT64, ucd="meta.id"), Column(name="n", type=STRING, ucd="meta.id;src")
    )
    rows = pa.table({"id": [1, 2], "n": ["Odd", "Even"], "ra": [1.0, 2.0], "dec": [3.0, 4.0]})
    with open_tiny_site(tmp_path, {"sky.stars": (table, rows.slice(0, 0))}) as site:
        with pytest.raises(resolver.UnresolvedNameError):
            resolver.resolve_object_name("Even", site=site)
        publish_rows(site, table, rows)
        site.refresh_published_state()
        policies = build_odd_rows_hidden_policies("id")
        assert resolver.resolve_object_name("Even", site=site, policies=policies).position == pytest.approx((2, 4))
        assert resolver.resolve_object_name("Odd", site=site).position == pytest.approx((1, 3))
        with pytest.raises(resolver.UnresolvedNameError):
            resolver.resolve_object_name("Odd", site=site, policies=policies)


def test_a_site_can_leave_columns_out(tmp_path: Path) -> None:
    brought = {"resolver": NameResolverSettings(columns=False)}
    with (
        open_tiny_site(tmp_path, {"sky.clusters": (CLUSTERS, CLUSTER_ROWS)}, brought=brought) as site,
        pytest.raises(resolver.UnresolvedNameError) as error,
    ):
        resolver.resolve_object_name("Coma", site=site)
    assert "resolver.columns = true" in error.value.remedy
