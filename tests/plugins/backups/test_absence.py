"""A site that leaves the package out: it is served, its verbs are gone, and a backup is complete when the package is back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hven.model import plugins
from process_runner import run_hven
from star_descriptors import write_stars_descriptor


@pytest.fixture(autouse=True)
def _all_packages() -> Iterator[None]:
    """Use all packages again after the test."""
    yield
    plugins.select_plugin_packages(None)


def test_the_verbs_name_the_package_and_come_back_with_it(tmp_path: Path) -> None:
    site = tmp_path / "site"
    run_hven("init", site)
    settings = (site / "hven.toml").read_text()
    (tmp_path / "stars.csv").write_text("name,ra (deg),dec (deg),Vmag (mag)\nVega,279.235,38.784,0.03\n")
    write_stars_descriptor(site, tmp_path / "stars.csv")
    run_hven("ingest", "stars", "--site", site)
    (site / "hven.toml").write_text(f"plugins = []\n{settings}")
    words = ("backup", tmp_path / "site.tar", "--site", site)
    refusal = run_hven(*words, expected_code=1, in_subprocess=True).stderr
    assert (
        "'backup' belongs to the plug-in package backups, but `plugins` in hven.toml does not list this package"
        in refusal
    )
    assert "stars.main" in run_hven("status", "--site", site).stdout
    (site / "hven.toml").write_text(settings)
    plugins.select_plugin_packages(None)
    run_hven(*words)
    run_hven("restore", tmp_path / "site.tar", tmp_path / "again")
    assert "stars.main" in run_hven("status", "--site", tmp_path / "again").stdout
