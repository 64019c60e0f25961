"""Names in a table of the site: spellings, aliases, ambiguity, units, privacy; positions against astropy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from hypothesis import given
from hypothesis import strategies as st

from hven.ingest.api.runs import ingest_collection
from hven.model.errors import OverloadedError, ParamError
from hven.model.table import Column, ReferenceFrame, Table
from hven.model.types import STRING
from hven.plugins.resolvers.settings import NameResolverSettings
from hven.portal._explore import place_names
from hven.portal._explore.page_queries import QueryRunner
from hven.query import resolver
from hven.site import Site
from hven.site.auth import ANONYMOUS_PRINCIPAL, DEFAULT_POLICIES
from hven.testing.policies import build_odd_rows_hidden_policies
from hven.testing.site import open_site_with_uningested_files, open_tiny_site, publish_rows
from process_runner import run_hven

# sexagesimal, as SIMBAD's pages show them
DESCRIPTOR = """
collection: sky
title: Objects
tables:
  objects:
    columns:
      designation: {type: string, ucd: meta.id;meta.main}
      others: {type: string, ucd: meta.id}
      ra: {type: float64, unit: deg, ucd: pos.eq.ra;meta.main}
      dec: {type: float64, unit: deg, ucd: pos.eq.dec;meta.main}
      mu_ra: {type: float64, unit: arcsec/yr, ucd: pos.pm;pos.eq.ra}
      mu_dec: {type: float64, unit: arcsec/yr, ucd: pos.pm;pos.eq.dec}
      sort: {type: string, ucd: src.class}
    source: {kind: csv, files: objects.csv}
    map:
      ra: SEXAGESIMAL(ra, 'hour')
      dec: SEXAGESIMAL(dec)
