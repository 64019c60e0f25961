"""The static catalogue: every link leads to a file, and pystac reads it."""

from __future__ import annotations

from pathlib import Path

import pytest
from granule_rows import ROWS, SPECIAL, build_granule_table, build_granules

from hven.testing.site import open_tiny_site
from process_runner import run_hven


def test_export(tmp_path: Path) -> None:
    pystac = pytest.importorskip("pystac")
    mars, secret = build_granule_table("mars"), build_granule_table("secret").copy_with(access="private")
    tables = {"mars.epn_core": (mars, build_granules(mars)), "secret.epn_core": (secret, build_granules(secret))}
    open_tiny_site(tmp_path / "site", tables).close()
    (tmp_path / "site/hven.toml").write_text('name = "x"\n')
    goal = tmp_path / "catalogue"
    output = run_hven("--site", str(tmp_path / "site"), "stac", "export", str(goal))
    assert f"mars.epn_core: {ROWS + len(SPECIAL)} items" in output.stdout
    catalogue = pystac.Catalog.from_file(str(goal / "catalog.json"))
    items = list(catalogue.get_items(recursive=True))
    assert len(items) == ROWS + len(SPECIAL)
    assert "a b:c/d" in {item.id for item in items}
    assert not list(goal.glob("secret*"))
    run_hven("--site", str(tmp_path / "site"), "stac", "export", str(goal), expected_code=2)
