"""What a delivery tells before anybody sends it: private rows, columns with their lines, abstracts, years and labels."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from hven.ingest.api.runs import ingest_collection
from hven.model.resource import CollectionSpec
from hven.model.table import Column, ColumnGroup, Table
from hven.model.types import FLOAT64
from hven.plugins.schema_life.delivery.byte_descriptions import (
    find_publication_year,
    strip_markdown,
    write_cds_author,
    write_cds_readme,
)
from hven.plugins.schema_life.delivery.delivered_tables import (
    DeliveredColumn,
    DeliveredTable,
    choose_labels,
    choose_role_labels,
)
from hven.plugins.schema_life.delivery.delivery_checks import find_delivery_faults, list_delivery_faults
from hven.plugins.schema_life.delivery.fixed_width_columns import create_fixed_width_column
from hven.site import Site
from hven.testing.site import open_site_with_uningested_files
from process_runner import run_hven

DESCRIPTOR = """\
collection: stars
title: Stars
description: Stars, some of which are not public yet.
creators: [{name: Tycho Brahe}]
tables:
  main:
    title: Stars
    source: {kind: parquet, files: a.parquet}
    primary: id
    access: {rows: "id <= 2"}
    columns:
      id: {type: int32, description: Number}
      spectrum:
        type: float64[2]
        description: Two numbers
      note: {type: string, description: Remark}
  open:
    title: Stars that all may see
    source: {kind: csv, files: b.csv}
    columns: {id: {type: int32, description: Number}}
