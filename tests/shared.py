"""Where the material that stands beside the checkout is found: corpora, real data, schemas, standards' facts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"
# examples of each test of properties: scripts/proof tries ten times as many
MORE = 10 if os.environ.get("HVEN_PROOF") == "full" else 1


def shared(relative: str) -> Path:
    """Give a path below ``shared/``; without it, fail in CI and skip elsewhere."""
    path = SHARED / relative
    if not path.exists():
        if os.environ.get("CI") == "true":
            pytest.fail(f"shared/{relative} must stand beside the checkout in CI")
        pytest.skip(f"shared/{relative} does not stand beside this checkout")
    return path
