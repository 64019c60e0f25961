"""Attacks at full size: uploads with bytes changed, each read or refused in words. `scripts/proof attack` runs this file."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "query"))

import test_hostile

pytestmark = pytest.mark.skipif(os.environ.get("HVEN_PROOF") != "full", reason="scripts/proof attack")


@pytest.mark.parametrize("form", ["votable", "fits", "parquet", "arrow", "csv"])
def test_uploads(form: str, tmp_path: Path) -> None:
    test_hostile.changed_bytes(form, tmp_path, range(4000))
