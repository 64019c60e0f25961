"""The verb: exit codes, what people read, what scripts read; Hven's own server under it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from tap_server import TapServer, serve

from hven.testing.site import build_table_from_arrow, open_tiny_site
from process_runner import run_hven, serve_site


def test_exit_code_1_from_the_chosen_severity_on(tap_server: TapServer) -> None:
    tap_server.epn.rows[0]["access_md5"] = "abc"  # a warning
    with serve(tap_server) as url:
        run_hven("lint", url, "--only", "epn", expected_code=1)
        run_hven("lint", url, "--only", "epn", "--severity", "error", expected_code=0)
        run_hven("lint", url, "--only", "epn.unit,epn.ucd", expected_code=0)
        assert "there is no group or code" in run_hven("lint", url, "--only", "colour", expected_code=2).stderr


def test_exit_code_2_if_nothing_of_what_was_asked_for_is_there(tap_server: TapServer) -> None:
    tap_server.tables = [one for one in tap_server.tables if "radio" not in one.name]
    with serve(tap_server) as url:
        assert "there is no radio extension" in run_hven("lint", url, "--only", "radio", expected_code=2).stdout


def test_people_read_what_where_example_remedy_source(tap_server: TapServer) -> None:
    tap_server.epn.rows[1]["target_class"] = "moon"
    with serve(tap_server) as url:
        told = run_hven("lint", url, "--only", "epn", expected_code=1).stdout
    for words in (
        url, "TAP 1.1, ADQL 2.0", "EPN-TAP\n", "error   epn.target-class  demo.epn_core.target_class  a target_class is not in the list",
        "example: granule_uid = cube_2 has moon", "1 of 5", "[EPN-TAP 2.0 sec. 2.2]", "demo.epn_core: all rows fetched", "1 error, 0 warnings, 0 info",
    ):  # fmt: skip
        assert words in told, told


def test_a_strangers_text_cannot_write_to_the_terminal(tap_server: TapServer) -> None:
    tap_server.epn.rows[1]["target_class"] = "[red]moon[/red]\x9b2J\nnext"
    with serve(tap_server) as url:
        told = run_hven("lint", url, "--only", "epn", expected_code=1).stdout
    assert "\x9b" not in told
    assert "[red]moon[/red]" in told


def test_scripts_read_json(tap_server: TapServer) -> None:
    tap_server.epn.rows[1]["target_class"] = "moon"
    with serve(tap_server) as url:
        told = json.loads(run_hven("lint", url, "--json", "--sample", "3", "--only", "epn", expected_code=1).stdout)
    assert told["format"] == 1
    assert (told["url"], told["judged"], told["tap"], told["adql"], told["groups"]) == (
        url,
        True,
        "1.1",
        ["2.0"],
        ["epn"],
    )
    assert told["counts"] == {"error": 1, "warning": 0, "info": 0}
    assert told["looked"] == [{"table": "demo.epn_core", "rows": 3, "total": 5, "aggregates": True}]
    assert told["findings"] == [
        {
            "code": "epn.target-class", "severity": "error", "message": "a target_class is not in the list", "source": "EPN-TAP 2.0 sec. 2.2",
            "table": "demo.epn_core", "column": "target_class", "example": {"key": "granule_uid = cube_2", "value": "moon"}, "count": 1, "of": 5,
            "sampled": False, "remedy": "use the standard's classes, joined by #",
        }
    ]  # fmt: skip


@pytest.mark.slow
def test_hvens_own_server_has_no_finding(tmp_path: Path) -> None:
    rows = pa.table({"name": ["Vega", "Deneb"], "ra": [279.23, 310.36], "dec": [38.78, 45.28]})
    table = build_table_from_arrow("stars.main", rows)
    columns = tuple(
        replace(one, description=f"the {one.name}", unit="deg" if one.name != "name" else None) for one in table.columns
    )
    with open_tiny_site(tmp_path, {"stars.main": (replace(table, description="two stars", columns=columns), rows)}):
        pass
    (tmp_path / "hven.toml").write_text('title = "Two stars"\n')
    with serve_site(tmp_path) as server:
        told = run_hven("lint", server.url, "--severity", "info", "--json").stdout
    assert json.loads(told)["findings"] == []
    assert {one["group"] for one in json.loads(told)["unjudged"]} == {"epn", "obscore", "radio", "footprint"}
