"""What this package adds: the service ``archive``, archives on pages and for other services, and limits."""

from __future__ import annotations

from hven.model.plugins import PluginPackage

PLUGIN = PluginPackage(
    name="archives",
    title="Send the files of many rows as one ZIP or TAR",
    protocols={"archive": "hven.plugins.archives.archive_service"},
    settings={"limits:archives": "hven.plugins.archives.settings:ARCHIVE_LIMITS"},
    translations="hven.plugins.archives:texts",
    file_archivers={
        "zip": "hven.plugins.archives.archiver:ARCHIVER",
        "tar": "hven.plugins.archives.archiver:ARCHIVER",
    },
)
