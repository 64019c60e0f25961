"""A site that leaves the package out serves what was promoted to it, with the pinned descriptor."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from promotion_sites import create_sites, promote_collection, read_version

from hven.model import plugins


@pytest.fixture(autouse=True)
def _all_packages() -> Iterator[None]:
    """Use all packages again after the test."""
    yield
    plugins.select_plugin_packages(None)


def test_promoted_collections_are_served(tmp_path: Path) -> None:
    pair = create_sites(tmp_path)
    pair.publish_version(4)
    with pair.open_dev() as dev, pair.open_gold() as gold:
        promote_collection(dev, gold, "stars")
    (pair.gold / "hven.toml").write_text("plugins = []\n")
    with pair.open_gold() as gold:
        assert "promotion" not in {package.name for package in plugins.list_plugin_packages()}
        assert read_version(gold) == 4
        assert "promoted" in gold.get_published_state().resources["stars"].path.parts
