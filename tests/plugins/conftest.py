"""Tests of packages that this process leaves out (`HVEN_PLUGINS`) are not collected."""

from __future__ import annotations

from pathlib import Path

from hven.model import plugins

USED_NAMES = {package.name for package in plugins.list_plugin_packages()}
collect_ignore = [
    path.name for path in Path(__file__).parent.iterdir() if path.is_dir() and path.name not in USED_NAMES
]
