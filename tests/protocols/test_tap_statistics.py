"""What was counted of columns, at `/tap/tables?detail=stats`: valid as the draft of VODataService 1.3, true, and told to nobody who does not see all rows."""

from __future__ import annotations

import io
import os
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from asgi_client import Client
from lxml import etree
from pyvo.io import vosi
from pyvo.utils.xml.exceptions import UnknownElementWarning

from hven.app._server import create_and_start_application
from hven.engines._statistics import MAX_TOP_VALUES, ColumnStatisticsCollector
from hven.engines._statistics_update import update_statistics
from hven.ingest.api.runs import ingest_collection
from hven.model import settings
from hven.model.table import Column, Table
from hven.model.types import parse_type
from hven.site import Site
from hven.site.auth._access_control import OWNER_PRINCIPAL
from hven.testing.policies import build_odd_rows_hidden_policies
from requirements import require_program
from shared import shared

BANDS = ["V", "B", "V", "", "R & <x>", "V", "B", "V"]
MAGS = ["1.5", "", "-2", "3", "nan", "inf", "4", "4"]
ROWS = "id,band,mag,number,t,flag\n" + "".join(
    f"s{at},{BANDS[at]},{MAGS[at]},{at % 3},2020-01-0{at + 1}T00:00:00,{'true' if at else ''}\n" for at in range(8)
)
SITE = {
    "stars": """\
collection: stars
tables:
  main:
    source: rows.csv
    primary: id
    columns:
      id: string
      band: {type: string, utype: a:b}
      mag: {type: float64, unit: mag}
      number: int32
      t: timestamp
      flag: boolean
  few:
    source: rows.csv
    primary: id
    columns: {id: string, band: string, number: int32}
    access: number < 2
  closed:
    source: rows.csv
    primary: id
    access: private
  seen: {view: SELECT id FROM stars.main}
"""
}


@pytest.fixture(scope="module")
def counted_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("counted")
    (directory / "hven.toml").touch()
    for name, text in SITE.items():
        folder = directory / "collections" / name
        folder.mkdir(parents=True)
        (folder / f"{name}.yaml").write_text(text)
        (folder / "rows.csv").write_text(ROWS)
    with Site(settings.load_settings(directory)) as site:
        ingest_collection(site, "stars")
        yield site


def fetch_table_elements(client: Client, path: str = "/tap/tables?detail=stats") -> dict[str, etree._Element]:
    answer = client.get(path)
    assert answer.status == 200, answer.text
    root = etree.fromstring(answer.body)
    return {one.findtext("name"): one for one in (root.iter("table") if root.tag.endswith("tableset") else [root])}


def columns(table: etree._Element) -> dict[str, etree._Element | None]:
    return {one.findtext("name"): one.find("stats") for one in table.iterfind("column")}


def options(stats: etree._Element) -> dict[str | None, float]:
    return {one.text: float(str(one.get("freq"))) for one in stats.iterfind("option")}


def test_statistics_equal_those_of_the_rows(counted_site: Site) -> None:
    main = fetch_table_elements(Client(create_and_start_application(counted_site)))["stars.main"]
    assert main.findtext("nrows") == "8"
    found = columns(main)
    band, mag, number = found["band"], found["mag"], found["number"]
    assert band is not None
    assert mag is not None
    assert number is not None
    counts = Counter(one or None for one in BANDS)
    assert options(band) == {one: many / 8 for one, many in counts.items()}
    assert next(one.text for one in band.iterfind("option")) == "V"  # most first
    assert float(str(band.findtext("fillFactor"))) == 7 / 8
    assert (float(str(mag.findtext("min"))), float(str(mag.findtext("fillFactor")))) == (
        -2.0,
        6 / 8,
    )  # CSV has no NaN: it is no value
    assert mag.find("max") is None  # infinite: no value that a form could begin with
    assert options(number) == {str(one): many / 8 for one, many in Counter(at % 3 for at in range(8)).items()}
    assert found["t"] is not None
    assert [one.tag for one in found["t"]] == ["fillFactor"]  # extremes are doubles by the draft
    assert found["id"] is not None
    assert found["id"].find("option") is None  # names are no distribution


def test_one_table_and_other_details(counted_site: Site) -> None:
    client = Client(create_and_start_application(counted_site))
    assert (
        columns(fetch_table_elements(client, "/tap/tables/stars.main?detail=stats")["stars.main"])["band"] is not None
    )
    for path in ("/tap/tables", "/tap/tables?detail=max", "/tap/tables/stars.main"):
        table = fetch_table_elements(client, path)["stars.main"]
        assert table.findtext("nrows") == "8"
        assert not any(one is not None for one in columns(table).values()), path
    assert fetch_table_elements(client, "/tap/tables?detail=min")["stars.main"].findtext("nrows") == "8"
    wrong = client.get("/tap/tables?detail=much")
    assert wrong.status == 400
    assert "detail=min, detail=max or detail=stats" in wrong.text


