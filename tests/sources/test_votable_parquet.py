"""VOTable, Parquet and query sources: metadata, several tables and files, faults with the file's name."""

from __future__ import annotations

import gzip
import hashlib
import io
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.io.votable import parse_single_table
from pydantic import ValidationError

from file_servers import ServedFiles, serve_http
from hven.model import ReadDeviation, plugins
from hven.model.errors import SourceError, UserError
from hven.sources import ROW_NUMBER_COLUMN, SourceContext, _rate_limiting, parquet, query, votable
from plugin_needs import require_plugins
from process_runner import run_hven
from shared import shared


def table(source, columns=None, limit=None):
    return pa.Table.from_batches(list(source.read_batches(columns, limit)))


def vot(path, **options):
    return votable.open(
        votable.Options.model_validate({"files": path.name, **options}), SourceContext(directory=path.parent)
    )


@pytest.mark.parametrize(
    ("name", "rows", "width"),
    [
        ("data/vo/scs-result.xml", 1273, 9),
        ("data/helio/hec/hec_goes_xray.vot.xml.gz", 1000, 12),
        ("data/helio/hec/wind_typeii_soho_cme_1.xml", 0, 13),
        ("data/interferometry/searchcal/SearchCal-HD_32617.scvot.gz", 990, 390),
        ("data/interferometry/topcat_query_vizier.xml", 500, 18),
    ],
)
@pytest.mark.filterwarnings("ignore::Warning")  # astropy's, of files that are not quite right
def test_real_votables_have_the_columns_that_astropy_sees(name, rows, width):
    path = shared(name)
    source = vot(path)
    columns = source.list_columns()
    assert len(columns) == width
    assert len({column.name for column in columns}) == width, "names are made distinct"
    assert sum(batch.num_rows for batch in source.read_batches()) == rows
    data = path.read_bytes()
    theirs = parse_single_table(io.BytesIO(gzip.decompress(data) if path.suffix == ".gz" else data), verify="ignore")
    assert [column.ucd for column in columns] == [field.ucd for field in theirs.fields]


def test_a_file_that_is_none_is_told_by_name(tmp_path):
    (tmp_path / "a.vot").write_text("<html><body>Not found</body></html>")
    with pytest.raises(SourceError, match=r"a\.vot"):
        vot(tmp_path / "a.vot").list_columns()


