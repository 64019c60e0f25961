"""The client of these tests is that of the protocols."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "protocols"))
