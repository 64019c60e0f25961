"""The next operator learns where everything is, but no secret; a site is made again from Git and a backup."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from asgi_client import Client
from package_sites import DESCRIPTOR, create_site
from typer.testing import CliRunner

from hven.app._cli.verbs import build_typer_app
from hven.app._server import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.model.errors import ConflictError, HvenError, SourceError, TextPlace
from hven.model.resource import SourceSpec
from hven.model.settings import load_settings
from hven.plugins.backups.archive import write_backup
from hven.plugins.packages import handover_facts, site_rebuild
from hven.plugins.packages.handover_facts import collect_handover, write_markdown
from hven.plugins.packages.package_import import compute_snapshot_hash
from hven.plugins.packages.seal_answers import REQUIREMENTS, collect_seal_answers
from hven.plugins.packages.site_rebuild import restore_site_from_git
from hven.site import Site

PUSHED = """\
collection: sent
title: Sent by an instrument
tables:
  main:
    primary: id
    columns: {id: int32, amount: float64}
    source: {kind: push, columns: {id: int32, amount: float64}, writers: [tycho]}
"""
DATABASE = """\
collection: remote
title: Rows of a database
contact: {name: Ada, email: ada@example.org}
sync: {every: 6h}
tables:
  main:
    columns: {id: int32}
    source: {kind: sql, url: $REMOTE_DATABASE, query: SELECT id FROM stars}
"""


def commit_site(directory: Path) -> None:
    (directory / ".gitignore").write_text("var/\nsecrets.toml\n")
    for arguments in (
        ["init", "--quiet"],
        ["add", "."],
        ["-c", "user.name=Tycho", "-c", "user.email=t@example.org", "commit", "--quiet", "-m", "Add | the night"],
    ):
        subprocess.run(["git", "-C", str(directory), *arguments], check=True, capture_output=True)


@pytest.fixture(scope="module")
def old_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site in a repository, with accounts, a failed run, a secret, pushed rows and a decision."""
    directory = create_site(tmp_path_factory.mktemp("handover") / "site")
    settings = '[health]\noperators = ["tycho"]\n[postgres]\nurl = "$OWN_DATABASE"\n'
    (directory / "hven.toml").write_text((directory / "hven.toml").read_text() + settings)
    (directory / "secrets.toml").write_text(
        'OWN_DATABASE = "postgresql://hven:very-secret-word@127.0.0.1/x"\nREMOTE_DATABASE = "other-secret-word"\n'
    )
    (directory / "decisions").mkdir()
    (directory / "decisions/001-units.md").write_text("# Magnitudes are AB\n\nBecause.\n")
    for name, text in (("sent", PUSHED), ("remote", DATABASE)):
        (directory / "collections" / name).mkdir()
        (directory / "collections" / name / f"{name}.yaml").write_text(text)
    with Site(load_settings(directory)) as site:
        site.store.users.add_account("tycho")
        with pytest.raises(HvenError):
            ingest_collection(site, "remote")
    commit_site(directory)
    return directory


def test_everything_is_told_but_the_secrets(old_site: Path) -> None:
    with Site(load_settings(old_site)) as site:
        sections = {section.title: section for section in collect_handover(site)}
        text = write_markdown(list(sections.values()), "Nights")
    assert "secret-word" not in text
    assert {row[0] for row in sections["Secrets"].rows} == {"$OWN_DATABASE", "$REMOTE_DATABASE"}
    assert ("$REMOTE_DATABASE", "remote", "yes") in [tuple(row) for row in sections["Secrets"].rows]
    sources = {row[0]: row for row in sections["Sources"].rows}
    assert sources["night.main"][1:3] == ["csv", "rows.csv"]
    assert sources["remote.main"][3] == "Ada ada@example.org"
    assert [row[0] for row in sections["Schedules"].rows] == ["remote"]
    assert any(row[1] == "remote" and "failed" in row[2] for row in sections["Last incidents"].rows)
    assert ["decisions/001-units.md", "Magnitudes are AB"] in [list(row) for row in sections["Decisions"].rows]
    assert sections["Changes"].rows[0][2] == "Add | the night"
    assert "Add \\| the night" in text, "a cell stays a cell"
    assert ["tycho", "operator"] in [list(row) for row in sections["Accounts"].rows]


def test_secrets_are_found_in_values_of_any_kind() -> None:
    source = SourceSpec(kind="das2", options={"url": "https://x", "token": "$DAS2"}, place=TextPlace(file="x"))
    values = [{"series": {"main": (source, ["$OTHER", "costs $5", "$two words"])}}, frozenset({"$THIRD"}), 7, None]
    assert set(handover_facts._iterate_secret_names(values)) == {"$DAS2", "$OTHER", "$THIRD"}


