"""The files on which earlier readers failed: each is opened by ``hven new``, ingested, and compared with the exact values that stand in it."""

from __future__ import annotations

import csv
import json
import re
import sys
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from hven import query
from hven.app._server import create_and_start_application as create_app
from hven.formats.media import open_product
from hven.ingest.api.runs import ingest_collection
from hven.model.errors import UserError
from hven.model.settings import load_settings
from hven.site import Site
from hven.site.auth._access_control import OWNER_PRINCIPAL
from plugin_needs import create_descriptor, require_medium, require_plugins
from shared import shared

sys.path.insert(0, str(Path(__file__).parents[1] / "protocols"))

from asgi_client import Client

CASES = "trials/cases"


@dataclass(frozen=True, kw_only=True)
class Expectation:
    """What a file of a case becomes.

    Attributes
    ----------
    columns
        Name and type of each.
    rows
        As they are published, in any order.
    reported
        Parts of the sentences that the draft and the ingest say of values that are changed or left out: one for each.
    rejected
        Values that reach no table, each with a part of the reason.
    """

    columns: dict[str, str]
    rows: list[tuple[Any, ...]] = field(default_factory=list)
    reported: tuple[str, ...] = ()
    rejected: dict[str, str] = field(default_factory=dict)


IMAGE = {
    "part": ("int32", 0),
    "name": ("string", "im"),
    "role": ("string", "data"),
    "axes": ("string", "Line Sample"),
    "width": ("int64", 3),
    "height": ("int64", 2),
    "planes": ("int64", 1),
    "type": ("string", "float32"),
    "unit": ("string", None),
    "logical_identifier": ("string", "urn:nasa:pds:b:d:s2"),
    "version_id": ("string", "1.0"),
    "title": ("string", "t"),
    "information_model_version": ("string", "1.11.0.0"),
    "product_class": ("string", "Product_Observational"),
}
EXPECTATIONS = {
    "B002-unsigned-long.fits": Expectation(
        columns={"objid": "int64", "n": "int32"},
        rows=[(9007199254740993, 0), (123456789012345679, 1), (9223372036854775807, 2), (7, 3)],
    ),
    "B003-uint64.parquet": Expectation(
        columns={"id": "string", "v": "int64"},
        rows=[("18446744073709551615", 1), ("9223372036854775808", 2), ("7", 3)],
        reported=("id: some whole numbers do not fit in int64",),
    ),
    "B009-bounded-char.vot": Expectation(columns={"s": "string", "i": "int32"}, rows=[("abc", 1), ("x", 2)]),
    "B023-first-table-empty.vot": Expectation(columns={"b": "int32"}, rows=[(7,)]),
    "B029-implied-decimal.fits": Expectation(
        columns={"i": "int32", "f": "float64", "s": "string", "d": "float64", "imp": "float64"},
        rows=[(1, 1.5, "abc", 300.0, 0.12), (None, None, "def", 0.01, 23.45), (None, None, None, 1e-5, -0.09)],
        reported=(
            "d: the numbers have no decimal point; the last 2 digits are the fraction",
            "imp: the numbers have no decimal point; the last 2 digits are the fraction",
        ),
    ),
    "B044-vizier-five-columns.tsv": Expectation(
        columns={"raj2000": "float64", "hip": "int32", "vmag": "float64", "sptype": "string", "n_v": "string"},
        rows=[
            (0.000899, 1, 9.1, "F5", None),
            (0.003797, None, None, "K0V", "*"),
            (359.999999, 120404, -1.44, None, "D"),
        ],
    ),
    "B046-pipes.txt": Expectation(
        columns={"name": "string", "ra": "float64", "dec": "float64", "flux": "float64"},
        rows=[("3C 273", 187.2779, 2.0524, 1.5), ("NGC 4258", 184.7397, 47.304, None)],
    ),
    "B051-nested.parquet": Expectation(
        columns={"id": "int64", "d": "float64", "fs": "uint8[2]"},
        rows=[(1, 1.0, [97, 98]), (2, 2.0, [99, 100])],
        reported=(
            "lc: VO tables have no equivalent of the type list<element: struct<mjd: double, mag: float>>",
            "img: VO tables have no equivalent of the type list<element: list<element: int32>>",
            "m: VO tables have no equivalent of the type map<string, int32 ('m')>",
            "d: Hven reads durations (s) as seconds",
        ),
    ),
    "B052-zone-offset.csv": Expectation(
        columns={"id": "int32", "t": "timestamp"},
        rows=[(1, datetime(2020, 1, 1, 5)), (2, datetime(2019, 12, 31, 22)), (3, datetime(2020, 7, 1))],
    ),
    # midnights of 1965-06-01, 1972-01-01 and 1972-01-02 as Modified Julian Dates
    "B055-before-1972.cdf": Expectation(
        columns={"epoch": "float64", "n": "int32"}, rows=[(38912.0, 0), (41316.0, 1), (41317.0, 2)]
    ),
    "B061-compressed.cdf": Expectation(
        columns={"epoch": "float64", "n": "int32"}, rows=[(58849.0, 0), (58849.0 + 1 / 86400, 1)]
    ),
    "B064-s2.xml": Expectation(
        columns={name: kind for name, (kind, _) in IMAGE.items()}, rows=[tuple(value for _, value in IMAGE.values())]
    ),
    # a polygon that crosses itself becomes its two triangles, cut where the great circles meet
    "B078-no-regions.vot": Expectation(
        columns={"id": "int32", "s_region": "adql:REGION"},
        rows=[
            (3, "Union ICRS (Polygon 0 0 5 5.0575148967894785 10 0 Polygon 10 10 5 5.0575148967894785 0 10)"),
            (4, "Polygon UNKNOWNFrame 0 0 1 0 1 1"),
        ],
        rejected={
            "CIRCLE NaN NaN NaN": "is not a position",
            "Polygon 1 2 3 4": "three pairs of numbers",
            "Ellipse ICRS 1 2 3 1 0": "Ellipse is not supported",
        },
    ),
    "B080-two-vertices.vot": Expectation(
        columns={"p": "polygon"}, rejected={"[1.0, 2.0, 3.0, 4.0]": "three corners or more"}
    ),
    "B102-both-ends.parquet": Expectation(
        columns={"time_value": "timestamp", "i": "int32"},
        rows=[
            (datetime(2020, 1, 1), -2147483648),
            (datetime(2020, 1, 1, 0, 0, 1), 5),
            (datetime(2020, 1, 1, 0, 0, 2), 2147483647),
        ],
    ),
}
BESIDE_A_LABEL = {"s2.img": "B064-s2.xml"}  # a file that is opened through another one


