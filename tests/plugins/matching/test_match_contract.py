"""The contract of sources, and a site that leaves the package out."""

from dataclasses import replace

import pyarrow as pa
import pytest

from hven.model import plugins
from hven.model.table import build_columns_from_arrow
from hven.plugins.matching.identity_rules import RULES
from hven.testing.source import SourceContract
from process_runner import run_hven

TABLES = {
    "sky.near": pa.table({"id": [1, 2, 3], "ra": [10.0, 20.0, 30.0], "dec": [0.0, 0.0, None]}),
    "sky.named": pa.table(
        {"id": [1, 2, 3], "name": ["A", "b", "?"], "ra": [10.0, 20.0, 30.0], "dec": [0.0, 0.0, None]}
    ),
    "sky.far": pa.table({"source": ["a", "b"], "lon": [10.0001, 20.1], "lat": [0.0, 0.0]}),
}
CATALOGUES = {"gaia": {"table": "sky.far", "id": "source", "ra": "lon", "dec": "lat", "radius": 1.0}}
OPTIONS = {
    "reference": {"table": "sky.near", "id": "id", "ra": "ra", "dec": "dec"},
    "catalogues": CATALOGUES,
    "rows": "candidates",
}


class TableRows:
    """The rows of a table, as a query returns them."""

    def __init__(self, rows):
        self.rows = rows
        self.columns = build_columns_from_arrow(rows.schema)

    def __iter__(self):
        return iter(self.rows.to_batches())


def run_query(text, uploads=None):
    """Answer the queries of a match: some or all columns of a table."""
    assert uploads is None
    words, _, name = text.partition(" FROM ")
    rows = TABLES[name]
    if words == "SELECT TOP 0 *":
        return TableRows(rows.slice(0, 0))
    return TableRows(rows.select(words.removeprefix("SELECT ").split(", ")))


class TestMatch(SourceContract):
    kind = "match"
    has_files = False
    rows = [
        {
            "id": 1,
            "ra": 10.0,
            "dec": 0.0,
            "catalogue": "gaia",
            "candidate_id": "a",
            "separation": pytest.approx(0.36),
            "score": pytest.approx(0.36),
            "dmag": None,
            "candidate_rank": 1,
            "is_partner": True,
            "reason": "partner",
        }
    ]

    def write_source_files(self, directory):
        return OPTIONS

    def build_source_context(self, directory):
        return replace(super().build_source_context(directory), run_query=run_query)


class TestIdentify(SourceContract):
    kind = "identify"
    has_files = False
    rows = [
        {
            "id": number,
            "ident_catalogue": catalogue,
            "ident_id": oid,
            "ident_main": oid,
            "ident_sep": separation,
            "ident_sep_2nd": None,
            "ident_n": count,
            "ident_confidence": confidence,
            "ident_reason": RULES[rule].reason,
            "ident_by": "rule",
            "ident_epoch": epoch,
            "ident_conflict_id": conflict[0],
            "ident_conflict_main": conflict[0],
            "ident_conflict_sep": conflict[1],
        }
        for number, catalogue, oid, separation, count, confidence, rule, epoch, conflict in (
            (1, "far", "a", pytest.approx(0.36), 1, "high", 1, 2000.0, (None, None)),
            (2, None, None, None, 0, "conflict", 8, 2000.0, ("b", pytest.approx(360))),
            (3, None, None, None, 0, "none", 0, None, (None, None)),
        )
    ]

    def write_source_files(self, directory):
        return {
            "targets": {"table": "sky.named", "id": "id", "name": "name", "ra": "ra", "dec": "dec"},
            "among": {"far": {"table": "sky.far", "id": "source", "ra": "lon", "dec": "lat", "names": ["source"]}},
        }

    def build_source_context(self, directory):
        return replace(super().build_source_context(directory), run_query=run_query)


@pytest.fixture
def _all_packages():
    yield
    plugins.select_plugin_packages(None)


@pytest.mark.usefixtures("_all_packages")
def test_check_names_the_package(tmp_path):
    folder = tmp_path / "collections/sky"
    folder.mkdir(parents=True)
    source = "{kind: match, reference: {table: a.b}, catalogues: {c: {table: a.d, radius: 1}}}"
    (folder / "sky.yaml").write_text(f"collection: sky\ntitle: Sky\ntables:\n  main:\n    source: {source}\n")
    (tmp_path / "hven.toml").write_text('plugins = []\nname = "x"\n')
    done = run_hven("--site", str(tmp_path), "check", expected_code=1)
    assert "'match' belongs to the plug-in package matching" in done.stdout + done.stderr
