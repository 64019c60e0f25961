"""The client of these tests is that of the protocols, and they share a site."""

import sys
from pathlib import Path

from long_timeouts import long_page_timeouts

sys.path.insert(0, str(Path(__file__).parents[2] / "protocols"))
sys.path.insert(0, str(Path(__file__).parent))

__all__ = ["long_page_timeouts"]
