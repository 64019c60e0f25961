"""One condition as ADQL, as CQL2 (text and JSON) and as parameters of the form: the same ids."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from asgi_client import Client, share_event_loop
from generated_filters import FILTERS, FORMS, PAGE, Items, check_filter, check_form, list_complete_items
from hypothesis import HealthCheck, given, settings

from hven.plugins.stac.item_tables import find_item_table
from hven.plugins.stac.query_lines import UntranslatableError, translate_to_cql2
from hven.site import Site


@pytest.fixture(scope="module", autouse=True)
def event_loop() -> Iterator[None]:
    with share_event_loop():
        yield


@pytest.mark.parametrize(
    "form",
    [
        {"instrument_name": "=OMEGA"}, {"processing_level": ">2"}, {"processing_level": "1..3", "instrument_name": "=HRSC"}, {"granule_uid": "g000*"},
        {"incidence_min": "<40"}, {"time_min": ">2453100"},
    ],
)  # fmt: skip
def test_form(client: Client, complete_items: Items, form: dict[str, str]) -> None:
    check_form(client, complete_items, form)


def test_page_shows_the_lines(client: Client) -> None:
    text = client.get(PAGE, instrument_name="=OMEGA").text
    assert "<h3>CQL2</h3>" in text
    assert "<h3>CQL2 JSON</h3>" in text
    assert "CQL2" not in client.get("/collections/sky/observations").text


@pytest.fixture(scope="module")
def complete_items(client: Client) -> Items:
    return list_complete_items(client)


# a third of the examples in the first tier; proofs/test_many_filters.py has 10,000
PLAN = {"deadline": None, "suppress_health_check": [HealthCheck.function_scoped_fixture]}


@settings(max_examples=180, **PLAN)
@given(parsed=FILTERS)
def test_generated_filters(client: Client, site: Site, complete_items: Items, parsed: object) -> None:
    check_filter(client, site, complete_items, parsed)


@settings(max_examples=120, **PLAN)
@given(form=FORMS)
def test_generated_forms(client: Client, complete_items: Items, form: dict[str, str]) -> None:
    check_form(client, complete_items, form)


def test_conditions_without_cql2(site: Site) -> None:
    from hven.adql import parse_condition

    item_table = find_item_table(site.get_published_state().tables_by_name["mars.epn_core"].table)
    assert item_table is not None
    for text in ("1 = CONTAINS(POINT(1, 2), CIRCLE(1, 2, 3))", "EXISTS (SELECT 1 FROM mars.epn_core)", "other = 1"):
        with pytest.raises(UntranslatableError):
            translate_to_cql2(parse_condition(text), item_table)
