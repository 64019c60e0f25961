"""Providers of names: who is asked, when names can be resolved at all, and what pages complete."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from hven.model import plugins
from hven.query import resolver
from hven.query.resolver import NameProvider, NameRequest, ResolvedName
from hven.site import Site
from hven.testing.site import open_tiny_site

NEAR = ResolvedName(name="Near", position=(1.0, 2.0), source="near", radius_degrees=0.5)
FAR = ResolvedName(name="Far", position=(3.0, 4.0), source="far")
asked: list[str] = []


def find_near_object(request: NameRequest) -> list[ResolvedName]:
    asked.append(request.name_key)
    return [NEAR] if request.name_key == "NEAR" else []


def find_far_object(request: NameRequest) -> list[ResolvedName]:
    asked.append(f"far {request.name_key}")
    return [FAR] if request.name_key == "FAR" else []


NEAR_PROVIDER = NameProvider(
    name="near",
    order=1,
    offered=lambda _: True,
    place=lambda _: "a list",
    remedy="",
    find=find_near_object,
    is_general=False,
    complete=lambda typed_text, _: [("Near", NEAR)] if typed_text == "ne" else [],
    name_table=lambda _: "Sky.Near",
)
FAR_PROVIDER = NameProvider(
    name="far",
    order=2,
    offered=lambda _: True,
    place=lambda _: "another server",
    remedy="allow the other server",
    find=find_far_object,
    remote=True,
)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    asked.clear()
    with open_tiny_site(tmp_path, {"s.t": pa.table({"x": [1]})}) as made:
        yield made


@pytest.fixture
def use_providers(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def use(*providers: NameProvider) -> None:
        records = {provider.name: provider for provider in providers}
        monkeypatch.setattr(plugins, "load_plugin_records", lambda group: records if group == "resolvers" else {})

    return use


def test_providers_are_asked_in_their_order(site: Site, use_providers: Callable[..., None]) -> None:
    use_providers(FAR_PROVIDER, NEAR_PROVIDER)
    assert resolver.resolve_object_name("near", site=site) == NEAR
    assert asked == ["NEAR"]
    assert resolver.resolve_object_position("f ar", site=site) == (3.0, 4.0)
    with pytest.raises(resolver.UnresolvedNameError, match="Hven queried a list, another server"):
        resolver.resolve_object_name("nobody", site=site)
    with pytest.raises(resolver.UnresolvedNameError, match="Hven queried a list"):
        resolver.resolve_object_name("far", site=site, includes_remote=False)


def test_answers_of_remote_providers_are_cached_as_long_as_they_say(
    site: Site, use_providers: Callable[..., None]
) -> None:
    use_providers(FAR_PROVIDER)
    assert [resolver.resolve_object_position("far", site=site) for _ in range(3)] == [(3.0, 4.0)] * 3
    assert asked == ["far FAR"]
    use_providers(replace(FAR_PROVIDER, max_cache_days=lambda _: -1.0))
    resolver.resolve_object_name("far", site=site)
    assert asked == ["far FAR"] * 2


def test_names_can_be_resolved_with_a_provider_that_knows_many(site: Site, use_providers: Callable[..., None]) -> None:
    use_providers()
    assert not resolver.can_resolve_names(site.settings)
    use_providers(NEAR_PROVIDER)
    assert not resolver.can_resolve_names(site.settings)
    use_providers(NEAR_PROVIDER, replace(FAR_PROVIDER, offered=lambda _: False))
    assert not resolver.can_resolve_names(site.settings)
    use_providers(NEAR_PROVIDER, FAR_PROVIDER)
    assert resolver.can_resolve_names(site.settings)


def test_pages_complete_names_of_providers_and_of_their_tables(site: Site, use_providers: Callable[..., None]) -> None:
    use_providers(NEAR_PROVIDER, FAR_PROVIDER)
    assert resolver.complete_object_name("ne", 5, site.settings) == [("Near", NEAR)]
    assert resolver.complete_object_name("fa", 5, site.settings) == []
    assert resolver.list_object_name_tables(site.settings) == ["sky.near"]


def test_a_site_without_providers_says_that_it_asked_nobody(site: Site, use_providers: Callable[..., None]) -> None:
    use_providers()
    with pytest.raises(resolver.UnresolvedNameError, match="Hven queried no services") as error:
        resolver.resolve_object_name("M 31", site=site)
    assert "give the position itself" in error.value.remedy
