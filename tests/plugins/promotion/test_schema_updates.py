"""The ten steps of a schema update that two databases needed by hand: each is a change of a descriptor, then a promotion.

Each test has the words of the requirement: "ten ALTER TABLE, ten UPDATE of TAP_SCHEMA on two data bases by hand, TAP
servers have been restarted, and s_region is a double to this day".
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from promotion_sites import SitePair, ask, create_sites, promote_collection, return_to_earlier_publication

from hven.ingest.api.runs import ingest_collection
from hven.model.errors import DescriptorError
from hven.plugins.promotion.promotion import PromotionOptions
from process_runner import Server, run_hven, serve_site, wait_until

# the columns of ObsCore that were stored as REAL and are to be DOUBLE, in the order of the ten steps
COLUMNS = (
    "s_fov",
    "s_region",
    "s_resolution",
    "t_min",
    "t_max",
    "t_exptime",
    "t_resolution",
    "em_min",
    "em_max",
    "em_res_power",
)
DESCRIPTOR = """\
collection: oidb
title: Optical interferometry
tables:
  observations:
    primary: obs_id
    columns:
      obs_id: {type: string}
      s_ra: {type: float64, unit: deg}
      s_dec: {type: float64, unit: deg}
COLUMNS
    source: {kind: csv, files: observations.csv}
