"""Elasticsearch's own client reads the server that our tests plant faults in, by a point in time and by a scroll: it finds what our source finds there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from document_servers import ElasticServer

from hven.model import plugins
from hven.sources import SourceContext
from json_servers import serve

pytestmark = pytest.mark.needs("proof")
READ = """\
import json, sys
from elasticsearch import Elasticsearch
from elasticsearch.helpers import scan
server = Elasticsearch(sys.argv[1])
query = json.loads(sys.argv[2])
point, after, pit = server.open_point_in_time(index="nrh", keep_alive="1m")["id"], None, []
while True:
    more = {} if after is None else {"search_after": after}
    found = server.search(size=7, pit={"id": point, "keep_alive": "1m"}, sort=[{"_shard_doc": "asc"}], query=query, **more)["hits"]["hits"]
    if not found:
        break
    pit += found
    after = found[-1]["sort"]
server.close_point_in_time(id=point)
scrolled = list(scan(server, index="nrh", query={"query": query}, size=7))
fields = server.indices.get_mapping(index="nrh")["nrh"]["mappings"]["properties"]
print(json.dumps([[[one["_id"], one["_source"]] for one in hits] for hits in (pit, scrolled)] + [sorted(fields)]))
"""
QUERY = {"bool": {"filter": [{"range": {"n": {"gte": 11}}}]}}


def test_documents_equal_those_of_the_official_client(tmp_path: Path) -> None:
    python = Path(os.environ.get("HVEN_ELASTICSEARCH") or tmp_path / "venv/bin/python")  # of an environment that has it
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", "elasticsearch>=8,<9"], check=True)
    documents = [{"n": at, "obs": f"o{at}", "mhz": 150.9 + at, "looks": [{"href": f"{at}.png"}, {"href": f"{at}b.png"}]} for at in range(100)]  # fmt: skip
    mapping = {"n": {"type": "long"}, "obs": {"type": "keyword"}, "mhz": {"type": "double"}, "looks": {"type": "nested", "properties": {"href": {"type": "keyword"}}}}  # fmt: skip
    world = ElasticServer(documents=documents, mapping=mapping)
    with serve(world) as url:
        told = subprocess.run(
            [str(python), "-c", READ, url, json.dumps(QUERY)], check=False, capture_output=True, text=True
        )
        assert not told.returncode, told.stderr
        options = plugins.load_plugin("sources", "elastic").Options(
            url=url, index="nrh", page=7, query={"query": QUERY}
        )
        source = plugins.load_plugin("sources", "elastic").open(options, SourceContext(allow_private=True))
        ours = [row for batch in source.read_batches() for row in batch.to_pylist()]
        columns = {column.name.split(".")[1] for column in source.list_columns() if column.name.startswith("_source.")}
    pit, scrolled, fields = json.loads(told.stdout)
    assert pit == scrolled
    assert len(pit) == 89
    assert [[row["_id"], row["_source.n"], row["_source.obs"], row["_source.mhz"], row["_source.looks.href"]] for row in ours] == [
        [ident, one["n"], one["obs"], one["mhz"], [look["href"] for look in one["looks"]]] for ident, one in pit
    ]  # fmt: skip
    assert columns == set(fields)
    assert not world.open, "both let go of what the server held for them"
