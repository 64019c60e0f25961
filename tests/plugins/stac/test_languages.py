"""One condition as ADQL, as CQL2 (text and JSON) and as parameters of the form: the same ids."""

from __future__ import annotations

import json
from urllib.parse import parse_qsl, urlencode

import cql2
import pytest
from asgi_client import Client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hven.adql.adql_writer import write_adql
from hven.adql.syntax_tree import build_table_query
from hven.plugins.stac.cql2_conditions import build_filter_condition, parse_cql2_text
from hven.plugins.stac.item_tables import find_item_table
from hven.plugins.stac.query_lines import UntranslatableError, translate_to_cql2
from hven.site import Site

PAGE = "/collections/mars/epn_core"
ITEMS = "/stac/collections/mars.epn_core/items"


def list_items(client: Client, text: str, language: str = "cql2-text") -> list[str]:
    answer = client.get(ITEMS, **{"filter": text, "filter-lang": language, "limit": 1000})
    assert answer.status == 200, answer.text
    return sorted(feature["id"] for feature in json.loads(answer.body)["features"])


def list_rows(client: Client, query: str) -> list[str]:
    answer = client.get("/tap/sync", LANG="ADQL", QUERY=query, RESPONSEFORMAT="json", MAXREC=1000)
    return sorted(row[0] for row in json.loads(answer.body)["data"])


@pytest.mark.parametrize(
    "form",
    [
        {"instrument_name": "=OMEGA"}, {"processing_level": ">2"}, {"processing_level": "1..3", "instrument_name": "=HRSC"}, {"granule_uid": "g000*"},
        {"incidence_min": "<40"}, {"time_min": ">2453100"},
    ],
)  # fmt: skip
def test_form(client: Client, form: dict[str, str]) -> None:
    document = json.loads(client.get(f"{PAGE}/take", **form).body)
    lines = {line["name"]: line["text"] for line in document["lines"]}
    by_adql = list_rows(client, document["adql"].replace("SELECT *", "SELECT granule_uid"))
    assert {"ADQL", "CQL2", "CQL2 JSON", "Form"} <= lines.keys()
    assert list_items(client, lines["CQL2"]) == list_items(client, lines["CQL2 JSON"], "cql2-json")
    again = json.loads(client.ask("GET", f"{PAGE}/take", urlencode(parse_qsl(lines["Form"])).encode()).body)
    assert again["adql"] == document["adql"]
    assert document["rows"] == len(list_items(client, lines["CQL2"])) == len(by_adql)


def test_page_shows_the_lines(client: Client) -> None:
    text = client.get(PAGE, instrument_name="=OMEGA").text
    assert "<h3>CQL2</h3>" in text
    assert "<h3>CQL2 JSON</h3>" in text
    assert "CQL2" not in client.get("/collections/sky/observations").text


TEXTS = st.tuples(st.sampled_from(["epn:instrument_name", "epn:granule_uid", "epn:dataproduct_type"]), st.sampled_from(["OMEGA", "HRSC", "g0001", "im", "it's", "%", "é"]))  # fmt: skip
NUMBERS = st.tuples(st.sampled_from(["epn:processing_level", "epn:incidence_min", "epn:c1min"]), st.integers(-5, 100) | st.sampled_from([0.5, 1e-3, 40.25]))  # fmt: skip
COMPARISONS = st.sampled_from(["=", "<>", "<", ">", "<=", ">="])
LEAVES = st.one_of(
    st.builds(lambda op, pair: {"op": op, "args": [{"property": pair[0]}, pair[1]]}, COMPARISONS, TEXTS | NUMBERS),
    st.builds(lambda pair, width: {"op": "between", "args": [{"property": pair[0]}, pair[1], pair[1] + width]}, NUMBERS, st.integers(0, 50)),
    st.builds(lambda pair, other: {"op": "in", "args": [{"property": pair[0]}, [pair[1], other]]}, TEXTS, st.sampled_from(["CRISM", "g0002"])),
    st.builds(lambda pair: {"op": "like", "args": [{"property": pair[0]}, f"{pair[1][:2]}%"]}, TEXTS),
)  # fmt: skip
FILTERS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds(
            lambda op, parts: {"op": op, "args": parts},
            st.sampled_from(["and", "or"]),
            st.lists(inner, min_size=2, max_size=3),
        ),
        st.builds(lambda part: {"op": "not", "args": [part]}, inner),
    ),
    max_leaves=5,
)


@pytest.fixture(scope="module")
def complete_items(client: Client) -> list[dict[str, object]]:
    """The items that have all properties of the filters; cql2 does not know null."""
    features = json.loads(client.get(ITEMS, limit=1000).body)["features"]
    return [feature for feature in features if feature["id"].startswith("g")]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(parsed=FILTERS)
def test_generated_filters(client: Client, site: Site, complete_items: list[dict[str, object]], parsed: object) -> None:
    """The judge is cql2's own evaluation."""
    expression = cql2.Expr(parsed)
    wanted = sorted(str(item["id"]) for item in complete_items if expression.matches(item))
    by_json = list_items(client, json.dumps(parsed), "cql2-json")
    assert [item_id for item_id in by_json if item_id.startswith("g")] == wanted
    assert list_items(client, expression.to_text()) == by_json
    table = site.get_published_state().tables_by_name["mars.epn_core"].table
    item_table = find_item_table(table)
    assert item_table is not None
    condition = build_filter_condition(parse_cql2_text(expression.to_text()), item_table)
    assert list_rows(client, write_adql(build_table_query(table, ["granule_uid"], condition))) == by_json
    assert list_items(client, json.dumps(translate_to_cql2(condition, item_table)), "cql2-json") == by_json


def test_conditions_without_cql2(site: Site) -> None:
    from hven.adql import parse_condition

    item_table = find_item_table(site.get_published_state().tables_by_name["mars.epn_core"].table)
    assert item_table is not None
    for text in ("1 = CONTAINS(POINT(1, 2), CIRCLE(1, 2, 3))", "EXISTS (SELECT 1 FROM mars.epn_core)", "other = 1"):
        with pytest.raises(UntranslatableError):
            translate_to_cql2(parse_condition(text), item_table)
