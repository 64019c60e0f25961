"""Sites that send false manifests: nothing is written outside the directory, and rights are those of the descriptor."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
from promotion_sites import DESCRIPTOR, SitePair, create_sites

from hven.model.errors import HvenError, SourceError, UserError
from hven.plugins.promotion import transfers
from hven.plugins.promotion.collection_states import read_collection_state, read_own_state
from hven.plugins.promotion.promotion import SiteSource, promote_collections
from hven.plugins.promotion.promotion_reports import compare_sites
from hven.plugins.promotion.remote_sites import RemoteCollection, RemoteSite, _check_column_types, check_confinement
from hven.plugins.promotion.settings import find_target

CONTENT = b"evil"
FILE = {"size": len(CONTENT), "modified": 1, "checksum": None}


class FalseSite(RemoteSite):
    """A site that sends the manifest of the test site with other files, and the same content for each of them."""

    def __init__(self, pair: SitePair, files: dict[str, Any], settings: Any) -> None:
        super().__init__(find_target(settings, "dev"), settings)
        with pair.open_dev() as dev:
            document = json.loads(transfers.write_manifest(read_own_state(dev, "stars")))
        self._manifest = json.dumps(document | {"files": {"stars.yaml": FILE} | files}).encode()

    def fetch_bytes(self, path: str, byte_limit: int, content: bytes | None = None) -> bytes:
        return self._manifest

    @contextmanager
    def open_answer(self, method: str, path: str, content: bytes | None = None) -> Iterator[Any]:
        yield SimpleNamespace(parts=iter([CONTENT]))


def read_false_files(pair: SitePair, files: dict[str, Any], *, is_dry_run: bool) -> Path:
    """Fetch the files of a false manifest; return the directory with them."""
    with pair.open_gold() as gold:
        target = read_collection_state(gold, "stars")
        work_directory = pair.gold / "promoted/stars/.work-1"
        site = FalseSite(pair, files, gold.settings)
        manifest = transfers.Manifest(site.fetch_bytes("", 0), "stars", site.url)
        site._fetch_files(manifest, "", target, work_directory, is_dry_run=is_dry_run)
        return work_directory


@pytest.fixture
def pair(tmp_path: Path) -> SitePair:
    pair = create_sites(
        tmp_path,
        f'roots = ["{tmp_path}/files", "{tmp_path}/gold"]\n'
        '[targets.dev]\nurl = "http://127.0.0.1:1"\ntoken = "$DEV_TOKEN"\n',
    )
    (pair.gold / "secrets.toml").write_text("DEV_TOKEN = 'word'\n")
    (pair.gold / "secrets.toml").chmod(0o600)
    for folder in ("files", "elsewhere"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "f").write_bytes(b"good")
    (tmp_path / "files/inwards").symlink_to(pair.gold)
    (tmp_path / "files/outwards").symlink_to(tmp_path / "elsewhere")
    pair.publish_version(1)
    return pair


@pytest.mark.parametrize("is_dry_run", [False, True])
@pytest.mark.parametrize("folder", ["files", "elsewhere"])
def test_no_file_is_written_through_a_link(pair: SitePair, tmp_path: Path, folder: str, is_dry_run: bool) -> None:
    files = {"a": {"link": f"{tmp_path}/{folder}"}, "a/f": FILE}
    with pytest.raises(HvenError, match="is below 'a', which is not a directory"):
        read_false_files(pair, files, is_dry_run=is_dry_run)
    with pytest.raises(HvenError, match="is not allowed"):
        read_false_files(pair, {"a": files["a"], "./a/f": FILE}, is_dry_run=is_dry_run)
    assert (tmp_path / folder / "f").read_bytes() == b"good"


@pytest.mark.parametrize("path", ["elsewhere/f", "gold/secrets.toml", "gold", "", "files/inwards/secrets.toml"])
def test_links_lead_only_to_roots_outside_the_site(pair: SitePair, tmp_path: Path, path: str) -> None:
    with pytest.raises(HvenError, match="which is not allowed here"):
        read_false_files(pair, {"a": {"link": f"{tmp_path}/{path}"}}, is_dry_run=True)
    with pytest.raises(HvenError, match="which is not allowed here"):
        read_false_files(pair, {"a": {"link": f"{tmp_path}/files/outwards/f"}}, is_dry_run=True)


def test_a_link_to_a_root_is_accepted(pair: SitePair, tmp_path: Path) -> None:
    directory = read_false_files(pair, {"a": {"link": f"{tmp_path}/files/f"}, "b/c": FILE}, is_dry_run=False)
    assert (directory / "a").readlink() == tmp_path / "files/f"
    assert (directory / "b/c").read_bytes() == CONTENT


@pytest.mark.parametrize("is_left_out", [False, True])
def test_rights_are_those_of_the_descriptor(pair: SitePair, is_left_out: bool) -> None:
    """A manifest says that a table is private, or does not list it, and its descriptor makes it public."""
    private = DESCRIPTOR.replace("    primary: id", "    access: private\n    primary: id")
    private = private.replace("dec: {{", "dec: {{hidden: true, ")
    pair.publish_version(1, private)
    with pair.open_dev() as dev, pair.open_gold() as gold:
        promote_collections(SiteSource(site=dev), gold, ["stars"])
        private_tables = read_own_state(dev, "stars").tables
        assert not compare_sites(read_own_state(dev, "stars"), read_collection_state(gold, "stars")).metadata.rights
    pair.publish_version(2)
    if is_left_out:
        private_tables = {name: table for name, table in private_tables.items() if name != "stars.main"}
    with pair.open_dev() as dev, pair.open_gold() as gold:
        false_state = replace(read_own_state(dev, "stars"), tables=private_tables)
        (difference,) = compare_sites(false_state, read_collection_state(gold, "stars")).metadata.rights
    assert difference.is_wider
    assert (difference.before, difference.after) == ("private, dec hidden", "public, dec shown")


@pytest.mark.parametrize(
    "text",
    [
        "source: {kind: csv, files: ../../../secrets.toml}",
        "source: {kind: csv, files: GOLD/nothing.csv}",
        "source: {kind: csv, files: /nowhere/nothing.csv}",
        "source: {kind: live, url: sqlite:///etc/passwd, table: t}",
        "source: {kind: live, url: 'sqlite:../../../var/hven.sqlite', table: t}",
        "source: {kind: csv, files: /etc/passwd}",
        'source: {kind: csv, files: [main.csv, "~/.netrc"]}',
        'source: {kind: csv, files: "*/../../../../secrets.toml"}',
        'source: {kind: csv, files: "../../../*.toml"}',
        "source: {kind: fits, files: a.fits, root: ../../..}",
        "source: {kind: sql, file: ../../../var/hven.sqlite, table: users}",
        "source: {kind: fixed, files: main.csv, readme: /etc/hostname}",
        "source: {kind: csv, files: FILES/inwards/secrets.toml}",
        "source: {kind: csv, files: FILES/outwards/f}",
        "source: {kind: csv, files: 'GOLD/secrets.tom[l ]'}",
        "source: {kind: csv, files: '/etc/my site/[a-z ]*'}",
        "source: {kind: csv, files: '../../../a b/*.csv'}",
        "source: {kind: csv, files: '~ nobody/*.csv'}",
        "source: {kind: csv, files: 'FILES*/f'}",
        "source: '/etc/passw[d ]'",
    ],
)
def test_sources_name_only_files_of_the_collection_and_of_roots(pair: SitePair, tmp_path: Path, text: str) -> None:
    text = text.replace("FILES", f"{tmp_path}/files").replace("GOLD", str(pair.gold))
    directory = write_false_descriptor(pair, f"tables:\n  main:\n    columns:\n      id: {{type: int32}}\n    {text}\n")
    with pair.open_gold() as gold, pytest.raises(UserError, match=r"^URL/stars.yaml:7: `\w+` names .*neither in"):
        check_confinement(create_false_resource(directory), gold.settings, "URL/stars.yaml")


@pytest.mark.parametrize(
    "text",
    [
        "files: {root: ../../.., files: '*.toml'}",
        "layers: {dem: {raster: ../../../collections/private/dem.tif}}",
        "layers: {dem: {raster: GOLD/collections/private/dem.tif}}",
        "image: /etc/hostname",
        "layers: {dem: {raster: '../../../collections/private/dem 1.tif'}}",
        "layers: {dem: {raster: 'GOLD/a site/dem.tif'}}",
        "image: 'ROOT/a disk/f'",
    ],
)
def test_no_key_names_other_files(pair: SitePair, tmp_path: Path, text: str) -> None:
    (tmp_path / "a disk").mkdir()
    (tmp_path / "a disk/f").write_bytes(b"good")
    text = text.replace("GOLD", str(pair.gold)).replace("ROOT", str(tmp_path))
    directory = write_false_descriptor(pair, f"{text}\n")
    with pair.open_gold() as gold, pytest.raises(UserError, match=r"stars.yaml:3: `\w+` names"):
        check_confinement(create_false_resource(directory), gold.settings, "URL/stars.yaml")


@pytest.mark.parametrize(
    "text",
    [
        "reference_url: /collections/stars",
        "description: See /etc/passwd and ../x.",
        "records: /catalogue/star",
        "description: ~ 5 arcsec, or more? See a/../b",
        "description: /hour and other units",
        "description: /NAME",
    ],
)
def test_texts_that_are_no_paths_are_accepted(pair: SitePair, text: str) -> None:
    directory = write_false_descriptor(pair, f"{text.replace('NAME', 300 * 'n')}\n")
    with pair.open_gold() as gold:
        check_confinement(create_false_resource(directory), gold.settings, "URL/stars.yaml")


def test_included_files_are_checked(pair: SitePair) -> None:
    directory = write_false_descriptor(pair, "include: more.yaml\n")
    (directory / "more.yaml").write_text("tables: {main: {source: {kind: csv, files: ~/a.csv}}}\n")
    with pair.open_gold() as gold, pytest.raises(UserError, match=r"URL/more.yaml:1: `files` names '~/a.csv'"):
        check_confinement(create_false_resource(directory, "more.yaml"), gold.settings, "URL/stars.yaml")


@pytest.mark.parametrize("files", ["main.csv", '"raw/**/*.csv"', "FILES/f", '"FILES/*"'])
def test_sources_may_name_files_of_the_collection_and_of_roots(pair: SitePair, tmp_path: Path, files: str) -> None:
    files = files.replace("FILES", f"{tmp_path}/files")
    directory = write_false_descriptor(pair, f"tables: {{main: {{source: {{kind: csv, files: {files}}}}}}}\n")
    with pair.open_gold() as gold:
        check_confinement(create_false_resource(directory), gold.settings, "URL/stars.yaml")


def write_false_descriptor(pair: SitePair, text: str) -> Path:
    """Write a descriptor into the directory into which it would be fetched."""
    directory = pair.gold / "promoted/stars/.work-1"
    directory.mkdir(parents=True)
    (directory / "stars.yaml").write_text(f"collection: stars\ntitle: Stars\n{text}")
    return directory


def create_false_resource(directory: Path, *included_names: str) -> Any:
    """Return a descriptor and the files that it includes, as they are loaded."""
    return SimpleNamespace(path=directory / "stars.yaml", hashes=dict.fromkeys(["stars.yaml", *included_names], ""))


@pytest.mark.parametrize(
    "files",
    [
        {"a": {"link": "b"}, "b": {"link": "a"}},
        {"a": {"link": "a"}},
        {"a": {"link": "nothing"}},
        {"a": {"link": "../../../secrets.toml"}},
        {"a": {"link": ".base/files.json"}, "b/c": FILE},
        {"a": {"link": "b/../../x"}, "b/c": FILE},
    ],
)
def test_links_within_a_collection_lead_to_its_files(pair: SitePair, files: dict[str, Any]) -> None:
    with pytest.raises(HvenError, match="is not the manifest"):
        read_false_files(pair, files, is_dry_run=False)


def test_rows_of_other_types_than_the_descriptor_says_are_refused(pair: SitePair) -> None:
    """The digests of descriptions that a site sends are not enough: the columns of its rows are compared, too."""
    with pair.open_dev() as dev:
        document = json.loads(transfers.write_manifest(read_own_state(dev, "stars")))
        resource = read_own_state(dev, "stars").required_resource
    _check_column_types(resource, transfers.Manifest(json.dumps(document).encode(), "stars", "URL"), "URL")
    for column in document["records"]["stars.main"]["table"]["columns"]:
        if column["name"] == "version":
            del column["type"]  # it is a double then
    manifest = transfers.Manifest(json.dumps(document).encode(), "stars", "URL")
    with pytest.raises(UserError, match=r"stars.main.version has the type int32 .* rows have the type double"):
        _check_column_types(resource, manifest, "URL")


FILES_DESCRIPTOR = "collection: stars\ntitle: Stars\nfiles: '*.txt'\n"


@pytest.mark.parametrize(
    "path", ["../../../collections/other/locked.fits", "/etc/passwd", "a/..", "a//etc/passwd", "a/../b", "a..b/...c"]
)
@pytest.mark.parametrize("is_told", [True, False])
def test_lists_of_files_have_no_paths_of_other_collections(pair: SitePair, path: str, *, is_told: bool) -> None:
    """A site sends a path that it never listed, and may say that the table is no list of files."""
    pair.publish_version(1, FILES_DESCRIPTOR)
    with pair.open_dev() as dev:
        state = read_own_state(dev, "stars")
        record = state.records["stars.files"]
        (batch,) = state.open_rows(record).read_batches()
        if not is_told:
            record = replace(record, table=record.table.copy_with(utype=None))
        rows = [row | {"path": path} for row in batch.to_pylist()]
        sink = io.BytesIO()
        with pa.ipc.new_stream(sink, batch.schema) as writer:
            writer.write_batch(pa.RecordBatch.from_pylist(rows, batch.schema))
        site: Any = SimpleNamespace(
            url="URL", open_answer=lambda *_: nullcontext(SimpleNamespace(parts=iter([sink.getvalue()])))
        )
        collection = RemoteCollection(
            name="stars",
            resource=state.resource,
            remote_site=site,
            site_id="1",
        )
        if path == "a..b/...c":
            assert [row for part in collection.open_rows(record).read_batches() for row in part.to_pylist()] == rows
            return
        with pytest.raises(UserError, match=r"^URL.*: a row of stars.files has the path .* is not below") as raised:
            list(collection.open_rows(record).read_batches())
    assert "run `hven ingest stars` there" in raised.value.remedy


def test_rows_are_validated_before_they_are_converted(pair: SitePair) -> None:
    """An offset leads two gigabytes behind the two characters that were sent."""
    batch = pa.RecordBatch.from_pydict({"version": ["12"]})
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    start, offsets, end = sink.getvalue().rpartition(bytes(4) + (2).to_bytes(4, "little"))
    assert offsets
    answer = SimpleNamespace(parts=iter([start + bytes(4) + (2**31 - 1).to_bytes(4, "little") + end]))
    site: Any = SimpleNamespace(url="URL", open_answer=lambda *_: nullcontext(answer))
    with pair.open_dev() as dev:
        state = read_own_state(dev, "stars")
        collection = RemoteCollection(name="stars", resource=state.resource, remote_site=site, site_id="1")
        with pytest.raises(SourceError, match=r"is not a stream of rows of stars.facts: .*Offset"):
            list(collection.open_rows(state.records["stars.facts"]).read_batches())
