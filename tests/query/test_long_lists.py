"""Plans of queries with long lists are used again for the same list only, whatever else changes."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from hven.query import run
from hven.testing.site import tiny_site


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    rows = pa.table({"id": np.arange(-500, 500), "x": np.arange(1000.0)})
    with tiny_site(tmp_path_factory.mktemp("lists") / "site", {"big.main": rows}) as made:
        yield made


def asked(site, text):
    with run(text, site=site) as result:
        return sorted(row for batch in result.batches() for row in batch.column(0).to_pylist())


@pytest.mark.parametrize("sign", ["", "-"])
def test_another_list_of_the_same_shape_is_another_query(site, sign):
    for first in (10, 60, 10):
        for least in (-1000, 20 if not sign else -200):
            values = [int(f"{sign}{number}") for number in range(first, first + 200)]
            text = f"SELECT id FROM big.main WHERE id IN ({', '.join(map(str, values))}) AND id > {least}"
            assert asked(site, text) == sorted(value for value in values if value > least), text[:60]
