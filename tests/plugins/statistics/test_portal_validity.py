"""The statistics page shows which share of the rows is valid, by rule and by what rows are counted by, and how that was in earlier publications."""

from __future__ import annotations

import json
from pathlib import Path

from asgi_client import Client

from hven.app._server import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.model.settings import load_settings
from hven.site import Site
from hven.testing.policies import build_odd_rows_hidden_policies

TEXT = """collection: logs
title: Logs
tables:
  main:
    source: {kind: csv, files: logs.csv}
    primary: [id]
    columns: {id: int32, instrument: string, height: float64}
    flags: {column: quality, by: {instrument: instrument}}
    rules:
      high: {if: height > 0, flag: 0, severity: warning, message: below the horizon}
      low: {if: height < 90, flag: 1}
"""


def test_validity_is_counted_by_rule_and_instrument_over_published_runs(tmp_path: Path) -> None:
    (tmp_path / "hven.toml").write_text("")
    place = tmp_path / "collections" / "logs"
    place.mkdir(parents=True)
    (place / "logs.yaml").write_text(TEXT)

    def write_rows(*heights: int) -> None:
        (place / "logs.csv").write_text(
            "id,instrument,height\n" + "".join(f"{n},{'AB'[n % 2]},{height}\n" for n, height in enumerate(heights))
        )

    with Site(load_settings(tmp_path)) as site:
        write_rows(1, 2, 3, -4)
        assert ingest_collection(site, "logs").published
        write_rows(-1, -2, -3, -4)
        ingest_collection(site, "logs", dry_run=True)  # not published: no part of the trend
        write_rows(1, 2, -3, 95)
        assert ingest_collection(site, "logs").published
        (table,) = json.loads(Client(create_and_start_application(site)).get("/statistics/logs.json").body)["tables"]
        found = table["validity"]
        assert (found["rows"], found["valid"], found["share"]) == (4, 2, "50.00 %")
        assert next((one["name"], one["severity"], one["message"], one["rows"]) for one in found["rules"]) == (
            "high",
            "warning",
            "below the horizon",
            1,
        )
        assert [one["rows"] for one in found["rules"]] == [1, 1]
        assert [(one["of"], one["share"], one["rules"]) for one in found["groups"]] == [
            (["A"], "50.00 %", {"high": 1, "low": 0}), (["B"], "50.00 %", {"high": 0, "low": 1}),
        ]  # fmt: skip
        assert [one["share"] for one in found["trend"]] == ["50.00 %", "75.00 %"]
        page = Client(create_and_start_application(site)).get("/statistics/logs").text
        assert "below the horizon" in page
        assert "75.00 %" in page
        (narrowed,) = json.loads(
            Client(create_and_start_application(site, policies=build_odd_rows_hidden_policies("id")))
            .get("/statistics/logs.json")
            .body
        )["tables"]
        assert narrowed["validity"] is None  # the counts are of rows that this reader does not see
