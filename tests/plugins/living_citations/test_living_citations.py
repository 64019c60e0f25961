"""Whether the answers of cited queries have changed: by keys where these tell, else by repeating the query."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from watch_site import STARS, Star

from hven.plugins.living_citations import citation_round, citation_store
from hven.plugins.living_citations.citation_round import CitationRound
from hven.plugins.living_citations.citation_service import CITATION_SERVICE
from hven.plugins.living_citations.store_tables import citation_findings
from hven.plugins.notifications.store_tables import notification_events

if TYPE_CHECKING:
    from cited_star_site import CitationSite

CONE = "SELECT * FROM stars.main WHERE 1 = CONTAINS(POINT(ra, dec), CIRCLE(10, 20, 1))"
NEW_STAR: Star = (4, 10.2, 20.1, 8.0, "delta")


def cite_and_look(site: CitationSite, query: str) -> Any:
    result = site.cite(query)
    site.look_again()
    assert site.find(result).verdict == "same"
    return result


def test_a_change_elsewhere_leaves_the_answer(site: CitationSite, monkeypatch: pytest.MonkeyPatch) -> None:
    result = cite_and_look(site, CONE)
    monkeypatch.setattr(citation_round, "compare_with_repeated_query", lambda *_, **__: pytest.fail("it was repeated"))
    site.publish([*STARS, (5, 359.9, 0.0, 3.0, "epsilon")])
    site.look_again()
    finding = site.find(result)
    assert (finding.verdict, finding.how, finding.work) == ("same", "keys", "none")
    assert finding.snapshots == {"stars.main": site.site.store.read_published_snapshot_ids()[1]["stars.main"]}


def test_changed_rows_are_counted_by_their_keys(site: CitationSite, monkeypatch: pytest.MonkeyPatch) -> None:
    result = cite_and_look(site, CONE)
    monkeypatch.setattr(citation_round, "compare_with_repeated_query", lambda *_, **__: pytest.fail("it was repeated"))
    site.publish([(1, 10.0, 20.0, 5.5, "alpha"), (2, 50.0, 20.0, 15.0, "beta"), STARS[2], NEW_STAR])
    site.look_again()
    finding = site.find(result)
    assert (finding.verdict, finding.how) == ("changed", "keys")
    assert finding.counts == {"new": 1, "changed": 1, "gone": 1}
    assert (finding.columns, finding.cited_rows, finding.row_count) == (["mag"], 2, 2)


def test_later_changes_are_counted_from_the_paper_on(site: CitationSite) -> None:
    result = cite_and_look(site, CONE)
    site.publish([*STARS, NEW_STAR])
    site.look_again()
    assert site.find(result).counts == {"new": 1}
    site.publish([(1, 10.0, 20.0, 5.5, "alpha"), *STARS[1:], NEW_STAR])
    site.look_again()
    assert site.find(result).counts == {"new": 1, "changed": 1}
    site.publish([*STARS, (9, 1.0, 1.0, 1.0, "x")])
    site.look_again()
    finding = site.find(result)
    assert (finding.verdict, finding.counts, finding.row_count) == ("same", {}, 2)


def test_results_that_cite_other_states_do_not_keep_the_next_one_waiting(
    site: CitationSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oldest work may belong to a result that the list of counted ones cuts off."""
    first = cite_and_look(site, CONE)
    site.publish([*STARS, NEW_STAR])
    site.look_again()
    second = cite_and_look(site, CONE)
    for result, at in ((first, 2.0), (second, 1.0)):
        finding = site.find(result)
        site.citations.record_findings([(finding, replace(finding, work="count", at=at))], lambda _: ())
    monkeypatch.setattr(citation_round, "MAX_COUNTED_AT_ONCE", 1)
    site.look_again()
    assert [site.find(result).work for result in (first, second)] == ["none", "none"]
    assert [site.find(result).counts for result in (first, second)] == [{"new": 1}, {}]


def test_a_column_that_the_answer_does_not_show_changes_nothing(site: CitationSite) -> None:
    hidden, shown = (cite_and_look(site, f"SELECT id, {name} FROM stars.main WHERE id < 3") for name in ("name", "mag"))
    site.publish([(1, 10.0, 20.0, 5.5, "alpha"), *STARS[1:]])
    site.look_again()
    assert (site.find(hidden).verdict, site.find(hidden).how) == ("same", "keys")
    assert (site.find(shown).verdict, site.find(shown).columns) == ("changed", ["mag"])


