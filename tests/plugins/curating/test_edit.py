"""Curators edit texts in the page: drafts, preview, publication into the files with their history; each only what is theirs, and nothing is lost."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from html import unescape
from pathlib import Path

import pytest
from asgi_client import Answer, Client

from hven.app._server.application import create_and_start_application
from hven.model import settings
from hven.plugins.curating import editable_texts, file_history
from hven.plugins.curating.draft_store import DraftStore
from hven.site import Site
from process_runner import wait_until

TOML = """\
name = "edit"
title = "Uraniborg"
[projects.hesiod]
title = "HESIOD"
[health]
operators = ["olga"]
[portals.psup]
path = "/psup"
collections = ["cubes", "notes"]
news = "psup-news"
administrators = ["paul"]
[portals.medoc]
path = "/medoc"
collections = ["sun"]
administrators = ["mia"]
"""
CUBES = """\
# the cubes: ask anna
collection: cubes
title: Cubes of Mars   # short
description: >
  Cubes of
  reflectance.

tables:
  main:
    view: SELECT 1 AS n FROM cubes.other
"""
PLAIN = "collection: {0}\ntitle: The {0}\n"
PEOPLE = ("olga", "paul", "mia", "cleo", "rita", "bob")


@pytest.fixture
def edit_site(tmp_path: Path) -> Iterator[Site]:
    root = tmp_path / "site"
    for name, text in (("cubes", CUBES), ("sun", PLAIN.format("sun")), ("notes", PLAIN.format("notes") + "project: hesiod\n")):  # fmt: skip
        (root / "collections" / name).mkdir(parents=True)
        (root / "collections" / name / f"{name}.yaml").write_text(text)
    for name in ("news", "psup-news"):
        (root / name).mkdir()
        (root / name / "2026-01-02-old.md").write_text(f"# Old {name}\n\nWords.\n")
    (root / "hven.toml").write_text(TOML)
    (root / "home.md").write_text("# Home\n\nOf all.\n")
    (root / "psup.md").write_text("Of PSUP.\n")
    with Site(settings.load_settings(root)) as made:
        yield made


@pytest.fixture
def people(edit_site: Site) -> dict[str, dict[str, str]]:
    for name, role in (("cleo", "curator"), ("rita", "contributor")):
        edit_site.store.grants.add_grant("member", subject=name, object="hesiod", role=role, actor="olga")
    return {name: {"authorization": f"Bearer {edit_site.store.users.add_account(name)}"} for name in PEOPLE} | {
        "nobody": {}
    }


@pytest.fixture
def client(edit_site: Site) -> Client:
    return Client(create_and_start_application(edit_site))


def open_editor(client: Client, path: str, who: dict[str, str]) -> dict[str, object]:
    answer = client.ask("GET", path, headers={**who, "accept": "application/json"})
    assert answer.status == 200, answer.text
    found: dict[str, object] = json.loads(answer.text)
    return found


def send(client: Client, path: str, who: dict[str, str], act: str, form: dict[str, object] | None = None, **changed: str) -> Answer:  # fmt: skip
    """Send the form of a page as a browser does, with some of its fields changed."""
    fields = {"act": act}
    for part in (form or open_editor(client, path, who))["parts"]:  # type: ignore[attr-defined]
        fields |= {part["name"]: part["text"], f"base.{part['name']}": part["base"]}
    fields |= {name.replace("__", "."): text for name, text in changed.items()}
    lines = [line for name, text in fields.items() for line in ("--mark", f'content-disposition: form-data; name="{name}"', "", text.replace("\n", "\r\n"))]  # fmt: skip
    body = "\r\n".join([*lines, "--mark--", ""]).encode()
    return client.ask("POST", path, body=body, headers={"content-type": "multipart/form-data; boundary=mark", "accept": "text/html", **who})  # fmt: skip


WHO = {
    "/edit": {"olga", "cleo"},
    "/edit/home": {"olga"},
    "/edit/news/new": {"olga"},
    "/edit/collections/cubes": {"olga", "paul"},
    "/edit/collections/notes": {"olga", "cleo"},
    "/edit/collections/sun": {"olga", "mia"},
    "/psup/edit": {"olga", "paul", "cleo"},
    "/psup/edit/home": {"olga", "paul"},
    "/psup/edit/news/2026-01-02-old": {"olga", "paul"},
    "/psup/edit/collections/notes": {"olga", "cleo"},
    "/medoc/edit": {"olga", "mia"},
    "/medoc/edit/home": {"olga", "mia"},
    "/medoc/edit/news/new": {"olga"},  # the site's news are those of this portal, too
    "/medoc/edit/collections/sun": {"olga", "mia"},
}


def test_who_may_edit_what(client: Client, edit_site: Site, people: dict[str, dict[str, str]]) -> None:
    wait_until(lambda: {"cubes", "sun", "notes"} <= set(edit_site.get_published_state().resources))
    allowed = {
        path: {name for name, who in people.items() if client.ask("GET", path, headers=who).status == 200}
        for path in WHO
    }
    # who administers a portal edits what they do at the site's own addresses, too
    assert allowed == {**WHO, "/edit": {"olga", "paul", "mia", "cleo"}}
    assert client.ask("GET", "/edit/home", headers=people["nobody"]).status == 401
    assert client.ask("GET", "/medoc/edit/collections/cubes", headers=people["olga"]).status == 404
    before = {path: path.read_bytes() for path in edit_site.settings.directory.rglob("*.[my]*") if path.is_file()}
    for path in WHO:
        for name in set(PEOPLE) - allowed[path]:
            answer = client.ask("POST", path, body=b"act=publish&text.en=No", headers={"content-type": "application/x-www-form-urlencoded", **people[name]})  # fmt: skip
            assert answer.status in {403, 404, 405}, (path, name)
    evil = send(client, "/edit/home", {**people["olga"], "origin": "https://evil.example"}, "publish", open_editor(client, "/edit/home", people["olga"]), text__en="No")  # fmt: skip
    assert evil.status in {401, 403}
    assert {path: path.read_bytes() for path in before} == before


def test_what_is_hidden_from_an_administrator_is_not_theirs_to_edit(
    edit_site: Site, client: Client, people: dict[str, dict[str, str]]
) -> None:
    """Notes are of a project, whose member paul is not: neither title nor description are told, and nothing is written."""
    paul = people["paul"]
    for path in ("/psup/edit/collections/notes", "/psup/collections/notes", "/psup/edit"):
        answer = client.ask("GET", path, headers=paul)
        assert "The notes" not in answer.text, path
        assert answer.status == (200 if path == "/psup/edit" else 404), path
    before = (edit_site.settings.directory / "collections" / "notes" / "notes.yaml").read_text()
    refused = client.ask("POST", "/psup/edit/collections/notes", body=b"ACT=publish&TITLE.EN=Mine", headers={**paul, "content-type": "application/x-www-form-urlencoded"})  # fmt: skip
    assert refused.status == 404
    assert (edit_site.settings.directory / "collections" / "notes" / "notes.yaml").read_text() == before
    place = edit_site.settings.directory / "collections" / "cubes" / "cubes.yaml"
    place.write_text(place.read_text() + "access: private\n")
    edit_site.refresh_published_state()
    assert client.ask("GET", "/psup/edit/collections/cubes", headers=paul).status == 404
    assert client.ask("GET", "/psup/edit/collections/cubes", headers=people["olga"]).status == 200, "operators do"
    edit_site.store.grants.add_grant("member", subject="paul", object="hesiod", role="reader", actor="olga")
    wait_until(
        lambda: client.ask("GET", "/psup/edit/collections/notes", headers=paul).status == 200, timeout_seconds=10
    )


def test_a_portal_is_told_nothing_of_another_one(client: Client, people: dict[str, dict[str, str]]) -> None:
    assert send(client, "/psup/edit/home", people["paul"], "save", text__en="secret plans").status == 303
    assert send(client, "/psup/edit/news/new", people["paul"], "save", text__en="# secret news").status == 303
    for path in ("/medoc/edit", "/edit", "/edit/collections/sun", "/medoc/edit/home"):
        text = client.ask("GET", path, headers=people["mia"]).text
        assert not re.search("secret|psup|paul", text.lower()), path
    assert "paul" in client.ask("GET", "/psup/edit", headers=people["olga"]).text
    assert "paul" in client.ask("GET", "/psup/edit/home", headers=people["olga"]).text, "two who edit it know of each other"  # fmt: skip


def test_a_draft_is_previewed_and_published(client: Client, edit_site: Site, people: dict[str, dict[str, str]]) -> None:  # fmt: skip
    root, who = edit_site.settings.directory, people["olga"]
    text = "# Héllo\n\n<script>alert(1)</script> [x](javascript:alert(1)) **bold**"
    answer = send(client, "/edit/home", who, "save", text__en=text)
    assert (answer.status, answer.headers["location"]) == (303, "http://vo.example/edit/home#preview")
    assert (root / "home.md").read_text() == "# Home\n\nOf all.\n", "a draft changes no file"
    page = client.ask("GET", "/edit/home", headers={**who, "accept": "text/html"}).text
    preview = page[page.index('id="preview"') :]
    assert "<strong>bold</strong>" in preview
    assert not re.search('<script>alert|href="javascript', page)
    assert client.ask("GET", "/edit/home", headers=who).headers["cache-control"] == "private, no-store"
    answer = send(client, "/edit/home", who, "publish", text__1__fr="# Bonjour")
    assert answer.headers["location"] == "http://vo.example/edit/home?published=1"
    assert (root / "home.md").read_text() == text + "\n"
    assert (root / "home.fr.md").read_text() == "# Bonjour\n"
    assert edit_site.store.get_or_create(DraftStore).list_drafts() == []
    line = edit_site.store.grants.list_audit_entries(row_limit=1)[0]
    assert (line.by, line.what, line.object, line.facts["files"]) == ("olga", "text published", "home", ["home.fr.md", "home.md"])  # fmt: skip
    kept = (root / "history/home.md.diff").read_text()
    assert re.match(r"=== \S+Z olga\n--- home.md\n\+\+\+ home.md\n", kept)
    assert "-Of all." in kept
    patched = subprocess.run(["patch", "-R", "-p0", "--output=-", "home.md"], cwd=root, input=kept, text=True, capture_output=True, check=False) if shutil.which("patch") else None  # fmt: skip
    assert patched is None or patched.stdout == "# Home\n\nOf all.\n", "the history leads back"
    assert "olga" in client.ask("GET", "/edit/home", headers=who).text
    assert send(client, "/edit/home", who, "publish", text__1__fr="").status == 303
    assert not (root / "home.fr.md").exists(), "an empty text is none"
    send(client, "/edit/home", who, "save", text__en="Other")
    assert send(client, "/edit/home", who, "discard").status == 303
    assert edit_site.store.get_or_create(DraftStore).list_drafts() == []


def test_texts_of_a_collection_stand_in_its_descriptor(client: Client, edit_site: Site, people: dict[str, dict[str, str]]) -> None:  # fmt: skip
    file = edit_site.settings.collections_directory / "cubes/cubes.yaml"
    answer = send(client, "/psup/edit/collections/cubes", people["paul"], "publish", title__fr="Cubes de Mars", text__en="# Guide\n\nRead.")  # fmt: skip
    assert answer.status == 303, answer.text
    assert file.read_text() == CUBES.replace("Cubes of Mars ", "{en: Cubes of Mars, fr: Cubes de Mars} ")
    assert (file.parent / "help/index.md").read_text() == "# Guide\n\nRead.\n"
    wait_until(lambda: edit_site.get_published_state().resources["cubes"].title != "Cubes of Mars" or "fr" in getattr(edit_site.get_published_state().resources["cubes"].title, "texts", {"fr": 1}))  # fmt: skip
    assert "=== " in (edit_site.settings.directory / "history/collections/cubes/cubes.yaml.diff").read_text()
    answer = send(client, "/edit/collections/cubes", people["olga"], "publish", tables__main__title__en="Main")
    assert "  main:\n    title: Main\n    view:" in file.read_text()
    for changed in ({"title__en": "A\nB  C"}, {"description__en": "Lines\n\nand: more # so"}):
        assert send(client, "/edit/collections/cubes", people["olga"], "publish", **changed).status == 303
    assert "title: {en: A B C, fr: Cubes de Mars}   # short" in file.read_text()
    assert "description: |-\n  Lines\n\n  and: more # so\n" in file.read_text()


def test_two_who_edit_at_once(client: Client, edit_site: Site, people: dict[str, dict[str, str]]) -> None:
    root, path = edit_site.settings.directory, "/psup/edit/home"
    forms = {name: open_editor(client, path, people[name]) for name in ("olga", "paul")}
    assert send(client, path, people["olga"], "publish", forms["olga"], text__en="Hers.").status == 303
    answer = send(client, path, people["paul"], "publish", forms["paul"], text__en="His.")
    page = unescape(answer.text)
    assert answer.status == 409
    assert re.search(r"^-Hers\.\n\+His\.", page, re.MULTILINE), "both are told"
    assert (root / "psup.md").read_text() == "Hers.\n"
    assert send(client, path, people["paul"], "publish").status == 409, "nothing is written over by a second press"
    assert send(client, path, people["paul"], "mine").status == 303
    assert send(client, path, people["paul"], "publish").status == 303
    assert (root / "psup.md").read_text() == "His.\n"
    # what only the other one changed stays, and is no conflict
    forms = {name: open_editor(client, path, people[name]) for name in ("olga", "paul")}
    send(client, path, people["olga"], "publish", forms["olga"], text__1__fr="La sienne.")
    assert send(client, path, people["paul"], "publish", forms["paul"], text__en="His again.").status == 303
    assert [(root / name).read_text() for name in ("psup.md", "psup.fr.md")] == ["His again.\n", "La sienne.\n"]
    # nor is another line of the same descriptor
    form = open_editor(client, "/edit/collections/cubes", people["olga"])
    file = edit_site.settings.collections_directory / "cubes/cubes.yaml"
    file.write_text(file.read_text().replace("ask anna", "ask emil"))
    assert send(client, "/edit/collections/cubes", people["olga"], "publish", form, title__en="Cubes").status == 303
    assert file.read_text().startswith("# the cubes: ask emil\ncollection: cubes\ntitle: Cubes   # short\n")


def test_news_get_a_name_and_may_go(client: Client, edit_site: Site, people: dict[str, dict[str, str]]) -> None:
    root, who = edit_site.settings.directory, people["paul"]
    answer = send(client, "/psup/edit/news/new", who, "publish", text__en="no title")
    assert (answer.status, "the news item has no title" in answer.text) == (400, True)
    assert send(client, "/psup/edit/news/new", who, "publish", text__en="# A", day="yesterday").status == 400
    texts = {"text__en": "# Été of *maps*: 100 %!\n\nWords.", "text__1__fr": "# Été des cartes", "day": "2026-03-04"}
    answer = send(client, "/psup/edit/news/new", who, "publish", **texts)
    assert answer.headers["location"] == "http://vo.example/psup/edit/news/2026-03-04-ete-of-maps-100?published=1"
    assert send(client, "/psup/edit/news/new", who, "publish", **texts).headers["location"].endswith("-100-2?published=1")  # fmt: skip
    assert sorted(one.name for one in (root / "psup-news").glob("*.md")) == [
        "2026-01-02-old.md", "2026-03-04-ete-of-maps-100-2.fr.md", "2026-03-04-ete-of-maps-100-2.md",
        "2026-03-04-ete-of-maps-100.fr.md", "2026-03-04-ete-of-maps-100.md",
    ]  # fmt: skip
    wait_until(lambda: "Été of" in client.ask("GET", "/psup/news").text)
    assert "Été of" not in client.ask("GET", "/news").text
    assert send(client, "/psup/edit/news/2026-03-04-ete-of-maps-100-2", who, "publish", text__en="").status == 303
    assert not list((root / "psup-news").glob("*-100-2*.md")), "with its translation"
    send(client, "/psup/edit/news/2026-01-02-old", who, "save", text__en="# Mine")
    (root / "psup-news/2026-01-02-old.md").unlink()
    assert send(client, "/psup/edit/news/2026-01-02-old", who, "publish").status == 409, "somebody took it away"
    assert send(client, "/psup/edit/news/2026-01-02-old", who, "discard").status == 303, (
        "a draft of what is gone can go"
    )
    assert client.ask("GET", "/psup/edit/news/2026-01-02-old", headers=who).status == 404
    answer = send(client, "/psup/edit/news/new", who, "save", text__en="# Later", day="2026-05-06")
    assert answer.headers["location"].endswith("/edit/news/new?day=2026-05-06#preview")
    assert 'value="2026-05-06"' in client.ask("GET", "/psup/edit/news/new?day=2026-05-06", headers={**who, "accept": "text/html"}).text  # fmt: skip
    for name in ("../home", "2026-03-04-none", "x"):
        assert client.ask("GET", f"/psup/edit/news/{name}", headers=who).status == 404, name


@pytest.mark.parametrize("field", ["title.en", "text.en"])
@pytest.mark.parametrize(
    ("text", "status", "message"),
    [
        ("a\x00b", 400, "control character"),
        ("x" * 1_000_001, 413, "are allowed"),
        ("\ufffe", 400, "control character"),
    ],
)
def test_what_no_text_may_be(client: Client, people: dict[str, dict[str, str]], field: str, text: str, status: int, message: str) -> None:  # fmt: skip
    answer = send(client, "/edit/collections/cubes", people["olga"], "publish", **{field.replace(".", "__"): text})
    assert (answer.status, message in unescape(answer.text)) == (status, True)


def test_a_text_of_a_megabyte_and_broken_markup(
    client: Client, edit_site: Site, people: dict[str, dict[str, str]]
) -> None:
    long = "".join(f"line {number} <b>[x](\n" for number in range(55_000))[:999_000].strip()
    assert send(client, "/edit/home", people["olga"], "publish", text__en=long).status == 303
    assert (edit_site.settings.directory / "home.md").read_text().strip() == long
    page = client.ask("GET", "/", headers={"accept": "text/html"})
    assert page.status == 200
    assert "<b>[x]" not in page.text
    other = "".join(f"other {number}\n" for number in range(55_000)).strip()
    assert send(client, "/edit/home", people["olga"], "publish", text__en=other).status == 303, "its diff has a bound, too"  # fmt: skip


def test_a_descriptor_that_would_have_faults_is_not_written(client: Client, edit_site: Site, people: dict[str, dict[str, str]]) -> None:  # fmt: skip
    file = edit_site.settings.collections_directory / "sun/sun.yaml"
    path, who = "/medoc/edit/collections/sun", people["mia"]
    form = open_editor(client, path, who)
    for wrong, message in (
        ("collection: sun\ntitle: The sun\nnonsense: 1\n", "'nonsense' is not a valid key of the descriptor"),
        ("title: [", "not valid YAML"),
    ):
        file.write_text(wrong)
        answer = send(client, path, who, "publish", form, title__en="Another")
        assert (answer.status, message in unescape(answer.text)) == (400, True), answer.text
        assert file.read_text() == wrong
    file.write_text("let: {t: &t The sun}\ncollection: sun\ntitle: *t\n")
    answer = send(client, path, who, "publish", form, title__en="Another")
    assert (answer.status, "cannot be changed here without changing other parts of the file" in answer.text) == (
        400,
        True,
    )
    assert [(one[0], one[1]) for one in edit_site.store.get_or_create(DraftStore).list_drafts()] == [("collections/sun", "mia")], "what was written is kept"  # fmt: skip
    file.write_text(PLAIN.format("sun"))
    assert send(client, path, who, "publish").status == 303
    assert file.read_text() == "collection: sun\ntitle: Another\n"


def test_files_that_cannot_be_written(client: Client, edit_site: Site, people: dict[str, dict[str, str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:  # fmt: skip
    file, who = edit_site.settings.directory / "home.md", people["olga"]
    before = file.read_bytes()
    file.chmod(0o444)
    answer = send(client, "/edit/home", who, "publish", text__en="New")
    assert (answer.status, "home.md is read-only" in answer.text) == (403, True)
    file.chmod(0o644)

    def full(_handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(file_history.os, "fsync", full)
        answer = send(client, "/edit/home", who, "publish", text__en="New")
    assert (answer.status, "no space left on device" in answer.text) == (503, True)
    with monkeypatch.context() as patch:
        patch.setattr(file_history, "_replace_or_remove_file", lambda *_: full(0))
        assert send(client, "/edit/home", who, "publish", text__en="New").status == 503
    assert file.read_bytes() == before
    assert not list(file.parent.glob(".home*")), "nothing half written stays"
    history = file.parent / "history/home.md.diff"
    assert not history.exists() or history.read_bytes() == b"", "nor a change that was none"
    outside = tmp_path / "outside.md"
    outside.write_text("Far.")
    file.unlink()
    file.symlink_to(outside)
    form = open_editor(client, "/edit/home", who)
    form["parts"][0]["base"] = editable_texts.compute_text_digest("Far.")  # type: ignore[index]
    answer = send(client, "/edit/home", who, "publish", form, text__en="New")
    assert (answer.status, "is outside the site" in answer.text) == (403, True)
    assert outside.read_text() == "Far."
    file.unlink()
    file.write_bytes(b"caf\xe9")
    answer = client.ask("GET", "/edit/home", headers=who)
    assert (answer.status, "is not UTF-8" in answer.text) == (400, True)


@pytest.mark.needs("git")
def test_a_site_in_git_has_a_commit_by_the_author(client: Client, edit_site: Site, people: dict[str, dict[str, str]]) -> None:  # fmt: skip
    root = edit_site.settings.directory

    def git(*words: str) -> str:
        who = ["-c", "user.name=Tycho", "-c", "user.email=tycho@hven.example"]
        return subprocess.run(["git", *who, *words], cwd=root, check=True, capture_output=True, text=True).stdout  # fmt: skip

    git("init", "--quiet")
    git("add", "home.md", "hven.toml")
    git("commit", "--quiet", "-m", "begin")
    (root / "home.md").write_text("By hand.\n")
    (root / "staged.txt").write_text("not yet\n")
    git("add", "staged.txt")
    assert send(client, "/edit/home", people["olga"], "publish", text__en="New.", text__1__fr="Nouveau.").status == 303
    assert git("log", "--format=%an|%s", "--", "home.md", "home.fr.md").splitlines() == [
        "olga|Texts: home.md, home.fr.md",
        "hven|What was changed by hand",
        "Tycho|begin",
    ]
    assert git("show", "--format=", "--name-only", "HEAD").split() == ["home.fr.md", "home.md"]
    assert "A  staged.txt" in git("status", "--porcelain"), "what somebody else has begun is left"
    assert not (root / "history").exists()
    page = open_editor(client, "/edit/home", people["olga"])
    assert {one["by"] for one in page["history"]} == {"olga", "hven", "Tycho"}  # type: ignore[attr-defined]
    (root / ".git/index.lock").touch()  # Git is busy, or somebody's Git died
    assert send(client, "/edit/home", people["olga"], "publish", text__en="Newer.").status == 303
    assert (root / "home.md").read_text() == "Newer.\n"
    assert "+Newer." in (root / "history/home.md.diff").read_text(), "what Git refuses is written down all the same"


def test_who_must_log_in_is_shown_the_page_for_it(client: Client) -> None:
    browser_headers = {"accept": "text/html,application/xhtml+xml"}
    for path in ("/edit", "/edit/home"):
        page = client.ask("GET", f"{path}?from=2026-01", headers=browser_headers)
        assert page.status == 303
        assert page.headers["location"] == f"http://vo.example/login?next={path.replace('/', '%2F')}%3Ffrom%3D2026-01"
        assert "www-authenticate" not in page.headers, "a browser shows a box of its own for it"
    program = client.ask("GET", "/edit", headers={"accept": "application/json"})
    assert program.status == 401
    assert client.ask("GET", "/edit", headers={"accept": "*/*"}).status == 401
