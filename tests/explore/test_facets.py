"""Choices and their counts against counting in Python: lists, words looked for, conditions, estimates, what one reader may not see."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from hven import query
from hven.engines.duckdb import snapshot_files
from hven.model.table import Column, Table
from hven.model.types import BOOLEAN, FLOAT64, INT32, STRING
from hven.portal._explore import facets, parse_search
from hven.portal._explore.page_queries import QueryRunner
from hven.site import Site
from hven.site.auth._access_control import ANONYMOUS_PRINCIPAL, DEFAULT_POLICIES
from hven.testing.policies import build_odd_rows_hidden_policies
from hven.testing.site import open_tiny_site

TARGETS = ["Mars", "Mars#Phobos", "Phobos#Mars", "Venus", None, "Mars#Mars", "100% Sun", "a_b"]
TABLE = Table(
    schema="epn",
    name="epn_core",
    primary=("id",),
    columns=(
        Column(name="id", type=INT32),
        Column(name="target_name", type=STRING),
        Column(name="level", type=INT32, enum="levels"),
        Column(name="good", type=BOOLEAN),
        Column(name="size", type=FLOAT64),
        Column(name="Mixed", type=STRING),
    ),
    enums={"levels": {"1": "raw", "2": "calibrated"}},
)
ROWS: list[dict[str, Any]] = [
    {
        "id": n,
        "target_name": TARGETS[n % 8],
        "level": n % 3 + 1,
        "good": None if n % 5 == 0 else n % 2 == 0,
        "size": n / 10,
        "Mixed": f"w{n % 40}",
    }
    for n in range(800)
]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with open_tiny_site(
        tmp_path_factory.mktemp("facets"),
        {"epn.epn_core": (TABLE, pa.Table.from_pylist(ROWS, schema=TABLE.arrow_schema))},
    ) as made:
        yield made


@pytest.fixture
def asking(site: Site) -> QueryRunner:
    return QueryRunner(
        site=site, principal=ANONYMOUS_PRINCIPAL, policies=DEFAULT_POLICIES, published_state=site.get_published_state()
    )


def count_values(rows: list[dict[str, Any]], name: str) -> Counter[str | None]:
    found: Counter[str | None] = Counter()
    for row in rows:
        value = row[name]
        text = None if value is None else str(value).lower() if isinstance(value, bool) else str(value)
        found.update({None} if text is None else set(text.split("#")) if name == "target_name" else {text})
    return found


def count_facet(asking: QueryRunner, name: str, *asked: tuple[str, str], **more: Any) -> facets.Facet:
    search = parse_search(asked, TABLE)
    assert search.faults == ()
    found = facets.count_facet(search, TABLE.find_column(name), asking, **more)
    assert found is not None
    return found


@pytest.mark.parametrize("name", ["target_name", "level", "good", "Mixed"])
def test_all_rows_and_those_of_a_condition(asking: QueryRunner, name: str) -> None:
    for _ in range(2):  # the second time from memory
        found = count_facet(asking, name, shown_count=50)
        assert {one.value: one.row_count for one in found.choices} == count_values(ROWS, name)
        assert [one.row_count for one in found.choices] == sorted(
            (one.row_count for one in found.choices), reverse=True
        )
        assert found.is_exact
    small = count_facet(asking, name, ("size", "..20"), shown_count=50)
    assert {one.value: one.row_count for one in small.choices} == count_values(
        [row for row in ROWS if row["size"] <= 20], name
    )


@pytest.mark.parametrize("name", ["target_name", "level", "good"])
def test_each_choice_finds_as_many_rows_as_it_says(site: Site, asking: QueryRunner, name: str) -> None:
    for choice in count_facet(asking, name, ("size", "..20")).choices:
        search = parse_search([("size", "..20"), (name, facets.write_choice_condition([choice.value]))], TABLE)
        assert search.faults == ()
        with query.run_query(search.build_count_query(), site=site) as result:
            assert result.read_table().column(0)[0].as_py() == choice.row_count, choice


def test_what_is_chosen_is_marked_and_its_own_condition_left_out(asking: QueryRunner) -> None:
    found = count_facet(asking, "target_name", ("target_name", "mars,null"), ("level", "2"))
    assert {one.value for one in found.choices if one.is_chosen} == {"Mars", None}
    assert {one.value: one.row_count for one in found.choices} == count_values(
        [row for row in ROWS if row["level"] == 2], "target_name"
    )
    assert [one.label for one in count_facet(asking, "level").choices] == ["raw", "calibrated", "3"]


@pytest.mark.parametrize(
    ("like", "wanted"), [("MAR", {"Mars"}), ("phob", {"Phobos"}), ("zzz", set()), ("%", {"100% Sun"}), ("w3", set())]
)
def test_words_are_looked_for_in_items(asking: QueryRunner, like: str, wanted: set[str]) -> None:
    found = count_facet(asking, "target_name", search_text=like)
    if like != "%":
        assert {one.value for one in found.choices} == wanted
        assert {one.value: one.row_count for one in found.choices} == {
            name: rows for name, rows in count_values(ROWS, "target_name").items() if name in wanted
        }


def test_long_ones_say_that_there_are_more(asking: QueryRunner) -> None:
    assert count_facet(asking, "Mixed", shown_count=12).has_more
    assert not count_facet(asking, "Mixed", shown_count=40).has_more
    assert count_facet(asking, "Mixed", search_text="w3", shown_count=12).choices[0].value == "w3"


EVERY = ("size", "-1..1e9")  # a condition that all rows meet


def test_big_tables_are_counted_once_and_estimated_under_conditions(
    asking: QueryRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(facets, "MAX_EXACT_ROWS", 100)
    monkeypatch.setattr(facets, "SAMPLE_ROWS", 600)
    monkeypatch.setattr(facets, "MIN_SAMPLED_ROWS", 0)
    columns = [TABLE.find_column("level"), TABLE.find_column("good"), TABLE.find_column("target_name")]
    for found in (count_facet(asking, "level"), *facets.count_facets(parse_search([], TABLE), columns, asking)):
        assert found.is_exact, "all rows are counted, once for each state of the table"
        assert {one.value: one.row_count for one in found.choices} == count_values(ROWS, found.column.name)
    for found in (
        count_facet(asking, "level", EVERY),
        *facets.count_facets(parse_search([EVERY], TABLE), columns[:2], asking),
    ):
        assert not found.is_exact
        assert sum(one.row_count for one in found.choices) == pytest.approx(800, rel=0.1)
        assert all(one.row_count % 10 == 0 for one in found.choices), "a few hundred rows say two digits"
    narrow = count_facet(asking, "level", ("size", "..5"))
    assert narrow.is_exact, "conditions make it small enough to be counted"
    assert {one.value: one.row_count for one in narrow.choices} == count_values(
        [row for row in ROWS if row["size"] <= 5], "level"
    )


def test_a_larger_sample_spares_a_look_at_all_rows(asking: QueryRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facets, "MAX_EXACT_ROWS", 100)
    monkeypatch.setattr(facets, "SAMPLE_ROWS", 160)
    columns = [TABLE.find_column("level"), TABLE.find_column("good")]
    asked_samples = []
    fetch_sample = QueryRunner.fetch_sample

    def note_sample(self: QueryRunner, *args: object, sample_rows: int, **options: object) -> object:
        asked_samples.append(sample_rows)
        return fetch_sample(self, *args, sample_rows=sample_rows, **options)

    monkeypatch.setattr(QueryRunner, "fetch_sample", note_sample)
    rarest = min(count_values(ROWS, "level").values()) * 160 / len(ROWS)
    for least, is_larger in ((1, False), (int(2 * rarest), True)):
        monkeypatch.setattr(facets, "MIN_SAMPLED_ROWS", least)
        asked_samples.clear()
        found = facets.count_facets(parse_search([("size", f"-{least + 1}..1e9")], TABLE), columns, asking)
        assert (facets.LARGE_SAMPLE_FACTOR * 160 in asked_samples) == is_larger
        assert {one.value for one in found[0].choices} == set(count_values(ROWS, "level"))


def test_estimates_count_what_the_reader_sees(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facets, "MAX_EXACT_ROWS", 100)
    monkeypatch.setattr(facets, "SAMPLE_ROWS", 400)
    monkeypatch.setattr(facets, "MIN_SAMPLED_ROWS", 0)
    asking = QueryRunner(
        site=site,
        principal=ANONYMOUS_PRINCIPAL,
        policies=build_odd_rows_hidden_policies("id"),
        published_state=site.get_published_state(),
    )
    mine = count_facet(asking, "level", EVERY)
    assert not mine.is_exact
    assert sum(one.row_count for one in mine.choices) == pytest.approx(400, rel=0.3)
    few = count_facet(asking, "Mixed", EVERY, shown_count=50)
    assert all(len(str(one.row_count).rstrip("0")) == 1 for one in few.choices), (
        "counts of a few rows would tell how many rows there are in all"
    )
    assert sum(one.row_count for one in count_facet(asking, "level").choices) == 400


def test_values_that_stand_together_are_neither_left_out_nor_far_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows sorted by mission, as they are loaded: a sample in a few long stretches missed the small ones, and was four times wrong on others."""
    sizes = {
        "STEREO": 61_470,
        "SDO": 45_000,
        "PICARD": 400,
        "CORONAS-F": 445,
        "EUV-SYN": 92,
        "one": 1,
        None: 30,
        "TRACE": 2_200,
    }
    names = [name for name, number in sizes.items() for _ in range(number)]
    table = Table(
        schema="medoc",
        name="records",
        primary=("id",),
        columns=(
            Column(name="id", type=INT32),
            Column(name="mission", type=STRING),
            Column(name="level", type=INT32),
            Column(name="good", type=BOOLEAN),
        ),
    )
    many = pa.table(
        {
            "id": range(len(names)),
            "mission": names,
            "level": [n % 5 for n in range(len(names))],
            "good": [n % 7 == 0 for n in range(len(names))],
        }
    )
    monkeypatch.setattr(facets, "MAX_EXACT_ROWS", 4_000_000 // 200)
    monkeypatch.setattr(facets, "SAMPLE_ROWS", 8_000)
    monkeypatch.setattr(facets, "MIN_SAMPLED_ROWS", 500)
    monkeypatch.setattr(snapshot_files, "_SAMPLE_STRETCH_ROWS", 8)
    columns = [table.find_column(name) for name in ("mission", "level", "good")]
    with open_tiny_site(tmp_path, {"medoc.records": (table, many.cast(table.arrow_schema))}) as site:
        asking = QueryRunner(
            site=site,
            principal=ANONYMOUS_PRINCIPAL,
            policies=DEFAULT_POLICIES,
            published_state=site.get_published_state(),
        )
        for asked, share in (((), 1.0), ((("level", "1..4"),), 0.8), ((("good", "false"),), 6 / 7)):
            for found in facets.count_facets(parse_search(asked, table), columns, asking):
                if found.column.name != "mission":
                    continue
                assert found.is_exact == (share == 1.0)
                got = {one.value: one.row_count for one in found.choices}
                assert set(got) == set(sizes), "no value is left out"
                for name, number in sizes.items():
                    assert got[name] == pytest.approx(number * share, rel=0.1, abs=0 if share == 1.0 else 1)


def test_columns_are_put_together_by_their_combinations(asking: QueryRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    published = asking.find_table_with_visible_counts(TABLE)
    columns = [TABLE.find_column(name) for name in ("Mixed", "target_name", "level", "good")]
    assert [
        [one.name for one in bundle] for bundle in facets._group_columns_with_few_combinations(columns, published)
    ] == [["good", "level", "target_name", "Mixed"]]
    monkeypatch.setattr(facets, "MAX_COMBINATIONS", 50)
    assert [
        [one.name for one in bundle] for bundle in facets._group_columns_with_few_combinations(columns, published)
    ] == [
        ["good", "level"],
        ["target_name"],
        ["Mixed"],
    ]


def test_what_statistics_know_stands_without_counts(site: Site, asking: QueryRunner) -> None:
    search = parse_search([("level", "2"), ("size", "..20")], TABLE)
    known = {one.name: facets.build_facet_from_statistics(search, one, asking) for one in TABLE.columns}
    level, good = known["level"], known["good"]
    assert level is not None
    assert good is not None
    assert {(one.value, one.label, one.row_count, one.is_chosen) for one in level.choices} == {
        ("1", "raw", None, False),
        ("2", "calibrated", None, True),
        ("3", "3", None, False),
    }
    assert {one.value for one in good.choices} == {"true", "false", None}
    assert (level.has_more, good.has_more) == (False, False)
    assert known["target_name"] is None, "lists are taken apart by looking at the rows"
    assert known["Mixed"] is None, "there are too many"
    hidden = QueryRunner(
        site=site,
        principal=ANONYMOUS_PRINCIPAL,
        policies=build_odd_rows_hidden_policies("id"),
        published_state=site.get_published_state(),
    )
    assert facets.build_facet_from_statistics(search, TABLE.find_column("level"), hidden) is None


def test_hidden_rows_are_not_counted(site: Site, asking: QueryRunner) -> None:
    every = count_facet(asking, "level")  # is remembered, and must not be what the other reader gets
    mine = count_facet(
        QueryRunner(
            site=site,
            principal=ANONYMOUS_PRINCIPAL,
            policies=build_odd_rows_hidden_policies("id"),
            published_state=site.get_published_state(),
        ),
        "level",
    )
    assert {one.value: one.row_count for one in mine.choices} == count_values(
        [row for row in ROWS if row["id"] % 2 == 0], "level"
    )
    assert sum(one.row_count for one in every.choices) == 800


@pytest.mark.parametrize("together", [1, 50, 100_000])
@pytest.mark.parametrize("most", [0, 100_000])
@pytest.mark.parametrize(
    "conditions",
    [
        [],
        [("size", "..20")],
        [("size", "..20"), ("target_name", "Mars")],
        [("level", "2"), ("good", "true")],
        [("size", "1e9")],
    ],
)
def test_several_columns_at_once_are_what_each_is_alone(
    asking: QueryRunner, monkeypatch: pytest.MonkeyPatch, conditions: list[tuple[str, str]], most: int, together: int
) -> None:
    monkeypatch.setattr(facets, "MAX_FETCHED_ROWS", most)
    monkeypatch.setattr(facets, "MAX_COMBINATIONS", together)
    search = parse_search(conditions, TABLE)
    columns = [TABLE.find_column(name) for name in ("target_name", "level", "good", "Mixed")]
    alone = [facets.count_facet(search, column, asking) for column in columns]
    for one, other in zip(facets.count_facets(search, columns, asking), alone, strict=True):
        assert other is not None
        assert {choice.value: choice for choice in one.choices if one.column.name != "Mixed"} == {
            choice.value: choice for choice in other.choices if one.column.name != "Mixed"
        }
        assert [choice.row_count for choice in one.choices] == [choice.row_count for choice in other.choices]
        assert (one.has_more, one.is_exact) == (other.has_more, other.is_exact)
