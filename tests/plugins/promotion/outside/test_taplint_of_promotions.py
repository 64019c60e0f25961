"""``hven promote --lint`` with the real taplint: a promoted collection has no errors, in Hven's eyes and in those of STILTS."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from promotion_sites import create_sites

from process_runner import reserve_port, run_hven, serve_site
from requirements import require_program

pytestmark = [pytest.mark.outside, pytest.mark.slow]


def test_taplint_finds_no_error_in_a_promoted_collection(tmp_path: Path) -> None:
    require_program("stilts")
    port = reserve_port()
    pair = create_sites(tmp_path, f'public_url = "http://127.0.0.1:{port}"\n')
    pair.publish_version(1)
    with serve_site(pair.gold, port=port):
        output = run_hven("promote", "stars", "--to", "gold", "--lint", "--json", "--site", pair.dev).stdout
    validation = json.loads(output)["lint"]
    codes = {finding["code"] for finding in validation["findings"]}
    assert validation["counts"]["error"] == 0
    assert not codes & {"taplint.absent", "taplint.incomplete"}
