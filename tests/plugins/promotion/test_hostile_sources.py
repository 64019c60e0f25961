"""Sites that send false manifests: nothing is written outside the directory, and rights are those of the descriptor."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from promotion_sites import DESCRIPTOR, SitePair, create_sites

from hven.model.errors import HvenError
from hven.plugins.promotion import transfers
from hven.plugins.promotion.collection_states import read_collection_state, read_own_state
from hven.plugins.promotion.promotion import SiteSource, promote_collections
from hven.plugins.promotion.promotion_reports import compare_sites
from hven.plugins.promotion.remote_sites import RemoteSite
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
