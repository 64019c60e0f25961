"""Tables of HDF5: datasets of a compound type as h5py, astropy, pandas and PyTables lay them out."""

from __future__ import annotations

import numpy as np
import pytest
from astropy import units
from astropy.table import MaskedColumn, Table

from hven.formats.media import open_product
from hven.model import DeviationKind, plugins
from hven.model.errors import SourceError, TooLargeError
from hven.sources import SourceContext
from plugin_needs import write_table_draft

h5py = pytest.importorskip("h5py")
pytest.importorskip("h5netcdf")
N = 5


def records():
    kind = np.dtype(
        [
            ("id", "<i8"),
            ("ra", ">f8"),
            ("name", "S6"),
            ("flag", "?"),
            ("vector", "<f4", (3,)),
            ("z", "<c8"),
            ("half", "<f2"),
            ("in", [("a", "<u2"), ("b", "<i4")]),
        ]
    )
    made = np.zeros(N, kind)
    made["id"] = 2**53 + 1 + np.arange(N)
    made["ra"] = np.arange(N) + 0.5
    made["name"] = ["a", "bb", "", "é".encode(), "ffffff"]
    made["flag"] = np.arange(N) % 2 == 0
    made["vector"] = np.arange(3 * N).reshape(N, 3)
    made["z"] = np.arange(N) + 1j
    made["half"] = 0.5
    made["in"]["a"], made["in"]["b"] = 65535, -np.arange(N)
    return made


def read(directory, **options):
    told = []
    module = plugins.load_plugin("sources", "product")
    options = module.Options.model_validate({"files": "a.h5", "mode": "table", **options})
    source = module.open(options, SourceContext(directory=directory, on_notice=told.append))
    columns = source.list_columns()
    rows = [row for batch in source.read_batches() for row in batch.to_pylist()]
    return {column.name: column for column in columns}, rows, told