"""
ROW_COUNT = 40
EXACT_TIME = 58_849.123_456_789  # a day that a REAL cannot hold


def write_observations(pair: SitePair, kinds: dict[str, str]) -> Path:
    """Write the descriptor with a type for each of the ten columns, and the rows; return the descriptor."""
    directory = pair.dev / "collections/oidb"
    directory.mkdir(parents=True, exist_ok=True)
    lines = [f"      {name}: {{type: {kinds[name]}}}" for name in COLUMNS]
    path = directory / "oidb.yaml"
    path.write_text(DESCRIPTOR.replace("COLUMNS", "\n".join(lines)))
    rows = [",".join(("obs_id", "s_ra", "s_dec", *COLUMNS))]
    for number in range(ROW_COUNT):
        values = [str(EXACT_TIME + number) for _ in COLUMNS]
        rows.append(",".join((f"o{number}", str(number * 9), str(number - 20), *values)))
    (directory / "observations.csv").write_text("\n".join(rows) + "\n")
    return path


@pytest.fixture
def sites(tmp_path: Path) -> SitePair:
    """The test site and the public site, both with the ten columns as REAL; `s_region` is a text."""
    pair = create_sites(tmp_path)
    publish(pair, dict.fromkeys(COLUMNS, "float32") | {"s_region": "string"})
    return pair


def publish(pair: SitePair, kinds: dict[str, str]) -> None:
    """Publish the ten columns on the test site, and promote them."""
    write_observations(pair, kinds)
    with pair.open_dev() as dev, pair.open_gold() as gold:
        ingest_collection(dev, "oidb")
        promote_collection(dev, gold, "oidb", PromotionOptions())


def read_schema(server: Server) -> dict[str, str]:
    """Return the types of the ten columns that TAP_SCHEMA of a running server has."""
    query = "SELECT column_name, datatype FROM TAP_SCHEMA.columns WHERE table_name = 'oidb.observations'"
    return {str(name): str(kind) for name, kind in server.rows(query) if name in COLUMNS}


def count_exact_rows(server: Server, column: str) -> int:
    """Count the rows whose value is the number of the file, to the last digit of a DOUBLE."""
    query = f"SELECT COUNT(*) FROM oidb.observations WHERE {column} = {EXACT_TIME!r}"
    return int(str(server.rows(query)[0][0]))


def test_ten_columns_become_double_without_a_restart(sites: SitePair) -> None:
    """Ten ALTER TABLE and ten UPDATE of TAP_SCHEMA are ten lines of a descriptor and one promotion; nothing restarts."""
    kinds = dict.fromkeys(COLUMNS, "float32") | {"s_region": "string"}
    with serve_site(sites.gold) as server:
        process = server.process.pid
        for column in COLUMNS:
            if column == "s_region":
                continue  # the step that is refused: test_a_region_that_is_a_double_is_refused_with_its_line
            assert read_schema(server)[column] == "float", "step: before it, the column is REAL"
            assert count_exact_rows(server, column) == 0
            kinds[column] = "float64"
            publish(sites, kinds)
            _wait_for(server, column)
            assert count_exact_rows(server, column) == 1, "ALTER TABLE: the rows have the type that TAP_SCHEMA says"
            others = {name: kind for name, kind in read_schema(server).items() if name not in {column, "s_region"}}
            assert others == {name: "double" if kinds[name] == "float64" else "float" for name in others}
        assert server.process.pid == process
        assert server.process.poll() is None, "TAP servers have not been restarted"
    with sites.open_gold() as gold:
        events = gold.store.list_publication_events("oidb")
        assert len([event for event in events if event.action == "publish"]) == len(COLUMNS)


def _wait_for(server: Server, column: str) -> None:
    """Wait until a running server shows a promotion; each answer meanwhile is of one version."""
    query = (
        f"SELECT c.datatype, (SELECT COUNT(*) FROM oidb.observations WHERE {column} = {EXACT_TIME!r}) "
        f"FROM TAP_SCHEMA.columns AS c WHERE c.table_name = 'oidb.observations' AND c.column_name = '{column}'"
    )

    def is_double() -> bool:
        ((kind, count),) = server.rows(query)
        if (kind, count) not in {("float", 0), ("double", 1)}:
            pytest.fail(f"rows and TAP_SCHEMA do not change together: {kind}, {count}")
        return bool(kind == "double")

    wait_until(is_double)


def test_a_region_that_is_a_double_is_refused_with_its_line(sites: SitePair) -> None:
    """And `s_region` is a double to this day: here it is refused, and the message has the line of the descriptor."""
    kinds = dict.fromkeys(COLUMNS, "float64")
    path = write_observations(sites, kinds)
    line = path.read_text().splitlines().index("      s_region: {type: float64}") + 1
    with sites.open_dev() as dev, sites.open_gold() as gold:
        ingest_collection(dev, "oidb")
        with pytest.raises(DescriptorError, match=rf"oidb\.yaml:{line}:7: oidb\.observations\.s_region"):
            promote_collection(dev, gold, "oidb", PromotionOptions())
        kinds_of_gold = ask(gold, "SELECT datatype FROM TAP_SCHEMA.columns WHERE column_name = 's_region'")
        assert all(row["datatype"] != "double" for row in kinds_of_gold), "the public site keeps what it had"


def test_all_steps_are_shown_beforehand_and_go_back_together(sites: SitePair) -> None:
    """On two data bases by hand: here one command shows all steps, does them at once, and takes all of them back."""
    kinds = dict.fromkeys(COLUMNS, "float64") | {"s_region": "string"}
    write_observations(sites, kinds)
    with sites.open_dev() as dev:
        ingest_collection(dev, "oidb")
    text = run_hven("promote", "oidb", "--to", "gold", "--dry-run", "--json", "--site", sites.dev).stdout
    columns = json.loads(text)["columns"]
    changed_names = {name for name in COLUMNS if any(f"observations.{name}:" in sentence for sentence in columns)}
    assert changed_names == {*COLUMNS} - {"s_region"}, "a sentence for each step"
    with sites.open_dev() as dev, sites.open_gold() as gold:
        promote_collection(dev, gold, "oidb", PromotionOptions())
        query = "SELECT column_name, datatype FROM TAP_SCHEMA.columns WHERE table_name = 'oidb.observations'"
        assert ask(dev, query) == ask(gold, query)
        return_to_earlier_publication(gold, "oidb")
        kinds_of_gold = {row["column_name"]: row["datatype"] for row in ask(gold, query)}
        assert {kinds_of_gold[name] for name in COLUMNS if name != "s_region"} == {"float"}


def test_a_new_column_needs_no_insert_into_tap_schema(sites: SitePair) -> None:
    """An earlier update added one column to the table and one row to TAP_SCHEMA by hand, and restarted two programs."""
    path = write_observations(sites, dict.fromkeys(COLUMNS, "float32") | {"s_region": "string"})
    path.write_text(
        path.read_text().replace(
            "      s_ra:",
            '      quality_level: {type: int32, ucd: meta.code.qual, description: "Quality, as the provider sees it"}\n'
            "      s_ra:",
        )
    )
    data = path.with_name("observations.csv")
    lines = data.read_text().splitlines()
    lines = [f"{line},{'quality_level' if not number else 3}" for number, line in enumerate(lines)]
    data.write_text("\n".join(lines) + "\n")
    with sites.open_dev() as dev, sites.open_gold() as gold:
        ingest_collection(dev, "oidb")
        promote_collection(dev, gold, "oidb", PromotionOptions())
        query = "SELECT ucd FROM TAP_SCHEMA.columns WHERE column_name = 'quality_level'"
        assert {row["ucd"] for row in ask(gold, query)} >= {"meta.code.qual"}
        assert ask(gold, "SELECT COUNT(*) AS n FROM oidb.observations WHERE quality_level = 3") == [{"n": ROW_COUNT}]
