"""Every row is accounted for: random tables, judged row by row in plain Python."""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hven import query
from hven.ingest.api.runs import ingest_collection
from hven.site.auth._access_control import OWNER_PRINCIPAL
from hven.testing.site import open_site_with_uningested_files
from shared import EXAMPLES_FACTOR

TEXT = """\
collection: cat
title: t
tables:
  t:
    max_rejects: 1
    position: [ra, dec]
    where: keep <> 'no'
    columns:
      n: {type: int16, required: true}
      ra: {type: float64}
      dec: {type: float64}
      share: {type: float32, minimum: 0.7, maximum: 1}
      word: {type: "string[3*]"}
    rules:
      order: {if: n < 1000, severity: error}
    source: {kind: csv, files: t.csv, types: {n: string, ra: float64, dec: float64, share: float64, word: string, keep: string}}
"""

numbers = st.sampled_from(
    ["", "0", "0.7", "1", "0.69", "1.1", "45.5", "89.9", "-90", "90.5", "-180", "361", "359.9", "1e2"]
)
rows = st.lists(
    st.fixed_dictionaries(
        {
            "n": st.sampled_from(["", "1", "7", "999", "1000", "32767", "32768", "3.5", "x", "-5"]),
            "ra": numbers,
            "dec": numbers,
            "share": numbers,
            "word": st.sampled_from(["", "a", "abc", "abcd", "äöü", "äöüß"]),
            "keep": st.sampled_from(["yes", "no"]),
        }
    ),
    max_size=12,
)


def right(row: dict[str, str]) -> dict | None:
    """Judge a row as a person would, reading the descriptor."""

    def number(text: str) -> float | None:
        return float(text) if text else None

    if not row["n"].lstrip("-").isdigit() or not -(2**15) <= int(row["n"]) < min(2**15, 1000):
        return None
    ra, dec, share = number(row["ra"]), number(row["dec"]), number(row["share"])
    if (
        (dec is not None and abs(dec) > 90)
        or (ra is not None and not -180 <= ra <= 360)
        or (share is not None and not 0.7 <= share <= 1)
    ):
        return None
    if len(row["word"]) > 3:
        return None
    return {
        "n": int(row["n"]),
        "ra": ra,
        "dec": dec,
        "share": None if share is None else float(np.float32(share)),
        "word": row["word"] or None,
    }


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    with open_site_with_uningested_files(
        tmp_path_factory.mktemp("site"), TEXT, {"t.csv": ""}, keep_snapshots=2
    ) as opened:
        yield opened


@settings(
    max_examples=15 * EXAMPLES_FACTOR,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(rows)
def test_each_row_is_published_skipped_or_kept_aside(site, given_rows):
    text = io.StringIO()
    writer = csv.DictWriter(text, ["n", "ra", "dec", "share", "word", "keep"])
    writer.writeheader()
    writer.writerows(given_rows)
    (site.settings.collections_directory / "cat" / "t.csv").write_text(text.getvalue())
    report = ingest_collection(site, "cat")
    table = report.tables["cat.t"]
    kept = [row for row in given_rows if row["keep"] != "no"]
    expected = [found for row in kept if (found := right(row)) is not None]
    assert (table.read, table.skipped, table.rejected, table.published) == (
        len(given_rows),
        len(given_rows) - len(kept),
        len(kept) - len(expected),
        len(expected),
    )
    with query.run_query("SELECT n, ra, dec, share, word FROM cat.t", OWNER_PRINCIPAL, site=site) as result:
        served = [row for batch in result.iterate_batches() for row in batch.to_pylist()]

    def key(row: dict) -> str:
        return repr(
            [(name, None if isinstance(value, float) and math.isnan(value) else value) for name, value in row.items()]
        )

    assert sorted(map(key, served)) == sorted(map(key, expected))
    if table.rejected:
        with Path(table.rejects).open(encoding="utf-8", newline="") as file:
            aside = sorted(int(row["row"]) for row in csv.DictReader(file))
        assert aside == [
            number for number, row in enumerate(given_rows, 1) if row["keep"] != "no" and right(row) is None
        ]