def test_the_seal_has_16_answers(old_site: Path) -> None:
    with Site(load_settings(old_site)) as site:
        (section,) = collect_seal_answers(site)
    assert len(section.rows) == len(REQUIREMENTS) == 16
    assert all(answer and question for _, answer, question in section.rows)
    answers = {row[0][:3]: row[1] for row in section.rows}
    assert answers["R02"].startswith("1 of 3 collections have a licence; missing: remote, sent.")


def test_the_pages_are_for_operators(old_site: Path) -> None:
    with Site(load_settings(old_site)) as site:
        token = site.store.users.renew_token_and_end_sessions("tycho")
        other = site.store.users.add_account("bert")
        client = Client(create_and_start_application(site))
        for path in ("/handover", "/handover/seal"):
            assert client.get(path).status == 401
            assert client.ask("GET", path, headers={"authorization": f"Bearer {other}"}).status == 403
            answer = client.ask("GET", path, headers={"authorization": f"Bearer {token}", "accept": "text/html"})
            assert answer.status == 200
            assert "no-store" in answer.headers["cache-control"]
            assert "secret-word" not in answer.text
        headers = {"authorization": f"Bearer {token}", "accept": "application/json"}
        assert len(json.loads(client.ask("GET", "/handover/seal", headers=headers).text)[0]["rows"]) == 16
        site.store.users.remove_account("bert")


def count_kinds(lost: Any) -> dict[str, list[str]]:
    kinds: dict[str, list[str]] = {}
    for item in lost:
        assert item.remedy
        kinds.setdefault(item.kind, []).append(item.name)
    return kinds


def test_a_site_is_made_again_from_git_alone(old_site: Path, tmp_path: Path) -> None:
    report = restore_site_from_git(tmp_path / "new", str(old_site), must_ingest=True)
    kinds = count_kinds(report.lost)
    assert kinds["pushed rows"] == ["sent.main"]
    assert kinds["rows"] == ["remote.main"]
    assert kinds["secrets"] == ["$OWN_DATABASE", "$REMOTE_DATABASE"]
    assert {*kinds} == {"pushed rows", "rows", "secrets", "accounts", "DOIs", "state"}
    with Site(load_settings(old_site)) as old, Site(load_settings(tmp_path / "new")) as new:
        new_rows, old_rows = (compute_snapshot_hash(site, "night")[0] for site in (new, old))
    assert new_rows == old_rows
    assert (tmp_path / "new/.git").is_dir()
    assert not list(tmp_path.glob(".new*"))


@pytest.mark.parametrize("include_rows", [True, False])
def test_a_site_is_made_again_from_git_and_a_backup(old_site: Path, tmp_path: Path, *, include_rows: bool) -> None:
    with Site(load_settings(old_site)) as site:
        expected = compute_snapshot_hash(site, "night")
        write_backup(site, tmp_path / "state.tar", include_rows=include_rows)
    repository = tmp_path / "repository"
    subprocess.run(["git", "clone", "--quiet", str(old_site), str(repository)], check=True)
    descriptor = repository / "collections/night/night.yaml"
    descriptor.write_text(DESCRIPTOR.replace("of a night", "of one night"))
    commit_site(repository)
    (tmp_path / "new").mkdir()
    (tmp_path / "new/secrets.toml").write_text((old_site / "secrets.toml").read_text())
    report = restore_site_from_git(tmp_path / "new", str(repository), tmp_path / "state.tar", must_ingest=True)
    kinds = count_kinds(report.lost)
    assert {*kinds} == {"rows", "pushed rows"}, "accounts, DOIs and secrets are there"
    assert report.replaced_files == ["collections/night/night.yaml"]
    with Site(load_settings(tmp_path / "new")) as site:
        assert compute_snapshot_hash(site, "night")[0] == expected[0]
        if include_rows:
            assert compute_snapshot_hash(site, "night")[1] == expected[1]
        assert site.get_published_state().resources["night"].title == "Observations of one night"
        assert [name for name, _ in site.store.users.list_accounts()] == ["tycho"]


