"""Example 31: one search over observation logs and OIFITS files of two collections."""

from __future__ import annotations

import json
from pathlib import Path

from asgi_client import Client

from example_sites import ingest_all, open_example
from hven.app._server import create_and_start_application
from hven.model.settings import load_settings
from hven.site import Site


def test_a_target_with_files_alone(tmp_path: Path) -> None:
    with open_example("31-oidb-search", tmp_path) as directory:
        ingest_all(directory)
        with Site(load_settings(directory)) as site:
            client = Client(create_and_start_application(site))
            found = json.loads(client.ask("GET", "/joint-search/oidb.json", b"target=Sirius").body)
            assert [(table["label"], table["rows"]) for table in found["tables"]] == [
                ("observation logs", 0),
                ("OIFITS files", 13),
            ]
            everything = json.loads(client.ask("GET", "/joint-search/oidb.json").body)
            assert everything["total"] == 360
            bands = {}
            for band in "HKLM":
                answer = client.ask("GET", "/joint-search/oidb.json", f"band={band}".encode())
                bands[band] = json.loads(answer.body)["total"]
            assert bands["H"] + bands["K"] + bands["L"] == 360, "the instruments observe in H, K, and in L with M"
            assert bands["L"] == bands["M"]
