"""These tests use the client of the protocols, and helpers beside them."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[2] / "protocols"), str(Path(__file__).parent)]
