"""The files of a HATS catalogue: names, properties, partitions, the map of the sky; read back, and by astropy."""

from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hven.model.errors import SourceError
from hven.plugins.hats import hats_catalogues as catalogues
from hven.plugins.hats import hats_layout

pixels = st.integers(0, 29).flatmap(lambda order: st.tuples(st.just(order), st.integers(0, (12 << 2 * order) - 1)))


@given(pixels)
def test_a_partition_is_found_in_its_name(one: tuple[int, int]) -> None:
    path = hats_layout.format_partition_path(*one)
    assert hats_layout.parse_pixel_path(path) == one
    assert f"Dir={one[1] - one[1] % 10_000}/" in path
    low, high = hats_layout.compute_cell_range(*one)
    assert high - low == 4 ** (29 - one[0])


@pytest.mark.parametrize(
    "path", ["dataset/x.parquet", "Norder=1/Dir=0/Npix=48.parquet", "Norder=30/Dir=0/Npix=1.parquet"]
)
def test_what_is_no_partition_is_none(path: str) -> None:
    assert hats_layout.parse_pixel_path(path) is None


def test_a_partition_may_be_a_directory() -> None:
    assert hats_layout.parse_pixel_path("Norder=1/Dir=0/Npix=3/part-0.parquet") == (1, 3)


@given(st.integers(0, 2**32), st.integers(1, 400))
def test_rows_are_divided_into_the_largest_allowed_partitions(seed: int, most: int) -> None:
    random = np.random.default_rng(seed)
    near = random.integers(0, 4**26, 500)  # a clump, which is divided often
    cells = np.concatenate([random.integers(0, 12 * 4**29, 500), near])
    parts = np.sort(cells[:300]), np.sort(cells[300:])
    found = hats_layout.divide_into_partitions(hats_layout.create_row_counter(*parts), most)
    assert sum(rows for _, _, rows in found) == len(cells)
    taken = 0
    for order, pixel, rows in found:
        low, high = hats_layout.compute_cell_range(order, pixel)
        assert low >= taken
        taken = high
        assert ((cells >= low) & (cells < high)).sum() == rows <= most
        if order:
            above = hats_layout.compute_cell_range(order - 1, pixel // 4)
            assert ((cells >= above[0]) & (cells < above[1])).sum() > most


def test_equal_positions_are_not_divided_for_ever() -> None:
    cells = np.full(50, 123_456_789_012, np.int64)
    assert hats_layout.divide_into_partitions(hats_layout.create_row_counter(cells), 10) == [
        (20, 123_456_789_012 >> 18, 50)
    ]


def test_partitions_are_read_back() -> None:
    found = [(1, 0), (2, 4), (2, 5), (1, 40)]
    assert hats_layout.parse_partition_info(hats_layout.write_partition_info(reversed(found))) == found
    assert hats_layout.parse_partition_info(b"Norder,Dir,Npix\n1,0,44\n1,0,44\n\n") == [(1, 44)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"a,b\n1,2\n", "columns Norder and Npix"),
        (b"", "columns Norder and Npix"),
        (b"Norder,Npix\n1,2\n1,x\n", ":3"),
        (b"Norder,Npix\n0,12\n", "not a HEALPix order and pixel"),
        (b"Norder,Npix\n30,0\n", "not a HEALPix order and pixel"),
        (b"Norder,Npix\n1,4\n2,17\n", "Norder=1 Npix=4 and Norder=2 Npix=17 overlap"),
    ],
)
def test_partitions_that_cannot_be_are_refused(text: bytes, said: str) -> None:
    with pytest.raises(SourceError) as fault:
        hats_layout.parse_partition_info(text)
    assert said in str(fault.value)


@given(st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1))
def test_properties_are_read_back(title: str) -> None:
    text = hats_layout.write_catalogue_properties(
        "sky.stars", row_count=7, position=("ra", "dec"), order=3, further_properties={"obs_title": f"a\n{title}"}
    )
    found = catalogues.parse_catalogue_properties(text)
    assert found["obs_title"] == f"a\n{title}"
    assert (found["obs_collection"], found["hats_nrows"], found["hats_col_dec"]) == ("sky_stars", "7", "dec")


def test_older_properties_have_the_names_of_today() -> None:
    text = b"#HATS catalog\ncatalog_name = gaia\ncatalog_type=object\ntotal_rows=12\nobs_title=two \\\n   lines\n"
    found = catalogues.parse_catalogue_properties(text)
    assert found == {
        "obs_collection": "gaia",
        "dataproduct_type": "object",
        "hats_nrows": "12",
        "obs_title": "two lines",
    }
    with pytest.raises(SourceError, match="dataproduct_type is missing"):
        catalogues.parse_catalogue_properties(b"<html>")


def test_the_map_of_the_sky_is_what_astropy_reads() -> None:
    from astropy.io import fits

    counts = np.arange(12 << 2 * hats_layout.SKYMAP_ORDER, dtype=np.int64)
    with fits.open(io.BytesIO(hats_layout.write_skymap(counts))) as found:
        found.verify("exception")
        assert found[1].header["NSIDE"] == 64
        assert found[1].header["ORDERING"] == "NESTED"
        assert (found[1].data["VALUE"] == counts).all()


def test_the_common_metadata_have_the_columns_and_no_rows() -> None:
    schema = hats_layout.build_partition_schema(pa.schema([("ra", pa.float64()), ("flux", pa.list_(pa.float32()))]))
    opened = pq.ParquetFile(io.BytesIO(hats_layout.write_common_metadata(schema, b"<VOTABLE/>")))
    assert opened.schema_arrow.names == ["_healpix_29", "ra", "flux"]
    assert opened.metadata.num_rows == 0
    assert (opened.schema_arrow.metadata or opened.metadata.metadata)[b"IVOA.VOTable-Parquet.content"] == b"<VOTABLE/>"
