"""Validators of STAC: stac-api-validator asks the service, and stac-valid reads what is exported.

They validate by the schemas of STAC and GeoJSON in the wheel of pystac. Where HVEN_STAC_SCHEMAS names a directory of
extensions (ssys/v1.1.1/schema.json ...), these are validated as well.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

import pytest
from granule_rows import ROWS, build_granule_table, build_granules, build_observation_table, build_observations

from hven.testing.site import open_tiny_site
from process_runner import Server, run_hven, serve_site
from requirements import ROOT, require

pytestmark = pytest.mark.outside
CLASSES = (
    "core", "browseable", "children", "collections", "features", "item-search", "filter", "item-search#sort",
    "item-search#fields", "features#sort", "features#fields",
)  # fmt: skip
AREA = {"type": "Polygon", "coordinates": [[[-120, -60], [120, -60], [120, 60], [-120, 60], [-120, -60]]]}
# faults of the validator
WRONG_ERRORS = (
    r"POST \{'fields': \{'exclude': \['geometry'\], 'include': (\[\]|None)\}\} response contained 'properties\.",  # it should
    r'"collections": "mars\.epn_core"\} had unexpected status code 400',  # of a body, these are lists
)


def run_judge(folder: str, module: str, words: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run a validator with the schemas of folders."""
    pystac = find_spec("pystac")
    assert pystac is not None
    assert pystac.origin is not None
    schemas = [Path(pystac.origin).parent / "validation" / "jsonschemas"]
    named = os.environ.get("HVEN_STAC_SCHEMAS")
    if named:
        schemas.append(Path(named))
    script = Path(__file__).with_name("offline_judge.py")
    return subprocess.run(
        [sys.executable, script, ":".join(map(str, schemas)), module, *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
        env={**os.environ, "PYTHONPATH": str(ROOT / ".cache" / folder)},
    )


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serve a table of EPN-TAP whose items all have an instant: the validator sorts by it."""
    directory = tmp_path_factory.mktemp("validated") / "site"
    mars = build_granule_table("mars")
    rows = build_granules(mars).slice(0, ROWS)
    instants = rows.set_column(rows.schema.get_field_index("time_max"), "time_max", rows["time_min"])
    open_tiny_site(directory, {"mars.epn_core": (mars, instants)}).close()
    (directory / "hven.toml").write_text('name = "x"\n')
    with serve_site(directory) as served:
        yield served


def test_stac_api_validator(server: Server) -> None:
    require("stac-api-validator")
    words = ["--root-url", f"http://127.0.0.1:{server.port}/stac", "--collection", "mars.epn_core"]
    words += ["--geometry", json.dumps(AREA), "--fields-nested-property", "properties.epn:instrument_name"]
    words += [word for name in CLASSES for word in ("--conformance", name)]
    done = run_judge("stac-api-validator", "stac_api_validator", words)
    assert "Warnings:" in done.stdout, done.stdout + done.stderr
    errors = done.stdout.partition("Errors:")[2]
    found = [line for line in errors.splitlines() if line.startswith("- ")]
    wrong = [line for line in found if not any(re.search(pattern, line) for pattern in WRONG_ERRORS)]
    assert wrong == []


def test_stac_valid(tmp_path: Path) -> None:
    """Documents of a static catalogue, of a body and of the sky."""
    require("stac-valid")
    mars, sky = build_granule_table("mars"), build_observation_table("sky")
    tables = {"mars.epn_core": (mars, build_granules(mars)), "sky.observations": (sky, build_observations(sky))}
    open_tiny_site(tmp_path / "site", tables).close()
    (tmp_path / "site/hven.toml").write_text('name = "x"\n')
    run_hven("--site", tmp_path / "site", "stac", "export", tmp_path / "catalogue")
    paths = sorted((tmp_path / "catalogue").rglob("*.json"))
    kinds = {json.loads(path.read_text())["type"] for path in paths}
    assert kinds == {"Catalog", "Collection", "Feature"}
    assert len(paths) > ROWS
    items = [path for path in paths if json.loads(path.read_text())["type"] == "Feature"]
    others = [path for path in paths if path not in items]
    for path in [*others, items[0], items[1], items[-1]]:
        done = run_judge("stac-valid", "stac_validator.stac_validator", ["validate", str(path)])
        assert '"valid_stac": true' in done.stdout, done.stdout + done.stderr
