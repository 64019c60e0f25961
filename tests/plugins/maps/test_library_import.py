"""The libraries for rasters are imported when a process starts, if its site has layers."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest

from hven.plugins.maps import library_import


def start_importer(extensions: dict[str, Any]) -> None:
    resources = {"psup": SimpleNamespace(extensions=extensions)}
    site: Any = SimpleNamespace(get_published_state=lambda: SimpleNamespace(resources=resources))
    library_import.LibraryImporter(site).start()


def test_only_sites_with_layers_import_them(monkeypatch: pytest.MonkeyPatch) -> None:
    imported = threading.Event()
    threads: list[threading.Thread] = []

    def import_libraries() -> None:
        threads.append(threading.current_thread())
        imported.set()

    monkeypatch.setattr(library_import, "import_libraries", import_libraries)
    start_importer({})
    assert not any(thread.name == "maps-import" for thread in threading.enumerate())
    start_importer({"layers": ("a layer",)})
    assert imported.wait(timeout=10)
    assert threads[0] is not threading.current_thread(), "requests need not wait"
    threads[0].join()


def test_a_site_without_the_extra_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(module: str, purpose: str) -> None:
        raise library_import.UserError(f"{purpose} needs {module}")

    monkeypatch.setattr(library_import.plugins, "import_hven_module", refuse)
    library_import.import_libraries()
