"""Steps of plug-in packages in each run over a collection: an ingest, a sync, or a change that a package publishes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hven.model import plugins

if TYPE_CHECKING:
    from collections.abc import Callable

    from hven.site import Site


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestStep:
    """What a plug-in package does in each run: ``STEP`` of its module.

    Attributes
    ----------
    before_run
        Called before anything is read, under the lease of the collection, with the site, the name of the collection and
        the id of the run; None: nothing is to be done.
    """

    before_run: Callable[[Site, str, str], None] | None = None


def execute_steps_before_run(site: Site, collection: str, run: str) -> None:
    """Execute the steps of all plug-in packages before a run."""
    for step in plugins.load_plugin_records("ingest_steps").values():
        if step.before_run is not None:
            step.before_run(site, collection, run)