def test_a_site_is_made_again_where_nothing_is_left(old_site: Path, tmp_path: Path) -> None:
    """The old directory is gone, and the new process has an empty home and no variables; it makes the site serve."""
    old = shutil.copytree(old_site, tmp_path / "old", symlinks=True)
    with Site(load_settings(old)) as site:
        expected = compute_snapshot_hash(site, "night")
        write_backup(site, tmp_path / "state.tar", include_rows=False)
    subprocess.run(["git", "clone", "--quiet", "--bare", str(old), str(tmp_path / "site.git")], check=True)
    shutil.rmtree(old)
    (tmp_path / "home").mkdir()
    words = ["rebuild", "new", "--from", "site.git", "--backup", "state.tar", "--ingest", "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "hven", *words],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["collections"]["night"] == sum(expected[0].values())
    assert {item["kind"] for item in report["lost"]} == {"rows", "pushed rows", "secrets"}
    with Site(load_settings(tmp_path / "new")) as site:
        assert compute_snapshot_hash(site, "night")[0] == expected[0]
        assert Client(create_and_start_application(site)).get("/collections/night").status == 200
        assert [name for name, _ in site.store.users.list_accounts()] == ["tycho"]


def test_a_site_is_made_again_on_a_mount(old_site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a backup, nothing is written beside the directory; with one, files are copied to its file system."""
    with Site(load_settings(old_site)) as site:
        write_backup(site, tmp_path / "state.tar", include_rows=False)
    (tmp_path / "mount").mkdir()
    parents = []
    original_move, original_rename = site_rebuild._move_repository, os.rename

    def note_clone(clone: Path, *arguments: Any) -> None:
        parents.append(clone.parent)
        original_move(clone, *arguments)

    def rename(source: Path, place: Path, **options: Any) -> None:
        is_same = ("mount" in Path(source).parts) == ("mount" in Path(place).parts)
        if not is_same:
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        original_rename(source, place, **options)

    monkeypatch.setattr(site_rebuild, "_move_repository", note_clone)
    monkeypatch.setattr(os, "rename", rename)
    restore_site_from_git(tmp_path / "mount", str(old_site))
    assert parents.pop() == tmp_path / "mount"
    assert (tmp_path / "mount/collections/night/night.yaml").is_file()
    shutil.rmtree(tmp_path / "mount")
    (tmp_path / "mount").mkdir()
    restore_site_from_git(tmp_path / "mount", str(old_site), tmp_path / "state.tar")
    assert parents.pop() == tmp_path
    assert (tmp_path / "mount/collections/night/night.yaml").is_file()
    assert (tmp_path / "mount/.git").is_dir()
    assert sorted(item.name for item in tmp_path.iterdir()) == ["mount", "state.tar"]


def test_git_that_lists_nothing_is_an_error(old_site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(site_rebuild, "run_git", lambda *arguments: None)
    with pytest.raises(SourceError, match="can't list the files"):
        restore_site_from_git(tmp_path / "new", str(old_site))
    assert not list(tmp_path.iterdir()), "nothing is left"


def test_bad_repositories(old_site: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full/x").touch()
    with pytest.raises(ConflictError, match="is not empty"):
        restore_site_from_git(tmp_path / "full", str(old_site))
    for repository in ("--upload-pack=touch evil", "ext::sh -c touch% evil", str(tmp_path / "none")):
        with pytest.raises(SourceError, match="git can't clone") as caught:
            restore_site_from_git(tmp_path / "new", repository)
        assert caught.value.remedy
    empty = tmp_path / "empty"
    empty.mkdir()
    commit_site(empty)
    with pytest.raises(SourceError, match=r"has no hven\.toml"):
        restore_site_from_git(tmp_path / "new", str(empty))
    assert sorted(item.name for item in tmp_path.iterdir()) == ["empty", "full"]
    assert not Path("evil").exists()


def test_the_verbs(old_site: Path, tmp_path: Path) -> None:
    runner = CliRunner()
    page = tmp_path / "HANDOVER.md"
    result = runner.invoke(build_typer_app(), ["--site", str(old_site), "handover", "--output", str(page)])
    assert result.exit_code == 0, result.output
    assert "## Sources" in page.read_text()
    result = runner.invoke(build_typer_app(), ["--site", str(old_site), "handover", "--seal"])
    assert "R16 Security" in result.output
    result = runner.invoke(build_typer_app(), ["rebuild", str(tmp_path / "new"), "--from", str(old_site)])
    assert result.exit_code == 0, result.output
    assert "pushed rows: sent.main" in result.output


def test_the_access_of_tables_is_that_of_the_tables(tmp_path: Path) -> None:
    directory = create_site(tmp_path / "site", row_count=3)
    folder = directory / "collections/mixed"
    folder.mkdir()
    (folder / "rows.csv").write_text("id,owner\n1,tycho\n")
    tables = "".join(
        f"  {name}: {{source: rows.csv, access: {access}}}\n"
        for name, access in [("open", "public"), ("closed", "private"), ("own", "{rows: owner = reader}")]
    )
    (folder / "mixed.yaml").write_text(f"collection: mixed\ntitle: Mixed\ntables:\n{tables}")
    with Site(load_settings(directory)) as site:
        ingest_collection(site, "mixed")
        sections = {section.title: section for section in collect_handover(site)}
    access = {row[0]: row[2] for row in sections["Collections"].rows}
    assert access["mixed"] == "public; closed: private; own: conditions"
