"""A site that leaves the package out: it starts, looks up no names and says so, and `hven check` names the package."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from hven import query
from hven.model import plugins
from hven.model.errors import BindError
from hven.model.settings import load_settings
from hven.query import resolver
from hven.testing.site import open_tiny_site
from process_runner import run_hven


@pytest.fixture(autouse=True)
def _no_packages() -> Iterator[None]:
    """Leave out all packages during the test."""
    plugins.select_plugin_packages([])
    yield
    plugins.select_plugin_packages(None)


def test_no_name_is_looked_up_and_messages_name_the_package(tmp_path: Path) -> None:
    with open_tiny_site(tmp_path, {"s.t": pa.table({"x": [1]})}) as site:
        with pytest.raises(resolver.UnresolvedNameError, match="no service knows the name 'M 31'") as error:
            resolver.resolve_object_position("M 31", site=site)
        assert "give the position itself" in error.value.remedy
        assert "the site's operators can add 'resolvers' to `plugins`" in error.value.remedy
        assert resolver.complete_object_name("M 3", 5, site.settings) == []
        with (
            pytest.raises(BindError, match="this site does not resolve object names"),
            query.run_query("SELECT ivo_simbadpoint('M31') FROM s.t", site=site),
        ):
            pass


def test_commands_name_the_package(tmp_path: Path) -> None:
    run_hven("init", tmp_path / "site")
    path = tmp_path / "site/hven.toml"
    path.write_text("plugins = []\n" + path.read_text() + '\n[resolver]\ntable = "sky.objects"\n')
    assert load_settings(tmp_path / "site").brought.get("resolver") is None
    told = run_hven("check", "--site", tmp_path / "site").stdout
    assert (
        "resolver: the setting belongs to the plug-in package resolvers, but `plugins` does not list this package"
        in told
    )
    told = run_hven("resolve", "M 31", "--site", tmp_path / "site", expected_code=2).stderr
    assert "resolvers" in told
