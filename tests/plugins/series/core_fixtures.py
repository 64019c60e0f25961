"""What tests of the core use for the kinds of sources of this package (`plugin_needs.load_core_fixtures`)."""

from __future__ import annotations

from typing import Any

# what each kind that asks a server needs beside the address
HTTP_SOURCE_OPTIONS: dict[str, dict[str, Any]] = {
    "das2": {"dataset": "a/b", "start": "2020-01-01", "stop": "2020-01-02"},
    "hapi": {"dataset": "a", "start": "2020-01-01", "stop": "2020-01-02"},
}
# how an answer of its service begins, and what follows without end
HTTP_SOURCE_BODIES: dict[str, tuple[bytes, bytes]] = {
    "das2": (b'[00]000080<stream version="2.2">', b"<x/>"),
    "hapi": (b'{"HAPI":"3.0","status":{"code":1200,"message":"OK"},"parameters":[', b'{"name":"a","type":"double","units":null,"fill":null},'),
}  # fmt: skip
# what a kind needs beside the address so that `hven new` looks at its service
FIRST_LOOK_OPTIONS: dict[str, dict[str, Any]] = {"hapi": {"dataset": "a"}}
