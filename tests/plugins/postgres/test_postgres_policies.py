"""Policies at random, over rows at random, in the engine postgres: what readers see is what a plain reading of the policy in Python says."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from unittest import mock

import pytest
from test_policies_generated import (  # noqa: F401  (the same tests, with the site of this module)
    test_a_release_while_a_query_is_planned_is_in_no_plan_of_before,
    test_an_engine_that_is_away_makes_no_table_private,
    test_levels_of_files,
    test_readers_see_what_the_policy_says,
    write_rights_site,
)

from hven.ingest.api.runs import ingest_collection
from hven.model import settings as site_settings
from hven.site import Site
from long_timeouts import long_page_timeouts  # noqa: F401  (a fixture for each test)
from postgres_cluster import run_cluster

if TYPE_CHECKING:
    from collections.abc import Iterator

# from how many rows on the engine copies those that a reader sees
MIN_COPIED_ROWS = {"plain": 5_000, **({"copied": 0} if os.environ.get("HVEN_PROOF") == "full" else {})}


@pytest.fixture(scope="module", params=list(MIN_COPIED_ROWS))
def rights_site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    place = tmp_path_factory.mktemp("rights")
    write_rights_site(place, "engine: postgres")
    least = mock.patch("hven.plugins.postgres.engine.accessible_copies.MIN_COPIED_ROWS", MIN_COPIED_ROWS[request.param])
    with run_cluster() as found, least:
        (place / "hven.toml").write_text(f'name = "rights"\n[postgres]\nurl = "{found.url}"\n')
        with Site(site_settings.load_settings(place)) as made:
            ingest_collection(made, "night")
            yield made
