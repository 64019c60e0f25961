"""The strip as scripts and pages get it: lines of observations, words of columns, odd tables, and counts that were late."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import test_failed_counts
import test_observations
import test_odd_tables
from lxml import html
from test_failed_counts import FIRST_PAUSE_SECONDS, TABLE
from test_observations import build_observations, fetch_page, groups
from test_portal_first_sight import HERE, ask, sight_client, words

from hven.plugins.overviews import overview_strip

if TYPE_CHECKING:
    from asgi_client import Client

    from hven.portal._explore.page_queries import QueryRunner

__all__ = ["sight_client"]
site, clock, asking, busy = (getattr(test_failed_counts, name) for name in ("site", "clock", "asking", "busy"))
observation_client = test_observations.client
odd_client = test_odd_tables.client


def test_a_strip_that_was_late_is_laid_out_again(
    asking: QueryRunner, clock: test_failed_counts.Clock, busy: pytest.MonkeyPatch
) -> None:
    assert overview_strip.find_overview_strip_layout(TABLE, asking) == overview_strip.OverviewStripLayout()
    busy.undo()
    clock.now += FIRST_PAUSE_SECONDS
    assert overview_strip.find_overview_strip_layout(TABLE, asking) != overview_strip.OverviewStripLayout()


def test_the_strip_counts_the_lines_of_the_page(observation_client: Client) -> None:
    for asked in ({}, {"quality": "2..3"}):
        rows = fetch_page(observation_client, "cubes/main/rows", **asked)
        strip = fetch_page(observation_client, "cubes/main/strip", **asked)
        assert (strip["rows"], strip["observations"]) == (rows["total"], True)
        assert strip["time"]["total"] == rows["total"]
        assert sum(strip["time"]["counts"]) == rows["total"]
    each = fetch_page(observation_client, "cubes/main/strip", _files="each")
    assert (each["rows"], each["observations"]) == (len(build_observations()), False)
    drawn = fetch_page(observation_client, "cubes/main/strip", _only="drawn")["html"]
    assert f"{len(groups(build_observations()))} observations" in drawn
    assert " rows" not in drawn


@pytest.mark.parametrize("name", test_odd_tables.TABLES)
def test_odd_tables_have_a_strip(odd_client: Client, name: str) -> None:
    strip = test_odd_tables.fetch_json(odd_client, f"/collections/odd/{name}/strip")
    drawn = test_odd_tables.fetch_json(odd_client, f"/collections/odd/{name}/strip?_only=drawn")["html"]
    assert ("<figure" in drawn) == any((strip["time"], strip["map"], strip["parts"]))
    if name in {"constant", "empty"}:
        assert (strip["time"], strip["map"], strip["parts"]) == (None, None, [])


def test_the_strip_calls_pairs_by_their_word(sight_client: Client) -> None:
    assert ask(sight_client, f"{HERE}/strip")["time"]["label"] == "Time"
    assert ask(sight_client, f"{HERE}/strip?lang=fr")["time"]["label"] == "Temps"
    assert ask(sight_client, f"{HERE}/strip?_names=raw")["time"]["label"] == "time_min"
    (part, *_) = ask(sight_client, "/collections/plain/main/strip?_names=raw")["parts"]
    (plain, *_) = ask(sight_client, "/collections/plain/main/strip")["parts"]
    assert plain["label"] == part["label"] == plain["column"], "without a word it has its name"


def test_an_axis_of_light_has_no_infinite_end(sight_client: Client) -> None:
    """Frequencies from 6e14 Hz on are counted in bins from 0 on: wavelengths that have no longest one."""
    drawn = html.fromstring(ask(sight_client, "/collections/plain/main/strip?_only=drawn")["html"])
    (found,) = drawn.xpath("//figure[@data-column='light']")
    assert words(found.xpath("figcaption/small")) == ["nm"]
    assert found.get("data-lows").startswith("0 1000000000000000.0 ")
    assert words(found.xpath("div[@class='ends']/span")) == ["≥ 299.792", "9.67072"]
    assert words(found.xpath(".//title"))[:2] == ["≥ 299.792 nm: 1 row", "299.792 \u2013 149.896 nm: 2 rows"]
    assert "∞" not in drawn.text_content()
