"""The client of these tests is that of the protocols; proofs use helpers of the other proofs."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[2] / name) for name in ("protocols", "proofs")]
