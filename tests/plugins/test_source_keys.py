"""A package adds a key of sources: it is read, checked, described in the schema, and its columns are filled."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from example_plugins import clear_caches
from hven import query
from hven.descriptor import build_descriptor_json_schema, check_descriptor
from hven.ingest.api.runs import ingest_collection
from hven.model import plugins
from hven.model.settings import Settings
from hven.testing.site import open_site_with_uningested_files

PACKAGE = '''\
"""A package with a key of sources."""

import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from hven.model.errors import SourceError
from hven.model.plugins import PluginPackage
from hven.model.table import Column
from hven.model.types import INT64
from hven.sources.source_keys import SourceDescriptorKey

PLUGIN = PluginPackage(
    name="night_sky",
    title="Plan observations of published targets",
    source_keys={"lengths": "hven_night_sky:LENGTHS"},
)


class Options(BaseModel):
    model_config = ConfigDict(extra="forbid")

    of: str


class TextLengths:
    pending_count = 0

    def __init__(self, options, source_columns, context):
        if options.of not in [column.name for column in source_columns]:
            raise SourceError(f"lengths: the source has no column {options.of!r}")
        self.name = options.of
        self.columns = [Column(name="length", type=INT64)]

    def wrap_source(self, source):
        return SourceWithLengths(self, source)


class SourceWithLengths:
    def __init__(self, addition, source):
        self.addition, self.source = addition, source

    def list_columns(self):
        return [*self.source.list_columns(), *self.addition.columns]

    def read_batches(self, column_names=None, row_limit=None):
        names = list(column_names or [column.name for column in self.list_columns()])
        source_names = {*names, self.addition.name} - {"length"}
        for batch in self.source.read_batches(sorted(source_names), row_limit):
            lengths = pa.array([len(text) for text in batch[self.addition.name].to_pylist()], pa.int64())
            yield batch.append_column("length", lengths).select(names)

    def list_input_versions(self):
        return self.source.list_input_versions()

    def estimate_progress_total(self):
        return None


LENGTHS = SourceDescriptorKey(
    options_class=Options, doc="lengths of texts", example="{of: ..}", noun="lengths", open_addition=TextLengths
)
'''
DESCRIPTOR = """\
collection: stars
title: Stars
tables:
  main:
    source: {kind: csv, files: stars.csv, lengths: {of: name}}
    columns: {name: string, length: int64}
"""


@pytest.fixture(autouse=True)
def _package(tmp_path: Path) -> Iterator[None]:
    place = tmp_path / "site-packages"
    about = place / "hven_night_sky-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: hven-night-sky\nVersion: 1.0\n", encoding="utf-8")
    (about / "entry_points.txt").write_text("[hven.plugins]\nnight_sky = hven_night_sky\n", encoding="utf-8")
    (place / "hven_night_sky.py").write_text(PACKAGE, encoding="utf-8")
    with pytest.MonkeyPatch.context() as context:
        context.delenv(plugins.SELECTION_VARIABLE, raising=False)
        context.syspath_prepend(str(place))
        plugins.select_plugin_packages(None)
        clear_caches()
        yield
    plugins.select_plugin_packages(None)
    clear_caches()
    sys.modules.pop("hven_night_sky", None)


def find_faults(tmp_path: Path, text: str) -> list[str]:
    path = tmp_path / "stars.yaml"
    path.write_text(text, encoding="utf-8")
    (tmp_path / "stars.csv").write_text("name\nVega\n", encoding="utf-8")
    return [str(fault) for fault in check_descriptor(path, Settings(directory=tmp_path))]


def test_its_columns_are_filled(tmp_path: Path) -> None:
    with open_site_with_uningested_files(tmp_path, DESCRIPTOR, {"stars.csv": "name\nVega\nMira B\n"}) as site:
        ingest_collection(site, "stars")
        with query.run_query("SELECT name, length FROM stars.main ORDER BY length", site=site) as result:
            rows = [row for batch in result.iterate_batches() for row in batch.to_pylist()]
    assert rows == [{"name": "Vega", "length": 4}, {"name": "Mira B", "length": 6}]


def test_its_value_is_checked(tmp_path: Path) -> None:
    assert find_faults(tmp_path, DESCRIPTOR) == []
    for written, message in {
        "lengths: name": "tables.main.source.lengths must be a map, not 'name'",
        "lengths: {off: name}": "'off' is not a valid option of tables.main.source.lengths",
        "lengths: {of: title}": "lengths: the source has no column 'title'",
    }.items():
        faults = find_faults(tmp_path, DESCRIPTOR.replace("lengths: {of: name}", written))
        assert any(message in fault and "stars.yaml:5:" in fault for fault in faults), faults


def test_the_schema_for_editors_has_it() -> None:
    definitions = build_descriptor_json_schema()["$defs"]
    assert definitions["lengths"]["description"] == "lengths of texts"
    assert definitions["source_csv"]["properties"]["lengths"] == {"$ref": "#/$defs/lengths"}
    assert "lengths" in definitions["source_without_kind"]["propertyNames"]["enum"]
