"""The client of these tests is that of the protocols, their servers those of the tests of servers, and their demo the
recorded one."""

import sys
from pathlib import Path

TESTS = Path(__file__).parents[2]
sys.path[:0] = [str(TESTS / name) for name in ("protocols", "server", "recorded", "plugins/mcp")]
