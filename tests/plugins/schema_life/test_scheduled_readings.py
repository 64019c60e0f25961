"""Schemas of other servers that the scheduler reads: everybody sees the copies, and no page requests them."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from asgi_client import Client
from schema_samples import serve_documents, write_tap_schema
from test_compare_page import HTML, ask

from hven.app._server import create_and_start_application
from hven.model.settings import load_settings
from hven.plugins.schema_life import scheduled_readings
from hven.plugins.schema_life.scheduled_readings import SchemaReadingService
from hven.plugins.schema_life.settings import find_address_faults
from hven.site import Site


def write_settings(directory: Path, addresses: list[str], more: str = "") -> None:
    (directory / "hven.toml").write_text(
        f"allow_private = true\n{more}[compare]\naddresses = {json.dumps(addresses)}\n"
    )


def make_copies_old(directory: Path) -> None:
    for path in (directory / "var/schema-copies").iterdir():
        day_before = time.time() - 25 * 3600
        os.utime(path, (day_before, day_before))


@pytest.fixture
def advance_time(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    offset = [0.0]
    monotonic = time.monotonic
    monkeypatch.setattr(scheduled_readings.time, "monotonic", lambda: monotonic() + offset[0])

    def advance(seconds: float) -> None:
        offset[0] += seconds

    return advance


def test_schemas_are_read_when_they_are_late(tmp_path: Path, advance_time: Callable[[float], None]) -> None:
    service = SchemaReadingService()
    with serve_documents({"/tap/sync": write_tap_schema()}) as url:
        write_settings(tmp_path, [f"{url}/tap", f"{url}/dead"])
        settings = load_settings(tmp_path)
        with Site(settings) as site:
            service.send_due_events(settings)  # for the events of another package
            assert not (tmp_path / "var/schema-copies").exists()
            assert service.is_delivery_due(settings, site.store)
            service.send_due_events(settings)
            assert len(list((tmp_path / "var/schema-copies").iterdir())) == 1
            assert not service.is_delivery_due(settings, site.store)  # the dead server is not asked again at once
            assert [f"{url}/dead" in problem for problem in service.find_problems(settings, site.store)] == [True]
            advance_time(scheduled_readings.CHECK_INTERVAL_SECONDS + 1)
            assert service.is_delivery_due(settings, site.store)
        write_settings(tmp_path, [f"{url}/tap"])
        settings = load_settings(tmp_path)
        with Site(settings) as site:
            advance_time(scheduled_readings.CHECK_INTERVAL_SECONDS + 1)
            assert not service.is_delivery_due(settings, site.store)
            make_copies_old(tmp_path)
            advance_time(scheduled_readings.CHECK_INTERVAL_SECONDS + 1)
            assert service.is_delivery_due(settings, site.store)
            assert service.find_problems(settings, site.store) == []


def test_a_site_without_addresses_does_nothing(tmp_path: Path) -> None:
    (tmp_path / "hven.toml").touch()
    with Site(load_settings(tmp_path)) as site:
        service = SchemaReadingService()
        assert not service.is_delivery_due(site.settings, site.store)
        assert service.find_problems(site.settings, site.store) == []
        assert not service.is_enabled(site.settings)


def test_everybody_sees_the_copies_and_no_page_requests_them(tmp_path: Path) -> None:
    service = SchemaReadingService()
    with serve_documents({"/tap/sync": write_tap_schema()}) as url:
        addresses = [f"{url}/tap", f"{url}/dead"]
        write_settings(tmp_path, addresses)
        settings = load_settings(tmp_path)
        with Site(settings) as site:
            client = Client(create_and_start_application(site))
            unread = json.loads(ask(client, "/compare.json", {}).body)["models"]
            assert [(model["label"], model["fault"]) for model in unread] == [
                (address, "it has not been read yet") for address in addresses
            ]
            assert service.is_delivery_due(settings, site.store)
            service.send_due_events(settings)
    with Site(settings) as site:  # the server is away
        client = Client(create_and_start_application(site))
        make_copies_old(tmp_path)
        for params in ({}, {"model": addresses}):
            content = json.loads(ask(client, "/compare.json", {}, **params).body)
            assert [model["columns"] for model in content["models"]] == [4, 0]
            assert content["models"][0]["fault"] == ""
        page = ask(client, "/compare", HTML)
        assert (page.status, f"<b>{url}/tap</b>" in page.text) == (200, True)
        assert ask(client, "/compare.json", {}, model=[f"{url}/other"]).status == 401


def test_texts_that_are_no_addresses_are_told(tmp_path: Path) -> None:
    write_settings(tmp_path, ["archive.example/tap", "https://archive.example/tap"])
    (fault,) = find_address_faults(load_settings(tmp_path))
    assert "'archive.example/tap' is not a web address" in fault.message
