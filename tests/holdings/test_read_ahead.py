"""A server's processes begin with the descriptors that the first one has read, and read again what differs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from hven import descriptor
from hven.model import settings
from hven.model.resource import CollectionSpec
from hven.site import descriptor_watch

TEXT = "collection: {name}\ntitle: {title}\ntables:\n  main:\n    source: rows.csv\n    columns: {{id: string}}\n"


def write(site: Path, name: str, title: str = "Stars") -> None:
    folder = site / "collections" / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "rows.csv").write_text("id\na\n")
    (folder / f"{name}.yaml").write_text(TEXT.format(name=name, title=title))


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which descriptors are read, in their order."""
    found: list[str] = []
    load = descriptor.load_descriptor

    def load_and_note(path: Path, site: settings.Settings) -> CollectionSpec:
        found.append(path.stem)
        return load(path, site)

    monkeypatch.setattr(descriptor, "load_descriptor", load_and_note)
    monkeypatch.setattr(descriptor_watch, "_PREREAD_DESCRIPTORS", None)
    return found


def test_preloaded_descriptors_are_not_read_again(tmp_path: Path, read: list[str]) -> None:
    (tmp_path / "hven.toml").touch()
    for name in ("a", "b", "c"):
        write(tmp_path, name)
    found = settings.load_settings(tmp_path)
    descriptor_watch.preload_descriptors(found)
    assert read == ["a", "b", "c"]
    read.clear()
    own = descriptor_watch.DescriptorWatcher(settings.load_settings(tmp_path))  # as a worker loads them
    assert own.reload_and_save_changed_descriptors() is False
    assert read == []
    assert {
        name: seen.resource and seen.resource.title for name, seen in own.states_by_collection.items()
    } == dict.fromkeys("abc", "Stars")
    write(tmp_path, "b", "Moons of Saturn")
    (tmp_path / "collections/c/c.yaml").unlink()
    later = descriptor_watch.DescriptorWatcher(settings.load_settings(tmp_path))  # a worker that is begun anew
    assert later.reload_and_save_changed_descriptors() is True
    assert read == ["b"]
    assert sorted(later.states_by_collection) == ["a", "b"]
    assert later.states_by_collection["b"].resource is not None
    assert later.states_by_collection["b"].resource.title == "Moons of Saturn"
    assert sorted(own.states_by_collection) == ["a", "b", "c"]  # each process has its own picture


def test_changed_settings_reload_all_descriptors(tmp_path: Path, read: list[str]) -> None:
    (tmp_path / "hven.toml").touch()
    write(tmp_path, "a")
    found = settings.load_settings(tmp_path)
    descriptor_watch.preload_descriptors(found)
    read.clear()
    other = descriptor_watch.DescriptorWatcher(replace(found, contact_email="vo@tycho.example"))
    assert other.reload_and_save_changed_descriptors() is True
    assert read == ["a"]
