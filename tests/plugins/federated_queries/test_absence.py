"""A site that leaves the package out answers queries on one engine, and refuses those on several with the package's name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from hven import query
from hven.model import plugins
from hven.model.errors import UserError
from hven.model.settings import create_site_directory, load_settings
from hven.site import Site
from hven.testing.site import build_table_from_arrow, publish_rows
from second_engine import OTHER_NAME, register_other_engine

JOIN = "SELECT s.star FROM sky.stars AS s JOIN obs.logs AS l ON s.star = l.star"


@pytest.fixture(autouse=True)
def _all_packages() -> Iterator[None]:
    """Use all packages again after the test."""
    yield
    plugins.select_plugin_packages(None)


def count_rows(site: Site, text: str) -> int:
    with query.run_query(text, site=site) as result:
        return int(result.read_table().num_rows)


def test_the_rest_is_answered_and_the_package_is_named(tmp_path: Path) -> None:
    directory = create_site_directory(tmp_path / "site", name="Uraniborg")
    settings = (directory / "hven.toml").read_text()
    rows = pa.table({"star": [1, 2, 3]})
    with register_other_engine():
        with Site(load_settings(directory, {})) as site:
            publish_rows(site, build_table_from_arrow("sky.stars", rows), rows)
            publish_rows(site, build_table_from_arrow("obs.logs", rows), rows, engine_name=OTHER_NAME)
        (directory / "hven.toml").write_text(f"plugins = []\n{settings}")
        with Site(load_settings(directory, {})) as site:
            assert count_rows(site, "SELECT star FROM sky.stars") == 3
            assert count_rows(site, "SELECT star FROM obs.logs") == 3
            for run in (count_rows, lambda site, text: query.explain_query(text, site=site)):
                with pytest.raises(UserError, match=r"several engines \(duckdb, other\)") as caught:
                    run(site, JOIN)
                assert "add 'federated_queries' to `plugins`" in str(caught.value.remedy)
        (directory / "hven.toml").write_text(settings)
        with Site(load_settings(directory, {})) as site:
            assert count_rows(site, JOIN) == 3
