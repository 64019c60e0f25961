"""Tests of what this package adds to `hven lint`, with the helpers of its tests; none is collected without it."""

import sys
from pathlib import Path

from hven.model import plugins

FOLDER = Path(__file__).parent
collect_ignore_glob = []
if "lint" in {package.name for package in plugins.list_plugin_packages()}:
    sys.path[:0] = [str(FOLDER.parent), str(FOLDER.parents[1] / "lint")]
else:
    collect_ignore_glob.append("test_*.py")