"""
FILES = {"b.csv": "id\n1\n"}


@pytest.fixture(scope="module")
def embargoed_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with open_site_with_uningested_files(tmp_path_factory.mktemp("embargoed"), DESCRIPTOR, FILES) as site:
        rows = {"id": pa.array([1, 2, 3], pa.int32()), "spectrum": [[1.0, 2.0]] * 3, "note": ["a", "b", "c" * 300]}
        parquet.write_table(pa.table(rows), site.settings.locate_descriptor("stars").parent / "a.parquet")
        ingest_collection(site, "stars")
        site.refresh_published_state()
        yield site


def test_all_columns_that_cannot_be_delivered_are_told_with_their_lines(embargoed_site: Site) -> None:
    faults = [fault for fault in find_delivery_faults(embargoed_site, "stars", "cds") if fault.severity != "warning"]
    (fault,) = faults
    assert "stars.main: spectrum has values of the type" in fault.message
    assert (fault.place.line, fault.remedy) == (13, "leave the column out with --omit spectrum")


def test_private_rows_are_told(embargoed_site: Site, tmp_path: Path) -> None:
    directory = embargoed_site.settings.directory
    (directory / "hven.toml").touch()
    options = ("--to", "cds", "--omit", "spectrum", "--max-width", "400")
    output = run_hven("--site", directory, "export", "stars", tmp_path / "all", *options).stdout
    assert "warning: stars.main: anonymous users do not see 1 of the 3 rows; export with --public" in output
    assert "stars.open: anonymous" not in output
    assert len((tmp_path / "all/main.dat").read_bytes().splitlines()) == 3
    output = run_hven("--site", directory, "export", "stars", tmp_path / "public", *options, "--public").stdout
    assert "anonymous users" not in output
    assert len((tmp_path / "public/main.dat").read_bytes().splitlines()) == 2


def test_private_collections_are_told(directory: Path, tmp_path: Path) -> None:
    output = run_hven("--site", directory, "export", "shut", tmp_path / "shut", "--to", "mrt").stdout
    assert "warning: shut.draft: anonymous users do not see 1 of the 1 rows" in output


def test_descriptors_are_checked_before_their_rows_are_published(tmp_path: Path) -> None:
    with open_site_with_uningested_files(tmp_path, DESCRIPTOR, FILES) as site:
        messages = [fault.message for fault in find_delivery_faults(site, "stars", "cds")]
    assert any("is not published" in message for message in messages)
    assert "there are no keywords" in messages


def test_killed_exports_are_cleaned_up(directory: Path, tmp_path: Path) -> None:
    for name, age in ((".export-x-old", 3), (".export-x-new", 0), (".export-y-old", 3)):
        (tmp_path / name).mkdir()
        time = (tmp_path / name).stat().st_mtime - age * 86400
        os.utime(tmp_path / name, (time, time))
    run_hven("--site", directory, "export", "stars", tmp_path / "x", "--to", "mrt")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".export-x-new", ".export-y-old", "x"]


def test_labels_of_quantities_are_those_of_cds() -> None:
    names = ["V", "V_error", "V_origin", "V_confidence", "V_lower", "V_upper", "x", "x_err", "e_x", "parallax_of_stars"]
    names.append("parallax_of_stars_error")
    roles = {"value": "V", "error": "V_error", "origin": "V_origin", "confidence": "V_confidence"}
    groups = (
        ColumnGroup(name="V", roles=roles | {"lower": "V_lower", "upper": "V_upper"}),
        ColumnGroup(name="x", roles={"value": "x", "error": "x_err"}),
        ColumnGroup(name="parallax", roles={"value": "parallax_of_stars", "error": "parallax_of_stars_error"}),
    )
    columns = tuple(Column(name=name, type=FLOAT64) for name in names)
    labels = choose_role_labels(Table(schema="s", name="t", columns=columns, groups=groups))
    assert labels == {
        "V_error": "e_V", "V_origin": "r_V", "V_confidence": "q_V", "V_lower": "b_V", "V_upper": "B_V"
    }  # fmt: skip
    assert choose_labels(["b_V", "B_V", "b_v"]) == ["b_V", "B_V", "b_v2"]


def test_infinite_values_are_told() -> None:
    cells = create_fixed_width_column("x", pa.float64())
    cells.measure(pa.array([1.0, float("inf"), float("-inf"), None]))
    column = DeliveredColumn(column=Column(name="x", type=FLOAT64, description="X"), label="x", cells=cells, unit="---")
    table = DeliveredTable(table=Table(schema="c", name="t", columns=()), columns=[column], row_count=4)
    faults = list_delivery_faults(CollectionSpec(name="c", title="T", path=Path("c.yaml")), [table], needs_readme=False)
    assert any("2 values of x are infinite, which CDS refuses" in fault.message for fault in faults)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("See [the paper](https://a.example/p_1_2).", "See the paper (https://a.example/p_1_2)."),
        ("**All** stars of *Gaia*, `source_id` and __more__", "All stars of Gaia, source_id and more"),
        ("## Stars\n\n> quoted", "Stars\n\nquoted"),
        ("2 * 3 * 4 and a_b_c, x**2", "2 * 3 * 4 and a_b_c, x**2"),
        ("![plot](plot.png)", "plot (plot.png)"),
        (None, ""),
    ],
)
def test_abstracts_are_plain_text(text: str | None, expected: str) -> None:
    assert strip_markdown(text) == expected


def test_the_first_line_has_the_year_of_the_paper() -> None:
    collection = CollectionSpec(name="c", title="T", path=Path("c.yaml"), description="**Stars**", created="2019-05-06")
    assert find_publication_year(collection) == 2019
    dated = CollectionSpec(name="c", title="T", path=Path("c.yaml"), bibcode="2003A&A...700A...1M")
    assert find_publication_year(dated) == 2003
    readme = write_cds_readme(collection, [], [])
    assert readme.splitlines()[0].endswith(" (2019)")
    assert "  Stars\n" in readme
    assert "2019-05-06: first published" in readme


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("Müller, Anna", "Muller A."),
        ("Le Bouquin, Jean-Baptiste", "Le Bouquin J.-B."),
        ("Duvert, G.", "Duvert G."),
        ("Delfosse, Xavier J.", "Delfosse X.J."),
        ("Bourges L.", "Bourges L."),
        ("Gaia Collaboration", "Gaia Collaboration"),
        ("", ""),
    ],
)
def test_authors_are_written_as_at_cds(name: str, written: str) -> None:
    assert write_cds_author(name) == written
