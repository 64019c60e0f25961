"""A package adds a key of collections: it is read, checked, described in the schema, and stays at its site."""

from __future__ import annotations

from pathlib import Path

import pytest

from example_plugins import clear_caches
from hven.descriptor import _package_keys as package_keys
from hven.descriptor import build_descriptor_json_schema, check_descriptor, load_descriptor
from hven.descriptor._keys import CollectionSection
from hven.descriptor.api.keys import CollectionDescriptorKey
from hven.descriptor.value_schema import LOCAL_MARK, Text
from hven.model import plugins
from hven.model.errors import Fault
from hven.model.settings import Settings


def convert_nights(value):
    for name, observer in value.value.items():
        if observer == "Nobody":
            value.faults.add_error(f"{value.key_path}.{name} has no observer", observer.place)
    return {str(name): str(observer) for name, observer in value.value.items()}


NIGHTS = CollectionDescriptorKey(
    value_type=dict[str, Text],
    doc="observers of nights",
    convert_value=convert_nights,
    previous_key="files",
    find_faults=lambda resource, _: [Fault(message=f"{name} is cloudy") for name in resource.extensions["nights"]],
)


@pytest.fixture
def descriptor_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    iterate_package_objects = plugins.iterate_package_objects

    def iterate(field_name, packages=None):
        if field_name == "collection_keys":
            return iter([("nights", NIGHTS)])
        return iterate_package_objects(field_name, packages)

    monkeypatch.setattr(package_keys.plugins, "iterate_package_objects", iterate)
    clear_caches()
    path = tmp_path / "collections/stars/stars.yaml"
    path.parent.mkdir(parents=True)
    path.write_text("collection: stars\ntitle: Stars\nfiles: '*.fits'\nnights: {first: Tycho}\n", encoding="utf-8")
    yield path
    monkeypatch.undo()
    clear_caches()


def test_the_value_is_converted_and_checked(descriptor_path: Path) -> None:
    settings = Settings(directory=descriptor_path.parents[2])
    assert load_descriptor(descriptor_path, settings).extensions["nights"] == {"first": "Tycho"}
    assert "first is cloudy" in [fault.message for fault in check_descriptor(descriptor_path, settings)]
    descriptor_path.write_text(descriptor_path.read_text().replace("Tycho", "Nobody"), encoding="utf-8")
    faults = [str(fault) for fault in check_descriptor(descriptor_path, settings)]
    assert "collections/stars/stars.yaml:4:17: nights.first has no observer" in faults


def test_the_schema_has_the_key(descriptor_path: Path) -> None:
    names = list(build_descriptor_json_schema()["properties"])
    assert names[names.index("files") + 1] == "nights"
    assert "nights" in CollectionSection.record.list_marked_keys(LOCAL_MARK)
