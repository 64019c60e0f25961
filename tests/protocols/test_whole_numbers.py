"""Whole numbers stay whole: from CSV and JSON through nulls, bounds, lookups and statistics, out of TAP in every format."""

from __future__ import annotations

import csv
import io
import json

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq
import pytest
from asgi_client import Client
from astropy.io import fits
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hven import formats
from hven.app._server import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.testing.site import open_site_with_uningested_files
from shared import EXAMPLES_FACTOR

LOW, HIGH, BEYOND = -(2**63) + 1, 2**63 - 1, 2**53 + 1
DESCRIPTOR = f"""\
collection: whole
title: Identifiers
tables:
  csv:
    max_rejects: 1
    columns:
      id: {{type: int64, required: true, minimum: {LOW + 1}, maximum: {HIGH - 1}}}
      free: int64
      below: {{type: int64, maximum: {BEYOND}}}
      turned: int64
    lookup: {{turned: {{from: id, values: {{{HIGH - 1}: {BEYOND}, {BEYOND}: {HIGH - 1}}}, missing: keep}}}}
    source: {{kind: csv, files: a.csv, null: {{free: {BEYOND}}}}}
  json:
    max_rejects: 1
    columns:
      id: {{type: int64, required: true, minimum: {LOW + 1}, maximum: {HIGH - 1}}}
      free: int64
      below: {{type: int64, maximum: {BEYOND}}}
    source: {{kind: json, files: a.json, null: {BEYOND}}}
"""
EXTREMES = [LOW, LOW + 1, -BEYOND, -1, 0, 2**53, BEYOND, BEYOND + 1, HIGH - 1, HIGH, HIGH - 2]
whole = st.sampled_from(EXTREMES) | st.integers(LOW, HIGH)
rows = st.lists(st.tuples(whole, st.none() | whole, st.none() | whole), min_size=1, max_size=30)


def read_delimited(text: str, separator: str) -> list[tuple[int | None, ...]]:
    return [
        tuple(int(cell) if cell else None for cell in row)
        for row in list(csv.reader(io.StringIO(text), delimiter=separator))[1:]
    ]


def read_table(table: pa.Table) -> list[tuple[int | None, ...]]:
    return list(zip(*(column.to_pylist() for column in table.columns), strict=True))


def read_votable(body: bytes) -> list[tuple[int | None, ...]]:
    read = formats.load_format("votable").read(io.BytesIO(body))
    return [row for batch in read.batches for row in read_table(pa.Table.from_batches([batch]))]


def read_fits(body: bytes) -> list[tuple[int | None, ...]]:
    with fits.open(io.BytesIO(body)) as file:
        table = file[1]
        nulls = [column.null for column in table.columns]
        return [
            tuple(
                None if null is not None and int(cell) == null else int(cell)
                for cell, null in zip(row, nulls, strict=True)
            )
            for row in table.data
        ]


READERS = {
    "votable/td": read_votable,
    "votable/b": read_votable,
    "votable/b2": read_votable,
    "csv": lambda body: read_delimited(body.decode(), ","),
    "tsv": lambda body: read_delimited(body.decode(), "\t"),
    "json": lambda body: [tuple(row) for row in json.loads(body)["data"]],
    "arrow": lambda body: read_table(pyarrow.ipc.open_stream(body).read_all()),
    "parquet": lambda body: read_table(pq.read_table(io.BytesIO(body))),
    "fits": read_fits,
}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    with open_site_with_uningested_files(
        tmp_path_factory.mktemp("whole"), DESCRIPTOR, {"a.csv": "id,free,below\n", "a.json": "[]"}, keep_snapshots=2
    ) as made:
        yield made


@settings(
    max_examples=4 * EXAMPLES_FACTOR,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(rows)
def test_through_ingest_and_out_of_tap(site, given_rows):
    place = site.settings.collections_directory / "whole"
    (place / "a.csv").write_text(
        "id,free,below\n"
        + "".join(",".join("" if cell is None else str(cell) for cell in row) + "\n" for row in given_rows)
    )
    (place / "a.json").write_text(
        json.dumps([dict(zip(("id", "free", "below"), row, strict=True)) for row in given_rows])
    )
    report = ingest_collection(site, "whole")
    client = Client(create_and_start_application(site))
    for kind in ("csv", "json"):
        nulled = [
            tuple(None if cell == BEYOND and (kind == "json" or at == 1) else cell for at, cell in enumerate(row))
            for row in given_rows
        ]
        right = [
            row
            for row in nulled
            if row[0] is not None and LOW + 1 <= row[0] <= HIGH - 1 and (row[2] is None or row[2] <= BEYOND)
        ]
        assert report.tables[f"whole.{kind}"].published == len(right)
        known = (
            {record.table.name: record.snapshot for record in site.store.read_published_records()[1].values()}[
                kind
            ].statistics
            if right
            else {}
        )
        for at, name in enumerate(("id", "free", "below")):
            values = [row[at] for row in right if row[at] is not None]
            if values:
                assert (known[name]["minimum"], known[name]["maximum"]) == (min(values), max(values))
                one = client.get(
                    "/tap/sync",
                    LANG="ADQL",
                    RESPONSEFORMAT="csv",
                    QUERY=f"SELECT COUNT(*) FROM whole.{kind} WHERE {name} = {max(values)}",
                )
                assert int(one.text.split()[1]) == values.count(max(values))
        if kind == "csv":
            turned = client.get(
                "/tap/sync", LANG="ADQL", RESPONSEFORMAT="csv", QUERY="SELECT id, turned FROM whole.csv"
            )
            assert all(
                other == {HIGH - 1: BEYOND, BEYOND: HIGH - 1}.get(ident, ident)
                for ident, other in read_delimited(turned.text, ",")
            )
        for word, reader in READERS.items():
            answer = client.get(
                "/tap/sync", LANG="ADQL", RESPONSEFORMAT=word, QUERY=f"SELECT id, free, below FROM whole.{kind}"
            )
            assert answer.status == 200, answer.text
            assert word[:7] != "votable" or (
                f'<MIN value="{LOW + 1}"/><MAX value="{HIGH - 1}"/>' in answer.text
                and f'<MAX value="{BEYOND}"/>' in answer.text
            )
            assert sorted(map(repr, reader(answer.body))) == sorted(map(repr, right)), word
