"""Primary keys that are looked for, page by page."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from hven.engines._key_matching import PrimaryKeyLookup, group_batches_into_pages


def test_keys_of_several_columns_are_found():
    rng = np.random.default_rng(1)
    keys = pa.table(
        {
            "a": rng.integers(0, 40, 3000),
            "b": [f"w{number}" for number in rng.integers(0, 50, 3000)],
            "c": rng.integers(0, 3, 3000) / 2 - 0.5,
        }
    )
    wanted = PrimaryKeyLookup(keys.slice(0, 1000), ["a", "b", "c"])
    first = {}
    for number, row in enumerate(keys.slice(0, 1000).to_pylist()):
        first.setdefault(tuple(row.values()), number)
    assert wanted.duplicate_count == 1000 - len(first)
    found = np.concatenate(
        [wanted.match_page_rows(page) for page in group_batches_into_pages(keys.to_batches(max_chunksize=70), 200)]
    )
    assert found.tolist() == [first.get(tuple(row.values()), -1) for row in keys.to_pylist()]
