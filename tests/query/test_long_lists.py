"""Plans of queries with long lists are used again for the same list only, whatever else changes."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from hven.engines.duckdb.dialect import MAX_SEPARATE_CONDITIONS
from hven.query import explain_query, run_query
from hven.testing.site import open_tiny_site


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    rows = pa.table({"id": np.arange(-500, 500), "x": np.arange(1000.0)})
    with open_tiny_site(tmp_path_factory.mktemp("lists") / "site", {"big.main": rows}) as made:
        yield made


def fetch_sorted_rows(site, text):
    with run_query(text, site=site) as result:
        return sorted(row for batch in result.iterate_batches() for row in batch.column(0).to_pylist())


@pytest.mark.parametrize("sign", ["", "-"])
def test_another_list_of_the_same_shape_is_another_query(site, sign):
    for first in (10, 60, 10):
        for least in (-1000, 20 if not sign else -200):
            values = [int(f"{sign}{number}") for number in range(first, first + 200)]
            text = f"SELECT id FROM big.main WHERE id IN ({', '.join(map(str, values))}) AND id > {least}"
            assert fetch_sorted_rows(site, text) == sorted(value for value in values if value > least), text[:60]


@pytest.mark.parametrize("number", [5, 199, 201, 700])
def test_many_conditions_mean_what_few_do(site, number):
    text = f"SELECT id FROM big.main WHERE {' AND '.join(f'id <> {value}' for value in range(number))} AND CASE WHEN x <> 3 THEN x END > 1"
    assert fetch_sorted_rows(site, text) == [n for n in range(-498, 500) if n != -497 and not 0 <= n < number]
    # DuckDB would part them, which takes seconds for thousands, and hand each to Arrow through Python
    assert ("COALESCE((" in explain_query(text, site=site)) is (number > MAX_SEPARATE_CONDITIONS)
