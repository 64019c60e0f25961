"""Answers of SIMBAD on disk: they outlive processes and outages, know their age, and are asked for again in time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from starlette.requests import Request

from hven.model import LruCache
from hven.model.errors import OverloadedError
from hven.plugins.resolvers import resolve_verb, simbad_store
from hven.plugins.resolvers.settings import NameResolverSettings
from hven.plugins.resolvers.simbad_snapshot import get_simbad_snapshot
from hven.portal._pages import compute_package_frame_values, load_templates
from hven.query import resolver
from hven.query.resolver import ResolvedName
from hven.query.resolver import _providers as asking
from hven.services.face import ServiceContext
from hven.site import Site
from hven.site.auth import ANONYMOUS_PRINCIPAL
from hven.testing.site import open_tiny_site
from plugins.resolvers.fake_sesame import ANSWERS, Sesame, serve_sesame


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serve_sesame() as address:
        yield address


@pytest.fixture(autouse=True)
def _forget_requests() -> None:
    Sesame.asked.clear()


def open_site(directory: Path, url: str, **settings: object) -> Site:
    """Open a site that asks the small Sesame."""
    brought = {"resolver": NameResolverSettings(remote=True, url=url, seconds=5)}
    return open_tiny_site(directory, {"s.t": pa.table({"x": [1]})}, brought=brought, allow_private=True, **settings)


def forget_in_memory(site: Site) -> None:
    """Forget what this process knows, as another process does."""
    state = site.get_or_create(asking._ResolverState)
    state.answer_cache = LruCache(10)
    state.failures.clear()


def age_stored_objects(monkeypatch: pytest.MonkeyPatch, days: float) -> None:
    compute_age = simbad_store._compute_age
    monkeypatch.setattr(simbad_store, "_compute_age", lambda fetched: compute_age(fetched) + days * 86_400)


def test_another_process_knows_all_names_of_an_object(tmp_path: Path, url: str) -> None:
    with open_site(tmp_path, url) as site:
        first = resolver.resolve_object_name("barnard", site=site)
    with open_site(tmp_path, url) as site:
        for name in ("BARNARD", "gj699", "HIP 87937", "NAME Barnard's star"):
            again = resolver.resolve_object_name(name, site=site)
            assert (again.position, again.proper_motion, again.ids) == (first.position, first.proper_motion, first.ids)
            assert again.licence.startswith("CDS/SIMBAD")
            assert 0 < again.age < 600
        assert resolver.resolve_object_name("NAME Barnard's star", site=site).confidence == 1
        assert get_simbad_snapshot(site).summarize()["objects"] == 1
    assert len(Sesame.asked) == 1


def test_old_answers_stand_while_simbad_is_away(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An HTML page instead of an answer begins an outage, the next answer ends it, and both are told."""
    with open_site(tmp_path, url) as site:
        resolver.resolve_object_name("barnard", site=site)
        age_stored_objects(monkeypatch, 40)
        forget_in_memory(site)
        monkeypatch.setitem(ANSWERS, "barnard", "<!DOCTYPE html><html>Under maintenance</html>")
        for _ in range(2):  # at the second time, Hven does not even ask
            found = resolver.resolve_object_name("barnard", site=site)
            assert found.age > 40 * 86_400
        outage = get_simbad_snapshot(site).find_outage()
        assert outage is not None
        assert found.note == f"SIMBAD has not answered since {outage.since}; this is an earlier answer"
        assert "an HTML page" in outage.message
        with pytest.raises(OverloadedError, match="this site does not know the object 'Nobody'") as error:
            resolver.resolve_object_name("Nobody", site=site)
        assert f"it has not answered since {outage.since}" in error.value.message
        assert len(Sesame.asked) == 2
        forget_in_memory(site)
        with pytest.raises(OverloadedError):
            resolver.resolve_object_name("broken", site=site)
        later_outage = get_simbad_snapshot(site).find_outage()
        assert later_outage is not None
        assert later_outage.since == outage.since, "it began with the first failure"
        forget_in_memory(site)
        with pytest.raises(resolver.UnresolvedNameError):
            resolver.resolve_object_name("nothing", site=site)
        assert get_simbad_snapshot(site).find_outage() is None


def test_the_ceiling_holds_for_all_and_is_no_outage(tmp_path: Path, url: str) -> None:
    """The second request would have to wait for hours: it is refused, and neither SIMBAD nor known names suffer."""
    with open_site(tmp_path, url, ceilings={"127.0.0.1": 0.0005}) as site:
        resolver.resolve_object_name("barnard", site=site)
    with open_site(tmp_path, url, ceilings={"127.0.0.1": 0.0005}) as site:  # another process
        begun = time.monotonic()
        with pytest.raises(OverloadedError, match=r"at most 0\.0005 requests a second"):
            resolver.resolve_object_name("text", site=site)
        assert time.monotonic() - begun < 5
        assert get_simbad_snapshot(site).find_outage() is None
        assert not site.get_or_create(asking._ResolverState).failures
        assert resolver.resolve_object_name("GJ 699", site=site).name == "NAME Barnard's star"
    assert len(Sesame.asked) == 1


def test_the_oldest_objects_leave_first(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simbad_store, "MAX_OBJECTS", 20)
    with open_site(tmp_path, url) as site:
        snapshot = get_simbad_snapshot(site)
        for number in range(25):
            snapshot.store_object(ResolvedName(name=f"Star {number}", source="x", ids=("A" * number,)), "KEY")
        assert snapshot.summarize()["objects"] == 20
        assert snapshot.find_object("STAR0") is None
        newest = snapshot.find_object("KEY")
        assert newest is not None
        assert newest.name == "Star 24"


def test_old_objects_are_refreshed_on_request(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_site(tmp_path, url) as site:
        resolver.resolve_object_name("barnard", site=site)
        monkeypatch.setitem(ANSWERS, "namebarnard'sstar", ANSWERS["barnard"])
        assert resolve_verb._refresh_outdated_objects(site, 10)["refreshed"] == 0
        old = get_simbad_snapshot(site).list_old_names(-1, 10)
        assert old == ["NAME Barnard's star"]
        monkeypatch.setattr(
            resolve_verb, "get_resolver_settings", lambda _: NameResolverSettings(remote=True, keep_days=0, url=url)
        )
        facts = resolve_verb._refresh_outdated_objects(site, 10)
    assert (facts["refreshed"], facts["objects"], facts["away_since"]) == (1, 1, None)
    assert len(Sesame.asked) == 2


def test_curators_see_an_outage(tmp_path: Path, url: str) -> None:
    with open_site(tmp_path, url) as site:
        get_simbad_snapshot(site).record_outage("<down>")
        context = ServiceContext.create_for_principal(site, ANONYMOUS_PRINCIPAL)
        for path, is_told in (("/health", True), ("/collections", False)):
            request = Request({"type": "http", "path": path, "query_string": b"", "headers": [], "server": ("h", 80)})
            value = compute_package_frame_values(request, context)["resolvers"]
            assert bool(value) == is_told
            part = load_templates().get_template("resolvers/health_part.html")
            text = part.render(frame_values={"resolvers": value})
            assert ("since 20" in text) == is_told
            assert "<down>" not in text