def test_types_that_tables_do_not_have(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(
        pa.table(
            {
                "u": pa.array([1, 2**40], pa.uint64()),
                "d": pa.array([date(2020, 1, 1), None]),
                "t": pa.array([datetime(2020, 1, 1, 12, tzinfo=UTC)] * 2, pa.timestamp("ns", "Europe/Paris")),
                "c": pa.array(["x", "y"]).dictionary_encode(),
                "b": pa.array([b"ab", None]),
                "f": pa.array([float("nan"), 1.0]),
                "l": pa.array([[1.0], None], pa.large_list(pa.float32())),
                "s": pa.array([{"a": 1}, None]),
            }
        ),
        path,
    )
    source = parquet.open(parquet.Options(files=["a.parquet"]), SourceContext(directory=tmp_path))
    assert [(column.name, str(column.type)) for column in source.list_columns()] == [
        ("u", "int64"), ("d", "timestamp"), ("t", "timestamp"), ("c", "string"), ("b", "uint8[*]"), ("f", "float64"), ("l", "float32[*]"), ("s_a", "int64"),
    ]  # fmt: skip
    found = table(source, ["u", "d", "t", "c", "b", "f", "l", "s_a", ROW_NUMBER_COLUMN]).to_pylist()
    assert list(found[0].values()) == [
        1,
        datetime(2020, 1, 1),
        datetime(2020, 1, 1, 12),
        "x",
        [97, 98],
        None,
        [1.0],
        1,
        1,
    ]
    assert list(found[1].values()) == [2**40, None, datetime(2020, 1, 1, 12), "y", None, 1.0, None, None, 2]
    assert (source.estimate_progress_total(), source.count_progress_units()) == (2, 2)


def test_metadata_in_the_footer(tmp_path):
    text = (
        '<?xml version="1.0"?><VOTABLE version="1.4" xmlns="http://www.ivoa.net/xml/VOTable/v1.3"><RESOURCE><TABLE>'
        '<FIELD name="ra" datatype="double" unit="deg" ucd="pos.eq.ra"><DESCRIPTION>Right ascension</DESCRIPTION></FIELD></TABLE></RESOURCE></VOTABLE>'
    )
    rows = pa.table({"ra": [1.0]}).replace_schema_metadata(
        {"IVOA.VOTable-Parquet.version": "1.0", "IVOA.VOTable-Parquet.content": text}
    )
    pq.write_table(rows, tmp_path / "a.parquet")
    (column,) = parquet.open(parquet.Options(files=["a.parquet"]), SourceContext(directory=tmp_path)).list_columns()
    assert (column.unit, column.ucd, column.description) == ("deg", "pos.eq.ra", "Right ascension")


def test_what_is_no_parquet(tmp_path):
    (tmp_path / "a.parquet").write_bytes(b"PAR1 nonsense PAR1")
    with pytest.raises(SourceError, match=r"a\.parquet: the file is not a readable Parquet file"):
        parquet.open(parquet.Options(files=["a.parquet"]), SourceContext(directory=tmp_path)).list_columns()


def test_a_query_runs_once_for_columns_and_rows(tmp_path):
    asked = []

    def answer(adql):
        asked.append(adql)
        return iter(pa.table({"n": [1, 2, 3]}).to_batches())

    source = query.open(
        query.Options(adql="SELECT n FROM a.b"), replace(SourceContext(directory=tmp_path), run_query=answer)
    )
    assert [str(column.type) for column in source.list_columns()] == ["int64"]
    assert table(source, ["n", ROW_NUMBER_COLUMN]).to_pylist() == [{"n": k, ROW_NUMBER_COLUMN: k} for k in (1, 2, 3)]
    assert asked == ["SELECT n FROM a.b"]
    with pytest.raises(SourceError, match="can run only in a site"):
        query.open(query.Options(adql="SELECT 1"), SourceContext(directory=tmp_path))


@pytest.mark.parametrize("name", ["fits", "votable", "parquet"])
def test_files_in_other_units_than_the_first_are_refused(tmp_path, name):
    from astropy.table import Table

    require_plugins("sources", name)
    kind = plugins.load_plugin("sources", name)

    def write_file(file_name, unit):
        if name == "parquet":
            field = pa.field("flux", pa.float64(), metadata={"unit": unit})
            pq.write_table(pa.table([pa.array([1.0])], schema=pa.schema([field])), tmp_path / file_name)
        else:
            one = Table({"flux": [1.0]})
            one["flux"].unit = unit
            one.write(tmp_path / file_name, format=name, overwrite=True)

    source = lambda: kind.open(kind.Options.model_validate({"files": "*.x"}), SourceContext(directory=tmp_path))  # noqa: E731
    write_file("a.x", "W / m2")
    write_file("b.x", "W m**-2")
    assert table(source()).num_rows == 2, "one unit, spelt in two ways"
    write_file("b.x", "mW / m2")
    for read_again in (source(), source().select_files(["b.x"])):  # all files, and only those that a sync reads
        with pytest.raises(
            SourceError,
            match=r"b\.x: the unit of column 'flux' is .*mW.*, but in a\.x it is .*W.*; write a separate source entry for the file",
        ):
            table(read_again)


def test_digits_below_a_microsecond_are_told(tmp_path: Path) -> None:
    moments = np.array([10**18, 10**18 + 1], "M8[ns]")
    pq.write_table(
        pa.table({"fine": moments, "plain": moments.astype("M8[us]").astype("M8[ns]")}), tmp_path / "a.parquet"
    )
    told: list[str | ReadDeviation] = []
    found = parquet.open(parquet.Options.model_validate({"files": "a.parquet"}), SourceContext(directory=tmp_path, on_notice=told.append))  # fmt: skip
    (batch,) = found.read_batches()
    assert batch.column(0).to_pylist() == batch.column(1).to_pylist()
    (deviation,) = told
    assert (deviation.kind, deviation.column, deviation.count, deviation.row) == ("precision", "fine", 1, 2)
    assert "fractions of a microsecond are dropped" in str(deviation)


# --- VOTables behind an address --------------------------------------------------------------------------------------


def document(*values):
    rows = "".join(f"<TR><TD>{value}</TD><TD>{value / 2}</TD></TR>" for value in values)
    fields = '<FIELD name="n" datatype="int" ucd="meta.id;meta.main"/><FIELD name="half" datatype="double" unit="mag"/>'
    return f'<VOTABLE version="1.4"><RESOURCE><TABLE>{fields}<DATA><TABLEDATA>{rows}</TABLEDATA></DATA></TABLE></RESOURCE></VOTABLE>'.encode()


def open_far_votable(there, path="/a.vot", private=True, **options):
    said = votable.Options.model_validate({"url": f"{there.address}{path}", "tries": 2, **options})
    return votable.open(said, SourceContext(allow_private=private))


@pytest.fixture
def far_server(monkeypatch):
    monkeypatch.setattr(_rate_limiting, "FIRST_PAUSE_SECONDS", 0.0)
    with serve_http(
        ServedFiles({"/a.vot": document(1, 2, 3), "/a.vot.gz": gzip.compress(document(*range(5000)))})
    ) as there:
        yield there


def test_a_votable_is_read_from_a_url(far_server):
    source = open_far_votable(far_server)
    assert [(column.name, column.unit) for column in source.list_columns()] == [("n", None), ("half", "mag")]
    assert table(source, ["n", "file.path", "file.name", "file.size", ROW_NUMBER_COLUMN]).to_pylist() == [
        {"n": n, "file.path": f"{far_server.address}/a.vot", "file.name": "a.vot", "file.size": len(document(1, 2, 3)), ROW_NUMBER_COLUMN: n} for n in (1, 2, 3)
    ]  # fmt: skip
    (pin,) = source.list_input_versions()
    assert (pin.name, pin.sha256, pin.detail) == (f"{far_server.address}/a.vot", hashlib.sha256(document(1, 2, 3)).hexdigest(), far_server.tag)  # fmt: skip
    assert pin.modified == "2026-01-02T03:04:05+00:00"
    assert far_server.asked == ["GET /a.vot", "GET /a.vot"]  # its head, and all of it
    assert table(open_far_votable(far_server, "/a.vot.gz"), ["n"]).column("n").to_pylist() == list(range(5000))
    assert [str(one) for one in votable.list_source_tables({"url": f"{far_server.address}/a.vot"}, SourceContext(allow_private=True))] == ["0"]  # fmt: skip


def test_what_it_says_before_it_is_read_is_asked_by_head(far_server):
    (said,) = open_far_votable(far_server).list_files().to_pylist()
    assert far_server.asked == ["HEAD /a.vot"]
    assert said == {"name": f"{far_server.address}/a.vot", "bytes": len(document(1, 2, 3)), "modified": "2026-01-02T03:04:05+00:00", "sha256": None, "detail": far_server.tag}  # fmt: skip


@pytest.mark.parametrize(
    ("spoil", "options", "message"),
    [
        ({"cut": 200}, {}, "ended after|was lost|stopped sending"),
        ({}, {"path": "/b.vot"}, "returned status 404"),
        ({}, {"bytes": 100}, "more than 100 bytes"),
        ({}, {"private": False}, "not on the public internet"),
        ({"files": {"/a.vot": b"<html><body>Log in</body></html>"}}, {}, "not a VOTable"),
        ({"files": {"/a.vot": document(1, 2, 3)[:-40]}}, {}, "(?i)break|end|well-formed"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_an_address_is_told(far_server, spoil, options, message):
    for name, value in spoil.items():
        setattr(far_server, name, value)
    with pytest.raises(UserError, match=message):
        table(open_far_votable(far_server, **options))


def test_either_files_or_an_address():
    for said in ({}, {"files": "a.vot", "url": "https://host/a.vot"}, {"url": "ftp://host/a.vot"}, {"url": "https://host/a", "token": "sesame"}):  # fmt: skip
        with pytest.raises(ValidationError):
            votable.Options.model_validate(said)


def test_a_sync_fetches_the_file_only_if_its_etag_changed(far_server, tmp_path):
    run_hven("init", tmp_path)
    with (tmp_path / "hven.toml").open("a") as file:
        file.write("\nallow_private = true\n")
    (tmp_path / "collections/x").mkdir()
    (tmp_path / "collections/x/x.yaml").write_text(
        f"collection: x\ntitle: X\ntables:\n  main:\n    primary: n\n    source: {{kind: votable, url: '{far_server.address}/a.vot'}}\n"
        "    sync: {}\n    columns: {n: {type: int32, description: N}, half: {type: float64, unit: mag, description: Half}}\n"
    )
    assert ": 0 errors" in run_hven("check", "x", "--site", tmp_path).stdout
    run_hven("ingest", "x", "--site", tmp_path)
    whole = len(far_server.asked)
    far_server.files["/a.vot"] = document(1, 2, 3).replace(
        b"<TD>1</TD>", b"<TD>7</TD>"
    )  # as long as before, under the same tag
    assert "0 of 1 file" in run_hven("sync", "x", "--site", tmp_path).stdout
    assert len(far_server.asked) - whole < whole
    rows = ["query", "-f", "csv", "SELECT n FROM x.main ORDER BY n", "--site", tmp_path]
    assert run_hven(*rows).stdout.split()[1:] == ["1", "2", "3"]
    far_server.tag = '"two"'
    assert "1 of 1 file" in run_hven("sync", "x", "--site", tmp_path).stdout
    assert run_hven(*rows).stdout.split()[1:] == ["2", "3", "7"]