@pytest.mark.parametrize(
    "query",
    [
        "SELECT AVG(mag) AS m FROM stars.main WHERE id < 3",
        "SELECT TOP 2 id, mag FROM stars.main ORDER BY mag, id",
        "SELECT DISTINCT FLOOR(mag / 10) AS m FROM stars.main WHERE id < 3",
        "SELECT a.id FROM stars.main AS a JOIN stars.main AS b ON a.id = b.id WHERE b.mag < 6",
        "SELECT ROUND(mag) AS m FROM stars.main WHERE id = 1",
    ],
)
def test_other_queries_are_repeated(site: CitationSite, query: str) -> None:
    result = cite_and_look(site, query)
    site.publish([(1, 10.0, 20.0, 5.1, "alpha"), *STARS[1:]])
    site.look_again()
    finding = site.find(result)
    assert finding.how == "run"
    assert (finding.verdict == "same") == site.is_same(result)
    site.publish([(1, 10.0, 20.0, 25.0, "alpha"), *STARS[1:]])
    site.look_again()
    assert site.find(result).verdict == "changed"


def test_other_rows_with_equal_values_are_the_same_answer(site: CitationSite) -> None:
    result = cite_and_look(site, "SELECT name FROM stars.main WHERE id < 10")
    site.publish([*STARS[:2], (4, 200.0, -40.0, 7.0, "gamma")])
    site.look_again()
    assert (site.find(result).verdict, site.find(result).how) == ("same", "run")


def test_another_schema_is_not_decided_by_keys(site: CitationSite) -> None:
    result = cite_and_look(site, CONE)
    site.publish(STARS, primary=("name",))
    site.look_again()
    assert (site.find(result).verdict, site.find(result).how) == ("same", "run")


def test_a_table_that_becomes_private_ends_the_verdict(site: CitationSite) -> None:
    result = cite_and_look(site, CONE)
    site.citations.change_wish(result.id, "anna", is_told=True)
    site.publish([*STARS, NEW_STAR], access="private")
    site.look_again()
    assert site.find(result).verdict == "unknown"
    assert list_events(site) == []
    assert site.open_browser().show(f"/results/{result.id}/changes", "application/json").status == 404


def test_a_killed_round_begins_again(site: CitationSite, monkeypatch: pytest.MonkeyPatch) -> None:
    results = [cite_and_look(site, CONE), cite_and_look(site, "SELECT COUNT(*) AS n FROM stars.main")]
    site.publish([*STARS, NEW_STAR])
    record_findings = citation_store.CitationFindingStore.record_findings
    for step in range(3):

        def die(self: Any, *arguments: Any, step: int = step) -> None:
            if step % 2:
                record_findings(self, *arguments)
            raise SystemExit

        monkeypatch.setattr(citation_store.CitationFindingStore, "record_findings", die)
        with pytest.raises(SystemExit):
            site.look_again()
    monkeypatch.setattr(citation_store.CitationFindingStore, "record_findings", record_findings)
    site.look_again()
    assert [site.find(result).verdict for result in results] == ["changed", "changed"]
    assert site.find(results[0]).counts == {"new": 1}


def test_two_processes_decide_at_once(site: CitationSite, monkeypatch: pytest.MonkeyPatch) -> None:
    result = cite_and_look(site, CONE)
    site.citations.change_wish(result.id, "anna", is_told=True)
    choose_mail(site)
    site.publish([*STARS, NEW_STAR])
    record_findings = citation_store.CitationFindingStore.record_findings

    def record(self: Any, *arguments: Any) -> None:
        monkeypatch.setattr(citation_store.CitationFindingStore, "record_findings", record_findings)
        CitationRound(site.site).run()  # another process is faster
        record_findings(self, *arguments)

    monkeypatch.setattr(citation_store.CitationFindingStore, "record_findings", record)
    site.look_again()
    assert site.find(result).counts == {"new": 1}
    assert len(list_events(site)) == 1


def choose_mail(site: CitationSite) -> None:
    from dataclasses import replace

    from hven.plugins.notifications.choice_store import ChoiceStore

    store = site.site.store.get_or_create(ChoiceStore)
    store.change_choices("anna", lambda old: replace(old, channels={"citations.changed": "mail"}))


def list_events(site: CitationSite) -> list[tuple[str, str]]:
    import sqlalchemy as sa

    with site.citations._database.begin_read() as connection:
        query = sa.select(notification_events.c.kind, notification_events.c.path)
        return [tuple(row) for row in connection.execute(query)]