def test_statistics_reveal_nothing_about_hidden_rows(counted_site: Site) -> None:
    everybody, owner = (
        Client(create_and_start_application(counted_site)),
        Client(create_and_start_application(counted_site, identify_principal=lambda _: OWNER_PRINCIPAL)),
    )
    for path in ("/tap/tables?detail=stats", "/tap/tables", "/tap/tables?detail=min"):
        few = fetch_table_elements(everybody, path)["stars.few"]
        assert few.find("nrows") is None
        assert not list(few.iter("stats"))
        assert "stars.closed" not in fetch_table_elements(everybody, path)
    assert fetch_table_elements(owner)["stars.few"].findtext("nrows") == "8"
    assert fetch_table_elements(owner)["stars.closed"].findtext("nrows") == "8"
    assert list(fetch_table_elements(owner)["stars.few"].iter("stats"))
    halved = fetch_table_elements(
        Client(create_and_start_application(counted_site, policies=build_odd_rows_hidden_policies("number")))
    )["stars.main"]
    assert halved.find("nrows") is None
    assert not list(halved.iter("stats"))
    records = (
        Client(create_and_start_application(counted_site))
        .get("/oai", verb="ListRecords", metadataPrefix="ivo_vor")
        .text
    )
    assert "<name>stars.main</name>" not in records or "<nrows>8</nrows>" in records


def test_table_documents_are_valid_with_and_without_statistics(counted_site: Site, tmp_path: Path) -> None:
    """The usual document by the recommendation, and the one with statistics by the draft, in which alone they are."""
    client, schemas = Client(create_and_start_application(counted_site)), shared("xsd/all.xsd")
    given = schemas.with_name("catalog.xml").read_text(encoding="utf-8").replace('uri="', f'uri="{schemas.parent}/')
    drafted = given.replace("VODataService-v1.2.xsd", "VODataService-v1.3-draft.xsd")
    for catalogue, queries, valid in (
        (given, ("", "detail=min"), True), (drafted, ("", "detail=stats"), True), (given, ("detail=stats",), False),
    ):  # fmt: skip
        # addresses of namespaces stay as they are: names alone are in `name=`
        (tmp_path / "catalog.xml").write_text(catalogue, encoding="utf-8")
        for query in queries:
            (tmp_path / "tables.xml").write_bytes(client.get(f"/tap/tables?{query}").body)
            done = subprocess.run(
                [require_program("xmllint"), "--nonet", "--noout", "--schema", schemas, tmp_path / "tables.xml"], capture_output=True, text=True, check=False,
                env={**os.environ, "XML_CATALOG_FILES": str(tmp_path / "catalog.xml")},
            )  # fmt: skip
            assert (done.returncode == 0) == valid, done.stderr[-2000:]


def test_pyvo_reads_past_it(counted_site: Site) -> None:
    """With a warning: it is no element of the recommendation, which is why it must be asked for."""
    body = Client(create_and_start_application(counted_site)).get("/tap/tables?detail=stats").body
    with pytest.warns(UnknownElementWarning, match="Unknown element"):
        found = {one.name: one for one in vosi.parse_tables(io.BytesIO(body)).iter_tables()}
    assert {one.name for one in found["stars.main"].columns} == {"id", "band", "mag", "number", "t", "flag"}
    assert found["stars.main"].columns[2].unit == "mag"


# --- how it is counted --------------------------------------------------------------------------------------------


def column(kind: str) -> Table:
    return Table(schema="a", name="b", columns=(Column(name="x", type=parse_type(kind)),))


def count_top_values(kind: str, *parts: list[Any]) -> Any:
    gathered = ColumnStatisticsCollector(column(kind))
    for part in parts:
        gathered.add_rows(pa.table({"x": pa.array(part, parse_type(kind).arrow)}))
    return gathered.build_statistics()["x"].get("top")


@pytest.mark.parametrize(
    ("kind", "parts", "top"),
    [
        ("string", [["a", "b", None], ["b"]], [["b", 2], ["a", 1]]),
        ("int32", [[3, 3, 1]], [[3, 2], [1, 1]]),
        ("float64", [[1.5, 1.5, 2]], [[1.5, 2], [2.0, 1]]),
        ("float64", [[1.5, float("nan")]], None),
        ("string", [["x" * 101, "y"]], None),
        ("string", [[str(at) for at in range(MAX_TOP_VALUES + 1)]], None),
        ("string", [[None]], None),
        ("string", [[]], None),
        ("string", [["a"] * 100_000 + ["b"] * 300_000], [["b", 300_000], ["a", 100_000]]),
    ],
)
def test_values_of_columns_of_few(kind: str, parts: list[list[Any]], top: Any) -> None:
    found = count_top_values(kind, *parts)
    if len(parts[0]) > 65_536:  # from a sample
        assert [value for value, _ in found] == [value for value, _ in top]
        assert [count for _, count in found] == pytest.approx([count for _, count in top], rel=0.01)
    else:
        assert found == top


@pytest.mark.parametrize(
    ("old", "gone", "come", "top"),
    [
        (["a", "b", "b"], ["b"], ["c", "a"], [["a", 2], ["b", 1], ["c", 1]]),
        (["a", "b"], ["b"], [], [["a", 1]]),
        (["a"], [], [str(at) for at in range(MAX_TOP_VALUES + 1)], None),
        ([str(at) for at in range(MAX_TOP_VALUES + 1)], [], ["a"], None),
        ([str(at) for at in range(MAX_TOP_VALUES)], [], ["a"], None),
        (["a", None], [None], ["b"], [["a", 1], ["b", 1]]),
    ],
)
def test_a_sync_counts_on(old: list[Any], gone: list[Any], come: list[Any], top: Any) -> None:
    table = column("string")

    def found(values: list[Any]) -> Any:
        gathered = ColumnStatisticsCollector(table)
        gathered.add_rows(pa.table({"x": pa.array(values, pa.string())}))
        return gathered.build_statistics()

    left = [*old]
    for one in gone:
        left.remove(one)
    after = update_statistics(table, found(old), found(gone), found(come), (len(old), len(gone), len(come)), read_column=lambda _: iter([pa.array([*left, *come], pa.string())]))  # fmt: skip
    assert after["x"].get("top") == top
