"""A time with an offset from UTC keeps its instant on every way from a source to an answer; the edges of the calendar are the same in all readers."""

from __future__ import annotations

import io
import json
from datetime import datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hven import query
from hven.ingest.api.runs import ingest_collection
from hven.model.errors import BindError
from hven.site.auth._access_control import OWNER_PRINCIPAL
from hven.testing.site import open_site_with_uningested_files
from shared import shared

TEXTS = {
    "2020-01-01T00:00:00-05:00": datetime(2020, 1, 1, 5),
    "2020-01-01T00:00:00+02:00": datetime(2019, 12, 31, 22),
    "2020-07-01T00:00:00Z": datetime(2020, 7, 1),
    "2016-12-31T23:59:60Z": datetime(2017, 1, 1),
    "2020-01-01T24:00:00": datetime(2020, 1, 2),
}
BAD = ["0000-01-01T00:00:00", "2020-01-01T00:00:00(TAI)"]
DESCRIPTOR = """\
collection: cat
title: Times
tables:
  t:
    max_rejects: 1
    columns:
      id: {{type: int32}}
      t: {{type: timestamp}}
    {mapping}
    source: {source}
"""
MAPPINGS = ["", "map: {t: parse_time(s)}", "map: {t: CAST(s AS TIMESTAMP)}", "map: {t: s}"]


def write_csv(texts):
    return "{kind: csv, files: a, types: {s: string, t: string}}", "id,s,t\n" + "".join(
        f"{n},{text},{text}\n" for n, text in enumerate(texts)
    )


def as_guessed_csv(texts):
    return "{kind: csv, files: a}", write_csv(texts)[1]


def write_json(texts):
    return "{kind: json, files: a}", json.dumps([{"id": n, "s": text, "t": text} for n, text in enumerate(texts)])


def write_votable(texts):
    rows = "".join(f"<TR><TD>{n}</TD><TD>{text}</TD><TD>{text}</TD></TR>" for n, text in enumerate(texts))
    return "{kind: votable, files: a}", (
        '<VOTABLE version="1.4"><RESOURCE><TABLE><FIELD name="id" datatype="int"/><FIELD name="s" datatype="char" arraysize="*"/>'
        f'<FIELD name="t" datatype="char" arraysize="*"/><DATA><TABLEDATA>{rows}</TABLEDATA></DATA></TABLE></RESOURCE></VOTABLE>'
    )


def write_parquet(texts):
    stream = io.BytesIO()
    pq.write_table(
        pa.table({"id": pa.array(range(len(texts)), pa.int32()), "s": list(texts), "t": list(texts)}), stream
    )
    return "{kind: parquet, files: a}", stream.getvalue()


def write_xml(texts):
    rows = "".join(f"<r><id>{n}</id><s>{text}</s><t>{text}</t></r>" for n, text in enumerate(texts))
    return "{kind: xml, files: a, record: r}", f"<all>{rows}</all>"


READERS = [write_csv, as_guessed_csv, write_json, write_votable, write_parquet, write_xml]


def rows_of(site, adql="SELECT id, t FROM cat.t ORDER BY id"):
    with query.run_query(adql, OWNER_PRINCIPAL, site=site) as result:
        return [tuple(row.values()) for batch in result.iterate_batches() for row in batch.to_pylist()]


@pytest.mark.parametrize("write", READERS)
@pytest.mark.parametrize("mapping", MAPPINGS)
def test_every_reader_and_mapping(tmp_path, write, mapping):
    texts = [*TEXTS, *BAD]
    source, content = write(texts)
    with open_site_with_uningested_files(
        tmp_path, DESCRIPTOR.format(mapping=mapping, source=source), {"a": content}
    ) as site:
        report = ingest_collection(site, "cat")
        found = dict(rows_of(site))
        assert {n: found[n] for n in range(len(TEXTS))} == dict(enumerate(TEXTS.values()))
        if "(" in mapping:  # what is no time is NULL there
            assert all(found[n] is None for n in range(len(TEXTS), len(texts)))
        else:
            assert report.tables["cat.t"].rejected == len(BAD)
            assert not found.keys() & set(range(len(TEXTS), len(texts)))


