"""What this package adds: services that cut, show and convert the files of rows."""

from __future__ import annotations

from hven.model.plugins import PluginPackage

PLUGIN = PluginPackage(
    name="cutouts",
    title="Cut parts out of the files of rows (SODA), explore cubes, and convert files to FITS",
    protocols={
        "conversions": "hven.plugins.cutouts.conversion_service",
        "cubes": "hven.plugins.cutouts.cube_service",
        "soda": "hven.plugins.cutouts.soda_service",
    },
    jobs={"soda": "hven.plugins.cutouts.cutout_job"},
    pages="hven.plugins.cutouts.cube_page:PAGES",
    scripts="hven.plugins.cutouts:scripts",
    translations="hven.plugins.cutouts:texts",
    file_preparations={"spectra": "hven.plugins.cutouts.rotations:SPECTRA"},
    collection_folders=("cubes",),
    used_keys=("prepare.spectra", "registry.services.sia-cutouts"),
    file_services={"soda": "hven.plugins.cutouts.result_links:build_cutout_service_link"},
)
