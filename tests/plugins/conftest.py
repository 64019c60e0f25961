"""Tests of packages that this process leaves out (`HVEN_PLUGINS`) are not collected; the client is that of the protocols."""

from __future__ import annotations

import sys
from pathlib import Path

from hven.model import plugins

sys.path.insert(0, str(Path(__file__).parents[1] / "protocols"))

USED_NAMES = {package.name for package in plugins.list_plugin_packages()}
collect_ignore = [
    path.name for path in Path(__file__).parent.iterdir() if path.is_dir() and path.name not in USED_NAMES
]