def test_times_of_parquet_with_a_zone_and_beyond_the_years(tmp_path):
    moments = pa.array([0, -62_135_596_800_000_000 - 1, 253_402_300_800_000_000, None], pa.int64()).cast(
        pa.timestamp("us")
    )
    stream = io.BytesIO()
    zoned = moments.cast(pa.timestamp("us", "America/New_York"))
    pq.write_table(pa.table({"id": pa.array(range(4), pa.int32()), "t": zoned}), stream)
    with open_site_with_uningested_files(
        tmp_path, DESCRIPTOR.format(mapping="", source="{kind: parquet, files: a}"), {"a": stream.getvalue()}
    ) as site:
        report = ingest_collection(site, "cat")
        assert rows_of(site) == [(0, datetime(1970, 1, 1)), (3, None)]
        assert report.tables["cat.t"].rejected == 2


def test_a_format_with_a_zone_does_not_ask_the_machine_for_its_own(tmp_path, monkeypatch):
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    mapping = "map: {t: \"parse_time(s, '%Y-%m-%d %H:%M:%S %z')\"}"
    content = "id,s\n1,2020-01-01 00:00:00 -0500\n"
    with open_site_with_uningested_files(
        tmp_path, DESCRIPTOR.format(mapping=mapping, source="{kind: csv, files: a, types: {s: string}}"), {"a": content}
    ) as site:
        ingest_collection(site, "cat")
        assert rows_of(site) == [(1, datetime(2020, 1, 1, 5))]


def test_times_in_queries(tmp_path):
    source, content = write_csv(TEXTS)
    with open_site_with_uningested_files(
        tmp_path, DESCRIPTOR.format(mapping="", source=source), {"a": content}
    ) as site:
        ingest_collection(site, "cat")
        for text, n in (
            ("2020-01-01T05:00:00", 0),
            ("2020-01-01T00:00:00-05:00", 0),
            ("2020-01-01T06:00:00+01:00", 0),
            ("2016-12-31T23:59:60", 3),
            ("2020-01-01T24:00", 4),
        ):
            for _ in range(2):  # the second time by a plan that is kept
                assert rows_of(site, f"SELECT id FROM cat.t WHERE t = '{text}'") == [(n,)]
                assert rows_of(site, f"SELECT id FROM cat.t WHERE t = CAST('{text}' AS TIMESTAMP)") == [(n,)]
                assert rows_of(site, f"SELECT id FROM cat.t WHERE t IN ('1999-01-01', '{text}')") == [(n,)]
                assert rows_of(site, f"SELECT id FROM cat.t WHERE t BETWEEN '{text}' AND '{text}'") == [(n,)]
        for text in (*BAD, "2021-02-29"):
            with pytest.raises(BindError, match="is not a timestamp"):
                rows_of(site, f"SELECT id FROM cat.t WHERE t < '{text}'")
        assert rows_of(
            site,
            "SELECT id, CAST(CAST(id AS VARCHAR) || '020-01-01T00:00:00-05:00' AS TIMESTAMP) FROM cat.t WHERE id = 2",
        ) == [(2, datetime(2020, 1, 1, 5))]


def test_the_file_of_the_trial(tmp_path):
    content = shared("trials/cases/B052-zone-offset.csv").read_text()
    with open_site_with_uningested_files(
        tmp_path, DESCRIPTOR.format(mapping="map: {t: parse_time(t)}", source="{kind: csv, files: a}"), {"a": content}
    ) as site:
        ingest_collection(site, "cat")
        assert rows_of(site) == [
            (1, datetime(2020, 1, 1, 5)),
            (2, datetime(2019, 12, 31, 22)),
            (3, datetime(2020, 7, 1)),
        ]
