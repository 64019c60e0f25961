"""The TAP extension ASOF: what was published at a time or with a snapshot."""

from __future__ import annotations

import pyarrow as pa
import pytest
from asgi_client import Client

from hven.app._server import create_and_start_application
from hven.testing.site import open_tiny_site, publish_rows


@pytest.fixture
def past(tmp_path):
    with open_tiny_site(tmp_path, {"a.t": pa.table({"id": pa.array([1], pa.int32())})}) as site:
        first = site.store.read_published_snapshot_ids()[1]["a.t"]
        publish_rows(
            site, site.get_published_state().tables_by_name["a.t"].table, pa.table({"id": pa.array([1, 2], pa.int32())})
        )
        site.refresh_published_state()
        yield Client(create_and_start_application(site)), first


def ask(client, **params):
    return client.get("/tap/sync", LANG="ADQL", QUERY="SELECT COUNT(*) AS n FROM a.t", RESPONSEFORMAT="csv", **params)


def test_as_of(past):
    client, first = past
    now, then = ask(client), ask(client, ASOF=first)
    assert (now.text.split(), then.text.split()) == (["n", "2"], ["n", "1"])
    assert now.headers["etag"] != then.headers["etag"]
    assert ask(client, asof=first).headers["etag"] == then.headers["etag"]
    wrong = ask(client, ASOF="yesterday")
    assert wrong.status == 400
    assert "'yesterday' is not a time, and there is no published snapshot or run with that id" in wrong.text
    early = ask(client, ASOF="1999-12-31")
    assert early.status == 400
