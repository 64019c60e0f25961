"""SIMBAD through Sesame: its answers, and everything that a far service does wrong, spoken by a small server here."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from hven.model.errors import OverloadedError, SourceError
from hven.plugins.resolvers import sesame, simbad_store
from hven.plugins.resolvers.settings import NameResolverSettings
from hven.query import resolver
from hven.query.resolver import _providers as asking
from hven.site import Site
from hven.testing.site import open_tiny_site
from plugins.resolvers.fake_sesame import XML, Sesame, serve_sesame
from process_runner import wait_until


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serve_sesame() as address:
        yield address


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


def age_objects(monkeypatch: pytest.MonkeyPatch, days: float) -> None:
    """Make all stored answers, and those in memory, older."""
    clock, compute_age = time.monotonic, simbad_store._compute_age
    monkeypatch.setattr(asking.time, "monotonic", lambda: clock() + days * 86_400)
    monkeypatch.setattr(simbad_store, "_compute_age", lambda fetched: compute_age(fetched) + days * 86_400)


def test_responses_are_cached_with_their_age(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolver.resolve_object_name("Barnard", site=site).age < 60
    with monkeypatch.context() as patches:
        age_objects(patches, 0.5)
        assert resolver.resolve_object_name("b a r n a r d", site=site).age == pytest.approx(43_200, abs=60)
    with monkeypatch.context() as patches:
        age_objects(patches, 29)
        assert resolver.resolve_object_name("barnard", site=site).age == pytest.approx(29 * 86_400, abs=60)
    assert len(Sesame.asked) == 1
    age_objects(monkeypatch, 31)
    resolver.resolve_object_name("barnard", site=site)
    assert len(Sesame.asked) == 2


def test_that_a_name_is_unknown_is_remembered_for_a_day(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("nothing", "NOTHING", "nothing else"):
        with pytest.raises(
            resolver.UnresolvedNameError, match=r"tables, SIMBAD through Sesame .*, earlier answers of SIMBAD"
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
