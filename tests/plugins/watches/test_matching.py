"""What watches find: new, changed and gone rows, near targets, by condition and by key."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from watch_site import STARS, Star

from hven.plugins.watches.near_targets import find_rows_near_targets
from hven.plugins.watches.watch_service import WATCH_SERVICE

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
    site.site.store.roll_back("stars")
    site.site.refresh_published_state()
    site.match()
    site.site.store.roll_back("stars")
    site.site.refresh_published_state()
    site.match()
    assert [key for key, _ in site.find_rows(watch)] == ["[4]", "[5]", "[6]"]


@pytest.mark.parametrize("seed", range(4))
def test_near_targets_agree_with_all_distances(seed: int) -> None:
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
    pairs = set(zip(*(part.tolist() for part in find_rows_near_targets(rows, targets, radii)), strict=True))
    radians_of = [np.radians(part) for part in (rows, targets)]
    vectors = [
        np.stack([np.cos(part[:, 1]) * np.cos(part[:, 0]), np.cos(part[:, 1]) * np.sin(part[:, 0]), np.sin(part[:, 1])], axis=1)
        for part in radians_of
    ]
    distances = np.degrees(2 * np.arcsin(np.minimum(np.linalg.norm(vectors[0][:, None] - vectors[1][None], axis=2) / 2, 1)))
    expected = set(zip(*(part.tolist() for part in np.nonzero(distances <= radii[None])), strict=True))
    assert pairs == expected
    assert len(pairs) > 100
