"""What this package adds: the keys ``layers`` and ``frame_aliases``, the service ``body_maps``, and pages of bodies."""

from __future__ import annotations

from hven.model.plugins import PluginPackage

PLUGIN = PluginPackage(
    name="maps",
    title="Serve rasters of planets as maps in the frames of the bodies",
    pages="hven.plugins.maps.body_pages:PAGES",
    scripts="hven.plugins.maps:scripts",
    translations="hven.plugins.maps:texts",
    uses=("sky_maps",),
    protocols={"body_maps": "hven.plugins.maps.map_service"},
    ingest_steps={"maps": "hven.plugins.maps.overview_step"},
    request_observers=("hven.plugins.maps.library_import:LibraryImporter",),
    collection_folders=("map_overviews",),
    extensions={"hips.bodies": ("hven.plugins.maps.hips.body_layers",)},
    collection_keys={
        "layers": "hven.plugins.maps.layer_keys:LAYERS",
        "frame_aliases": "hven.plugins.maps.layer_keys:FRAME_ALIASES",
    },
)
