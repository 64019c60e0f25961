"""Felis itself judges, as a program: Hven reads the columns that it reads from the schemas of the Rubin Observatory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from schema_samples import FELIS

from hven.plugins.schema_life.model_documents import read_model_file
from requirements import ROOT, require

pytestmark = pytest.mark.outside

# validates each schema, and writes its columns, or the fault
PROGRAM = """
import json, logging, sys
logging.disable(logging.CRITICAL)
from felis.datamodel import Schema

columns = {}
for path in sys.argv[1:]:
    try:
        tables = Schema.from_uri(path, context={"id_generation": True}).tables
    except Exception as error:
        columns[path] = str(error)
        continue
    columns[path] = [
        [table.name, column.name, column.datatype.value, column.ivoa_unit or column.fits_tunit or "",
         column.ivoa_ucd or "", column.votable_utype or "", str(column.votable_arraysize or "1")]
        for table in tables for column in table.columns
    ]
print(json.dumps(columns))
"""
NAMES_BY_DATATYPE = {
    "boolean": "bool",
    "short": "int16",
    "int": "int32",
    "long": "int64",
    "float": "float32",
    "double": "float64",
    "char": "string",
    "string": "string",
    "text": "string",
    "timestamp": "timestamp",
}


def run_felis(*paths: Path) -> dict[str, Any]:
    """Return what Felis reads from schemas: their columns, or the fault."""
    require("felis")
    places = os.pathsep.join(str(ROOT / ".cache" / name) for name in ("felis", "sdm-schemas"))
    command = [sys.executable, "-c", PROGRAM, *map(str, paths)]
    environment = {**os.environ, "PYTHONPATH": places}
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300, env=environment)
    columns: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return columns


def name_felis_type(datatype: str, arraysize: str) -> str:
    name = NAMES_BY_DATATYPE[datatype]
    return name if name in {"string", "timestamp"} or arraysize == "1" else f"{name}[]"


def test_the_schemas_of_rubin_are_read_as_felis_reads_them() -> None:
    require("felis")
    paths = sorted((ROOT / ".cache/sdm-schemas/lsst").rglob("*.yaml"))
    column_count = schema_count = 0
    for path, expected in run_felis(*paths).items():
        if isinstance(expected, str):  # Felis refuses two old ones
            continue
        columns = [
            [column.table, column.name, column.type, column.unit, column.ucd, column.utype]
            for column in read_model_file(Path(path), None).columns
        ]
        expected_columns = [
            [table, name, name_felis_type(datatype, arraysize), *texts]
            for table, name, datatype, *texts, arraysize in expected
        ]
        assert sorted(columns) == sorted(expected_columns), path
        schema_count += 1
        column_count += len(columns)
    assert schema_count >= 25
    assert column_count > 15_000


def test_felis_accepts_the_samples_of_the_tests_and_refuses_what_hven_refuses(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_bytes(FELIS)
    bad.write_bytes(FELIS.replace(b"datatype: double", b"datatype: quaternion"))
    answers = run_felis(good, bad)
    assert [name for _, name, *_ in answers[str(good)]] == ["ra", "hip"]
    assert "quaternion" in answers[str(bad)]
