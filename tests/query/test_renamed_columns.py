"""Columns that a query renames or leaves out: templates of links and groups follow the names of the answer."""

from __future__ import annotations

import io

import pytest

from hven import query
from hven.formats.votable import FORMAT, read_votable
from hven.ingest.api.runs import ingest_collection
from hven.site.auth._access_control import OWNER_PRINCIPAL
from hven.testing.site import open_site_with_uningested_files

DESCRIPTOR = """\
collection: cat
title: Stars
tables:
  t:
    columns:
      hd: {type: int32, link: "https://e.org/hd/{hd}"}
      tyc1: {type: int32, link: "https://e.org/tyc/{tyc1}-{tyc2}?a={{x}}"}
      tyc2: {type: int32}
      mag: {type: float64}
    groups:
      star: {value: hd, error: mag}
    source: {kind: csv, files: a.csv}
"""


def answer(site, adql):
    with query.run_query(adql, OWNER_PRINCIPAL, site=site) as result:
        batches = list(result.iterate_batches())
        text = b"".join(FORMAT.write(query.build_result_metadata(result), iter(batches), result.build_status, {}))
    head = read_votable(io.BytesIO(text)).metadata
    return {column.name: column.link for column in head.columns}, [group.roles for group in head.groups]


@pytest.mark.parametrize(
    ("select", "links", "groups"),
    [
        ("hd, mag", {"hd": "https://e.org/hd/{hd}", "mag": None}, [{"value": "hd", "error": "mag"}]),
        ('hd AS "HD", mag AS m', {"HD": "https://e.org/hd/{HD}", "m": None}, [{"value": "HD", "error": "m"}]),
        ('hd AS "HD"', {"HD": "https://e.org/hd/{HD}"}, []),
        ("tyc1", {"tyc1": None}, []),
        ("tyc2, tyc1 AS a", {"tyc2": None, "a": "https://e.org/tyc/{a}-{tyc2}?a={{x}}"}, []),
        ("tyc1 + 0 AS tyc1, tyc2", {"tyc1": None, "tyc2": None}, []),
        ("t.tyc1, u.tyc2", {"tyc1": None, "tyc2": None}, []),
    ],
)
def test_links_and_groups_of_an_answer(tmp_path, select, links, groups):
    with open_site_with_uningested_files(tmp_path, DESCRIPTOR, {"a.csv": "hd,tyc1,tyc2,mag\n1,2,3,4.5\n"}) as site:
        ingest_collection(site, "cat")
        tables = "cat.t AS t, cat.t AS u" if "u." in select else "cat.t"
        assert answer(site, f"SELECT {select} FROM {tables}") == (links, groups)
        if "u." not in select:
            inner = f"SELECT * FROM (SELECT {select} FROM cat.t) AS d"
            assert answer(site, inner)[0] == links
