"""What tests of the core use for the kind of source of this package (`plugin_needs.load_core_fixtures`)."""

from __future__ import annotations

from typing import Any

HTTP_SOURCE_OPTIONS: dict[str, dict[str, Any]] = {"tap": {"table": "a.b"}}
VOTABLE = b'<VOTABLE version="1.4"><RESOURCE type="results"><INFO name="QUERY_STATUS" value="OK"/><TABLE><FIELD name="a" datatype="int"/><DATA><TABLEDATA>'
HTTP_SOURCE_BODIES: dict[str, tuple[bytes, bytes]] = {"tap": (VOTABLE, b"<TR><TD>1</TD></TR>")}
FIRST_LOOK_OPTIONS: dict[str, dict[str, Any]] = {"tap": {"table": "a.b"}}
