"""Generated conditions: ADQL, CQL2 and the form give the ids that the evaluation of cql2 gives.

`scripts/proof` tries 10,000.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from asgi_client import Client, share_event_loop
from generated_filters import FILTERS, FORMS, Items, check_filter, check_form, list_complete_items
from hypothesis import HealthCheck, given, settings

from hven.site import Site
from shared import EXAMPLES_FACTOR

PLAN = {"deadline": None, "derandomize": True, "suppress_health_check": list(HealthCheck)}


@pytest.fixture(scope="module", autouse=True)
def event_loop() -> Iterator[None]:
    with share_event_loop():
        yield


@pytest.fixture(scope="module")
def complete_items(client: Client) -> Items:
    return list_complete_items(client)


@settings(max_examples=6_000 if EXAMPLES_FACTOR > 1 else 240, **PLAN)
@given(parsed=FILTERS)
def test_many_filters(client: Client, site: Site, complete_items: Items, parsed: object) -> None:
    check_filter(client, site, complete_items, parsed)


@settings(max_examples=4_000 if EXAMPLES_FACTOR > 1 else 160, **PLAN)
@given(form=FORMS)
def test_many_forms(client: Client, complete_items: Items, form: dict[str, str]) -> None:
    check_form(client, complete_items, form)
