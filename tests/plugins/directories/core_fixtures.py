"""What tests of the core use for the kinds of sources of this package (`plugin_needs.load_core_fixtures`)."""

from __future__ import annotations

from typing import Any

from document_servers import ElasticServer, StacServer

from json_servers import JsonServer

# a key of a document in `served/` of an example -> the server that has it, and the path below which it is served
EXAMPLE_SERVERS: dict[str, tuple[type[JsonServer], str]] = {
    "documents": (ElasticServer, ""),
    "items": (StacServer, "/stac"),
}
# what each kind that asks a server needs beside the address
HTTP_SOURCE_OPTIONS: dict[str, dict[str, Any]] = {
    "elastic": {"index": "a"},
    "oai": {"prefix": "oai_dc", "fields": {"id": "@identifier"}},
    "stac": {},
}
# how an answer of its service begins, and what follows without end
HTTP_SOURCE_BODIES: dict[str, tuple[bytes, bytes]] = {
    "elastic": (b'{"hits":{"hits":[', b'{"_id":"1","_source":{"a":1}},'),
    "oai": (b'<OAI-PMH xmlns="http://www.openarchives.org/OAI/2.0/"><Identify>', b"<repositoryName>a</repositoryName>"),
    "stac": (b'{"type":"FeatureCollection","features":[', b'{"type":"Feature","id":"a","geometry":null,"properties":{}},'),
}  # fmt: skip
# what a kind needs beside the address so that `hven new` looks at its service
FIRST_LOOK_OPTIONS: dict[str, dict[str, Any]] = {"stac": {"collections": ["a"]}}
