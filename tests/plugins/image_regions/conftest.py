"""Make the modules of this folder importable, and those of the protocols and the proofs."""

from __future__ import annotations

import sys
from pathlib import Path

TESTS = Path(__file__).parents[2]
sys.path[:0] = [str(Path(__file__).parent), str(TESTS / "protocols"), str(TESTS / "proofs")]
