"""Names of places: completed and found in the tables of this site, on a body and on the sky, for the reader who asks."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pyarrow as pa
import pytest

from hven.model.errors import UserError
from hven.model.table import Column, Table
from hven.model.types import FLOAT64, INT32, STRING
from hven.portal._explore import parse_search, place_names
from hven.portal._explore.page_queries import QueryRunner
from hven.portal._explore.search import TableSearch
from hven.site import Site
from hven.site.auth import Principal
from hven.site.auth._access_control import ANONYMOUS_PRINCIPAL, DEFAULT_POLICIES
from hven.testing.policies import build_odd_rows_hidden_policies
from hven.testing.site import open_tiny_site
from plugin_needs import require_plugins

FEATURES = [
    ("Mars", "Olympus Mons", 18.65, 226.2, 610.13), ("Mars", "Olympica Fossae", 24.9, 245.2, 420.0), ("Mars", "Vieta", -1.0, 10.0, 20.0), ("Moon", "Vieta", -29.3, 303.5, 89.0),
    ("Mars", "Gale", -5.4, -222.2, 154.0), ("Mars", "100%_odd", 0.0, 1.0, None), ("Moon", "Mare Olympia", 5.0, 6.0, 10.0),
]  # fmt: skip
GAZETTEER = Table(
    schema="names",
    name="features",
    columns=(
        Column(name="body", type=STRING, ucd="meta.id;src"),
        Column(name="name", type=STRING, ucd="meta.id;meta.main"),
        Column(name="lat", type=FLOAT64, unit="deg", ucd="pos.bodyrc.lat"),
        Column(name="lon", type=FLOAT64, unit="deg", ucd="pos.bodyrc.lon"),
        Column(name="diameter", type=FLOAT64, unit="km", ucd="phys.size"),
    ),
)
CUBES = Table(
    schema="omega",
    name="epn_core",
    columns=(
        Column(name="granule_uid", type=STRING, ucd="meta.id"),
        Column(name="target_name", type=STRING, ucd="meta.id;src"),
        *(Column(name=f"{name}", type=FLOAT64, unit="deg", ucd=f"pos.bodyrc.{word};stat.{end}") for name, word, end in (
            ("c1min", "lon", "min"), ("c1max", "lon", "max"), ("c2min", "lat", "min"), ("c2max", "lat", "max"))),
        Column(name="s_region", type=STRING, ucd="pos.outline"),
    ),
)  # fmt: skip
STARS = Table(
    schema="stars",
    name="main",
    position=("ra", "dec"),
    columns=(
        Column(name="number", type=INT32, ucd="meta.id;meta.main"),
        Column(name="name", type=STRING, ucd="meta.id"),
        Column(name="ra", type=FLOAT64, unit="deg", ucd="pos.eq.ra;meta.main"),
        Column(name="dec", type=FLOAT64, unit="deg", ucd="pos.eq.dec;meta.main"),
    ),
)


def rows(table: Table, given: list[tuple[object, ...]]) -> tuple[Table, pa.Table]:
    return table, pa.Table.from_pylist(
        [dict(zip(table.arrow_schema.names, one, strict=True)) for one in given], schema=table.arrow_schema
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    made = {
        "names.features": rows(GAZETTEER, FEATURES),
        "omega.epn_core": rows(CUBES, [(f"c{at}", "Mars", 10.0, 12.0, 1.0, 2.0, None) for at in range(3)]),
        "stars.main": rows(
            STARS,
            [(1, "Sirius", 101.287, -16.716), (2, "Double", 1.0, 1.0), (3, "Double", 2.0, 2.0), (4, None, 3.0, 3.0)],
        ),
    }
    with open_tiny_site(tmp_path_factory.mktemp("places"), made) as found:
        yield found


def asking(site: Site, who: Principal = ANONYMOUS_PRINCIPAL, **more: object) -> QueryRunner:
    return QueryRunner(
        site=site,
        principal=who,
        policies=more.get("policies", DEFAULT_POLICIES),
        published_state=site.get_published_state(),
    )  # type: ignore[arg-type]


def list_tables(site: Site) -> tuple[Table, ...]:
    return tuple(site.get_published_state().get_catalogue(ANONYMOUS_PRINCIPAL, DEFAULT_POLICIES).iterate_tables())


def test_the_gazetteer_is_found_by_its_columns(site: Site) -> None:
    (one,) = place_names.list_gazetteers(list_tables(site), asking(site))
    assert (
        one.table.qualified_name,
        one.name_column,
        one.body_column,
        one.longitude_column,
        one.latitude_column,
        one.size_column,
    ) == (
        "names.features",
        "name",
        "body",
        "lon",
        "lat",
        "diameter",
    )


def test_places_of_a_body_are_completed(site: Site) -> None:
    road = asking(site)
    found = place_names.complete_place_name("olymp", CUBES, road, tables=list_tables(site))
    assert [one.name for one in found] == ["Olympica Fossae", "Olympus Mons"], (
        "of Mars alone, for the table has Mars alone"
    )
    mons = found[1]
    assert (mons.longitude, mons.latitude) == (226.2, 18.65)
    assert mons.radius_degrees == pytest.approx(610.13 / 2 / 3396.19 * 57.2958, rel=0.05)
    assert mons.radius_degrees >= 610.13 / 2 / 3396.19 * 57.2958, "all of it lies within"
    assert "610" in mons.note
    assert place_names.complete_place_name("o", CUBES, road, tables=list_tables(site)) == [], (
        "one letter is not a beginning"
    )
    assert [one.name for one in place_names.complete_place_name("%", CUBES, road, tables=list_tables(site))] == []
    assert [one.name for one in place_names.complete_place_name("100%_", CUBES, road, tables=list_tables(site))] == [
        "100%_odd"
    ]
    free = place_names.complete_place_name("vieta", GAZETTEER, road, tables=list_tables(site))
    assert sorted(one.name for one in free) == ["Vieta (Mars)", "Vieta (Moon)"]
    assert [
        one.name
        for one in place_names.complete_place_name(
            "lymp", GAZETTEER, road, tables=list_tables(site), pairs=[("body", "Moon")]
        )
    ] == ["Mare Olympia"]


def test_a_place_becomes_a_position(site: Site) -> None:
    road = asking(site)
    assert place_names.locate_place_name("olympus  MONS", CUBES, road, tables=list_tables(site)) == (226.2, 18.65)
    assert place_names.locate_place_name("Gale", CUBES, road, tables=list_tables(site)) == (
        pytest.approx(137.8),
        -5.4,
    ), "longitudes go from 0 to 360"
    assert place_names.locate_place_name("Vieta (Moon)", GAZETTEER, road, tables=list_tables(site)) == (303.5, -29.3)
    with pytest.raises(UserError, match=r"2 places are called 'vieta'.*Moon"):
        place_names.locate_place_name("vieta", GAZETTEER, road, tables=list_tables(site))
    with pytest.raises(
        UserError, match=r"no place on Mars has the name 'Mare Olympia' \(Hven searched names\.features"
    ):
        place_names.locate_place_name("Mare Olympia", CUBES, road, tables=list_tables(site))
    with pytest.raises(UserError, match="no table here has place names"):
        place_names.locate_place_name("Gale", CUBES, road, tables=(CUBES,))


def test_a_search_asks_around_a_place(site: Site) -> None:
    road = asking(site)
    search = parse_search(
        [("_near", "Vieta (Mars), 2")],
        GAZETTEER,
        locate=lambda name: place_names.locate_place_name(name, GAZETTEER, road, tables=list_tables(site)),
    )
    assert search.faults == ()
    assert search.near is not None
    assert (search.near.longitude, search.near.latitude, search.near.name) == (10.0, -1.0, "Vieta (Mars)")
    assert road.fetch_number(search.build_count_query()) == 1
    assert "POINT(lon, lat)" in search.write_adql()


def test_a_radius_can_be_a_length_on_the_ground(site: Site) -> None:
    road = asking(site)

    def parse_near(text: str, table: Table, *more: tuple[str, str]) -> TableSearch:
        pairs = [("_near", text), *more]
        return parse_search(
            pairs,
            table,
            locate=lambda _: (10.0, -1.0),
            find_radius_km=lambda: place_names.find_body_radius_km(table, pairs, road),
        )

    one_degree = math.pi * 3396.19 / 180
    search = parse_near(f"11, 1.5, {one_degree:.6f} km", CUBES)  # the only body of the table
    assert search.near is not None
    assert search.near.radius_degrees == pytest.approx(1.0)
    assert ("_near", f"11.0,1.5,{one_degree:.6f} km") in search.list_parameters(), "the address says what was written"
    assert parse_near(f"Vieta (Mars), {one_degree * 1000:.3f} km", GAZETTEER).near is None, "farther than half round"
    for found in (
        parse_near(f"Vieta (Mars), {one_degree:.6f}km", GAZETTEER),
        parse_near(f"1, 2, {one_degree} km", GAZETTEER, ("body", "mars")),
    ):
        assert found.near is not None
        assert found.near.radius_degrees == pytest.approx(1.0)
    for text, table in (("1, 2, 200 km", GAZETTEER), ("1, 2, 200 km", STARS), ("1, 2, 200 kHz", CUBES)):
        (fault,) = parse_near(text, table).faults
        assert fault.message == (
            "the radius is a length (200 km), so the search needs a single body whose size is known"
            if text.endswith("km")
            else "'200 kHz' is not a radius"
        )


def test_on_the_sky_the_rows_own_names_come_first(site: Site) -> None:
    road = asking(site)
    assert place_names.locate_place_name("sirius", STARS, road) == (101.287, -16.716)
    offered = place_names.complete_place_name("si", STARS, road)
    assert offered[0].note == "101.287 -16.716", "the row's own; then what everybody knows, each name once"
    assert [one.name for one in offered].count("Sirius") == 1
    require_plugins("resolvers", "bright", "solar")
    assert place_names.locate_place_name("M 31", STARS, road) == (10.6847, 41.269)
    with pytest.raises(UserError, match="no service knows the name 'Double'"):
        place_names.locate_place_name("Double", STARS, road)
    with pytest.raises(UserError, match="moves across the sky"):
        place_names.locate_place_name("Mars", STARS, road)


def test_hidden_places_are_neither_offered_nor_found(site: Site) -> None:
    policies = build_odd_rows_hidden_policies("number")
    road = asking(site, policies=policies)
    assert [one.name for one in place_names.complete_place_name("dou", STARS, road)] == ["Double"]
    assert place_names.locate_place_name("Double", STARS, road) == (1.0, 1.0), "of the two only one is seen"
    require_plugins("resolvers", "bright")
    assert [one.note for one in place_names.complete_place_name("sirius", STARS, road)] == ["star"], "no row's"
    assert place_names.locate_place_name("Sirius", STARS, road) == (101.2872, -16.7161), (
        "of the list of bright objects, not the row's"
    )


def test_names_of_planets_and_moons_are_completed() -> None:
    assert [one.name for one in place_names.complete_body_name("mar")] == ["Mars"]
    assert "Titan" in {one.name for one in place_names.complete_body_name("tit")}
    assert place_names.complete_body_name(" ") == []
