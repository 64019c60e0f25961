"""What ADQL means on Spark: the suites of ADQL, run by the far road."""

from __future__ import annotations

import pytest
from cluster_suites import build_suites
from spark_cluster import run_cluster

pytestmark = [
    pytest.mark.needs("proof"),
    pytest.mark.outside,
]
globals().update(build_suites(run_cluster, max_other_queries=24))
