"""EXPLAIN says how many rows a query will read, as an estimate; not to those from whom rows are hidden."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from hven.query import explain_query
from hven.testing.policies import build_odd_rows_hidden_policies
from hven.testing.site import open_tiny_site


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    with open_tiny_site(
        tmp_path_factory.mktemp("estimate") / "site",
        {"big.main": pa.table({"id": np.arange(50_000), "x": np.arange(50_000.0)})},
    ) as made:
        yield made


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("SELECT COUNT(*) AS n FROM big.main", "about 0 of 50,000"),
        ("SELECT TOP 7 id FROM big.main", "about 7 of 50,000"),
        ("SELECT AVG(x) AS m FROM big.main", "about 50,000 of 50,000"),
    ],
)  # fmt: skip
def test_rows_are_estimated(site, text, said):
    assert f"estimate: big.main: {said} rows are read" in explain_query(text, site=site)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("SELECT TOP 7 id FROM big.main", "the answer has 7 rows"),
        ("SELECT id FROM big.main OFFSET 49999", "the answer has 1 row,"),
        ("SELECT id FROM big.main", "the answer has 50,000 rows"),
        ("SELECT id FROM big.main WHERE x > 3", None),
    ],
)
def test_rows_of_the_answer_are_told_where_they_are_known(site, text, said):
    told = explain_query(text, site=site)
    assert "the answer has" not in told if said is None else f"estimate: {said}" in told


def test_what_is_hidden_is_not_counted(site):
    assert "estimate" not in explain_query(
        "SELECT AVG(x) AS m FROM big.main", site=site, policies=build_odd_rows_hidden_policies("id")
    )
