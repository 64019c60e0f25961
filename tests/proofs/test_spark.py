"""What ADQL means on Spark: the suites of ADQL, run by the far road."""

from __future__ import annotations

import os

import pytest

from far_suites import suites
from spark import cluster

pytestmark = [
    pytest.mark.skipif(os.environ.get("HVEN_PROOF") != "full", reason="scripts/proof runs it"),
    pytest.mark.outside,
]
globals().update(suites(cluster, notyet={}, most=24))
