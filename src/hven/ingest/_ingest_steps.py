"""Steps of plug-in packages in each run over a collection: an ingest, a sync, or a change that a package publishes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hven.model import plugins

if TYPE_CHECKING:
    from collections.abc import Callable

    from hven.site import Site


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginIngestStep:
    """What a plug-in package does in each run: ``STEP`` of its module.

    Attributes
    ----------
    before_run
        Called before anything is read, under the lease of the collection, with the site, the name of the collection and
        the id of the run; None: nothing is to be done.
    after_publication
        Called by the commands that publish a collection, `hven ingest` and `hven sync`, with the site and the name of
        the collection. It completes what a server would do later, such as files that are derived from the rows. None:
        nothing is to be done.
    after_scheduled_sync
        Called by a server after a scheduled sync, in the process of the sync, as `after_publication` is; None: nothing
        is to be done, or the server does it later.
    before_removal
        Called by `hven remove` before a collection is removed, with the site and the name of the collection; None:
        nothing is to be done.
    """

    before_run: Callable[[Site, str, str], None] | None = None
    after_publication: Callable[[Site, str], None] | None = None
    after_scheduled_sync: Callable[[Site, str], None] | None = None
    before_removal: Callable[[Site, str], object] | None = None


def execute_steps_before_run(site: Site, collection: str, run: str) -> None:
    """Execute the steps of all plug-in packages before a run."""
    for step in plugins.load_plugin_records("ingest_steps").values():
        if step.before_run is not None:
            step.before_run(site, collection, run)


def execute_steps_after_publication(site: Site, collection: str) -> None:
    """Execute the steps of all plug-in packages after a command has published a collection.

    Parameters
    ----------
    site
        Site that publishes the collection.
    collection
        Name of the collection.
    """
    for step in plugins.load_plugin_records("ingest_steps").values():
        if step.after_publication is not None:
            step.after_publication(site, collection)


def execute_steps_after_scheduled_sync(site: Site, collection: str) -> None:
    """Execute the steps of all plug-in packages after a server has synchronised a collection.

    Parameters
    ----------
    site
        Site that publishes the collection.
    collection
        Name of the collection.
    """
    for step in plugins.load_plugin_records("ingest_steps").values():
        if step.after_scheduled_sync is not None:
            step.after_scheduled_sync(site, collection)


def execute_steps_before_removal(site: Site, collection: str) -> None:
    """Execute the steps of all plug-in packages before a collection is removed.

    Parameters
    ----------
    site
        Site that still publishes the collection.
    collection
        Name of the collection.
    """
    for step in plugins.load_plugin_records("ingest_steps").values():
        if step.before_removal is not None:
            step.before_removal(site, collection)
