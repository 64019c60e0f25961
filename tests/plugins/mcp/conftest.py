"""The client of these tests is that of the protocols, and their servers are those of the tests of servers."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[2] / name) for name in ("protocols", "server")]
