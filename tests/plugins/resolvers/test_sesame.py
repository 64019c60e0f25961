"""SIMBAD through Sesame: its answers, and everything that a far service does wrong, spoken by a small server here."""

from __future__ import annotations

import http.server
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from xml.sax.saxutils import escape

import pyarrow as pa
import pytest

from hven.model.errors import OverloadedError, SourceError
from hven.plugins.resolvers import sesame
from hven.plugins.resolvers.settings import NameResolverSettings
from hven.query import resolver
from hven.query.resolver import _providers as asking
from hven.site import Site
from hven.testing.site import open_tiny_site
from process_runner import wait_until

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


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Sesame)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/cgi-bin/nph-sesame"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def site(tmp_path: Path, url: str) -> Iterator[Site]:
    Sesame.asked.clear()
    settings = NameResolverSettings(remote=True, url=url, seconds=60)
    with open_tiny_site(
        tmp_path, {"s.t": pa.table({"x": [1]})}, brought={"resolver": settings}, allow_private=True
    ) as made:
        yield made


def test_an_object_has_what_the_answer_says(site: Site) -> None:
    found = resolver.resolve_object_name("barnard", site=site)
    assert found.position == (269.45207696, 4.69336497)
    assert found.proper_motion == (-801.551, 10362.394)
    assert (found.name, found.kind, found.epoch, found.frame) == ("NAME Barnard's star", "PM*", 2000.0, "ICRS")
    assert list(found.ids)[:2] == ["GJ 699", "HIP 87937"]
    assert found.source.startswith("Sesame: Simbad")
    assert found.confidence == 0.95
    assert Sesame.asked[0].partition("?")[0].endswith("/-oxpI/S")


