"""Make overviews of large rasters after a command or a scheduled sync has published a collection."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from hven.ingest.api.steps import PluginIngestStep
from hven.model import plugins
from hven.model.errors import UserError
from hven.plugins.maps.map_layers import LAYERS_KEY

if TYPE_CHECKING:
    from hven.site import Site


def build_overviews_of_layers(site: Site, collection: str, *, shows_progress: bool = True) -> None:
    """Build the missing overviews of a collection, if it has layers; the libraries for rasters are imported then."""
    resource = site.get_published_state().resources.get(collection)
    if resource is None or not resource.extensions.get(LAYERS_KEY):
        return
    try:
        module = plugins.import_hven_module("hven.plugins.maps.raster_overviews", "the key `layers`")
    except UserError:  # the extra is not installed, which `hven check` says
        return
    module.build_missing_overviews(site, collection, shows_progress=shows_progress)


STEP = PluginIngestStep(
    after_publication=build_overviews_of_layers,
    after_scheduled_sync=partial(build_overviews_of_layers, shows_progress=False),
)
