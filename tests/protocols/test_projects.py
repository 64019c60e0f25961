"""Projects: collections of their members; a listed one tells of itself alone, a hidden one is nowhere."""

from __future__ import annotations

import json
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import pytest
from asgi_client import Client
from hidden_row_pages import compare_pages, fetch_normalized
from test_releases import ids, write

from hven.app._server.application import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.model import settings
from hven.model.errors import BindError, DescriptorError, ParamError
from hven.site import Site
from hven.site.auth import ANONYMOUS_PRINCIPAL, OWNER_PRINCIPAL, Principal
from plugin_needs import list_query_addresses, list_statistics_pages, list_word_pages
from process_runner import run_hven, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HESIOD = '[projects.hesiod]\ntitle = "HESIOD"\ndescription = "Galaxies in clusters"\ncontact = "anna@example.org"\nnews = "hesiod"\n'
MEMBER = Principal(name="anna", groups=frozenset({"project:hesiod", "project:hesiod:reader"}))


@contextmanager
def site(place: Path, more: str = "", *, access: str = "public", watch: bool = False) -> Iterator[Site]:
    """A site with a public collection, and one of a project with a release R4."""
    write(place, "stars")
    write(place, "psz2", access=access, more="project: hesiod")
    (place / "hven.toml").write_text(HESIOD + more)
    for name, text in (("public/2026-01-01-a.md", "# For all"), ("2026-01-02-b.md", "# For members")):
        (place / "hesiod" / name).parent.mkdir(parents=True, exist_ok=True)
        (place / "hesiod" / name).write_text(f"{text}\n\nNews.")
    with Site(settings.load_settings(place), watch_for_changes=watch) as made:
        for name in ("stars", "psz2"):
            ingest_collection(made, name)
        made.store.releases.add_collection_releases("R4", ["psz2"])
        made.refresh_published_state()
        yield made


@pytest.mark.parametrize(("more", "everybody"), [("", False), ("listed = true", False), ("open = true", True)])
def test_who_sees_the_tables_of_a_project(tmp_path: Path, more: str, everybody: bool) -> None:
    with site(tmp_path, more) as here:
        for table, as_of in (("psz2.main", None), ("psz2_r4.main", None), ("psz2.main", "R4")):
            assert ids(here, table, MEMBER, as_of) == ids(here, table, OWNER_PRINCIPAL, as_of) == [1, 2, 3]
            for who in (ANONYMOUS_PRINCIPAL, Principal(name="bob", groups=frozenset({"project:other", "hesiod"}))):
                if everybody:
                    assert ids(here, table, who, as_of) == [1, 2, 3]
                else:
                    with pytest.raises(
                        (BindError, ParamError), match=r"no table|is not a time, and there is no published snapshot"
                    ):
                        ids(here, table, who, as_of)


@pytest.mark.parametrize("access", ["members", "private"])
def test_a_collection_may_be_closed_in_an_open_project(tmp_path: Path, access: str) -> None:
    with site(tmp_path, "open = true", access=access) as here:
        assert ids(here, "psz2.seen") == [1, 2]
        with pytest.raises(BindError):
            ids(here, "psz2.main")
        if access == "private":
            with pytest.raises(BindError):
                ids(here, "psz2.main", MEMBER)
        else:
            assert ids(here, "psz2.main", MEMBER) == [1, 2, 3]


def test_a_policy_of_rows_holds_for_members(tmp_path: Path) -> None:
    with site(tmp_path, access="\"team = 'open' or team in groups\"") as here:
        for table in ("psz2.main", "psz2_r4.main"):
            assert ids(here, table, MEMBER) == [1]
            assert ids(here, table, Principal(name="x", groups=MEMBER.groups | {"a"})) == [1, 2]
            with pytest.raises(BindError):
                ids(here, table)
        write(tmp_path, "psz2", access='"nothing = 1"', more="project: hesiod")
        path = tmp_path / "collections" / "psz2" / "psz2.yaml"
        path.write_text(path.read_text().replace("nothing", "team"))  # a number and a text: it cannot be bound
        here.refresh_published_state()
        with pytest.raises(BindError):
            ids(here, "psz2.main")


