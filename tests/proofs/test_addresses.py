"""Every address at full size: in each of its parameters each value at an edge, then at random. Part of `scripts/proof attack`."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "protocols"))

from request_fuzzer import RequestFuzzer, build_site

from hven.site.auth import session

pytestmark = pytest.mark.needs("proof")


def test_every_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """HVEN_SEED says where the random ones begin."""
    monkeypatch.setattr(
        session, "MAX_DELAY_SECONDS", 0.0
    )  # wrong log-ins are answered late: eight seconds for each value
    site = build_site(tmp_path)
    asker = RequestFuzzer(site)
    try:
        begun = time.monotonic()
        first = int(os.environ.get("HVEN_SEED", "0"))
        wrong = asker.try_edge_values(asker.routes) + asker.run_rounds(range(first, first + 100))
        print(
            f"\n{asker.count:,} requests to {len(asker.routes)} routes in {time.monotonic() - begun:.0f} s; the slowest: {asker.slowest}"
        )
        assert wrong == []
    finally:
        asker.close()
        site.close()