def test_the_reader_and_the_curator_see_it(site: CitationSite) -> None:
    result = site.cite(CONE)
    site.describe_collection()
    page = f"/results/{result.id}"
    anna, nobody = site.open_browser("anna"), site.open_browser()
    assert "Since then" not in nobody.show(page).text
    site.look_again()
    assert "finds the same rows" in nobody.show(page).text
    assert "Tell me when" not in nobody.show(page).text
    assert "Tell me when" in anna.show(page).text
    assert nobody.post(f"{page}/changes", {"ACTION": "tell"}).status == 401
    assert anna.post(f"{page}/changes", {"ACTION": "tell"}).status == 303
    assert "tell me of changes" in anna.show(page).text
    choose_mail(site)
    site.publish([*STARS, NEW_STAR])
    site.describe_collection()
    assert CITATION_SERVICE.is_delivery_due(site.site.settings, site.site.store)
    site.look_again()
    assert not CITATION_SERVICE.is_delivery_due(site.site.settings, site.site.store)
    text = nobody.show(page).text
    assert "The answer has changed" in text
    assert "New: 1" in text
    assert "The original rows are kept" in text
    assert len(nobody.show(f"{page}/rows?RESPONSEFORMAT=csv").text.split()) == 3
    document = json.loads(nobody.show(f"{page}/changes", "application/json").body)
    assert (document["verdict"], document["counts"], document["rows_now"]) == ("changed", {"new": 1}, 3)
    assert list_events(site) == [("citations.changed", page)]
    assert anna.show("/cited-results/stars").status == 404
    object.__setattr__(site.site.settings.health, "operators", ("anna",))
    listing = anna.show("/cited-results/stars")
    assert result.id in listing.text
    assert "The answer has changed" in listing.text
    assert anna.post(f"{page}/changes", {"ACTION": "stop"}).status == 303
    assert "Tell me when" in anna.show(page).text


def test_repeated_queries_keep_to_their_share(site: CitationSite, monkeypatch: pytest.MonkeyPatch) -> None:
    result = cite_and_look(site, "SELECT COUNT(*) AS n FROM stars.main")
    site.publish([*STARS, NEW_STAR])
    CitationRound(site.site).decide_changed_tables()
    site.citations.record_rest_end(time.time() + 60)
    assert not CITATION_SERVICE.is_delivery_due(site.site.settings, site.site.store)
    monkeypatch.setattr(citation_round, "compare_with_repeated_query", lambda *_, **__: pytest.fail("it was repeated"))
    CitationRound(site.site).run()
    assert site.find(result).work == "run"
    monkeypatch.undo()
    site.citations.record_rest_end(0.0)
    CitationRound(site.site).run()
    assert site.find(result).verdict == "changed"
    assert site.citations.find_rest_end() > time.time() - 60


STAR_VALUES = st.tuples(
    st.floats(8, 12), st.floats(18, 22), st.one_of(st.none(), st.integers(0, 9).map(float)), st.sampled_from("abc")
)
QUERIES = [
    CONE,
    "SELECT id, name FROM stars.main WHERE mag < 5",
    "SELECT name FROM stars.main WHERE mag BETWEEN 2 AND 6 AND DISTANCE(ra, dec, 10, 20) < 1",
    "SELECT id, mag FROM stars.main WHERE name LIKE 'a%' OR mag > 7",
    "SELECT mag * 2 AS m FROM stars.main WHERE 1 = CONTAINS(POINT(ra, dec), CIRCLE(10, 20, 1.5)) AND mag < 8",
    "SELECT * FROM stars.main",
]


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(states=st.lists(st.dictionaries(st.integers(1, 12), STAR_VALUES, max_size=10), min_size=2, max_size=4))
def test_verdicts_are_those_of_the_digests(
    site: CitationSite, monkeypatch: pytest.MonkeyPatch, states: list[dict[int, Any]]
) -> None:
    monkeypatch.setattr(citation_round, "MAX_WORK_SECONDS", 600.0)  # a busy machine does less in a round

    def publish(values: dict[int, Any]) -> None:
        site.publish([(number, *rest) for number, rest in sorted(values.items())])

    publish(states[0])
    results = [site.cite(query) for query in QUERIES]
    site.look_again()
    for state in states[1:]:
        publish(state)
        site.citations.record_rest_end(time.time() + 60)
        CitationRound(site.site).run()
        for result in results:
            finding = site.find(result)
            if finding.work == "none":
                assert (finding.verdict == "same") == site.is_same(result), (result.body["text"], finding)
        site.look_again()
        for result in results:
            finding = site.find(result)
            assert finding.work == "none"
            assert (finding.verdict == "same") == site.is_same(result), (result.body["text"], finding)
    with site.citations._database.begin_write() as connection:
        connection.execute(citation_findings.delete())
