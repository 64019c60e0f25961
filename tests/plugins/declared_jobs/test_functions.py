"""Job types from Python functions: parameters from annotations, results from what is returned."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator

import pyarrow as pa
import pytest
from pyarrow import parquet

from hven.jobs import type_catalogue
from hven.jobs._worker import run_next_job
from hven.jobs.job_service import JobRequester, JobService
from hven.jobs.type_catalogue import find_declaration_faults
from hven.model.errors import ParamError
from hven.model.params import RequestParams, UploadedFile, collect_params
from hven.plugins.declared_jobs.function_signatures import SignatureError, read_function_signature
from hven.site import Site
from hven.site.auth import Principal
from hven.site.store import JobRecord
from hven.testing.site import open_tiny_site
from job_programs import write_job_type

HERE = JobRequester(principal=Principal(), address="192.0.2.1")
SCRIPT = '''
from pathlib import Path
from typing import Literal


def count(ra: float, *, width: float = 0.5, mode: Literal["fast", "fine"] = "fast", ids: list[int] | None = None,
          table: Path | None = None, strict: bool = False):
    """Count the stars.

    All of them.
    """
    print("progress: 50 %")
    text = table.read_text() if table else ""
    return {"ra": ra, "width": width, "mode": mode, "ids": ids, "text": text, "strict": strict}


def tabulate(rows: int):
    import pyarrow
    return pyarrow.table({"n": range(rows)})


def fail(why: str):
    raise ValueError(why)
'''


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with open_tiny_site(tmp_path_factory.mktemp("site"), {"s.t": pa.table({"x": [1]})}) as made:
        yield made


def write_function_type(site: Site, name: str, rest: str = "") -> None:
    write_job_type(site.settings.directory, name, f"title: {name}\nfunction: work.py:{name}\n{rest}", work_py=SCRIPT)


def run(
    site: Site, kind: str, *pairs: tuple[str, str], files: dict[str, bytes] | None = None
) -> tuple[JobRecord, dict[str, bytes]]:
    service = JobService(site, kind)
    parts = {
        name: UploadedFile(name=name, file=io.BytesIO(body), size=len(body)) for name, body in (files or {}).items()
    }
    params = RequestParams(collect_params([*pairs, ("PHASE", "RUN")]).values, parts)
    job = service.create_job(params, HERE)
    assert run_next_job(site)
    job = site.store.jobs.get_job(job.id)
    return job, {item["id"]: service.find_result_file(job, item["id"])[0].read_bytes() for item in job.results}


def test_parameters_are_the_annotations(site: Site) -> None:
    write_function_type(
        site, "count", "params: {RA: {unit: deg, minimum: 0, maximum: 360, description: right ascension}}\n"
    )
    job_type = type_catalogue.find_job_type(site.settings, "count")
    assert job_type.description == "Count the stars."
    params = {param.name: param for param in job_type.params}
    assert list(params) == ["RA", "WIDTH", "MODE", "IDS", "TABLE", "STRICT"]
    assert (params["RA"].required, params["RA"].unit, params["RA"].maximum) == (True, "deg", 360)
    assert (params["WIDTH"].default, params["MODE"].allowed, params["IDS"].many) == ("0.5", ("fast", "fine"), True)
    assert job_type.files == ("TABLE",)
    job, results = run(
        site, "count", ("RA", "-0"), ("IDS", "1"), ("IDS", "-2"), ("STRICT", "true"), files={"TABLE": b"abc"}
    )
    assert job.phase == "COMPLETED", job.error
    assert json.loads(results["json"]) == {
        "ra": 0, "width": 0.5, "mode": "fast", "ids": [1, -2], "text": "abc", "strict": True,
    }  # fmt: skip
    assert job.progress["share"] == 0.5
    with pytest.raises(ParamError, match="RA"):
        run(site, "count", ("RA", "400"))
    with pytest.raises(ParamError, match="MODE"):
        run(site, "count", ("RA", "4"), ("MODE", "slow"))


def test_a_table_is_a_result_and_versions_are_recorded(site: Site) -> None:
    write_function_type(site, "tabulate")
    job, results = run(site, "tabulate", ("ROWS", "3"))
    assert job.phase == "COMPLETED", job.error
    assert parquet.read_table(io.BytesIO(results["table"])).to_pydict() == {"n": [0, 1, 2]}
    assert json.loads(results["versions"])["packages"]["pyarrow"] == pa.__version__


def test_an_exception_is_told(site: Site) -> None:
    write_function_type(site, "fail")
    job, _ = run(site, "fail", ("WHY", "no stars"))
    assert job.phase == "ERROR"
    assert job.error is not None
    assert "ValueError: no stars" in job.error["message"]


@pytest.mark.parametrize(
    ("rest", "fault"),
    [
        ("command: [echo]\n", "must have exactly one of `command`, `function` and `remote`"),
        ("params: {DEC: {unit: deg}}\n", "params.DEC: the function has no parameter dec"),
        ("params: {RA: {type: string}}\n", "params.RA: the function's annotation already sets 'type'"),
    ],
)
def test_faults_are_told(site: Site, rest: str, fault: str) -> None:
    write_function_type(site, "count", rest)
    assert any(fault in str(found) for found in find_declaration_faults(site.settings))
    write_function_type(site, "count")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def f(x): pass", "line 1: the parameter x has no annotation"),
        ("def f(x: dict): pass", "line 1: the parameter x must have one of these annotations: float, int"),
        ("def f(*x: int): pass", "must not have"),
        ("def g(): pass", "the file has no function f"),
        ("def f(x: int = g()): pass", "has a default that is not a literal"),
        ("def f(", "line 1 is not valid Python"),
    ],
)
def test_signatures_that_cannot_be(text: str, message: str) -> None:
    with pytest.raises(SignatureError, match=message):
        read_function_signature(text, "f")
