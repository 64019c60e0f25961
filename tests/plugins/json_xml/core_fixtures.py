"""What tests of the core use for the kinds of sources of this package (`plugin_needs.load_core_fixtures`)."""

from __future__ import annotations

from typing import Any

# what each kind that asks a server needs beside the address
HTTP_SOURCE_OPTIONS: dict[str, dict[str, Any]] = {"rest": {"records": "items"}}
# how an answer of its service begins, and what follows without end
HTTP_SOURCE_BODIES: dict[str, tuple[bytes, bytes]] = {"rest": (b'{"items":[', b'{"a":1},')}
