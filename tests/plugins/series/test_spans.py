"""Rows that are spans of data sets: EPN-TAP granules of one day lead to their samples by HAPI and das2, by themselves."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from urllib.parse import urlencode

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from asgi_client import Client

from das2_streams import parse_stream
from hven.app._server import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.model import settings
from hven.model.errors import DescriptorError
from hven.site import Site

SECOND = 1_000_000
START = int(np.datetime64("2003-10-27T06:00", "us").astype(int))
MANY = 3 * 720  # 12 hours of three days, a sample a minute
DESCRIPTOR = """\
collection: {name}
title: GOES
created: 2026-01-15
tables:
  xrs:
    source: {{kind: parquet, files: ../../goes.parquet}}
    columns: {{taken: {{ucd: time.epoch}}, flux: {{unit: W/m**2}}}}
    series: {{cadence: 60 s, id: {name}_xrs, das2: GOES/{name}/xrs}}
  epn_core:
    standard: epn-tap-2.0
    frame: none
    optional: [access]
    source: {{kind: query, adql: "SELECT FLOOR(JD(taken) - 0.5) AS number, MIN(JD(taken)) AS low, MAX(JD(taken)) + 60 / 86400.0 AS high, COUNT(*) AS many FROM {name}.xrs GROUP BY FLOOR(JD(taken) - 0.5)"}}
    set: {{target_name: Sun, target_class: star, dataproduct_type: ts, processing_level: 3, measurement_type: phot.flux, instrument_host_name: goes, instrument_name: xrs, access_format: text/csv}}
    text: {{access_url: "{{site.url}}/hapi/data?dataset={name}_xrs&start={{iso(low)}}&stop={{iso(high)}}"}}
    map: {{granule_uid: "'day_' || CAST(CAST(number AS INTEGER) AS VARCHAR)", obs_id: "'day'", time_min: low, time_max: high, access_estsize: CAST(CEILING(many * 50 / 1024.0) AS INTEGER)}}
    links: [{{series: {name}_xrs}}{more}]
"""


def site_of(directory, name: str, more: str = "") -> None:
    folder = directory / "collections" / name
    folder.mkdir(parents=True)
    (folder / f"{name}.yaml").write_text(DESCRIPTOR.format(name=name, more=more))


@pytest.fixture(scope="module")
def source() -> pa.Table:
    at = START + (np.arange(MANY) % 720 * 60 + np.arange(MANY) // 720 * 86_400) * SECOND
    return pa.table({"taken": pa.array(at).cast(pa.timestamp("us")), "flux": np.random.default_rng(1).random(MANY)})


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory, source: pa.Table) -> Iterator[Client]:
    directory = tmp_path_factory.mktemp("spans")
    pq.write_table(source, directory / "goes.parquet")
    site_of(directory, "goes")
    (directory / "hven.toml").write_text('public_url = "https://vo.example"\n')
    with Site(settings.load_settings(directory)) as made:
        ingest_collection(made, "goes")
        yield Client(create_and_start_application(made))


def fetch_series(client: Client, url: str, **given: object) -> bytes:
    answer = client.get(url.removeprefix("https://vo.example"), **given)
    assert answer.status == 200, answer.body
    return answer.body


def test_granules_lead_to_their_samples(client: Client, source: pa.Table) -> None:
    listed = fetch_series(
        client,
        "/tap/sync",
        LANG="ADQL",
        RESPONSEFORMAT="csv",
        QUERY="SELECT granule_uid, access_url FROM goes.epn_core ORDER BY time_min",
    )
    rows = [line.split(",", 1) for line in listed.decode().splitlines()[1:]]
    assert len(rows) == 3
    for day, (ident, url) in enumerate(rows):
        expected = source.slice(day * 720, 720)
        links = read(client, ident)
        procs = {service["local"]: service for service in links if service["semantics"] == "#proc"}
        told = {link["local"]: link for link in links if link["semantics"] == "#documentation"}
        assert set(procs) == set(told) == {"hapi", "das2"}
        body = fetch_series(client, f"{procs['hapi']['url']}?{urlencode(procs['hapi']['sent'])}").decode()
        assert [float(line.rpartition(",")[2]) for line in body.splitlines()] == expected["flux"].to_pylist()
        assert fetch_series(client, url.strip('"')).decode() == body  # the granule's own address says the same
        (packet,) = parse_stream(
            fetch_series(client, f"{procs['das2']['url']}?{urlencode(procs['das2']['sent'])}")
        ).packets
        np.testing.assert_array_equal(packet.values()["flux"][:, 0], expected["flux"].to_numpy())
        assert (procs["hapi"]["type"], procs["das2"]["type"]) == ("text/csv", "application/vnd.das2.das2stream")
        assert b'"cadence"' in fetch_series(client, told["hapi"]["url"])
        assert b"validRange" in fetch_series(client, told["das2"]["url"])


def read(client: Client, ident: str, table: str = "goes.epn_core") -> list[dict]:
    from astropy.io.votable import parse as votable

    document = votable(BytesIO(fetch_series(client, f"/datalink/{table}", ID=ident)))
    services = {}
    for resource in document.resources:
        if resource.utype != "adhoc:service":
            continue
        params = {one.name: one.value for one in resource.params}
        sent = {
            one.name: one.value for group in resource.groups for one in group.entries if one.value not in (None, "")
        }
        services[resource.ID] = {
            "url": params["accessURL"],
            "sent": {name: str(value) for name, value in sent.items() if str(value) not in {"", "nan", "--"}},
        }
    found = []
    for row in document.get_first_table().to_table():
        link = {
            "semantics": str(row["semantics"]),
            "local": str(row["local_semantics"]),
            "type": str(row["content_type"]),
            "url": str(row["access_url"]),
        }
        found.append(link | services.get(str(row["service_def"]), {}))
    return found


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (", {series: a, type: text/csv}", "`series` already sets this key"),
        (", {text: x}", "one of 'semantics', 'derived' and 'series'"),
    ],
)
def test_what_goes_with_a_series_is_refused(tmp_path, source: pa.Table, more: str, words: str) -> None:
    pq.write_table(source, tmp_path / "goes.parquet")
    site_of(tmp_path, "goes", more)
    (tmp_path / "hven.toml").write_text("")
    with Site(settings.load_settings(tmp_path)) as made, pytest.raises(DescriptorError, match=words):
        ingest_collection(made, "goes")
