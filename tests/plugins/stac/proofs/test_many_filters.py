"""10,000 generated conditions: ADQL, CQL2 and the form give the ids that the evaluation of cql2 gives."""

from __future__ import annotations

import pytest
from asgi_client import Client
from generated_filters import FILTERS, FORMS, Items, check_filter, check_form, list_complete_items
from hypothesis import HealthCheck, given, settings

from hven.site import Site

PLAN = {"deadline": None, "derandomize": True, "suppress_health_check": list(HealthCheck)}


@pytest.fixture(scope="module")
def complete_items(client: Client) -> Items:
    return list_complete_items(client)


@settings(max_examples=6_000, **PLAN)
@given(parsed=FILTERS)
def test_six_thousand_filters(client: Client, site: Site, complete_items: Items, parsed: object) -> None:
    check_filter(client, site, complete_items, parsed)


@settings(max_examples=4_000, **PLAN)
@given(form=FORMS)
def test_four_thousand_forms(client: Client, complete_items: Items, form: dict[str, str]) -> None:
    check_form(client, complete_items, form)
