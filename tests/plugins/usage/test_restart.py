"""Several processes of a server count together, and what they counted is kept."""

from __future__ import annotations

from pathlib import Path

import pytest
from server_process import build_star_site, serve_site

from hven.model.settings import load_settings
from hven.plugins.usage.usage_records import COUNT_COLUMNS, UsageCountStore
from hven.site import Site

pytestmark = pytest.mark.slow


def test_usage_counts_survive_a_restart(tmp_path: Path) -> None:
    site = build_star_site(tmp_path / "site", 10)
    for asked in (1, 2):
        with serve_site(site, workers=2) as server:
            for number in range(asked):
                assert server.ask(f"SELECT COUNT(*) AS n FROM stars.main WHERE 1 = {asked}{number}") == [[0]]
    with Site(load_settings(site)) as opened:
        counted = opened.store.get_or_create(UsageCountStore).read_usage_sums()
        found = {one: values for one, values in counted.items() if one.collection == "stars"}
    whole = [values[COUNT_COLUMNS.index("requests")] for one, values in found.items() if not one.service]
    assert whole == [3]
    [sessions] = [values[COUNT_COLUMNS.index("unique_requests")] for one, values in found.items() if not one.service]
    assert sessions == 2, "of each server one, whichever of its processes answered"
