"""speasy's HapiProvider reads our server: in an environment of its own, for it brings half of astronomy with it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hven.ingest.api.runs import ingest_collection
from hven.model import settings
from hven.site import Site
from process_runner import serve_site

pytestmark = pytest.mark.needs("proof")
DESCRIPTOR = """\
collection: goes
title: X rays
description: Fluxes
tables:
  xrs:
    source: {kind: parquet, files: goes.parquet}
    follow: true
    columns: {at: {ucd: time.epoch}, flux: {type: "float32[4]", unit: W}}
    series: {cadence: 4 s}
"""
READ = """\
import json, sys
from speasy.core.hapi.provider import HapiProvider
found = HapiProvider(sys.argv[1]).data("goes_xrs", "2003-10-28T00:00:20Z", "2003-10-28T00:01:00Z", ["short", "flux"])
print(json.dumps({name: [str(one.time[0]), one.values.tolist()] for name, one in found.items()}))
"""


def test_speasy(tmp_path: Path) -> None:
    python = Path(os.environ.get("HVEN_SPEASY") or tmp_path / "venv/bin/python")  # of an environment that has it
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", "speasy"], check=True)
    folder = tmp_path / "site/collections/goes"
    folder.mkdir(parents=True)
    (tmp_path / "site/hven.toml").touch()
    rng = np.random.default_rng(1)
    short, flux = rng.normal(size=100), rng.normal(size=(100, 4)).astype("f4")
    at = np.datetime64("2003-10-28", "us").astype(np.int64) + np.arange(100) * 4_000_000
    pq.write_table(pa.table({"at": pa.array(at).cast(pa.timestamp("us")), "short": short, "flux": pa.array(list(flux), pa.list_(pa.float32()))}), folder / "goes.parquet")  # fmt: skip
    (folder / "goes.yaml").write_text(DESCRIPTOR)
    with Site(settings.load_settings(tmp_path / "site"), watch_for_changes=False) as site:
        ingest_collection(site, "goes")
    with serve_site(tmp_path / "site") as server:
        told = subprocess.run([str(python), "-c", READ, f"http://127.0.0.1:{server.port}"], check=True, capture_output=True, text=True)  # fmt: skip
    found = json.loads(told.stdout.splitlines()[-1])
    assert found["short"][0] == "2003-10-28T00:00:20.000000000"
    np.testing.assert_allclose(np.ravel(found["short"][1]), short[5:15], rtol=1e-12)
    np.testing.assert_allclose(found["flux"][1], flux[5:15], rtol=1e-6)
