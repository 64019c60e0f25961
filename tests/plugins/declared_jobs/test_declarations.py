"""Declarations of job types: every fault with file, line and column; and what is right is what it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hven.jobs import type_catalogue
from hven.jobs.type_catalogue import find_declaration_faults
from hven.model import plugins
from hven.model.errors import DescriptorError, NotFoundError, ParamError
from hven.model.params import collect_params
from hven.model.settings import Settings
from hven.plugins.declared_jobs.program_runner import ProgramRunner
from hven.plugins.declared_jobs.remote_jobs import RemoteJobRunner
from job_programs import write_job_type as write
from process_runner import run_hven
from shared import ROOT


def settings(directory: Path) -> Settings:
    return Settings(directory=directory)


GOOD = """
title: Smooth an image
description: Convolves it with a beam.
access: private
command: [./smooth.py, --width, "{WIDTH}", [--mode, "{MODE}"], "{IMAGE}", out.fits]
params:
  WIDTH: {type: float64, unit: arcsec, minimum: 0.1, maximum: 60, default: 2, description: of the beam}
  MODE: {allowed: [fast, fine]}
  NAME: {pattern: "[a-z]+", many: true}
  COUNT: {type: int32}
  IMAGE: {file: true, required: true}
results:
  smoothed: {file: out.fits, type: application/fits}
