"""What errors of Spark mean, and the texts of plans: without a cluster."""

from __future__ import annotations

import pytest

from hven.adql import bind, parse
from hven.adql.scope import Tables
from hven.engines.hats import faults
from hven.engines.hats.cluster import Cluster
from hven.engines.hats.far import Elsewhere, FarPlan
from hven.model.errors import Cancelled, EvaluationError, ServiceError, StorageError, Timeout, TooLarge
from hven.testing.engine import STARS


@pytest.mark.parametrize(
    ("text", "kind", "said"),
    [
        ("[ARITHMETIC_OVERFLOW] long overflow. If necessary set spark.sql.ansi.enabled. SQLSTATE: 22003", EvaluationError, "range of BIGINT"),
        ("[BINARY_ARITHMETIC_OVERFLOW] 9223372036854775807L + 1L caused overflow. SQLSTATE: 22003", EvaluationError, "range of BIGINT"),
        ('[CAST_INVALID_INPUT] The value \'x\' of the type "STRING" cannot be cast to "INT" because it is malformed. SQLSTATE: 22018', EvaluationError, "the text 'x' cannot be read as INTEGER"),
        ('[CAST_OVERFLOW] The value 1.0E30D of the type "DOUBLE" cannot be cast to "BIGINT" due to an overflow. SQLSTATE: 22003', EvaluationError, "1.0E30D is out of the range of BIGINT"),
        ("[SCALAR_SUBQUERY_TOO_MANY_ROWS] More than one row returned. SQLSTATE: 21000", EvaluationError, "several rows"),
        ("[USER_RAISED_EXCEPTION] a text of more than 5 bytes would be built SQLSTATE: P0001", EvaluationError, "would be built"),
        ("[PYTHON_EXCEPTION] An exception was thrown:\n Traceback:\nValueError: MOC: cells are too small\n SQLSTATE: 38000", EvaluationError, "cells are too small"),
        ("[PYTHON_EXCEPTION] Traceback:\nModuleNotFoundError: No module named 'hven'\n SQLSTATE: 38000", StorageError, "have no Hven"),
        ("[PYTHON_EXCEPTION] Traceback:\nRuntimeError: hven 9.9 is on the workers, and here is 0.1\n SQLSTATE: 38000", StorageError, "have Hven 9.9, and here is 0.1"),
        ("[PYTHON_VERSION_MISMATCH] Python in worker has different version: 3.9 than that in driver: 3.11", StorageError, "another Python"),
        ("[FAILED_READ_FILE.FILE_NOT_EXIST] Error while reading file file:///data/hats/x/Npix=1.parquet. File does not exist.", StorageError, "does not find a file of the table: /data/hats/x/Npix=1.parquet"),
        ("[PATH_NOT_FOUND] Path does not exist: file:/data/hats/x. SQLSTATE: 42K03", StorageError, "does not find a file"),
        ("Total size of serialized results of 9 tasks is bigger than spark.driver.maxResultSize (1024.0 KiB)", TooLarge, "driver"),
        ("java.lang.OutOfMemoryError: Java heap space", TooLarge, "memory"),
        ("java.io.IOException: No space left on device", StorageError, "disk"),
        ("[OPERATION_CANCELED] Operation has been canceled. SQLSTATE: HY008", Cancelled, "cancelled"),
        ("[UNSUPPORTED_SUBQUERY_EXPRESSION_CATEGORY.X] no SQLSTATE: 0A000", Elsewhere, "Spark does not know"),
        ("[SOMETHING_NEW] what is this", ServiceError, r"\[SOMETHING_NEW\] what is this"),
    ],
)  # fmt: skip
def test_errors_say_what_helps(text, kind, said):
    found = faults.translate(RuntimeError(text))
    assert type(found) is kind
    with pytest.raises(kind, match=said):
        raise found


def test_what_was_stopped_is_said_so():
    assert isinstance(faults.translate(RuntimeError("x"), stopped="timeout", seconds=3), Timeout)
    assert isinstance(faults.translate(RuntimeError("x"), stopped="cancel"), Cancelled)


def test_a_plan_needs_no_cluster():
    """It is written and explained without one; nobody is at that address."""
    cluster = Cluster("sc://127.0.0.1:9")
    text = "SELECT IVO_HEALPIX_INDEX(3, ra, dec) AS c, COUNT(*) AS n FROM sky.stars WHERE name = 'a\\b''c' GROUP BY IVO_HEALPIX_INDEX(3, ra, dec)"
    plan = FarPlan(cluster, bind(parse(text), Tables([STARS])))
    told = plan.explain({"sky.stars": [f"/data/Npix={number}.parquet" for number in range(9)]})
    assert "sky.stars: 9 files (Npix=0.parquet, Npix=1.parquet, Npix=2.parquet, ..)" in told
    assert "`_healpix_29`" in plan.sql
    assert cluster.problem() is None
    cluster.close()
