"""Metadata as the descriptor says it now, over rows as they were ingested - through real descriptors and ingests."""

from __future__ import annotations

import pytest

from hven.ingest.api.runs import ingest_collection
from hven.testing.site import open_site_with_uningested_files

ECSV = """\
# %ECSV 1.0
# ---
# delimiter: ','
# datatype:
# - {name: id, datatype: int64, description: Identifier of the source}
# - {name: ra, unit: deg, datatype: float64, description: Right ascension}
# - {name: flux, unit: Jy, datatype: float64}
# - {name: size, datatype: float64}
id,ra,flux,size
1,10.0,2.0,7.0
2,20.0,3.0,8.0
"""
TEXT = """\
collection: cat
title: t
tables:
  t:
    follow: true
    columns:
      flux: {unit: mJy, description: Flux, rank: 1}
      size: {unit: arcsec}
    source: {kind: csv, files: t.ecsv}
"""


@pytest.fixture
def site(tmp_path):
    with open_site_with_uningested_files(tmp_path, TEXT, {"t.ecsv": ECSV}) as opened:
        ingest_collection(opened, "cat")
        yield opened


def table(site, text=None):
    if text is not None:
        (site.settings.collections_directory / "cat" / "cat.yaml").write_text(text)
    holdings = site.refresh_published_state()
    assert holdings.problems == ()
    return holdings.tables_by_name["cat.t"].table


def test_what_the_source_said_stands_where_the_descriptor_is_silent(site):
    found = table(site)
    assert found.find_column("id").description == "Identifier of the source"
    assert (found.find_column("ra").unit, found.find_column("ra").description) == ("deg", "Right ascension")
    assert (found.find_column("flux").unit, found.find_column("flux").description, found.find_column("flux").rank) == (
        "mJy",
        "Flux",
        1,
    )
    assert found.find_column("size").unit == "arcsec"
    values = [
        row["flux"]
        for batch in site.embedded_engine.read_rows(site.get_published_state().find_relation("cat.t"))
        for row in batch.to_pylist()
    ]
    assert sorted(values) == [2000.0, 3000.0]


def test_what_is_taken_out_of_the_descriptor_falls_back_to_the_source(site):
    text = TEXT.replace("unit: mJy, description: Flux, rank: 1", "unit: mJy").replace(
        "size: {unit: arcsec}", "ra: {description: RA}"
    )
    found = table(site, text)
    assert (found.find_column("flux").description, found.find_column("flux").rank) == (None, 10)
    assert found.find_column("ra").description == "RA"
    assert found.find_column("size").unit is None


def test_a_unit_that_values_were_converted_to_needs_an_ingest(site):
    found = table(site, TEXT.replace("unit: mJy", "unit: uJy").replace("unit: arcsec", "unit: arcmin"))
    assert found.find_column("flux").unit == "mJy"  # the source said Jy: the stored values are in mJy
    assert found.find_column("size").unit == "arcmin"  # the source said nothing: a correction
    ingest_collection(site, "cat")
    assert table(site).find_column("flux").unit == "uJy"


def test_names_types_and_positions_belong_to_the_rows(site):
    text = TEXT.replace(
        "      size: {unit: arcsec}\n", "      size: {type: float32}\n      more: {type: int32}\n    map: {more: id}\n"
    )
    found = table(site, text)
    assert [column.name for column in found.columns] == ["id", "ra", "flux", "size"]
    assert str(found.find_column("size").type) == "float64"


def test_columns_can_be_hidden_and_titled(site):
    found = table(
        site,
        TEXT.replace("size: {unit: arcsec}", "size: {hidden: true, label: Size, ucd: phys.angSize}")
        + "    title: New\n    index: 3\n",
    )
    assert (found.title, found.index, found.find_column("size").hidden, found.find_column("size").ucd) == (
        "New",
        3,
        True,
        "phys.angSize",
    )
    listed = site.get_published_state().get_catalogue().memory_relations["TAP_SCHEMA.columns"].rows.to_pylist()
    assert '"size"' not in [row["column_name"] for row in listed if row["table_name"] == "cat.t"]
