"""Modules beside these tests, and those of the subjects whose tests also run over PostgreSQL."""

import sys
from pathlib import Path

TESTS = Path(__file__).parents[2]
FOLDERS = ("protocols", "engines", "query", "explore", "holdings", "server")
sys.path[:0] = [str(Path(__file__).parent), *(str(TESTS / name) for name in FOLDERS)]
