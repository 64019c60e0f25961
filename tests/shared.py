"""Find the material that stands beside the checkout: corpora, real data, schemas, tables of standards."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from requirements import ROOT, SHARED, require

__all__ = ["EXAMPLES_FACTOR", "ROOT", "SHARED", "shared"]

# examples of each test of properties: scripts/proof tries ten times as many
EXAMPLES_FACTOR = 10 if os.environ.get("HVEN_PROOF") == "full" else 1


def shared(relative: str) -> Path:
    """Return a path below ``shared/``.

    Without that directory, skip the test, or fail in CI. If the directory exists and the path does not, fail.
    """
    require("shared")
    path = SHARED / relative
    if not path.exists():
        pytest.fail(f"shared/{relative} is missing, although ../shared stands beside this checkout")
    return path