@pytest.fixture
def hdf5_directory(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["wave"], file["flux"] = np.arange(7.0), np.arange(7.0)
        file.create_dataset("group/catalog", data=records(), chunks=(2,), compression="gzip")
    return tmp_path


@pytest.mark.parametrize("part", [None, "group/catalog", 0])
def test_a_compound_table_beside_loose_arrays(hdf5_directory, part):
    columns, rows, told = read(hdf5_directory, **({} if part is None else {"part": part}))
    expected = records()
    assert [row["id"] for row in rows] == expected["id"].tolist()
    assert [row["name"] for row in rows] == ["a", "bb", None, "é", "ffffff"]
    assert [row["vector"] for row in rows] == expected["vector"].tolist()
    assert [row["z"] for row in rows] == [[float(at), 1.0] for at in range(N)]
    assert [(row["in_a"], row["in_b"]) for row in rows] == [(65535, -at) for at in range(N)]
    assert [(row["flag"], row["half"], row["ra"]) for row in rows] == [(at % 2 == 0, 0.5, at + 0.5) for at in range(N)]
    assert str(columns["vector"].type) == "float32[3]"
    others = [(item.kind, item.column.partition("_dim")[0]) for item in told]
    assert others == ([(DeviationKind.OTHER_TABLE, "phony")] if part is None else [])


def test_the_draft_takes_the_table_and_names_the_others(hdf5_directory):
    text = write_table_draft("x", "product", {"files": "a.h5"}, hdf5_directory)
    assert "part: 0" in text
    assert "0 group/catalog (5 rows)" in text
    assert "phony_dim" in text


@pytest.mark.parametrize(("year", "has_frame"), [(1850, True), (2000, False)])
def test_the_draft_states_the_origin_of_early_times(tmp_path, year, has_frame):
    with h5py.File(tmp_path / "a.nc", "w") as file:
        time = file.create_dataset("time", data=[0.0, 100.0])
        time.make_scale("time")
        time.attrs["units"] = f"days since {year}-01-01"
        file.create_dataset("t", data=[1.0, 2.0]).dims[0].attach_scale(time)
    text = write_table_draft("x", "product", {"files": "a.nc"}, tmp_path)
    assert ("mjd: {kind: timesys, timeorigin: MJD-origin}" in text) is has_frame
    assert ("frame: mjd" in text) is has_frame


def test_loose_arrays_can_be_chosen(hdf5_directory):
    _, rows, _ = read(hdf5_directory, part=1)
    assert rows == [{"flux": float(at), "wave": float(at)} for at in range(7)]


def test_units_and_descriptions_of_astropy(tmp_path):
    table = Table({"ra": np.arange(3.0) * units.deg, "n": [1, 2, 3], "t": ["x", "yy", "z"]})
    table["n"].description = "How many, it's counted"
    table.write(tmp_path / "a.h5", path="data/catalog", serialize_meta=True)
    columns, rows, told = read(tmp_path, part="data/catalog")
    assert (columns["ra"].unit, columns["n"].unit) == ("deg", None)
    assert columns["n"].description == "How many, it's counted"
    assert rows == [{"ra": float(at), "n": at + 1, "t": text} for at, text in enumerate(("x", "yy", "z"))]
    assert not told
    with open_product(tmp_path / "a.h5") as product:
        assert [part.name for part in product.parts] == ["data/catalog"]


def test_masked_values_of_astropy_are_missing(tmp_path):
    masked = Table(
        {
            "n": MaskedColumn([1, 2, 3], mask=[False, True, False]),
            "t": MaskedColumn(["x", "y", "z"], mask=[True, False, False]),
            "v": MaskedColumn([[1, 2], [3, 4], [5, 6]], mask=[[False, True], [False, False], [True, True]]),
        }
    )
    masked.write(tmp_path / "a.h5", path="data", serialize_meta=True)
    columns, rows, _ = read(tmp_path, part="data")
    assert list(columns) == ["n", "t", "v"]
    assert rows == [
        {"n": 1, "t": None, "v": [1, None]},
        {"n": None, "t": "y", "v": [3, 4]},
        {"n": 3, "t": "z", "v": [None, None]},
    ]


def test_masks_of_other_programs_are_columns(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["data"] = np.array([(1, True)], [("n", "i4"), ("n.mask", "?")])
    assert read(tmp_path, part="data")[1] == [{"n": 1, "n.mask": True}]


def test_tables_of_pandas_and_pytables(tmp_path):
    """As `DataFrame.to_hdf(format="table")` lays a frame out: blocks of columns of one type, and an index beside it."""
    kind = np.dtype([("index", "<i8"), ("values_block_0", "<f8", (2,)), ("values_block_1", "S4", (2,))])
    made = np.zeros(3, kind)
    made["index"], made["values_block_0"] = np.arange(3), np.arange(6).reshape(3, 2)
    made["values_block_1"] = [[b"a", b"b"]] * 3
    with h5py.File(tmp_path / "a.h5", "w") as file:
        group = file.create_group("df")
        group.attrs["CLASS"], group.attrs["pandas_type"] = b"GROUP", b"frame_table"
        dataset = group.create_dataset("table", data=made)
        dataset.attrs["CLASS"], dataset.attrs["VERSION"] = b"TABLE", b"2.7"
        index = group.create_group("_i_table/index")
        index["sorted"] = np.zeros(2, [("a", "<i8")])
    columns, rows, _ = read(tmp_path, part="df/table")
    assert rows[2] == {"index": 2, "values_block_0": [4.0, 5.0], "values_block_1": ["a", "b"]}
    assert str(columns["values_block_1"].type) == "string[4x2]"
    with open_product(tmp_path / "a.h5") as product:
        assert [part.name for part in product.parts] == ["df/table"]


def test_texts_of_any_length_and_what_no_table_holds(tmp_path):
    kind = np.dtype([("t", h5py.string_dtype()), ("r", h5py.ref_dtype), ("n", "<i2"), ("v", h5py.vlen_dtype("i4"))])
    with h5py.File(tmp_path / "a.h5", "w") as file:
        made = np.zeros(2, kind)
        made["t"], made["n"], made["v"] = ["größe", "b"], [1, 2], [np.arange(2, dtype="i4")] * 2
        made["r"] = file.ref
        file.create_dataset("catalog", data=made)
    _, rows, told = read(tmp_path)
    assert rows == [{"t": "größe", "n": 1}, {"t": "b", "n": 2}]
    assert [(item.kind, item.column) for item in told] == [
        (DeviationKind.DROPPED_COLUMN, "catalog.r"),
        (DeviationKind.DROPPED_COLUMN, "catalog.v"),
    ]


def test_a_chunk_that_unpacks_to_too_much_is_refused(hdf5_directory, monkeypatch):
    monkeypatch.setattr("hven.plugins.array_files.compound_tables.MAX_UNPACKED_BYTES", 100)
    with pytest.raises(TooLargeError, match="after decompression, "):
        open_product(hdf5_directory / "a.h5")


def test_tables_in_other_files_are_refused(tmp_path):
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["catalog"] = records()
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["catalog"] = h5py.ExternalLink("b.h5", "/catalog")
    with pytest.raises(SourceError, match="are in other files"):
        open_product(tmp_path / "a.h5")


def test_a_group_that_holds_itself_is_refused(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["catalog"] = records()
        file["group/again"] = file.create_group("group")
    with pytest.raises(SourceError, match="more than 20 levels of groups"):
        open_product(tmp_path / "a.h5")


def test_a_link_into_another_file_cannot_hide_in_deep_groups(tmp_path):
    deep = "/".join("g" * 30)
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["catalog"] = records()
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file[f"{deep}/catalog"] = h5py.ExternalLink("b.h5", "/catalog")
        file["near"] = h5py.SoftLink(f"/{deep}/catalog")
    with pytest.raises(SourceError, match="more than 20 levels of groups"):
        open_product(tmp_path / "a.h5")


def test_more_members_than_the_limit_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("hven.plugins.array_files.compound_tables.MAX_MEMBERS", 10)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for number in range(11):
            file[f"n{number}"] = [number]
    with pytest.raises(SourceError, match="more than 10 members"):
        open_product(tmp_path / "a.h5")
