"""Modules of the tests of the protocols, and of searches."""

import sys
from pathlib import Path

from long_timeouts import long_page_timeouts

TESTS = Path(__file__).parents[2]
sys.path[:0] = [str(Path(__file__).parent), *(str(TESTS / name) for name in ("protocols", "explore"))]

__all__ = ["long_page_timeouts"]