def test_a_descriptor_that_is_gone_or_cannot_be_read_opens_nothing(tmp_path: Path) -> None:
    with site(tmp_path):
        pass
    path = tmp_path / "collections" / "psz2" / "psz2.yaml"
    text = path.read_text()
    for change in (lambda: path.write_text(f"{text}nonsense: 1\n"), path.unlink):
        change()
        with Site(settings.load_settings(tmp_path)) as here, pytest.raises(BindError):
            ids(here, "psz2.main")
    path.write_text(text)
    (tmp_path / "hven.toml").write_text("[projects.hesoid]\nopen = true\n")
    with Site(settings.load_settings(tmp_path)) as here, pytest.raises(BindError):
        ids(here, "psz2.main")
    assert (
        "psz2.yaml:3:10: there is no project 'hesiod'; did you mean 'hesoid'?"
        in run_hven("check", "--site", tmp_path, expected_code=1).stdout
    )


def test_members_without_a_project_are_a_fault(tmp_path: Path) -> None:
    write(tmp_path, access="members")
    with (
        Site(settings.load_settings(tmp_path)) as here,
        pytest.raises(DescriptorError, match="needs a project, but the collection has none"),
    ):
        ingest_collection(here, "psz2")


def test_members_come_and_go_with_their_grants(tmp_path: Path) -> None:
    with site(tmp_path, "listed = true") as here:
        tokens = {name: here.store.users.add_account(name) for name in ("anna", "bob", "eve")}
        client = Client(create_and_start_application(here))

        def ask(name: str | None, path: str = "/projects/hesiod.json", method: str = "GET", **form: str):
            headers = {} if name is None else {"authorization": f"Bearer {tokens[name]}"}
            if form:
                headers["content-type"] = "application/x-www-form-urlencoded"
            return client.ask(method, path, headers=headers, body=urlencode(form).encode())

        stranger = json.loads(ask(None).text)
        assert {key: stranger[key] for key in ("title", "description", "contact", "role")} == {
            "title": "HESIOD", "description": "Galaxies in clusters", "contact": "anna@example.org", "role": None,
        }  # fmt: skip
        assert not stranger["collections"] and not stranger["releases"] and not stranger["members"]  # noqa: PT018
        assert [one["title"] for one in stranger["news"]] == ["For all"]
        assert "psz2" not in ask(None, "/projects/hesiod").text + ask(None, "/projects").text
        assert "Log in to ask for access" in ask(None, "/projects/hesiod").text
        refused = ask(None, "/projects/hesiod", "POST", ask="1")
        assert (refused.status, '/login" target="_blank"' in refused.text) == (401, True), "the form stays in its tab"

        run_hven("project", "add-member", "hesiod", "anna", "--role", "curator", "--site", tmp_path)
        assert 'href="http://vo.example/projects"' in ask(None, "/").text
        assert ask("bob", "/projects/hesiod", "POST", ask="1", words="I have clusters").status == 303
        assert ask("bob", "/projects/hesiod", "POST", ask="1").status == 409
        assert ask("eve", "/projects/hesiod", "POST", ask="1").status == 303
        wait_until(lambda: json.loads(ask("anna").text)["role"] == "curator", timeout_seconds=5)
        seen = json.loads(ask("anna").text)
        asked = {one["name"]: one["id"] for one in seen["asked"]}
        assert asked.keys() == {"bob", "eve"}
        assert seen["asked"][0]["words"] == "I have clusters"
        assert [one["title"] for one in seen["news"]] == ["For members", "For all"]
        assert seen["collections"] == [
            {"title": "Clusters", "url": "http://vo.example/collections/psz2", "members": True}
        ]
        assert [one["label"] for one in seen["releases"]] == ["R4"]
        assert json.loads(ask("bob").text)["pending"]
        assert not json.loads(ask("bob").text)["asked"]
        assert ask("bob", "/projects/hesiod", "POST", accept=asked["bob"]).status == 403
        assert ask("anna", "/projects/hesiod", "POST", accept=asked["bob"]).status == 303
        assert ask("anna", "/projects/hesiod", "POST", refuse=asked["eve"]).status == 303
        assert ask("anna", "/projects/hesiod", "POST", accept=asked["eve"]).status == 400
        wait_until(lambda: json.loads(ask("bob").text)["role"] == "reader", timeout_seconds=5)
        assert ask("bob", "/collections/psz2/main").status == 200
        assert ask("eve", "/collections/psz2/main").status == 404
        assert "private" in ask("bob", "/collections/psz2").headers["cache-control"]
        assert "private" in ask("bob", "/projects").headers["cache-control"]

        twice = run_hven("project", "add-member", "hesiod", "bob", "--role", "owner", "--site", tmp_path).stdout
        assert (
            twice
            == "bob has the role reader in hesiod; several roles (reader and owner); the role with the fewest rights applies\n"
        )
        shown = json.loads(run_hven("project", "show", "hesiod", "--json", "--site", tmp_path).stdout)
        assert {(one["account"], one["role"]) for one in shown} == {("anna", "curator"), ("bob", "reader")}
        run_hven("project", "remove-member", "hesiod", "bob", "--site", tmp_path)
        wait_until(lambda: ask("bob", "/collections/psz2/main").status == 404, timeout_seconds=5)
        assert (
            "bob is not a member"
            in run_hven("project", "remove-member", "hesiod", "bob", "--site", tmp_path, expected_code=1).stderr
        )
        wrong = run_hven(
            "project", "add-member", "hesiod", "bob", "--role", "curater", "--site", tmp_path, expected_code=2
        )
        assert "there is no role 'curater'; did you mean 'curator'?" in wrong.stderr
        unknown = run_hven("project", "add-member", "hesiod", "anan", "--site", tmp_path).stdout
        assert unknown.splitlines() == [
            "warning: there is no account anan: did you mean 'anna'?",
            "anan has the role reader in hesiod",
        ]
        run_hven("project", "remove-member", "hesiod", "anan", "--site", tmp_path)
        listed = json.loads(run_hven("project", "list", "--json", "--site", tmp_path).stdout)
        assert [(one["project"], one["listed"], one["members"], one["asked"]) for one in listed] == [
            ("hesiod", True, 1, 0)
        ]


