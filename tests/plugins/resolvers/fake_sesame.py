"""A small Sesame on 127.0.0.1, which also does everything that a far service does wrong."""

from __future__ import annotations

import contextlib
import http.server
import threading
from collections.abc import Iterator
from urllib.parse import unquote
from xml.sax.saxutils import escape

HEAD = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n<Sesame xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">\n'
XML = (
    HEAD
    + """<Target option="S"><name>{name}</name>
<Resolver name="S=Simbad (CDS, via client/server)"><!-- delay: 12[ms] --><INFO>from cache</INFO>
 <otype>PM*</otype><jpos>17:57:48.49 +04:41:36.1</jpos><jradeg>269.45207696</jradeg><jdedeg>+4.69336497</jdedeg>
 <refPos>2020yCat.1350....0G</refPos><errRAmas>0.026</errRAmas><errDEmas>0.029</errDEmas>
 <pm><v>10393.349</v><pa>355.6</pa><pmRA>-801.551</pmRA><epmRA>0.032</epmRA><pmDE>10362.394</pmDE><epmDE>0.036</epmDE><r>2020yCat</r></pm>
 <oname>NAME Barnard's star</oname><alias>GJ 699</alias><alias>HIP  87937</alias><alias>V* V2500 Oph</alias></Resolver></Target></Sesame>"""
)
TEXT = """# {name}\t#Q22523669
#=Sc=Simbad (CDS, via client/server):    1     3ms (from cache)
%@ 2817998
%C.0 PM*
%J 269.45207696 +04.69336497 = 17:57:48.49     +04:41:36.1
%J.E [0.03 0.03 90] A 2020yCat.1350....0G
%P -801.551 +10362.394 [0.032 0.036 0] A 2020yCat.1350....0G
%I.0 NAME Barnard's star
%I GJ 699
%I HIP  87937
#====Done (2026-Nov-20,12:00:00z)====
"""
NOTHING = (
    HEAD
    + '<Target option="S"><name>{name}</name><Resolver name="S=Simbad"><INFO>*** Nothing found ***</INFO></Resolver></Target></Sesame>'
)
ANSWERS: dict[str, str | bytes] = {
    "barnard": XML,
    "text": TEXT,
    "nothing": NOTHING,
    "nothingelse": NOTHING,
    "html": "<!DOCTYPE html><html><body>Please log in</body></html>",
    "xhtml": "<html><body>down for work</body></html>",
    "cut": XML[:400],
    "cuttext": TEXT[:60],
    "noise": bytes(range(256)) * 8,
    "empty": "",
    "bomb": '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "bbbb"><!ENTITY c "&b;&b;&b;">]><Sesame>&c;</Sesame>',
    "elsewhere": XML.replace("269.45207696", "1e9"),
    "words": XML.replace("269.45207696", "unknown"),
    "long": HEAD + " " * (3 * 1024**2),
    "nan": XML.replace("+4.69336497", "nan"),
}


class Sesame(http.server.BaseHTTPRequestHandler):
    asked: list[str] = []
    over = threading.Event()  # nobody is kept waiting any more

    def do_GET(self) -> None:
        name = unquote(self.path.rpartition("?")[2])
        type(self).asked.append(self.path)
        if name == "slow":
            self.over.wait(60)
        if name == "drip":
            self.send_response(200)
            self.end_headers()
            while not self.over.wait(0.05):
                self.wfile.write(b" ")
            return
        body = ANSWERS.get(name.lower().replace(" ", ""), NOTHING)
        raw = body if isinstance(body, bytes) else body.replace("{name}", escape(name)).encode()
        self.send_response(500 if name == "broken" else 200)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def handle(self) -> None:
        try:
            super().handle()
        except OSError:  # who asked has left
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def serve_sesame() -> Iterator[str]:
    """Serve it, and yield its address."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Sesame)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/cgi-bin/nph-sesame"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
