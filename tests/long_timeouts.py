"""Long timeouts for optional parts of pages, so that answers do not depend on the load of the machine."""

from __future__ import annotations

import pytest

from hven.jobs.health import SiteHealthMonitor
from hven.portal._explore import count_trees as trees
from hven.portal._explore import (
    coverage,
    facets,
    global_search,
    map_places,
    place_names,
    plots,
    row_pages,
    search_regions,
    table_summary,
)
from hven.portal._explore import page_queries as asking
from hven.portal._views import editor, home
from hven.portal._views import global_search_pages as page

LONG_SECONDS = 100.0  # seconds
LIMITS = {
    "QUERY_TIMEOUT_SECONDS": (coverage, place_names, map_places, plots, search_regions, table_summary),
    "COUNT_TIMEOUT_SECONDS": (facets, row_pages),
    "TABLE_TIMEOUT_SECONDS": (trees,),
    "TREE_WAIT_SECONDS": (home,),
    "SEARCH_TIMEOUT_SECONDS": (global_search,),
    "ANSWER_WAIT_SECONDS": (editor,),
    "LOCAL_TIMEOUT_SECONDS": (page,),
}
CALLS = {
    "timeout_seconds": (
        row_pages.count_rows,
        asking.QueryRunner.run_query,
        asking.QueryRunner.fetch_table,
        asking.QueryRunner.fetch_sample,
        asking.QueryRunner.fetch_number,
    ),
    "wait_seconds": (SiteHealthMonitor.get_status,),
}


@pytest.fixture(autouse=True)
def long_page_timeouts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set long timeouts; a test of a timeout sets its own."""
    for name, modules in LIMITS.items():
        for module in modules:
            monkeypatch.setattr(module, name, LONG_SECONDS)
    for name, calls in CALLS.items():
        for call in calls:
            assert call.__kwdefaults__ is not None
            monkeypatch.setitem(call.__kwdefaults__, name, LONG_SECONDS)
