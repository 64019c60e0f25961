"""What this package adds: services that cut, show and convert the files of rows."""

from __future__ import annotations

from hven.model.plugins import PluginPackage

PLUGIN = PluginPackage(
    name="cutouts",
    title="Cut parts out of the files of rows (SODA), explore cubes, and convert files to FITS",
    file_services={"soda": "hven.plugins.cutouts.result_links:build_result_link"},
)
