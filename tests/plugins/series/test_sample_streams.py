"""Many slow readers of samples hold no more memory than one budget, and those beyond it are told to come again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from asgi_client import Client

from hven.app._server import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.model.errors import OverloadedError
from hven.model.settings import QueryLimits
from hven.plugins.series import sample_sets, sample_streams
from hven.plugins.series.reader_view import ReaderView
from hven.plugins.series.sample_streams import MIN_CELLS, SampleStreamLimiter, get_stream_limiter
from hven.site import Site
from hven.site.auth._access_control import ANONYMOUS_PRINCIPAL, DEFAULT_POLICIES
from hven.testing.site import open_site_with_uningested_files

ROWS, READERS, MEBIBYTE = 400_000, 26, 1024**2
DESCRIPTOR = """\
collection: goes
title: X rays
tables:
  xrs:
    source: {kind: parquet, files: goes.parquet}
    columns:
      at: {type: timestamp, ucd: time.epoch}
      short: {type: float64, unit: W/m**2}
      long: {type: float64, unit: W/m**2}
    series: [{cadence: 1 s}]
"""
DATA = {"dataset": "goes_xrs", "start": "2003-10-28T00:00:00Z", "stop": "2003-10-31T00:00:00Z"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("streams")
    moments = np.datetime64("2003-10-28", "us").astype(int) + np.arange(ROWS) * 1_000_000
    values = np.arange(ROWS, dtype=np.float64)
    rows = pa.table({"at": pa.array(moments).cast(pa.timestamp("us")), "short": values, "long": -values})
    with open_site_with_uningested_files(directory, DESCRIPTOR, limits=QueryLimits(memory=64 * MEBIBYTE)) as made:
        pq.write_table(rows, made.settings.collections_directory / "goes" / "goes.parquet")
        ingest_collection(made, "goes")
        made.refresh_published_state()
        yield made


def open_samples(site: Site) -> Iterator[pa.RecordBatch]:
    around: Any = SimpleNamespace(site=site, policies=DEFAULT_POLICIES, faces={}, collections=frozenset())
    view = ReaderView(around, ANONYMOUS_PRINCIPAL, site.get_published_state())
    one = sample_sets.list_data_sets(view, "hapi")["goes_xrs"]
    low, high = (int(np.datetime64(text, "us").astype(int)) for text in ("2003-10-28", "2003-11-02"))
    return sample_sets.read_samples(view, one, ["short", "long"], start=low, stop=high)


def test_slow_readers_hold_one_budget(site: Site) -> None:
    budget = site.settings.limits.memory // sample_streams.BUDGET_SHARE
    readers = [open_samples(site) for _ in range(min(READERS, get_stream_limiter(site)._max_streams))]
    held = 0
    for reader in readers:
        held += next(reader).nbytes
    assert get_stream_limiter(site)._active_count == len(readers)
    assert held < 2 * budget  # those that came first took more
    assert sum(next(reader).nbytes for reader in readers) < budget
    for reader in readers:
        reader.close()  # type: ignore[attr-defined]
    assert get_stream_limiter(site)._active_count == 0


def test_windows_have_all_samples_whatever_their_size(site: Site) -> None:
    first = open_samples(site)
    next(first)
    crowd = [open_samples(site) for _ in range(5)]
    for reader in crowd:
        next(reader)
    for reader in (first, *crowd):
        reader.close()  # type: ignore[attr-defined]
    whole = pa.Table.from_batches(list(open_samples(site)))
    assert whole.column("short").to_pylist() == list(range(ROWS))


def test_a_reader_too_many_is_told_to_come_again(site: Site) -> None:
    client = Client(create_and_start_application(site))
    streams = get_stream_limiter(site)
    crowd = [open_samples(site) for _ in range(streams._max_streams)]
    for reader in crowd:
        next(reader)
    answer = client.get("/hapi/data", **DATA)
    assert answer.status == 503
    assert int(answer.headers["retry-after"]) >= 1
    assert json.loads(answer.body)["status"]["code"] == 1500
    for reader in crowd:
        reader.close()  # type: ignore[attr-defined]
    assert client.get("/hapi/data", **DATA).status == 200
    assert streams._active_count == 0


def test_shares_of_the_budget() -> None:
    streams = SampleStreamLimiter(2 * 1024**3)
    whole = streams.window_cells
    with streams.reserve_stream_slot(), streams.reserve_stream_slot(), streams.reserve_stream_slot():
        assert streams.window_cells == whole // 3
    assert streams.window_cells == whole
    small = SampleStreamLimiter(1)
    with small.reserve_stream_slot(), pytest.raises(OverloadedError), small.reserve_stream_slot():
        pass
    assert small.window_cells == MIN_CELLS
