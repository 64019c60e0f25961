"""What watches find: new, changed and gone rows, near targets, by condition and by key."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import sqlalchemy as sa
from watch_site import STARS, Star

from hven.plugins.changes import near_targets, row_matching
from hven.plugins.changes.near_targets import iterate_rows_near_targets
from hven.plugins.notifications.choice_store import ChoiceStore
from hven.plugins.notifications.store_tables import notification_events
from hven.plugins.watches import match_building, watch_definitions, watch_service, watch_store
from hven.plugins.watches.store_tables import watches as watch_table
from hven.plugins.watches.watch_service import WATCH_SERVICE
from hven.site.auth import ANONYMOUS_PRINCIPAL, DEFAULT_POLICIES

if TYPE_CHECKING:
    from watch_site import WatchSite

NEW_STARS: tuple[Star, ...] = (
    (4, 10.2, 20.1, 8.0, "delta"),
    (5, 359.9, 0.0, 3.0, "epsilon"),
    (6, 100.0, 89.9, None, "zeta"),
)


def test_rows_near_targets(site: WatchSite) -> None:
    near = site.watch(targets="10 20\n0.2 0.1\n280 89.8", radius=1)
    far = site.watch(targets="50 50", radius=1)
    site.publish([*STARS, *NEW_STARS])
    site.match()
    assert site.find_rows(near) == [("[4]", "new"), ("[5]", "new"), ("[6]", "new")]
    (match,) = site.find_matches(near)
    assert match.rows[0][2:] == [10.2, 20.1]
    assert match.counts == {"new": 3}
    assert site.find_matches(far) == []


def test_nothing_is_told_twice(site: WatchSite) -> None:
    watch = site.watch()
    site.publish([*STARS, NEW_STARS[0]])
    site.match()
    site.match()
    site.publish([*STARS, *NEW_STARS])
    site.match()
    assert [key for key, _ in site.find_rows(watch)] == ["[4]", "[5]", "[6]"]


def test_a_publication_while_changes_are_matched_tells_nothing_twice(
    site: WatchSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hven.plugins.changes import table_changes

    watch = site.watch(query="SELECT * FROM stars.main WHERE mag < 9")
    site.publish([*STARS[:2], (3, 200.0, -40.0, 17.0, "gamma"), (4, 10.2, 20.1, 15.0, "delta")])
    find_changes_between = table_changes.find_changes_between

    def publish_meanwhile(*arguments: Any) -> Any:
        monkeypatch.setattr(table_changes, "find_changes_between", find_changes_between)
        site.publish([*STARS[:2], (3, 200.0, -40.0, 17.0, "gamma"), (4, 10.2, 20.1, 8.0, "delta")])
        return find_changes_between(*arguments)

    monkeypatch.setattr(table_changes, "find_changes_between", publish_meanwhile)
    site.match()
    site.match()
    assert site.find_rows(watch) == [("[4]", "new")]


def test_what_was_there_before_the_watch_is_not_new(site: WatchSite) -> None:
    site.publish([*STARS, NEW_STARS[0]])
    watch = site.watch()
    other = site.watch("mia", changes="all")
    site.match()
    site.publish([*STARS, *NEW_STARS])
    site.match()
    for each in (watch, other):
        assert [key for key, _ in site.find_rows(each)] == ["[5]", "[6]"]


def test_a_row_that_changes_into_a_search_is_new_in_it(site: WatchSite) -> None:
    query = "SELECT * FROM stars.main AS s WHERE s.mag < 10"
    new, everything = site.watch(query=query), site.watch(query=query, changes="all")
    site.publish([(1, 10.0, 20.0, 6.0, "alpha"), (2, 10.5, 20.0, 9.0, "beta"), (3, 200.0, -40.0, 17.0, "gamma")])
    site.match()
    assert site.find_rows(new) == [("[2]", "new")]
    assert site.find_rows(everything) == [("[1]", "changed"), ("[2]", "new"), ("[3]", "gone")]


def test_a_row_that_moves_near_a_target_is_new(site: WatchSite) -> None:
    watch = site.watch(targets="10 20", radius=0.1, changes="all")
    site.publish([(1, 11.0, 20.0, 5.0, "alpha"), (2, 10.05, 20.0, 15.0, "beta"), STARS[2]])
    site.match()
    assert site.find_rows(watch) == [("[1]", "gone"), ("[2]", "new")]


def test_targets_and_a_condition(site: WatchSite) -> None:
    watch = site.watch(query="SELECT * FROM stars.main WHERE mag < 5", targets="10 20\n0 0\n3 3", radius=1)
    site.publish([*STARS, *NEW_STARS])
    site.match()
    assert site.find_rows(watch) == [("[5]", "new")]


def test_a_circle_of_a_search_is_a_target(site: WatchSite) -> None:
    circle = "1 = CONTAINS(POINT(ra, dec), CIRCLE(POINT(10, 20), 1))"
    watch = site.watch(query=f"SELECT * FROM stars.main WHERE {circle} AND name LIKE 'd%'")
    assert len(watch.definition.positions) == 1
    assert "CIRCLE" not in watch.definition.condition
    assert "name" in watch.definition.condition
    alone = site.watch(query=f"SELECT * FROM stars.main WHERE {circle}")
    assert alone.definition.condition == ""
    region = "1 = CONTAINS(POINT(ra, dec), POLYGON(9, 19, 11, 19, 11, 21, 9, 21))"
    polygon = site.watch(query=f"SELECT * FROM stars.main WHERE {region}")
    site.publish([*STARS, *NEW_STARS])
    site.match()
    for each in (watch, alone, polygon):
        assert site.find_rows(each) == [("[4]", "new")]


@pytest.mark.parametrize(
    ("condition", "is_circle"),
    [
        ("DISTANCE(ra, dec, 10, 20) < 1", True),
        ("1 >= DISTANCE(POINT(10, 20), POINT(ra, dec))", True),
        ("1 = CONTAINS(POINT('ICRS', ra, dec), CIRCLE('ICRS', 10, 20, 1))", True),
        ("DISTANCE(ra, dec, 10, 20) > 1", False),
        ("1 < DISTANCE(ra, dec, 10, 20)", False),
        ("DISTANCE(dec, ra, 10, 20) < 1", False),
        ("DISTANCE(ra, dec, SQRT(100), 20) < 1", False),
        ("DISTANCE(ra, dec, 10, 20) < 60", False),
        ("0 = CONTAINS(POINT(ra, dec), CIRCLE(10, 20, 1))", False),
        ("1 = CONTAINS(CIRCLE(10, 20, 1), POINT(ra, dec))", False),
    ],
)
def test_circles_are_read_from_conditions(site: WatchSite, condition: str, *, is_circle: bool) -> None:
    catalogue = site.site.get_published_state().get_catalogue(ANONYMOUS_PRINCIPAL, DEFAULT_POLICIES)
    _, definition = watch_definitions.parse_watched_query(f"SELECT * FROM stars.main WHERE {condition}", catalogue)
    assert bool(definition.targets) == is_circle
    assert bool(definition.condition) != is_circle


def test_watched_rows(site: WatchSite) -> None:
    watch = site.watch(row=["[2]", "[4]", '["3"]'], changes="all")
    site.publish([STARS[0], (2, 10.5, 20.0, 15.5, "beta"), NEW_STARS[0]])
    site.match()
    assert sorted(site.find_rows(watch)) == [("[2]", "changed"), ("[3]", "gone"), ("[4]", "new")]


def test_many_conditions_in_one_query(site: WatchSite) -> None:
    searches = [site.watch("mia", query=f"SELECT * FROM stars.main WHERE mag > {limit}") for limit in range(60)]
    site.publish([*STARS, (7, 1.0, 1.0, 30.5, "eta")])
    site.match()
    assert [len(site.find_rows(watch)) for watch in searches] == [1] * 31 + [0] * 29


def test_an_error_of_one_condition_is_its_own(site: WatchSite) -> None:
    broken = site.watch(query="SELECT * FROM stars.main WHERE MOD(id, CAST(mag - 8 AS INTEGER)) = 0 OR mag / 0 > 1")
    sound = site.watch(query="SELECT * FROM stars.main WHERE mag < 9")
    site.publish([*STARS, *NEW_STARS])
    site.match()
    assert [key for key, _ in site.find_rows(sound)] == ["[4]", "[5]"]
    assert site.find_matches(broken) == [] or site.find_rows(broken)


class EventReader:
    """Reads the events that accounts are told of."""

    def __init__(self, database: Any) -> None:
        self._database = database

    def list_messages(self) -> list[str]:
        with self._database.begin_read() as connection:
            return list(connection.execute(sa.select(notification_events.c.message)).scalars())


def test_a_condition_that_always_fails_is_told_once(site: WatchSite, monkeypatch: pytest.MonkeyPatch) -> None:
    choice_store = site.site.store.get_or_create(ChoiceStore)
    choice_store.change_choices("anna", lambda old: replace(old, channels={"watches.stopped": "mail"}))
    monkeypatch.setattr(watch_store, "FAULTY_WATCHES_SECONDS", -1.0)
    broken = site.watch(title="by names", query="SELECT * FROM stars.main WHERE name LIKE 'd%'")
    sound = site.watch(query="SELECT * FROM stars.main WHERE mag < 9")
    names = site.site.get_published_state().tables_by_name["stars.main"].table.columns
    columns = tuple(replace(column, hidden=column.name == "name") for column in names)
    for stars in ([*STARS, NEW_STARS[0]], [*STARS, *NEW_STARS]):
        site.publish(stars, columns=columns)
        site.match()
    assert [key for key, _ in site.find_rows(sound)] == ["[4]", "[5]"]
    faulty_watch, sound_watch = site.store.find_watch(broken.name), site.store.find_watch(sound.name)
    assert faulty_watch is not None
    assert sound_watch is not None
    assert "name" in faulty_watch.fault
    assert sound_watch.fault == ""
    (message,) = site.site.store.get_or_create(EventReader).list_messages()
    assert "by names" in message
    (problem,) = WATCH_SERVICE.find_problems(site.site.settings, site.site.store)
    assert "the condition of a watch of anna cannot be evaluated" in problem
    assert "may have missed rows" in site.open_browser("anna").show(f"/watches/{broken.name}").text
    site.publish([*STARS, *NEW_STARS, (8, 1.0, 1.0, 1.0, "delirium")])
    site.match()
    assert [key for key, _ in site.find_rows(broken)] == ["[8]"]
    site.publish([*STARS, *NEW_STARS])  # the condition works in both states
    site.match()
    assert WATCH_SERVICE.find_problems(site.site.settings, site.site.store) == []


def test_the_service_knows_when_it_is_due(site: WatchSite) -> None:
    settings, store = site.site.settings, site.site.store
    assert not WATCH_SERVICE.is_delivery_due(settings, store)
    watch = site.watch()
    assert not WATCH_SERVICE.is_delivery_due(settings, store)
    site.publish([*STARS, *NEW_STARS])
    assert WATCH_SERVICE.is_delivery_due(settings, store)
    WATCH_SERVICE.send_due_events(settings)
    assert not WATCH_SERVICE.is_delivery_due(settings, store)
    assert len(site.find_rows(watch)) == 3


def test_changes_that_cannot_be_matched_are_a_problem_of_the_site(
    site: WatchSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.watch()
    site.publish([*STARS, *NEW_STARS])
    monkeypatch.setattr(watch_store, "FAULTY_WATCHES_SECONDS", -1.0)  # answers are kept for a minute otherwise
    problems = WATCH_SERVICE.find_problems(site.site.settings, site.site.store)
    assert problems == [], "they have an hour"
    monkeypatch.setattr(watch_service, "MAX_MATCHING_SECONDS", -10.0)
    (problem,) = WATCH_SERVICE.find_problems(site.site.settings, site.site.store)
    assert "stars.main" in problem
    site.match()
    assert WATCH_SERVICE.find_problems(site.site.settings, site.site.store) == []


def test_changes_that_are_not_kept_are_told_as_such(site: WatchSite) -> None:
    watch = site.watch()
    site.publish([*STARS, *NEW_STARS], primary=("name",))
    site.match()
    (match,) = site.find_matches(watch)
    assert (match.rows, match.counts) == ([], {})
    assert site.open_browser("anna").read(f"/watches/{watch.name}")["matches"][0]["data"]["changes_known"] is False


def test_a_match_with_many_rows_lists_the_first(site: WatchSite) -> None:
    watch = site.watch()
    site.publish([*STARS, *((number, 1.0, 1.0, 1.0, "x") for number in range(10, 1_510))])
    site.match()
    (match,) = site.find_matches(watch)
    assert match.counts == {"new": 1_500}
    assert len(match.rows) == 1_000


def test_a_rollback_and_the_same_state_again_tell_nothing_twice(site: WatchSite) -> None:
    watch = site.watch()
    site.publish([*STARS, *NEW_STARS])
    site.match()
    later_id = site.site.store.read_published_snapshot_ids()[1]["stars.main"]
    site.site.store.roll_back("stars")
    site.site.refresh_published_state()
    site.match()
    site.site.store.roll_back("stars", later_id)
    site.site.refresh_published_state()
    site.match()
    assert [key for key, _ in site.find_rows(watch)] == ["[4]", "[5]", "[6]"]


@pytest.mark.parametrize("min_grid_targets", [1, 10**9])
@pytest.mark.parametrize("seed", range(4))
def test_near_targets_agree_with_all_distances(
    seed: int, min_grid_targets: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(near_targets, "MIN_GRID_TARGETS", min_grid_targets)
    generator = np.random.default_rng(seed)
    count = 400

    def draw_positions() -> np.ndarray:
        latitudes = np.degrees(np.arcsin(generator.uniform(-1, 1, count)))
        latitudes[:6] = (90, -90, 89.99, -89.99, 0, 0)
        longitudes = generator.uniform(0, 360, count)
        longitudes[:6] = (0, 0, 359.999, 180, 0, 359.9999)
        return np.stack([longitudes, latitudes], axis=1)

    rows, targets = draw_positions(), draw_positions()
    rows[10] = np.nan
    radii = 10.0 ** generator.uniform(-3, 1, count)
    found = [
        pair
        for parts in iterate_rows_near_targets(rows, list(targets[:, np.newaxis]), radii)
        for pair in zip(*(part.tolist() for part in parts), strict=True)
    ]
    pairs = set(found)
    assert len(pairs) == len(found)
    radians_of = [np.radians(part) for part in (rows, targets)]
    vectors = [
        np.stack(
            [np.cos(part[:, 1]) * np.cos(part[:, 0]), np.cos(part[:, 1]) * np.sin(part[:, 0]), np.sin(part[:, 1])],
            axis=1,
        )
        for part in radians_of
    ]
    distances = np.degrees(
        2 * np.arcsin(np.minimum(np.linalg.norm(vectors[0][:, None] - vectors[1][None], axis=2) / 2, 1))
    )
    expected = set(zip(*(part.tolist() for part in np.nonzero(distances <= radii[None])), strict=True))
    assert pairs == expected
    assert len(pairs) > 50


def test_of_many_targets_only_those_near_rows_are_sorted(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(5)
    targets = np.stack([generator.uniform(0, 360, 100_000), generator.uniform(-90, 90, 100_000)], axis=1)
    rows = targets[:300] + 0.01
    sorted_counts = []
    compute_sort_keys = near_targets._compute_sort_keys

    def count_positions(positions: np.ndarray, zone_degrees: float) -> np.ndarray:
        sorted_counts.append(len(positions))
        return compute_sort_keys(positions, zone_degrees)

    monkeypatch.setattr(near_targets, "_compute_sort_keys", count_positions)
    parts = list(iterate_rows_near_targets(rows, list(targets[:, np.newaxis]), np.full(len(targets), 0.1)))
    found = set(zip(*(np.concatenate(part).tolist() for part in zip(*parts, strict=True)), strict=True))
    assert {(number, number) for number in range(300) if abs(targets[number, 1]) < 89} <= found
    assert max(sorted_counts) < 5_000


def test_bounds_agree_with_the_engine(site: WatchSite, monkeypatch: pytest.MonkeyPatch) -> None:
    conditions = [
        *(f"mag {operator} {value}" for operator in ("<", "<=", ">", ">=", "=") for value in ("8", "8.0", "7.5", "-3")),
        *(f"{value} {operator} id" for operator in ("<", "<=", ">", ">=", "=") for value in ("5", "5.5")),
        "mag BETWEEN 3 AND 8 AND ra < 100",
        "id BETWEEN -5 AND 5 AND mag > 2 AND mag < 9 AND dec >= 0",
        "mag > 5 AND mag < 5",
        'MAG < 8 AND "dec" > -1e1',
    ]
    bounded = [site.watch(query=f"SELECT * FROM stars.main WHERE {text}") for text in conditions]
    assert all(watch.definition.bounds for watch in bounded)
    monkeypatch.setattr(watch_definitions, "read_numeric_bounds", lambda *_: None)
    plain = [site.watch("mia", query=f"SELECT * FROM stars.main WHERE {text}") for text in conditions]
    assert not any(watch.definition.bounds for watch in plain)
    site.publish([*STARS, *NEW_STARS, (7, 1.0, -5.0, -3.0, "eta")])
    site.match()
    found = {text: site.find_rows(watch) for text, watch in zip(conditions, bounded, strict=True)}
    assert found == {text: site.find_rows(watch) for text, watch in zip(conditions, plain, strict=True)}
    assert sum(map(len, found.values())) > 20


def test_definitions_are_matched_in_parts(site: WatchSite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_matching, "MAX_PAIRS", 3)
    watches = [
        site.watch(query="SELECT * FROM stars.main WHERE mag < 9"),
        site.watch(query="SELECT * FROM stars.main WHERE name LIKE '%lta'"),
        site.watch(targets="10 20", radius=1),
        site.watch(row=["[5]"]),
        site.watch(),
    ]
    site.publish([*STARS, *NEW_STARS])
    site.match()
    found = [[key for key, _ in site.find_rows(watch)] for watch in watches]
    assert found == [["[4]", "[5]"], ["[4]"], ["[4]"], ["[5]"], ["[4]", "[5]", "[6]"]]


def test_changes_at_one_place_of_many_targets_need_little_memory(
    site: WatchSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(row_matching, "MAX_PAIRS", 5_000)
    most_pairs = []
    join_pairs = row_matching._collect_pairs

    def measure(parts: Any, limit: int) -> np.ndarray:
        pairs = join_pairs(parts, limit)
        most_pairs.append(len(pairs))
        return pairs

    monkeypatch.setattr(row_matching, "_collect_pairs", measure)
    watches = [site.watch("mia", targets=f"1 {1 + number / 1e3}", radius=1) for number in range(50)]
    site.publish([*STARS, *((number, 1.0, 1.0, 1.0, "x") for number in range(10, 1_010))])
    site.match()
    assert [site.find_matches(watch)[0].counts for watch in watches] == [{"new": 1_000}] * 50
    assert max(most_pairs) <= 10_000


def test_watches_are_matched_in_parts_whose_definitions_fit_into_memory(
    site: WatchSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch_store, "MAX_DEFINITION_CHARACTERS", 10)
    watches = [site.watch(targets="10 20", radius=1 + number / 100) for number in range(5)]
    part_sizes = []
    record_matches = watch_store.WatchStore.record_matches

    def record(self: Any, part: Any, *arguments: Any) -> None:
        part_sizes.append(len(part))
        record_matches(self, part, *arguments)

    monkeypatch.setattr(watch_store.WatchStore, "record_matches", record)
    site.publish([*STARS, *NEW_STARS])
    site.match()
    assert part_sizes == [1] * 5
    assert [site.find_rows(watch) for watch in watches] == [[("[4]", "new")]] * 5


def test_a_target_with_a_condition(site: WatchSite) -> None:
    watches = [
        site.watch(query=f"SELECT * FROM stars.main WHERE mag < {limit}", targets="10 20", radius=1, changes="all")
        for limit in (7, 9)
    ]
    site.publish([STARS[0], (2, 10.5, 20.0, 6.0, "beta"), STARS[2], *NEW_STARS])
    site.match()
    assert [site.find_rows(watch) for watch in watches] == [[("[2]", "new")], [("[2]", "new"), ("[4]", "new")]]


def test_ten_thousand_watches_on_one_row(site: WatchSite, monkeypatch: pytest.MonkeyPatch) -> None:
    watch = site.watch(row=["[4]"])
    copies = [replace(watch, number=0, name=f"copy{number}", account=f"a{number}") for number in range(9_999)]

    def insert(connection: sa.Connection) -> None:
        rows = [watch_store._watch_to_row(replace(item, number=watch.number + 1 + n)) for n, item in enumerate(copies)]
        connection.execute(sa.insert(watch_table), rows)

    with site.store._database.begin_write() as connection:
        insert(connection)
    monkeypatch.setattr(match_building, "MAX_ALL_LISTED_ROWS", 5_000)
    site.publish([*STARS, *NEW_STARS])
    site.match()
    matches = site.store.list_matches([item.name for item in copies[::100]])
    assert len(matches) == 100
    assert {json.dumps(match.rows) for match in matches} == {'[["[4]", "new", 10.2, 20.1]]'}


def test_many_wide_watches_list_fewer_rows_each(site: WatchSite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(match_building, "MAX_ALL_LISTED_ROWS", 5_000)
    watches = [site.watch("mia", changes=("new", "all")[number % 2]) for number in range(20)]
    site.publish([*STARS, *((number, 1.0, 1.0, 1.0, "x") for number in range(10, 1_510))])
    site.match()
    matches = [site.find_matches(watch)[0] for watch in watches]
    assert {json.dumps(match.counts) for match in matches} == {'{"new": 1500}'}
    assert all(10 <= len(match.rows) <= 50 for match in matches)
