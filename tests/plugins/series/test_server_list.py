"""``hven register --hapi``: an entry as those of the list of HAPI's servers, whose request our server answers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hven.ingest.api.runs import ingest_collection
from hven.model import settings
from hven.site import Site
from plugin_needs import require_plugins
from process_runner import run_hven
from shared import shared

DESCRIPTOR = """\
collection: goes
title: X rays
description: Fluxes
tables:
  xrs:
    source: {kind: parquet, files: goes.parquet}
    follow: true
    columns: {at: {ucd: time.epoch}}
    series: {cadence: 4 s}
"""
SITE = 'public_url = "https://vo.example"\ntitle = "Observatory"\ncontact_name = "Ada"\ncontact_email = "a@b.example"\nauthority = "vo.example"\n'


def test_the_entry_for_the_list_of_hapi_servers(tmp_path: Path) -> None:
    require_plugins("protocols", "oai")  # of the package with hven register
    folder = tmp_path / "collections/goes"
    folder.mkdir(parents=True)
    (tmp_path / "hven.toml").write_text(SITE)
    at = np.datetime64("2003-10-28", "us").astype(np.int64) + np.arange(1000) * 4_000_000
    pq.write_table(
        pa.table({"at": pa.array(at).cast(pa.timestamp("us")), "flux": np.arange(1000.0)}), folder / "goes.parquet"
    )
    (folder / "goes.yaml").write_text(DESCRIPTOR)
    assert "with samples" in run_hven("register", "--hapi", "--site", str(tmp_path), expected_code=1).stderr
    with Site(settings.load_settings(tmp_path), watch_for_changes=False) as site:
        ingest_collection(site, "goes")
    entry = json.loads(run_hven("register", "--hapi", "--site", str(tmp_path)).stdout)
    known = json.loads(shared("corpora/hapi/servers--abouts.json").read_text())
    assert set(entry) <= {key for one in known for key in one}
    assert (entry["x_url"], entry["id"], entry["contactID"]) == ("https://vo.example/hapi", "vo.example", "a@b.example")
    assert entry["dataTest"]["query"] == {"dataset": "goes_xrs", "start": "2003-10-28T00:59:59.999999Z", "stop": "2003-10-28T01:06:40.000000Z", "parameters": "flux"}  # fmt: skip
    line = run_hven("register", "--hapi", "--line", "--site", str(tmp_path)).stdout.strip()
    assert line.split(", ") == ["https://vo.example/hapi", "Observatory", "vo.example", "Ada", "a@b.example"]
    assert "--hapi" in run_hven("register", "--line", "--site", str(tmp_path), expected_code=2).stderr
