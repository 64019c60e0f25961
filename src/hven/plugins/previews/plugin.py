"""What this package adds: the service ``previews``, its store of pictures, and the preparation of pictures."""

from __future__ import annotations

from hven.model.plugins import FilePictureAddresses, PluginPackage

PLUGIN = PluginPackage(
    name="previews",
    title="Draw pictures of images, cubes, spectra, tables and films among the files of collections",
    protocols={"previews": "hven.plugins.previews.preview_service"},
    settings={"files:previews": "hven.plugins.previews.settings:PICTURE_CACHE_SETTINGS"},
    file_pictures=FilePictureAddresses(picture="preview/{path}", thumbnail="preview/{path}?size=200"),
    file_preparations={"previews": "hven.plugins.previews.picture_preparation:PREVIEWS"},
    file_services={"previews": "hven.plugins.previews.file_links:describe_no_service"},
    used_keys=("prepare.previews",),
)
