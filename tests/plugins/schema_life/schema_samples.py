"""Schemas of other services, as documents, and a server that has them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

VOTABLE = b"""\
<VOTABLE version="1.1" xmlns="http://www.ivoa.net/xml/VOTable/v1.1"><RESOURCE>
<TABLE name="one">
<FIELD name="RA" datatype="double" unit="degrees" ucd="POS_EQ_RA_MAIN"><DESCRIPTION>Right ascension (ICRS)</DESCRIPTION></FIELD>
<FIELD name="pm" datatype="float" unit="mas.yr-1" ucd="pos.pm"/>
<FIELD name="HIP" datatype="int" ucd="meta.id"/></TABLE>
<TABLE name="two"><FIELD name="mass" datatype="float" unit="kg"/>
<DATA><TABLEDATA><TR><TD>1</TD></TR></TABLEDATA></DATA></TABLE>
</RESOURCE></VOTABLE>
"""
VOSI = b"""\
<vosi:tableset xmlns:vosi="http://www.ivoa.net/xml/VOSITables/v1.0" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
<schema><name>other</name><table><name>other.main</name>
<column><name>ra</name><unit>rad</unit><ucd>pos.eq.ra</ucd><dataType xsi:type="vs:TAPType">DOUBLE</dataType></column>
<column><name>hip</name><dataType xsi:type="vs:TAPType" size="4">INTEGER</dataType></column>
<column><name>name</name><dataType xsi:type="vs:VOTableType" arraysize="*">char</dataType></column>
</table></schema></vosi:tableset>
"""
FELIS = b"""\
name: felis
"@id": "#felis"
tables:
- name: main
  "@id": "#main"
  columns:
  - {name: ra, "@id": "#main.ra", datatype: double, "ivoa:unit": deg, "ivoa:ucd": pos.eq.ra;meta.main}
  - {name: hip, "@id": "#main.hip", datatype: long}
"""
TAP_SCHEMA_ROWS = (
    ("other.main", "ra", "DOUBLE", "", "deg", "pos.eq.ra;meta.main"),
    ("other.main", "hip", "int4", "", "", "meta.id"),
    ("other.main", "pm", "adql:REAL", "", "mas.yr**-1", "pos.pm"),
    ("other.more", "flux", "double", "3", "Jy", "phot.flux"),
    ("TAP_SCHEMA.columns", "size", "int", "", "", ""),
)
SCHEMA_NAMES = ("table_name", "column_name", "datatype", "arraysize", "unit", "ucd")


def write_tap_schema() -> bytes:
    fields = "".join(f'<FIELD name="{name}" datatype="char" arraysize="*"/>' for name in SCHEMA_NAMES)
    rows = "".join("<TR>" + "".join(f"<TD>{cell}</TD>" for cell in row) + "</TR>" for row in TAP_SCHEMA_ROWS)
    return (
        '<VOTABLE version="1.4" xmlns="http://www.ivoa.net/xml/VOTable/v1.3"><RESOURCE type="results">'
        f'<INFO name="QUERY_STATUS" value="OK"/><TABLE>{fields}<DATA><TABLEDATA>{rows}</TABLEDATA></DATA></TABLE>'
        "</RESOURCE></VOTABLE>"
    ).encode()


@contextmanager
def serve_documents(documents: dict[str, bytes]) -> Iterator[str]:
    """Serve documents by their paths; all else is 404."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = documents.get(urlsplit(self.path).path)
            self.send_response(404 if body is None else 200)
            self.send_header("content-length", str(len(body or b"")))
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