environment: {OMP_NUM_THREADS: "1"}
limits: {seconds: 600, cpu: 500, memory: 2 GiB, disk: 1 GiB, running: 2, waiting: 20}
"""


def test_what_is_declared_is_what_is_offered(tmp_path: Path) -> None:
    write(tmp_path, "smooth", GOOD, smooth_py="")
    write(
        tmp_path,
        "there",
        "title: There\nremote: https://tap.example/async/\nsend: {LANG: ADQL}\nlimits: {disk: 2 GiB}\n",
    )
    found = type_catalogue.load_all_job_types(settings(tmp_path))
    assert {"tap", "smooth", "there"} <= set(found)
    smooth, there = found["smooth"], found["there"]
    assert (smooth.title, smooth.access, smooth.files) == ("Smooth an image", "private", ("IMAGE",))
    assert (smooth.quota.running_limit, smooth.quota.waiting_limit, smooth.quota.duration_limit_seconds) == (2, 20, 600)
    assert isinstance(smooth.run, ProgramRunner)
    assert (smooth.run.memory_limit_bytes, smooth.run.cpu_limit_seconds, smooth.run.disk_limit_bytes) == (
        2 << 30,
        500,
        1 << 30,
    )
    assert smooth.run.argv[0] == str(tmp_path / "jobs" / "smooth.py")
    assert isinstance(there.run, RemoteJobRunner)
    assert (
        there.run.url,
        there.run.fixed_parameters,
        there.run.result_limit_bytes,
        there.run.forwarded_parameters,
    ) == (
        "https://tap.example/async",
        {"LANG": "ADQL"},
        2 << 30,
        None,
    )
    package_types = {name for package in plugins.list_plugin_packages() for name in package.jobs}
    limits = type_catalogue.map_running_job_limits(settings(tmp_path))
    own_limits = {name: limit for name, limit in limits.items() if name not in package_types}
    assert own_limits == {"smooth": 2, "prepare": 1}
    assert list(find_declaration_faults(settings(tmp_path))) == []


@pytest.mark.parametrize(
    ("pairs", "said"),
    [
        ([("WIDTH", "0.01")], "WIDTH=0.01 is out of range"),
        ([("WIDTH", "wide")], "WIDTH='wide' is not a number"),
        ([("COUNT", "1.5")], "COUNT='1.5' is not a whole number"),
        ([("MODE", "slow")], "MODE='slow' is not valid; use one of fast, fine"),
        ([("NAME", "ok"), ("NAME", "No")], "NAME='No' is not valid"),
        ([("WIDTH", "1"), ("WIDTH", "2")], "WIDTH is given 2 times"),
        ([], "the file IMAGE is missing"),
    ],
)
def test_values_are_looked_at_before_anything_runs(tmp_path: Path, pairs: list[tuple[str, str]], said: str) -> None:
    write(tmp_path, "smooth", GOOD, smooth_py="")
    check = type_catalogue.load_all_job_types(settings(tmp_path))["smooth"].check
    assert check is not None
    check(
        collect_params([("WIDTH", "3"), ("MODE", "fine"), ("NAME", "ab"), ("NAME", "cd"), ("COUNT", "-4")]), {"IMAGE"}
    )
    with pytest.raises(ParamError) as error:
        check(collect_params(pairs), {"IMAGE"} if pairs else set())
    assert said in str(error.value)


C = "title: T\ncommand: [./p.py]\n"
FAULTS = [
    ("", "jobs/bad.yaml:1:1: the file is empty"),
    ("command: [./p.py]\n", "jobs/bad.yaml:1:1: the descriptor lacks the key 'title'"),
    ("title: T\n", "jobs/bad.yaml:1:1: a job type must have exactly one of `command`, `function` and `remote`"),
    (
        C + "remote: https://a.example/x\n",
        "jobs/bad.yaml:1:1: a job type must have exactly one of `command`, `function` and `remote`",
    ),
    (C + "param: {}\n", "jobs/bad.yaml:3:1: 'param' is not a valid key of the descriptor; did you mean 'params'?"),
    ("title: T\ncommand: ./p.py\n", "jobs/bad.yaml:2:10: command must be a list of the program and its arguments"),
    ("title: T\ncommand: []\n", "jobs/bad.yaml:2:10: command must begin with the program"),
    ("title: T\ncommand: [./nothing.py]\n", "jobs/bad.yaml:2:11: command: ./nothing.py does not exist"),
    (
        "title: T\ncommand: [no-such-program-anywhere]\n",
        "jobs/bad.yaml:2:11: command: there is no program no-such-program-anywhere in /usr/local/bin",
    ),
    (
        "title: T\ncommand: ['{P}']\nparams: {P: }\n",
        "jobs/bad.yaml:2:11: command: the program itself cannot be a parameter",
    ),
    (
        "title: T\ncommand: [./p.py, '--x={WIDHT}']\nparams: {WIDTH: }\n",
        "jobs/bad.yaml:2:24: command: the job type has no parameter WIDHT; did you mean 'WIDTH'?",
    ),
    (
        "title: T\ncommand: [./p.py, {A: 1}]\n",
        "jobs/bad.yaml:2:19: command: an argument must be text, not a map; put the argument in quotes",
    ),
    (
        C + "params: {width: }\n",
        "jobs/bad.yaml:3:10: params.width: the name of a parameter must be in capitals, as in 'WIDTH'",
    ),
    (C + "params: {PHASE: }\n", "jobs/bad.yaml:3:10: params.PHASE: every job already has a parameter PHASE"),
    (C + "params: {A: {type: number}}\n", "jobs/bad.yaml:3:20: params.A.type must be "),
    (
        C + "params: {A: {minimum: 3}}\n",
        "jobs/bad.yaml:3:14: params.A.minimum is only for numbers, but the type is string",
    ),
    (
        C + "params: {A: {type: int32, default: x}}\n",
        "jobs/bad.yaml:3:27: params.A.default: A='x' is not a whole number",
    ),
    (C + "params: {A: {pattern: '['}}\n", "jobs/bad.yaml:3:14: params.A.pattern is not a regular expression"),
    (
        C + "params: {A: {file: true, default: x}}\n",
        "jobs/bad.yaml:3:26: params.A: a file parameter cannot have the key 'default'",
    ),
    (
        C + "results: {r: {file: /etc/passwd, type: text/plain}}\n",
        "jobs/bad.yaml:3:21: results.r.file must be inside the program's directory",
    ),
    (
        C + "results: {r: {file: ../x, type: text/plain}}\n",
        "jobs/bad.yaml:3:21: results.r.file must be inside the program's directory",
    ),
    (
        C + "results: {stdout: {file: x, type: text/plain}}\n",
        "jobs/bad.yaml:3:11: results.stdout is not a valid name for a result",
    ),
    (C + "results: {r: {file: x}}\n", "jobs/bad.yaml:3:14: results.r lacks the key 'type'"),
    (
        C + "limits: {memory: much}\n",
        "jobs/bad.yaml:3:18: limits.memory must be a number of bytes, not 'much'; write a size such as 2 GiB or 500M",
    ),
    (C + "limits: {running: 0}\n", "jobs/bad.yaml:3:19: limits.running must be a whole number of at least 1, not 0"),
    (C + "send: {A: 1}\n", "jobs/bad.yaml:3:1: 'send' cannot be combined with 'command'"),
    ("title: T\nremote: ftp://x/y\n", "jobs/bad.yaml:2:9: `remote` must be an address"),
    ("title: T\nremote: https://x/y\nresults: {}\n", "jobs/bad.yaml:3:1: 'results' cannot be combined with 'remote'"),
    ("title: [\n", "jobs/bad.yaml:"),
]


@pytest.mark.parametrize(("text", "said"), FAULTS, ids=range(len(FAULTS)))
def test_a_fault_is_told_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    write(tmp_path, "bad", text, p_py="")
    found = [str(fault) for fault in list(find_declaration_faults(settings(tmp_path)))]
    assert any(fault.startswith(said) for fault in found), found
    with pytest.raises(DescriptorError):
        type_catalogue.load_all_job_types(settings(tmp_path))
    with pytest.raises(DescriptorError):
        type_catalogue.find_job_type(settings(tmp_path), "bad")


def test_all_faults_at_once_of_all_files(tmp_path: Path) -> None:
    write(tmp_path, "one", C + "params: {a: , PHASE: }\nlimits: {running: 0}\n", p_py="")
    write(tmp_path, "two", "title: T\n")
    write(tmp_path, "tap", C)
    write(tmp_path, "Big", C)
    with pytest.raises(DescriptorError) as error:
        type_catalogue.load_all_job_types(settings(tmp_path))
    told = [str(fault) for fault in error.value.faults]
    assert len(told) == 6
    assert any("jobs/tap.yaml:1:1: there is already a job type 'tap'" in fault for fault in told)
    assert any("jobs/Big.yaml:1:1: the file name 'Big' is not a valid name for a job type" in fault for fault in told)


def test_a_program_that_may_not_be_run_is_a_fault_until_it_may(tmp_path: Path) -> None:
    write(tmp_path, "late", C, p_py="")
    program = tmp_path / "jobs" / "p.py"
    program.chmod(0o644)
    assert "is not executable; check jobs/./p.py; to make a file executable, run `chmod +x`" in str(
        next(find_declaration_faults(settings(tmp_path)))
    )
    program.chmod(0o755)
    assert list(find_declaration_faults(settings(tmp_path))) == []


@pytest.mark.parametrize("name", ["nothing", "../../etc/passwd", "command", "worker", ""])
def test_what_is_no_type(tmp_path: Path, name: str) -> None:
    with pytest.raises(NotFoundError, match="there is no job type"):
        type_catalogue.find_job_type(settings(tmp_path), name)


def test_the_verbs_tell_the_faults(tmp_path: Path) -> None:
    site = tmp_path / "site"
    run_hven("init", site)
    write(site, "bad", "title: T\ncommand: [./nothing.py]\n")
    assert (
        "jobs/bad.yaml:2:11: command: ./nothing.py does not exist"
        in run_hven("check", "--site", site, expected_code=1).stdout
    )
    assert (
        "jobs/bad.yaml:2:11: command: ./nothing.py does not exist"
        in run_hven("serve", "--site", site, expected_code=1).stderr
    )


def test_the_page_shows_a_declaration_without_faults(tmp_path: Path) -> None:
    page = (ROOT / "src/hven/plugins/declared_jobs/docs/job-types.md").read_text(encoding="utf-8")
    block, _ = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    write(tmp_path, "smooth", block, smooth_py="")
    assert list(find_declaration_faults(settings(tmp_path))) == []
