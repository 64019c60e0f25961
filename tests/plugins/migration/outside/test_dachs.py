"""The same resource descriptors in DaCHS and in Hven: both import them, and their TAP services return the same rows."""

from __future__ import annotations

import csv
import io
import json
import math
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from migration_sites import INPUTS, convert, create_site

from dachs_server import DachsServer, create_dachs, serve_dachs
from example_sites import prepare_example
from hven.ingest.api.runs import ingest_collection
from hven.model.settings import Settings, create_site_directory, load_settings
from hven.query import run_query
from hven.site import Site
from hven.site.auth import ANONYMOUS_PRINCIPAL
from json_servers import serve
from plugin_needs import load_core_fixtures
from process_runner import run_hven
from requirements import require

pytestmark = pytest.mark.needs("dachs", "postgresql", "pgsphere")
SUN_QUERY = (
    "SELECT granule_uid, obs_id, target_name, time_min, time_max, spectral_range_min, spectral_range_max, c1min, c2max, "
    "access_url, access_estsize, thumbnail_url, instrument_name FROM {}.epn_core ORDER BY granule_uid"
)
EXAMPLE_NAMES = ("vespa_nrh", "vespa_bass2000", "vespa_hfc1ar", "vespa_hfc1t3")  # DaCHS needs `size` of ORFEES computed
QUERIES = {
    "brightest": (
        "SELECT star, raj2000, dej2000, vmag, remark FROM brightest.main ORDER BY star",
        "SELECT star FROM brightest.main WHERE 1 = CONTAINS(POINT(raj2000, dej2000), CIRCLE(101, -17, 2))",
        "SELECT COUNT(*) AS n, MIN(vmag) AS brightest FROM brightest.main WHERE remark IS NULL",
    ),
}


@pytest.fixture(scope="module")
def dachs() -> Iterator[DachsServer]:
    with create_dachs() as server:
        for name in QUERIES:
            server.import_descriptor(server.add_descriptor(INPUTS / name, name))
        with serve_dachs(server) as served:
            yield served


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The inputs of example 30 with their made-up servers: an index of Elasticsearch, and a database by ODBC."""
    require("odbc")
    if not list(Path("/usr/lib/python3/dist-packages").glob("pyodbc*")):
        pytest.skip("needs dachs: DaCHS reads ODBC with Debian's package python3-pyodbc")
    directory = tmp_path_factory.mktemp("example") / "30-from-dachs"
    shutil.copytree(prepare_example("30-from-dachs"), directory)
    index = json.loads((directory / "served/vespa_nrh.json").read_text("utf-8"))
    with serve(load_core_fixtures("EXAMPLE_SERVERS")["documents"][0](**index)) as url:
        query = directory / "inputs/vespa_nrh/query.json"
        query.write_text(query.read_text("utf-8").replace("https://elastic.example.org:9200", url))
        for path in directory.glob("inputs/*/driver.txt"):
            path.write_text(f"DRIVER={{SQLite3}};Database={directory}/vespa.sqlite")
        yield directory


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return create_site(tmp_path)


def read_cells(text: str) -> list[dict[str, str]]:
    return [{name.lower(): value for name, value in row.items()} for row in csv.DictReader(io.StringIO(text))]


def read_hven_cells(site: Site, query: str) -> list[dict[str, str]]:
    result = run_query(query, site=site, principal=ANONYMOUS_PRINCIPAL)
    try:
        rows = [row for batch in result.iterate_batches() for row in batch.to_pylist()]
    finally:
        result.close()
    return [{name.lower(): "" if value is None else str(value) for name, value in row.items()} for row in rows]


def find_differences(left: list[dict[str, str]], right: list[dict[str, str]]) -> list[str]:
    """List the cells that differ: as texts, or as numbers by more than their last digits."""
    if [sorted(row) for row in left] != [sorted(row) for row in right]:
        return [f"{len(left)} and {len(right)} rows, or other columns"]
    differences: list[str] = []
    for number, (one, other) in enumerate(zip(left, right, strict=True)):
        for name, value in one.items():
            if value != other[name] and not _are_equal_numbers(value, other[name]):
                differences.append(f"row {number}, {name}: {value!r}, {other[name]!r}")
    return differences


def _are_equal_numbers(one: str, other: str) -> bool:
    try:
        return math.isclose(float(one), float(other), rel_tol=1e-7)
    except ValueError:
        return False


def test_differences_are_found() -> None:
    assert find_differences([{"a": "1.0", "b": "x"}], [{"a": "1.00000001", "b": "x"}]) == []
    assert find_differences([{"a": "1.0", "b": "x"}], [{"a": "1.001", "b": "y"}]) == [
        "row 0, a: '1.0', '1.001'",
        "row 0, b: 'x', 'y'",
    ]
    assert find_differences([{"a": "1"}], []) == ["1 and 0 rows, or other columns"]


@pytest.mark.parametrize("name", QUERIES)
def test_both_return_the_same_rows(dachs: DachsServer, settings: Settings, name: str) -> None:
    site_files = convert(settings, name, settings.directory / "inputs" / name / "q.rd")
    assert site_files.list_errors(name) == []
    with Site(settings) as site:
        ingest_collection(site, name)
        for query in QUERIES[name]:
            expected = read_cells(dachs.query_csv(query))
            assert expected
            assert find_differences(expected, read_hven_cells(site, query)) == [], query


@pytest.mark.parametrize("name", EXAMPLE_NAMES)
def test_both_read_elasticsearch_and_databases_alike(
    dachs: DachsServer, example: Path, tmp_path: Path, name: str
) -> None:
    """The descriptors are those of the conversion alone; DaCHS runs their code, and Hven does not."""
    dachs.import_descriptor(dachs.add_descriptor(example / "inputs" / name, name), publish=False)
    expected = read_cells(dachs.query_csv(SUN_QUERY.format(name)))
    assert len(expected) >= 29
    create_site_directory(tmp_path / "site")
    (tmp_path / "site/hven.toml").write_text("allow_private = true\n")
    shutil.copytree(example / "inputs", tmp_path / "site/inputs")
    run_hven("new", name, "--from", tmp_path / f"site/inputs/{name}/q.rd", "--site", tmp_path / "site")
    with Site(load_settings(tmp_path / "site")) as site:
        ingest_collection(site, name)
        assert find_differences(expected, read_hven_cells(site, SUN_QUERY.format(name))) == []
