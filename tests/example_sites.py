"""Copies of the examples with their generated data and data sources, and the validators of their services."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import cache
from importlib.metadata import version
from pathlib import Path

import pytest

from hven.ingest.api.runs import ingest_collection
from hven.model import settings
from hven.site import Site
from json_servers import serve
from plugin_needs import find_missing_plugins, list_package_directories, load_core_fixtures, report_missing_plugins
from postgres_cluster import run_server
from process_runner import lint_service
from requirements import require, require_program
from shared import ROOT
from stilts import run_stilts

EXAMPLES = ROOT / "examples"
CACHE = ROOT / ".cache" / "examples"
DATA_PACKAGES = ("astropy", "numpy", "pyarrow")  # what data are made with
TAPLINT_STAGES = "TME TMS TMC QGE CAP MDQ OBS EXA"
ALLOWED_WARNINGS = (
    # ADQL 2.1's, which stilts 3.4.7 does not know
    r"tapregext#features-adql-(string|common-table|sets|type|conditional|unit|offset)\"",
    # EPN-TAP 2.0 names this xtype of its column `coverage`; DALI 1.1, which stilts knows, does not
    r"Non-DALI xtype value \"moc\"",
)


def list_examples() -> dict[str, Path]:
    """List the directories of the examples, and of those of the plug-in packages in use, by their names."""
    places = [EXAMPLES, *(directory / "examples" for directory in list_package_directories())]
    directories = [path.parent for place in places for path in place.glob("*/hven.toml")]
    return {directory.name: directory for directory in sorted(directories, key=lambda directory: directory.name)}


@cache
def prepare_example(case: str) -> Path:
    """Copy an example and generate its data, once for all processes until the example changes.

    The copy is read-only. The test is skipped if the example needs a plug-in package that is absent.
    """
    directory = list_examples().get(case, EXAMPLES / case)
    report_missing_plugins(find_missing_plugins(directory))
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as place:
        fresh = Path(place) / case
        shutil.copytree(directory, fresh, ignore=shutil.ignore_patterns("var", "data"))
        whole = hashlib.sha256("".join(f"{name} {version(name)} " for name in DATA_PACKAGES).encode())
        for path in sorted(path for path in fresh.rglob("*") if path.is_file()):
            whole.update(f"{path.relative_to(fresh)}\0{path.stat().st_mode}\0".encode() + path.read_bytes())
        kept = CACHE / f"{case}-{whole.hexdigest()[:20]}" / case
        with (CACHE / f"{case}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # the second process finds the finished copy
            if not kept.exists():
                if (fresh / "make_data.py").exists():
                    subprocess.run([sys.executable, fresh / "make_data.py"], check=True, timeout=600)
                for old in CACHE.glob(f"{case}-*"):
                    shutil.rmtree(old)
                kept.parent.mkdir()
                fresh.rename(kept)
    return kept


@contextlib.contextmanager
def open_example(case: str, parent: Path) -> Iterator[Path]:
    """Copy an example with its data into a directory; its secrets are in the environment until the block ends."""
    directory = parent / case
    shutil.copytree(prepare_example(case), directory)
    with start_data_sources(directory) as secrets:
        for dump in directory.glob("*.sql"):
            for address in secrets.values():
                subprocess.run(
                    [require_program("psql"), "-q", "-v", "ON_ERROR_STOP=1", "-f", dump, address],
                    check=True,
                    timeout=600,
                )
        yield directory


def ingest_all(directory: Path) -> None:
    """Publish all collections of a directory from one site, which reads each descriptor once."""
    with Site(settings.load_settings(directory)) as site:
        for path in sorted(directory.glob("collections/*/*.yaml")):
            ingest_collection(site, path.stem)


@contextlib.contextmanager
def start_data_sources(directory: Path) -> Iterator[dict[str, str]]:
    """Start the data sources that descriptors name, until the block ends.

    A secret stands for an empty PostgreSQL server; if the example has a file of SQLite, for this file by ODBC. A file
    in ``served/`` stands for a service. Secrets are in the environment, and addresses of services are written into the
    descriptors.
    """
    names = {
        name
        for path in directory.glob("collections/*/*.yaml")
        for name in re.findall(r"url: \"?\$(\w+)", path.read_text(encoding="utf-8"))
    }
    with contextlib.ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        for path in sorted(directory.glob("served/*.json")):
            stack.enter_context(serve_documents(directory, path))
        for database in directory.glob("*.sqlite"):
            for name in names:
                require("odbc")
                patch.setenv(name, f"DRIVER={{SQLite3}};Database={database}")
            names.clear()
        secrets = dict.fromkeys(names, f"postgresql://{stack.enter_context(run_server())}") if names else {}
        for name, value in secrets.items():
            patch.setenv(name, value)
        yield secrets


@contextlib.contextmanager
def serve_documents(directory: Path, path: Path) -> Iterator[None]:
    """Serve the documents of a file as the server that the collection of the same name reads."""
    held = json.loads(path.read_text(encoding="utf-8"))
    [(server_class, below)] = [found for key, found in load_core_fixtures("EXAMPLE_SERVERS").items() if key in held]
    world = server_class(**held)
    said = directory / f"collections/{path.stem}/{path.stem}.yaml"
    with serve(world, below) as address:
        text = re.sub(r'(url: )"http://127[^"]*"', rf'\1"{address}"', said.read_text(encoding="utf-8"))
        assert address in text
        said.write_text(text, encoding="utf-8")
        yield


def assert_valid_service(url: str, with_obscore: bool) -> None:
    """Check that STILTS taplint and Hven's lint find no fault in a service."""
    done = run_stilts(
        "taplint", f"tapurl={url}/tap", f"stages={TAPLINT_STAGES}", "report=EWISF", "maxrepeat=99", code=None
    )
    lines = done.stdout.splitlines()
    assert any(line.startswith("Totals:") for line in lines), done.stdout + done.stderr
    wrong = [
        one
        for one in lines
        if one[:2] in {"E-", "F-"} or (one[:2] == "W-" and not re.search("|".join(ALLOWED_WARNINGS), one))
    ]
    assert not wrong, "\n".join(wrong)
    assert any("OBS-NODM" in line for line in lines) is not with_obscore  # taplint has looked at ivoa.obscore
    found = lint_service(f"{url}/tap")
    assert found["findings"] == []
