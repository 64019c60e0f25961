"""Data found by words, against counting in Python: values, lists, codes, places on bodies and on the sky; nothing of what a reader may not see."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest

from hven.model.table import Column, Table, build_localized_text
from hven.model.types import FLOAT64, INT32, STRING
from hven.plugins.discovery import data_search
from hven.plugins.discovery.value_index import ValueIndex, normalize_search_text
from hven.portal._explore.page_queries import QueryRunner
from hven.portal._pages.texts import load_page_translations
from hven.site import Site
from hven.site.auth._access_control import ANONYMOUS_PRINCIPAL, DEFAULT_POLICIES
from hven.testing.policies import build_odd_rows_hidden_policies
from hven.testing.site import open_tiny_site
from plugin_needs import require_plugins
from process_runner import wait_until

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
FEATURES = [("Mars", "Olympus Mons", 18.65, 226.2, 610.13), ("Moon", "Vieta", -29.3, 303.5, 89.0), ("Mars", "Vieta", -1.0, 10.0, 20.0)]  # fmt: skip
MAPS = Table(
    schema="maps",
    name="main",
    primary=("id",),
    columns=(
        Column(name="id", type=INT32),
        Column(name="target_name", type=STRING, ucd="meta.id;src"),
        Column(name="instrument_name", type=STRING, ucd="meta.id;instr"),
        Column(name="species", type=STRING, ucd="meta.id;phys.atmol"),
        Column(name="level", type=INT32, enum="levels"),
        Column(name="access_url", type=STRING, ucd="meta.ref.url"),
        Column(name="lon", type=FLOAT64, unit="deg", ucd="pos.bodyrc.lon"),
        Column(name="lat", type=FLOAT64, unit="deg", ucd="pos.bodyrc.lat"),
    ),
    enums={"levels": {"1": "raw", "2": "calibrated"}},
)
STARS = Table(
    schema="stars",
    name="main",
    primary=("number",),
    position=("ra", "dec"),
    columns=(
        Column(name="number", type=INT32, ucd="meta.id"),
        Column(name="name", type=STRING, ucd="meta.id;meta.main"),
        Column(name="ra", type=FLOAT64, unit="deg", ucd="pos.eq.ra;meta.main"),
        Column(name="dec", type=FLOAT64, unit="deg", ucd="pos.eq.dec;meta.main"),
    ),
)
EPN = Table(
    schema="cubes",
    name="epn_core",
    primary=("granule_uid",),
    columns=(
        Column(name="granule_uid", type=STRING, ucd="meta.id"),
        Column(name="dataproduct_type", type=STRING, ucd="meta.code.class"),
        Column(name="processing_level", type=INT32, ucd="meta.calibLevel"),
        Column(name="state", type=STRING, enum="states"),
    ),
    enums={"states": {"a": build_localized_text({"en": "archived", "fr": "archivé"}), "p": "pending"}},
)
CUBES = [(f"c{n}", ["sc", "sp", "im#sc", "xx"][n % 4], n % 3 + 2, "ap"[n % 2]) for n in range(40)]
SPECIES = ["Olivine", "olivine", "Pyroxene, high calcium", "Hématite", None]
MAPPED = [
    (n, ["Mars", "Mars#Phobos", "Moon"][n % 3], "CRISM" if n % 2 else "OMEGA", SPECIES[n % 5], n % 2 + 1, f"https://example.org/olivine{n}", 226.0 if n < 6 else 80.0, 18.0)
    for n in range(60)
]  # fmt: skip
SKY = [(1, "M31 nucleus", 10.68, 41.27), (2, "NGC 5", 10.7, 41.0), (3, "PSZ2 G062.94+43.69", 200.0, 10.0), (4, "a_b", 11.0, 41.3)]  # fmt: skip


def rows(table: Table, given: list[Any]) -> tuple[Table, pa.Table]:
    return table, pa.Table.from_pylist([dict(zip(table.arrow_schema.names, one, strict=True)) for one in given], schema=table.arrow_schema)  # fmt: skip


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    made = {
        "names.features": rows(GAZETTEER, FEATURES),
        "maps.main": rows(MAPS, MAPPED),
        "stars.main": rows(STARS, SKY),
        "cubes.epn_core": rows(EPN, CUBES),
    }
    with open_tiny_site(tmp_path_factory.mktemp("data"), made) as found:
        yield found


def search_data(
    site: Site, words: str, said: dict[str, str] | None = None, policies: Any = DEFAULT_POLICIES
) -> data_search.DataSearchResult:
    road = QueryRunner(
        site=site, principal=ANONYMOUS_PRINCIPAL, policies=policies, published_state=site.get_published_state()
    )
    tables = tuple(site.get_published_state().get_catalogue(ANONYMOUS_PRINCIPAL, policies).iterate_tables())
    known = [one for one in tables if one.schema in {"names", "maps", "stars", "cubes", "views"}]
    site.get_or_create(ValueIndex).catalogues = (load_page_translations("fr", "columns"),)
    site.get_or_create(ValueIndex).index_tables(known, road)
    counted: list[data_search.DataSearchResult] = []

    def complete() -> bool:
        counted[:] = [data_search.search_data(words, known, road, said or {})]
        told = (*counted[0].values, *(one for _, one in counted[0].place_matches))
        return all(one.row_count is not None for one in told)

    wait_until(complete)
    return counted[0]


def list_found_values(found: data_search.DataSearchResult) -> list[tuple[str, int | None]]:
    return [(one.text, one.row_count) for one in found.values]


def test_a_value_is_found_in_any_spelling_with_the_count_of_its_link(site: Site) -> None:
    olivine = search_data(site, "OLIVINE")
    assert [one.row_count for one in olivine.values] == [24], "both spellings, for the search takes both; no addresses"
    (one,) = olivine.values
    assert one.conditions[0][0] == "species"
    assert list_found_values(search_data(site, "hematite")) == [("Hématite", 12)]
    assert list_found_values(search_data(site, "high calcium")) == [("Pyroxene, high calcium", 12)]
    assert list_found_values(search_data(site, "phobos")) == [("Phobos", 20)], "one item of a list"
    assert list_found_values(search_data(site, "psz2 G062.94")) == [("PSZ2 G062.94+43.69", 1)]
    assert list_found_values(search_data(site, "ngc5"))[0] == ("NGC 5", 1), "blanks do not count"
    assert list_found_values(search_data(site, "a_b")) == [("a_b", 1)]
    assert list_found_values(search_data(site, "calibrat"))[0] == ("calibrated", 30), "a code by its word"
    assert search_data(site, "unobtainium").values == ()
    assert search_data(site, " ,;( ").values == ()


def test_codes_are_found_by_their_words_in_all_languages(site: Site) -> None:
    for words in ("spectral cubes", "spectral cube", "cubes spectraux", "CUBE spectral"):
        found = search_data(site, words)
        assert [(one.values, one.conditions, one.row_count) for one in found.values][:1] == [(("sc",), (("dataproduct_type", "sc"),), 20)], words  # fmt: skip
    assert [one.values for one in search_data(site, "spectra").values][:1] == [("sp",)]
    assert {one.values for one in search_data(site, "xx").values} == {("xx",)}, "a code that nobody knows"
    assert [(one.values, one.row_count) for one in search_data(site, "étalonné").values] == [(("3",), 13)]
    assert [(one.text, one.values, one.row_count) for one in search_data(site, "archivé").values] == [
        ("archived", ("a",), 20)
    ]
    both = search_data(site, "spectral cubes archived").values
    assert (both[0].values, both[0].row_count) == (("sc", "a"), 20)


def test_the_counts_are_those_of_the_links(site: Site) -> None:
    road = QueryRunner(
        site=site, principal=ANONYMOUS_PRINCIPAL, policies=DEFAULT_POLICIES, published_state=site.get_published_state()
    )
    tables = tuple(site.get_published_state().get_catalogue(ANONYMOUS_PRINCIPAL, DEFAULT_POLICIES).iterate_tables())
    for words in (
        "olivine",
        "phobos",
        "crism",
        "calibrated",
        "olympus mons",
        "m 31",
        "olivine crism",
        "pyroxene, high calcium",
        "spectral cubes",
        "spectra pending",
        "resampled",
    ):
        found = search_data(site, words)
        every = (*found.values, *(one for _, one in found.place_matches))
        assert every, words
        for one in every:
            search = data_search.build_match_search(one, tables, road)
            assert search.faults == (), (words, search.faults)
            assert road.fetch_number(search.build_count_query()) == one.row_count, (words, one.conditions)


def test_words_of_the_title_and_of_two_columns_count(site: Site) -> None:
    said = {"maps.main": normalize_search_text("Mineral maps")}
    assert list_found_values(search_data(site, "olivine mineral", said)) == [("olivine", 24)] or list_found_values(
        search_data(site, "olivine mineral", said)
    ) == [("Olivine", 24)]
    assert search_data(site, "olivine mineral").values == ()
    (both,) = search_data(site, "olivine crism").values
    expected = sum(1 for row in MAPPED if row[2] == "CRISM" and (row[3] or "").lower() == "olivine")
    assert (dict(both.conditions)["instrument_name"], both.row_count) == ("CRISM", expected)
    assert search_data(site, "olivine raw crism moon maximum").values == ()


def test_place_names_lead_to_nearby_rows(site: Site) -> None:
    require_plugins("resolvers", "bright")
    (mons,) = search_data(site, "olympus mons").place_matches
    spot, match = mons
    assert (spot.target, match.table.qualified_name) == ("Mars", "maps.main")
    assert match.row_count == sum(1 for row in MAPPED[:6] if "Mars" in row[1])
    (galaxy,) = search_data(site, "M 31").place_matches
    assert (galaxy[0].name, galaxy[1].row_count) == ("M 31", 3), "those within its radius; no row of a body"
    assert search_data(site, "Vega").place_matches == (), "where nothing is, nothing is promised"
    assert [one.name for one in search_data(site, "Vega").places] == ["Vega"]


def test_what_is_hidden_is_neither_found_nor_counted(site: Site) -> None:
    require_plugins("resolvers", "bright")
    policies = build_odd_rows_hidden_policies("number")
    assert search_data(site, "psz2", policies=policies).values == ()
    assert list_found_values(search_data(site, "NGC 5", policies=policies)) == [("NGC 5", 1)]
    assert list_found_values(search_data(site, "psz2")) == [("PSZ2 G062.94+43.69", 1)]
    half = build_odd_rows_hidden_policies("id")
    assert search_data(site, "crism", policies=half).values == ()
    assert list_found_values(search_data(site, "olivine", policies=half))[0][1] == 12
    (around,) = search_data(site, "M31", policies=policies).place_matches
    assert around[1].row_count == 2
