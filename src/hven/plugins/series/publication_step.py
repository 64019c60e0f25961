"""Build the reductions of long time series after a command has published a collection."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven.ingest.api.steps import PluginIngestStep
from hven.model import plugins
from hven.plugins.series.table_series import list_table_series

if TYPE_CHECKING:
    from hven.site import Site

# named and not imported: few collections have series, and the import takes time
PYRAMID_BUILDER = "hven.plugins.series.pyramids:build_missing_pyramids"


def build_pyramids_of_series(site: Site, collection: str) -> None:
    """Build the missing reductions of a collection, if one of its tables has series."""
    published_tables = site.get_published_state().tables_by_name.values()
    if any(list_table_series(item.table) for item in published_tables if item.table.schema == collection):
        plugins.load_named_object(PYRAMID_BUILDER, "the step after a publication")(site, collection)


STEP = PluginIngestStep(after_publication=build_pyramids_of_series)
