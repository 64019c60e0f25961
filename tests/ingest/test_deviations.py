"""What a reader narrows, drops or reinterprets: one record, in the draft, in `hven check`, in the report, in answers with uploads."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hven import descriptor, query
from hven.ingest.api.runs import ingest_collection
from hven.ingest.sampling import find_sample_faults
from hven.model import DeviationKind, ReadDeviation, add_deviation
from hven.model._deviations import MAX_DEVIATIONS
from hven.query import uploads
from hven.site.auth._access_control import OWNER_PRINCIPAL
from hven.testing.site import open_site_with_uningested_files
from plugin_needs import write_table_draft

ROWS = 2500
FINE = [7, 2400]  # rows, from 0, with digits below a microsecond
TEXT = """\
collection: fine
title: Fine times
tables:
  t:
    source: {kind: parquet, files: a.parquet}
    columns:
      n: {type: int32}
      moment: {type: timestamp}
"""


@pytest.fixture
def file(tmp_path):
    moments = np.arange(ROWS) * 1_000_000 + 10**18
    moments[FINE] += 1
    path = tmp_path / "a.parquet"
    pq.write_table(
        pa.table({"n": pa.array(range(ROWS), pa.int32()), "moment": moments.astype("M8[ns]")}),
        path,
        row_group_size=1000,
    )
    return path


def test_the_report_counts_over_all_rows(tmp_path, file):
    with open_site_with_uningested_files(tmp_path / "site", TEXT, {"a.parquet": file.read_bytes()}) as site:
        report = ingest_collection(site, "fine")
        (deviation,) = report.tables["fine.t"].deviations
        assert (deviation.kind, deviation.column, deviation.count) == (DeviationKind.PRECISION, "moment", 2)
        assert (deviation.file, deviation.row) == ("a.parquet", 8)
        assert (
            "  warning: moment: fractions of a microsecond are dropped (2 values, first: a.parquet row 8"
            in report.format_text()
        )
        written = json.loads(json.dumps(report.to_json()))["tables"]["fine.t"]["deviations"]
        assert [(item["kind"], item["column"], item["count"], item["row"]) for item in written] == [
            ("precision", "moment", 2, 8)
        ]
        assert report.summarize_counts()["warnings"] == 1


def test_check_warns_of_the_first_rows(tmp_path, file):
    with open_site_with_uningested_files(tmp_path / "site", TEXT, {"a.parquet": file.read_bytes()}) as site:
        path = site.settings.collections_directory / "fine" / "fine.yaml"
        resource, faults = descriptor.check_and_read_descriptor(path, site.settings)
        assert not faults
        (warning,) = find_sample_faults(resource, path.parent, site.settings)
        assert warning.severity == "warning"
        assert (
            "fine.t: moment: fractions of a microsecond are dropped (1 value, first: a.parquet row 8" in warning.message
        )


def test_the_draft_has_a_comment(file):
    text = write_table_draft("fine", "parquet", {"files": "a.parquet"}, file.parent)
    (line,) = [line for line in text.splitlines() if "fractions of a microsecond" in line]
    assert line.lstrip().startswith("#")
    assert "moment: " in line
    assert "first: a.parquet row 8" in text


def test_an_answer_with_the_upload_warns(tmp_path, file):
    with open_site_with_uningested_files(tmp_path / "site", TEXT, {"a.parquet": file.read_bytes()}) as site:
        uploaded = uploads.read_uploads(
            [uploads.UploadReference(name="mine", uri="param:f")], {"f": file}, site.settings
        )
        (info,) = uploads.list_upload_warnings(uploaded)
        assert info.value.startswith("the upload 'mine': moment: fractions of a microsecond are dropped (2 values")
        with query.run_query(
            "SELECT COUNT(*) AS c FROM TAP_UPLOAD.mine", OWNER_PRINCIPAL, site=site, uploads=uploaded
        ) as result:
            assert next(iter(result.iterate_batches())).to_pylist() == [{"c": ROWS}]


def test_records_of_one_kind_column_and_sentence_are_added_up():
    known: list[ReadDeviation] = []
    for row, count in ((3, 2), (9, 5)):
        add_deviation(known, ReadDeviation(kind=DeviationKind.NULL, column="a", message="m", count=count, row=row))
    add_deviation(known, ReadDeviation(kind=DeviationKind.NULL, column="b", message="m"))
    add_deviation(known, ReadDeviation(kind=DeviationKind.NULL, column="b", message="m"))
    assert [(item.column, item.count, item.row) for item in known] == [("a", 7, 3), ("b", None, None)]


def test_the_list_is_bounded():
    known: list[ReadDeviation] = []
    for number in range(MAX_DEVIATIONS + 1000):
        add_deviation(known, ReadDeviation(kind=DeviationKind.NULL, column=f"c{number}", message="m", count=1))
    assert len(known) == MAX_DEVIATIONS + 1
    assert known[-1].count == 1000