"""
CATALOGUE = {
    "M  31": ("NGC 224#NAME Andromeda Galaxy", "00 42 44.330", "+41 16 07.50", "", "", "AGN"),
    "* alf Lyr": ("Vega|HD 172167", "18 36 56.33635", "+38 47 01.2802", "0.20094", "0.28623", "dS*"),
    "V* RR Lyr": ("HD 182989;HIP 95497", "19 25 27.91290", "+42 47 03.6942", "-0.10968", "-0.19579", "RRLyr"),
    "NGC 7293": ("NAME Helix Nebula", "22 29 38.5", "-20 50 13", "", "", "PN"),
}


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("names")
    rows = "".join(f"{name},{','.join(facts)}\n" for name, facts in CATALOGUE.items())
    with open_site_with_uningested_files(
        place, DESCRIPTOR, {"objects.csv": f"designation,others,ra,dec,mu_ra,mu_dec,sort\n{rows}"}
    ) as site:
        ingest_collection(site, "sky")
    (place / "hven.toml").write_text('[resolver]\ntable = "sky.objects"\n')
    return place


@pytest.fixture(scope="module")
def site(directory: Path) -> Any:
    from hven.model.settings import load_settings

    with Site(load_settings(directory, {})) as made:
        yield made


@pytest.mark.parametrize("name", CATALOGUE)
def test_positions_are_those_of_the_catalogue(site: Site, name: str) -> None:
    others, ra, dec, mu_ra, mu_dec, kind = CATALOGUE[name]
    found = resolver.resolve_object_name(name, site=site)
    there = SkyCoord(ra, dec, unit=(u.hourangle, u.deg))
    assert found.position is not None
    assert SkyCoord(*found.position, unit="deg").separation(there).arcsec < 1e-6
    assert (found.name, found.kind, found.confidence, found.frame) == (name, kind, 1.0, "ICRS")
    assert found.source == "table sky.objects"
    assert 0 < found.age < 600
    wanted = None if mu_ra == "" else pytest.approx((float(mu_ra) * 1000, float(mu_dec) * 1000))
    assert found.proper_motion == wanted
    for other in others.replace("|", "#").replace(";", "#").split("#"):
        again = resolver.resolve_object_name(other, site=site)
        assert (again.position, again.confidence) == (found.position, 0.9)
        assert other in again.ids


@given(st.data())
def test_case_and_blanks_do_not_count(site: Site, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(CATALOGUE)))
    bare = "".join(name.split())
    spelt = "".join(
        data.draw(st.sampled_from(["", " ", "  ", "\u00a0"])) + data.draw(st.sampled_from([c.upper(), c.lower()]))
        for c in bare
    )
    assert resolver.resolve_object_name(spelt.replace("\u00a0", " "), site=site).name == name


@given(st.lists(st.text(max_size=30), min_size=1))
def test_a_column_of_names_is_spelt_as_each_of_them(names: list[str]) -> None:
    assert resolver.normalize_object_names(pa.array(names)).to_pylist() == [
        resolver.normalize_object_name(name) for name in names
    ]


def test_an_unknown_name_says_who_was_asked_and_what_could_be_done(site: Site) -> None:
    with pytest.raises(resolver.UnresolvedNameError) as error:
        resolver.resolve_object_name("NGC 99999", site=site)
    told = str(error.value)
    assert "'NGC 99999'" in told
    assert "Hven queried the table sky.objects, the bodies of the Solar System" in told
    assert "resolver.remote = true" in told


@pytest.mark.parametrize("name", ["", "   ", "M\x0031", "x" * 300])
def test_what_cannot_be_a_name(site: Site, name: str) -> None:
    with pytest.raises(ParamError):
        resolver.resolve_object_name(name, site=site)


def test_what_moves_has_no_position(site: Site) -> None:
    mars = resolver.resolve_object_name("MARS", site=site)
    assert (mars.name, mars.kind, mars.position, list(mars.ids)) == ("Mars", "planet", None, ["NAIF 499"])
    assert resolver.resolve_object_name("jupiter ii", site=site).name == "Europa"
    assert resolver.resolve_object_name("(4) Vesta", site=site).kind == "asteroid"
    assert resolver.resolve_object_name("67P", site=site).name == "67P/Churyumov-Gerasimenko"
    with pytest.raises(resolver.UnresolvedNameError, match=r"moves across the sky.*ephemeris"):
        resolver.resolve_object_position("Mars", site=site)


def test_the_verb(directory: Path) -> None:
    shown = json.loads(run_hven("resolve", "vega", "--json", "--site", directory).stdout)
    assert shown["name"] == "* alf Lyr"
    assert shown["position"] == pytest.approx([279.23473479, 38.78368895], abs=1e-7)
    text = run_hven("resolve", "m31", "--site", directory).stdout
    assert "10.68470833 +41.26875000" in text
    assert "other names    NGC 224, NAME Andromeda Galaxy" in text
    assert (
        "no service knows the name 'M 999'" in run_hven("resolve", "M 999", "--site", directory, expected_code=1).stderr
    )


# --- tables that are otherwise -------------------------------------------------------------------------------


def objects(**columns: Any) -> pa.Table:
    return pa.table({"name": ["A 1", "B 1"], "ra": [10.0, 20.0], "dec": [-5.0, 5.0], **columns})


def small(tmp_path: Path, given: Any, table: str = "sky.objects") -> Site:
    return open_tiny_site(tmp_path, {"sky.objects": given}, brought={"resolver": NameResolverSettings(table=table)})


def test_an_array_of_names_and_names_that_are_nothing(tmp_path: Path) -> None:
    rows = pa.table({
        "name": ["A 1", None, "C 1"], "ra": [1.0, 2.0, None], "dec": [1.0, 2.0, 3.0],
        "aliases": ["x#y", "only alias# #", None],
    })  # fmt: skip
    with small(tmp_path, rows) as site:
        assert resolver.resolve_object_position("ONLYALIAS", site=site) == (2.0, 2.0)
        assert resolver.resolve_object_name("y", site=site).ids == ("x", "y")
        with pytest.raises(resolver.UnresolvedNameError):
            resolver.resolve_object_position("C1", site=site)


def test_a_name_of_several_is_ambiguous_and_an_own_name_wins(tmp_path: Path) -> None:
    rows = pa.table({
        "name": ["Twin", "Twin", "Same", "Same", "Own", "Other"],
        "ids": [None, None, None, None, None, "Own"],
        "ra": [1.0, 2.0, 5.0, 5.0 + 1e-5, 8.0, 9.0], "dec": [0.0] * 6,
    })  # fmt: skip
    with small(tmp_path, rows) as site:
        with pytest.raises(
            resolver.AmbiguousObjectNameError,
            match=r"the name of 2 objects: Twin at 1.00000 \+0.00000; Twin at 2.00000",
        ):
            resolver.resolve_object_name("twin", site=site)
        assert resolver.resolve_object_position("same", site=site) == (5.0, 0.0)
        assert resolver.resolve_object_position("own", site=site) == (8.0, 0.0)


def test_a_new_snapshot_is_in_force_at_once(tmp_path: Path) -> None:
    with small(tmp_path, objects()) as site:
        assert resolver.resolve_object_position("a1", site=site) == (10.0, -5.0)
        publish_rows(site, local_table(), objects(ra=[11.0, 21.0]))
        site.refresh_published_state()
        assert resolver.resolve_object_position("a1", site=site) == (11.0, -5.0)


def local_table(**more: Any) -> Table:
    columns = (Column(name="name", type=STRING), Column(name="ra", unit="deg"), Column(name="dec", unit="deg"))
    return Table(**{"schema": "sky", "name": "objects", "columns": columns, "position": ("ra", "dec"), **more})


def test_a_private_table_gives_nothing_away(tmp_path: Path) -> None:
    with (
        small(tmp_path, (local_table(access="private"), objects())) as site,
        pytest.raises(OverloadedError, match=r"resolver.table is set to sky.objects, but there is no public table"),
    ):
        resolver.resolve_object_name("a1", site=site)


def test_hidden_rows_are_not_found_whoever_asks(tmp_path: Path) -> None:
    rows = pa.table(
        {"name": [f"A {n}" for n in range(20)], "id": range(20), "ra": [float(n) for n in range(20)], "dec": [0.0] * 20}
    )
    with small(tmp_path, rows) as site:
        policies = build_odd_rows_hidden_policies("id")
        known = []
        for number in range(20):
            try:
                known.append(resolver.resolve_object_position(f"a{number}", site=site, policies=policies)[0])
            except resolver.UnresolvedNameError:
                continue
        assert known == [float(n) for n in range(20) if n % 2 == 0]
        assert resolver.resolve_object_position("a3", site=site) == (
            3.0,
            0.0,
        )  # who asks without that policy has the whole


def test_positions_in_another_frame_are_refused(tmp_path: Path) -> None:
    columns = (
        Column(name="name", type=STRING),
        Column(name="ra", unit="deg", frame="g"),
        Column(name="dec", unit="deg", frame="g"),
    )
    given = local_table(columns=columns, frames=(ReferenceFrame(id="g", kind="coosys", system="GALACTIC"),))
    with (
        small(tmp_path, (given, objects())) as site,
        pytest.raises(OverloadedError, match="its positions are in GALACTIC"),
    ):
        resolver.resolve_object_name("a1", site=site)


def test_positions_in_a_unit_that_is_no_angle_are_refused(tmp_path: Path) -> None:
    columns = (Column(name="name", type=STRING), Column(name="ra", unit="m"), Column(name="dec", unit="deg"))
    with (
        small(tmp_path, (local_table(columns=columns), objects())) as site,
        pytest.raises(OverloadedError, match="the column 'ra' cannot be converted to deg"),
    ):
        resolver.resolve_object_name("a1", site=site)


def test_the_epoch_of_the_frame_is_that_of_the_position(tmp_path: Path) -> None:
    columns = (
        Column(name="name", type=STRING),
        Column(name="ra", unit="deg", frame="g"),
        Column(name="dec", unit="deg", frame="g"),
    )
    given = local_table(
        columns=columns, frames=(ReferenceFrame(id="g", kind="coosys", system="ICRS", epoch="J2016.0"),)
    )
    with small(tmp_path, (given, objects())) as site:
        assert resolver.resolve_object_name("a1", site=site).epoch == 2016.0


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("sky.nothing", "resolver.table is set to sky.nothing, but there is no public table"),
        ("sky.objects", "no column for 'name'"),
    ],
)
def test_a_setting_that_names_no_table_of_names(tmp_path: Path, table: str, said: str) -> None:
    with (
        small(tmp_path, pa.table({"ra": [1.0], "dec": [1.0]}), table) as site,
        pytest.raises(OverloadedError, match=said),
    ):
        resolver.resolve_object_name("a1", site=site)


def test_search_fields_complete_its_names(tmp_path: Path) -> None:
    stars = Table(schema="s", name="t", columns=local_table().columns, position=("ra", "dec"))
    with open_tiny_site(
        tmp_path,
        {"sky.objects": (local_table(columns=(Column(name="name", type=STRING, ucd="meta.id"), *stars.columns[1:])), objects()),
         "s.t": (stars, objects())},
        brought={"resolver": NameResolverSettings(table="Sky.Objects")},
    ) as site:  # fmt: skip
        published_state = site.get_published_state()
        runner = QueryRunner(
            site=site, principal=ANONYMOUS_PRINCIPAL, policies=DEFAULT_POLICIES, published_state=published_state
        )
        tables = tuple(published_state.get_catalogue(ANONYMOUS_PRINCIPAL, DEFAULT_POLICIES).iterate_tables())
        offered = place_names.complete_place_name("a 1", stars, runner, tables=tables)
        assert [(item.name, item.note) for item in offered] == [("A 1", "10 -5")]
        assert place_names.complete_place_name("a 1", stars, runner) == []
