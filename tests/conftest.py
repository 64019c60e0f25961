"""Fixtures of all tests."""

from __future__ import annotations

import sys
from pathlib import Path

# the helpers beside the tests (shared.py, ...) are plain modules
sys.path.insert(0, str(Path(__file__).parent))
