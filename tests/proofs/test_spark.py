"""What ADQL means on Spark: the suites of ADQL, run by the far road."""

from __future__ import annotations

import pytest

from cluster_suites import suites
from spark_cluster import cluster

pytestmark = [
    pytest.mark.needs("proof"),
    pytest.mark.outside,
]
globals().update(suites(cluster, most=24))
