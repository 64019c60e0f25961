"""Conditions at random, and one check that all languages give the same rows; cql2 itself is the judge."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qsl, urlencode

import cql2
from asgi_client import Client
from hypothesis import strategies as st

from hven.adql.adql_writer import write_adql
from hven.adql.syntax_tree import build_table_query
from hven.plugins.stac.cql2_conditions import build_filter_condition, parse_cql2_text
from hven.plugins.stac.item_tables import find_item_table
from hven.plugins.stac.query_lines import translate_to_cql2
from hven.site import Site

PAGE = "/collections/mars/epn_core"
ITEMS = "/stac/collections/mars.epn_core/items"


class Items(list[dict[str, Any]]):
    """Items, which a report of a failure does not list."""

    def __repr__(self) -> str:
        """Return how many there are."""
        return f"<{len(self)} items>"


def list_items(client: Client, text: str, language: str = "cql2-text") -> list[str]:
    answer = client.get(ITEMS, **{"filter": text, "filter-lang": language, "limit": 1000})
    assert answer.status == 200, answer.text
    return sorted(feature["id"] for feature in json.loads(answer.body)["features"])


def list_rows(client: Client, query: str) -> list[str]:
    answer = client.get("/tap/sync", LANG="ADQL", QUERY=query, RESPONSEFORMAT="json", MAXREC=1000)
    return sorted(row[0] for row in json.loads(answer.body)["data"])


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


NUMBER_FIELDS = st.one_of(
    st.builds(lambda op, number: f"{op}{number}", st.sampled_from(["=", ">", "<"]), st.integers(-5, 100)),
    st.builds(lambda low, width: f"{low}..{low + width}", st.integers(-5, 90), st.integers(0, 50)),
)
VALUES = ["=OMEGA", "=HRSC", "=it's", "=g0003", "=é"]
FIELDS = {
    "instrument_name": st.sampled_from(VALUES),  # a list joined by #, for whose parts CQL2 has no patterns
    "granule_uid": st.sampled_from([*VALUES, "g000*", "g01*", "*7"]),
    "processing_level": NUMBER_FIELDS,
    "incidence_min": NUMBER_FIELDS,
    "c1min": NUMBER_FIELDS,
}
FORMS = st.sets(st.sampled_from(sorted(FIELDS)), min_size=1).flatmap(
    lambda names: st.fixed_dictionaries({name: FIELDS[name] for name in sorted(names)})
)


def list_complete_items(client: Client) -> Items:
    """List the items that have all properties of the filters; cql2 does not know null.

    They have no geometries, links and assets, which cql2 would read anew for each filter.
    """
    features = json.loads(client.get(ITEMS, limit=1000).body)["features"]
    return Items(
        {"id": feature["id"], "properties": feature["properties"]}
        for feature in features
        if feature["id"].startswith("g")
    )


def check_filter(client: Client, site: Site, complete_items: Items, parsed: object) -> None:
    """Check that a filter gives the same ids as CQL2 JSON, as CQL2 text and as ADQL, and translated back from ADQL."""
    expression = cql2.Expr(parsed)
    by_json = list_items(client, json.dumps(parsed), "cql2-json")
    require_judgement(complete_items, expression, by_json)
    assert list_items(client, expression.to_text()) == by_json
    table = site.get_published_state().tables_by_name["mars.epn_core"].table
    item_table = find_item_table(table)
    assert item_table is not None
    condition = build_filter_condition(parse_cql2_text(expression.to_text()), item_table)
    assert list_rows(client, write_adql(build_table_query(table, ["granule_uid"], condition))) == by_json
    assert list_items(client, json.dumps(translate_to_cql2(condition, item_table)), "cql2-json") == by_json


def require_judgement(complete_items: Items, expression: cql2.Expr, ids: list[str]) -> None:
    """Require the ids that the evaluation of cql2 gives."""
    wanted = sorted(str(item["id"]) for item in complete_items if expression.matches(item))
    assert [item_id for item_id in ids if item_id.startswith("g")] == wanted


def read_downloads(client: Client, form: dict[str, str]) -> dict[str, Any]:
    """Read what the page offers, again if a busy machine takes longer to count than the page waits."""
    for _ in range(20):
        document: dict[str, Any] = json.loads(client.get(f"{PAGE}/take", **form).body)
        if document["rows"] is not None:
            break
    return document


def check_form(client: Client, complete_items: Items, form: dict[str, str]) -> None:
    """Check that a form gives the same ids as the ADQL, the CQL2 and the CQL2 JSON that its page shows."""
    document = read_downloads(client, form)
    lines = {line["name"]: line["text"] for line in document["lines"]}
    assert {"ADQL", "CQL2", "CQL2 JSON", "Form"} <= lines.keys()
    ids = list_items(client, lines["CQL2"])
    require_judgement(complete_items, cql2.Expr(json.loads(lines["CQL2 JSON"])), ids)
    assert list_items(client, lines["CQL2 JSON"], "cql2-json") == ids
    assert list_rows(client, document["adql"].replace("SELECT *", "SELECT granule_uid")) == ids
    assert document["rows"] == len(ids)
    again = json.loads(client.ask("GET", f"{PAGE}/take", urlencode(parse_qsl(lines["Form"])).encode()).body)
    assert again["adql"] == document["adql"]