def test_answers_are_remembered_with_their_age(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolver.resolve_object_name("Barnard", site=site).age < 60
    clock = time.monotonic
    monkeypatch.setattr(asking.time, "monotonic", lambda: clock() + 86_400)
    assert resolver.resolve_object_name("b a r n a r d", site=site).age == pytest.approx(86_400, abs=60)
    assert len(Sesame.asked) == 1
    monkeypatch.setattr(asking.time, "monotonic", lambda: clock() + 31 * 86_400)
    assert resolver.resolve_object_name("barnard", site=site).age < 60
    assert len(Sesame.asked) == 2


def test_that_a_name_is_unknown_is_remembered_for_a_day(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("nothing", "NOTHING", "nothing else"):
        with pytest.raises(
            resolver.UnresolvedNameError, match="Hven queried the bodies of the Solar System, SIMBAD through Sesame"
        ):
            resolver.resolve_object_name(name, site=site)
    assert len(Sesame.asked) == 2
    clock = time.monotonic
    monkeypatch.setattr(asking.time, "monotonic", lambda: clock() + 90_000)
    with pytest.raises(resolver.UnresolvedNameError):
        resolver.resolve_object_name("nothing", site=site)
    assert len(Sesame.asked) == 3


@pytest.mark.parametrize(
    "name",
    [
        "html",
        "xhtml",
        "cut",
        "text",
        "cuttext",
        "noise",
        "empty",
        "bomb",
        "elsewhere",
        "words",
        "long",
        "nan",
        "broken",
    ],
)
def test_garbage_is_said_to_be_garbage_and_never_unknown(site: Site, name: str) -> None:
    with pytest.raises(
        OverloadedError, match=r"this site does not know .*, and SIMBAD through Sesame .* could not be queried: "
    ) as error:
        resolver.resolve_object_name(name, site=site)
    assert "position" in error.value.remedy


@pytest.mark.parametrize("name", ["slow", "drip"])
def test_a_slow_service_is_given_up_and_left_alone_for_a_while(tmp_path: Path, url: str, name: str) -> None:
    settings = NameResolverSettings(remote=True, url=url, seconds=0.6)
    with open_tiny_site(
        tmp_path, {"s.t": pa.table({"x": [1]})}, brought={"resolver": settings}, allow_private=True
    ) as site:
        Sesame.over.clear()
        Sesame.asked.clear()
        try:
            begun = time.monotonic()
            with pytest.raises(OverloadedError, match="could not be queried"):
                resolver.resolve_object_name(name, site=site)
            assert time.monotonic() - begun < 30, "it would never end"
            with pytest.raises(OverloadedError):
                resolver.resolve_object_name("barnard", site=site)
            wait_until(lambda: Sesame.asked)  # who was given up may not have heard the question yet
        finally:
            Sesame.over.set()
        assert len(Sesame.asked) == 1  # the second was not sent at all


def test_a_service_that_is_left_alone_is_asked_again_later(site: Site) -> None:
    with pytest.raises(OverloadedError):
        resolver.resolve_object_name("broken", site=site)
    with pytest.raises(OverloadedError):
        resolver.resolve_object_name("barnard", site=site)
    site.get_or_create(asking._ResolverState).failures.clear()  # as if the pause were over
    assert resolver.resolve_object_position("barnard", site=site)[0] == 269.45207696


def test_a_name_is_asked_for_once_however_many_wait(site: Site) -> None:
    found: list[Any] = []
    threads = [
        threading.Thread(target=lambda: found.append(resolver.resolve_object_position("barnard", site=site)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(Sesame.asked) == 1


def test_the_number_of_answers_kept_is_bounded(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "MAX_CACHED_ANSWERS", 3)
    for number in range(6):
        with pytest.raises(resolver.UnresolvedNameError):
            resolver.resolve_object_name(f"none {number}", site=site)
    assert len(site.get_or_create(asking._ResolverState).answer_cache) == 3
    assert not site.get_or_create(asking._ResolverState).name_locks


def test_nothing_is_sent_unless_the_site_allows_it(tmp_path: Path, url: str) -> None:
    Sesame.asked.clear()
    with open_tiny_site(
        tmp_path, {"s.t": pa.table({"x": [1]})}, brought={"resolver": NameResolverSettings(url=url)}, allow_private=True
    ) as site:
        with pytest.raises(resolver.UnresolvedNameError, match=r"resolver.remote = true"):
            resolver.resolve_object_name("barnard", site=site)
        assert not resolver.can_resolve_names(site.settings)
    assert Sesame.asked == []


def test_an_address_inside_is_not_asked(tmp_path: Path, url: str) -> None:
    Sesame.asked.clear()
    settings = NameResolverSettings(url=url, remote=True)
    with (
        open_tiny_site(tmp_path, {"s.t": pa.table({"x": [1]})}, brought={"resolver": settings}) as site,
        pytest.raises(OverloadedError, match="not on the public internet"),
    ):
        resolver.resolve_object_name("barnard", site=site)
    assert Sesame.asked == []


def test_a_name_cannot_leave_its_place_in_the_address(site: Site) -> None:
    with pytest.raises(resolver.UnresolvedNameError):
        resolver.resolve_object_name("x&y=../../etc#frag %0d", site=site)
    assert Sesame.asked[0].endswith("/-oxpI/S?x%26y%3D..%2F..%2Fetc%23frag%20%250d")


@pytest.mark.parametrize("length", range(0, len(XML), 41))
def test_no_cut_answer_is_taken_for_a_position(length: int) -> None:
    with pytest.raises(SourceError):
        sesame.parse_sesame_answer(XML[:length].encode(), "x")


@pytest.mark.parametrize("status", ["", '<INFO name="QUERY_STATUS" value="OVERFLOW"/>'])
def test_no_votable_is_taken_for_an_answer(status: str) -> None:
    """No name is resolved by a VOTable: Sesame's own documents are read, and nothing else."""
    table = "<TABLE><FIELD name='id' datatype='int'/><DATA><TABLEDATA><TR><TD>1</TD></TR></TABLEDATA></DATA></TABLE>"
    votable = f"<VOTABLE version='1.4'><RESOURCE type='results'>{table}{status}</RESOURCE></VOTABLE>"
    with pytest.raises(SourceError, match="VOTABLE"):
        sesame.parse_sesame_answer(votable.encode(), "Vega")
