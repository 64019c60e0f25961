"""Another TAP service as the source: this program serves it, another site follows."""

from __future__ import annotations

import pytest

from hven import query
from hven.ingest.api.runs import ingest_collection
from hven.ingest.sync import sync_collection
from hven.site.auth._access_control import OWNER_PRINCIPAL
from hven.testing.site import open_site_with_uningested_files
from process_runner import serve_site, wait_until

THERE = """
collection: headers
title: Headers
tables:
  main:
    source: {kind: csv, files: a.csv}
    primary: dp_id
    columns: {dp_id: {type: string, indexed: true}, target: string, exptime: float64, modified: float64}
"""
HERE = """
collection: mirror
title: Headers of another house
tables:
  main:
    source: {{kind: tap, url: "{url}/tap", table: headers.main, key: dp_id}}
    primary: dp_id
    sync: {{watermark: modified, page: 700}}
"""


def rows(site, table):
    with query.run_query(f"SELECT * FROM {table} ORDER BY dp_id", OWNER_PRINCIPAL, site=site) as result:
        return [tuple(row.values()) for batch in result.iterate_batches() for row in batch.to_pylist()]


def write(home, headers):
    text = "dp_id,target,exptime,modified\n" + "".join(
        f"HD.{n:05d},{a},{b},{c}\n" for n, (a, b, c) in sorted(headers.items())
    )
    (home / "collections" / "headers" / "a.csv").write_text(text)


@pytest.mark.slow
def test_a_tap_service_is_followed(tmp_path):
    there, here = tmp_path / "there", tmp_path / "here"
    headers = {n: (f"t{n % 7}", 1.5, 60_000 + n / 1000) for n in range(2000)}
    with open_site_with_uningested_files(there, THERE, {"a.csv": ""}) as source:
        (there / "hven.toml").write_text("")
        write(there, headers)
        ingest_collection(source, "headers")
        with (
            serve_site(there) as server,
            open_site_with_uningested_files(
                here, HERE.format(url=f"http://127.0.0.1:{server.port}"), allow_private=True
            ) as site,
        ):
            sync_collection(site, "mirror")
            assert rows(site, "mirror.main") == rows(source, "headers.main")
            headers |= {5: ("edited", 2.5, 60_010.0), 9000: ("new", 1.5, 60_011.0), 9001: ("late", 1.5, 60_000.0005)}
            del headers[77]
            write(there, headers)
            ingest_collection(source, "headers")
            # all of its processes
            wait_until(lambda: server.rows("SELECT target FROM headers.main WHERE dp_id = 'HD.00005'") == [["edited"]])
            change = sync_collection(site, "mirror").changes["mirror.main"]
            assert (change.added, change.changed, change.removed, change.mapped) == (2, 1, 1, 3)
            assert change.how.startswith("since 60001.999")
            source.refresh_published_state()
            assert rows(site, "mirror.main") == rows(source, "headers.main")
            assert not sync_collection(site, "mirror").has_changes