def rows_of(site: Site, name: str, columns: dict[str, str]) -> list[tuple[Any, ...]]:
    names = ", ".join(f'"{column}"' for column in columns)
    with query.run_query(f"SELECT {names} FROM {name}.main", OWNER_PRINCIPAL, site=site) as result:
        return [tuple(row.values()) for batch in result.iterate_batches() for row in batch.to_pylist()]


def check_reported(said: list[str], expected: Expectation) -> None:
    """Each sentence that is expected is said, and no other."""
    assert len(said) == len(expected.reported), said
    for part in expected.reported:
        assert [one for one in said if part in one], (part, said)


def check_case(path: Path, expected: Expectation, directory: Path) -> None:
    """Open a file as a newcomer does, publish it, and compare what readers get."""
    directory.mkdir()
    (directory / "hven.toml").write_text('name = "Cases"\n')
    settings, name = load_settings(directory), re.sub(r"\W", "_", path.stem).lower()
    descriptor = create_descriptor(settings, name, str(path))
    draft = descriptor.read_text()
    columns = yaml.safe_load(draft)["tables"]["main"]["columns"]
    assert {column: about["type"] for column, about in columns.items()} == expected.columns
    check_reported([line for line in draft.splitlines() if "(first:" in line or ", first:" in line], expected)
    with Site(settings) as site:
        if expected.rejected:
            with pytest.raises(UserError, match="were rejected, more than"):
                ingest_collection(site, name)
            descriptor.write_text(re.sub(r"^  main:\n", "  main:\n    max_rejects: 1\n", draft, flags=re.MULTILINE))
        (table,) = ingest_collection(site, name).tables.values()
        check_reported([str(one) for one in table.deviations], expected)
        published = rows_of(site, name, expected.columns)
        assert sorted(map(repr, published)) == sorted(map(repr, expected.rows))
        assert (table.published, table.rejected) == (len(expected.rows), len(expected.rejected))
        assert table.read == table.published + table.rejected
        for rejected in read_rejects(site, table.rejects):
            assert expected.rejected[rejected["value"]] in rejected["reason"]


def read_rejects(site: Site, path: str | None) -> list[dict[str, str]]:
    if path is None:
        return []
    with (site.settings.directory / path).open(newline="") as lines:
        return list(csv.DictReader(lines))


def test_every_file_has_an_expectation() -> None:
    files = {path.name for path in shared(CASES).iterdir()}
    assert files == EXPECTATIONS.keys() | BESIDE_A_LABEL.keys()


@pytest.mark.parametrize("name", sorted(EXPECTATIONS))
def test_a_case_keeps_its_values(name: str, tmp_path: Path) -> None:
    if name in BESIDE_A_LABEL.values() or name.endswith(".cdf"):
        require_medium(shared(CASES) / name)
    check_case(shared(CASES) / name, EXPECTATIONS[name], tmp_path / "site")


def test_marks_of_missing_pixels_are_no_measurements() -> None:
    """-32768, -32766 and the bits 16#8001# of a signed number mark what is missing; the others are scaled by 0.5 and moved by 10."""
    path = shared(CASES) / "B064-s2.xml"
    require_medium(path)
    with open_product(path) as product:
        (image,) = product.parts
        pixels = image.read((slice(0, 2), slice(0, 3)))
    np.testing.assert_array_equal(pixels, [[10.5, np.nan, 11.5], [np.nan, 12.5, np.nan]])


def test_no_measured_value_is_the_fill_of_hapi(tmp_path: Path) -> None:
    require_plugins("protocols", "hapi")
    (tmp_path / "hven.toml").write_text('name = "Cases"\n')
    settings = load_settings(tmp_path)
    descriptor = create_descriptor(settings, "ends", str(shared(CASES) / "B102-both-ends.parquet"))
    draft = descriptor.read_text()
    assert "i reaches -2147483648: if this marks a missing value, map it" in draft
    descriptor.write_text(draft.replace("  main:\n", "  main:\n    series: {time: time_value}\n", 1))
    with Site(settings) as site:
        ingest_collection(site, "ends")
        client = Client(create_app(site))
        (dataset,) = json.loads(client.get("/hapi/catalog").text)["catalog"]
        info = json.loads(client.get(f"/hapi/info?dataset={dataset['id']}").text)
        span = f"dataset={dataset['id']}&start={info['startDate']}&stop={info['stopDate']}"
        lines = client.get(f"/hapi/data?{span}").text.splitlines()
    (fill,) = (one["fill"] for one in info["parameters"] if one["name"] == "i")
    values = [line.split(",")[1] for line in lines]
    assert [float(one) for one in values] == [-2147483648, 5, 2147483647]
    assert fill not in values
