"""Job types and lists for the tests."""

from __future__ import annotations

from pathlib import Path

from hven.jobs._worker import run_next_job
from hven.jobs.job_service import JobRequester, JobService
from hven.model.params import collect_params
from hven.site import Site
from hven.site.auth import Principal
from hven.site.store import JobRecord

HERE = JobRequester(principal=Principal(), address="192.0.2.1")
TYCHO = JobRequester(principal=Principal(name="tycho"), address="192.0.2.1")
# fails for 13, and for 14 in the first attempt; adds a line to a log that all jobs share
SQUARE_PROGRAM = """
import os, pathlib, sys
x = float(sys.argv[1])
log = os.environ.get("RUN_LOG")
if log:
    with open(log, "a") as file:
        file.write(f"{x:g}\\n")
if x == 13 or (x == 14 and open(log).read().split().count("14") == 1):
    sys.exit(f"{x:g} brings bad luck")
given = pathlib.Path(sys.argv[2]).read_text() if len(sys.argv) > 2 else ""
rows = "".join(f"{number},{x * x:g},{len(given)}\\n" for number in range(int(x) % 3 + 1))
pathlib.Path("squares.csv").write_text("part,square,given\\n" + rows)
"""
SQUARE_TYPE = """\
title: Square
command: [./square.py, "{X}", "{GIVEN}"]
params:
  X: {type: float64, required: true, maximum: 1000}
  GIVEN: {file: true}
results: {squares: {file: squares.csv, type: text/csv}}
environment: {RUN_LOG: $RUN_LOG}
"""
PLAIN_LIST = """\
title: Squares
rows: {X: {type: float64, unit: deg, required: true, description: number}, NAME: }
steps: {square: {job: square}}
join: square.squares
limits: {rows: 50, running: 2}
"""


def write_list_type(site: Site | Path, name: str, text: str) -> Path:
    """Write a list type."""
    directory = site if isinstance(site, Path) else site.settings.directory
    path = directory / "jobs" / "lists" / f"{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def start_list(site: Site, name: str, text: str, who: JobRequester = HERE, **params: str) -> JobRecord:
    """Create and start a list job."""
    pairs = [("LIST", text), *params.items(), ("PHASE", "RUN")]
    return JobService(site, name).create_job(collect_params(pairs), who)


def run_to_end(site: Site, job: JobRecord) -> JobRecord:
    """Run all jobs that wait."""
    while run_next_job(site):
        pass
    return site.store.jobs.get_job(job.id)


def read_result(site: Site, job: JobRecord, name: str) -> str:
    """Read a result of a job."""
    return JobService(site, job.type).find_result_file(job, name)[0].read_text(encoding="utf-8")


def list_children(site: Site, job: JobRecord) -> list[JobRecord]:
    """List the children of a job in the order in which they were queued."""
    children = [site.store.jobs.get_job(job_id) for job_id in site.store.jobs.list_children(job.id)]
    return sorted(children, key=lambda child: child.queued or "")