def test_a_site_with_a_hidden_project_answers_as_one_without(tmp_path: Path) -> None:
    with ExitStack() as stack:
        both = []
        for name in ("without", "with"):
            place = tmp_path / name
            if name == "with":
                here = stack.enter_context(site(place))
                here.store.grants.add_grant("member", subject="anna", object="hesiod", role="owner", actor="owner")
            else:
                write(place, "stars")
                here = stack.enter_context(Site(settings.load_settings(place)))
                ingest_collection(here, "stars")
            here.refresh_published_state()
            both.append(Client(create_and_start_application(here)))
            assert "/projects" not in both[-1].get("/").text
        answered, unlike = compare_pages((both[0], both[1]), part=3)
        assert not unlike
        assert answered > 30
        queries = [
            f"SELECT * FROM {table}"
            for table in ("psz2.main", "psz2_r4.main", "main", "psz3.main", "TAP_SCHEMA.schemas", "TAP_SCHEMA.tables")
        ]
        asked = [
            f"/tap/sync?{urlencode({'LANG': 'ADQL', 'QUERY': query, **more})}"
            for query in queries
            for more in ({}, {"ASOF": "R4"}, {"ASOF": "latest"})
        ]
        asked += [
            "/projects", "/projects.json", "/projects/hesiod", "/projects/hesiod.json", "/collections/psz2", "/collections/psz2.json", "/collections/psz2/main",
            "/collections/psz2_r4/main", "/collections/psz2/main/rows", "/collections/psz2/files", "/collections/psz2/changes.atom", "/collections/psz2/descriptor",
            *list_statistics_pages("psz2"), "/changes/psz2.main", "/cone/psz2.main?RA=1&DEC=1&SR=1", *list_word_pages("clusters"), *list_word_pages("hesiod"), "/news", "/news.rss", "/news.atom",
            "/tap/tables", "/tap/capabilities", "/tap/examples", "/tree", "/health", "/metrics", "/openapi.json", *list_query_addresses("/adql"), "/robots.txt", "/sitemap.xml", "/",
        ]  # fmt: skip
        assert [
            address
            for address in asked
            if fetch_normalized(both[0], address)[0] != fetch_normalized(both[1], address)[0]
        ] == []
        for client in both:
            answer = client.ask(
                "POST", "/projects/hesiod", headers={"content-type": "application/x-www-form-urlencoded"}, body=b"ask=1"
            )
            assert answer.status == 404
