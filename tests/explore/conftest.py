"""Fixtures for tests of searches."""

from __future__ import annotations

import sys
from pathlib import Path

from long_timeouts import long_page_timeouts

sys.path.insert(0, str(Path(__file__).parent))

__all__ = ["long_page_timeouts"]
