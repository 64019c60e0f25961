"""How long pages wait for what they can do without, made long: what they say must not depend on how busy this machine is."""

from __future__ import annotations

import pytest

from hven.jobs.health import Health
from hven.portal._explore import count_trees as trees
from hven.portal._explore import coverage, facets, names, places, plots, rows, search_regions, summary
from hven.portal._explore import global_search as everywhere
from hven.portal._explore import page_queries as asking
from hven.portal._views import editor, home
from hven.portal._views import global_search_pages as page

LONG = 100.0  # seconds
LIMITS = {
    "PATIENCE": (coverage, facets, home, names, places, plots, search_regions, rows, summary, trees),
    "SECONDS": (everywhere,),
    "SOON": (editor,),
    "QUICK": (page,),
}
CALLS = {
    "seconds": (rows.count, asking.Asking.run, asking.Asking.table, asking.Asking.sampled, asking.Asking.number),
    "patience": (Health.picture,),
}


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait long; a test of a limit sets its own."""
    for name, modules in LIMITS.items():
        for module in modules:
            monkeypatch.setattr(module, name, LONG)
    for name, calls in CALLS.items():
        for call in calls:
            assert call.__kwdefaults__ is not None
            monkeypatch.setitem(call.__kwdefaults__, name, LONG)
