"""What tests of searches share."""

from __future__ import annotations

import sys
from pathlib import Path

from long_timeouts import patient

sys.path.insert(0, str(Path(__file__).parent))

__all__ = ["patient"]
