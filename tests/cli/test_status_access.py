"""``hven status`` says who sees each table, and which engine has it."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from hven.app._cli.status_commands import describe_table_access
from hven.ingest.api.runs import ingest_collection
from hven.model import settings
from hven.site import Site
from process_runner import run_hven

SETTINGS = 'name = "who"\n[projects.hesiod]\ntitle = "HESIOD"\n'
TABLES = {
    "stars": "",
    "night": "access: private",
    "kepler": "access: \"'kepler' in groups\"",
    "survey": 'access: "release <= now or reader in (pi)"',
    "locked": 'access: {take: "release <= now"}',
}
WANTED = {
    "stars.main": "public",
    "night.main": "nobody",
    "kepler.main": "group kepler",
    "survey.main": "conditions: release <= now or reader in (pi)",
    "survey.seen": "as survey.main",
    "locked.main": "public; files, conditions: release <= now",
    "team.main": "members of hesiod",
}


def write(place: Path, name: str, level: str, top: str = "") -> None:
    folder = place / "collections" / name
    folder.mkdir(parents=True)
    view = "  seen: {view: SELECT id FROM survey.main}\n" if name == "survey" else ""
    (folder / f"{name}.yaml").write_text(
        f"collection: {name}\ntitle: {name}\n{top}tables:\n  main:\n    source: rows.csv\n    {level}\n"
        f"    columns: {{id: int32, pi: string, release: timestamp}}\n{view}"
    )
    (folder / "rows.csv").write_text("id,pi,release\n1,anna,2001-01-01T00:00:00\n")


def test_who_sees_a_table_and_where_it_is(tmp_path: Path) -> None:
    (tmp_path / "hven.toml").write_text(SETTINGS)
    for name, level in TABLES.items():
        write(tmp_path, name, level)
    write(tmp_path, "team", "", "project: hesiod\n")
    with Site(settings.load_settings(tmp_path)) as site:
        for name in (*TABLES, "team"):
            assert ingest_collection(site, name).published
    told = {one["table"]: one for one in json.loads(run_hven("status", "--json", cwd=tmp_path).stdout)["tables"]}
    assert {name: told[name]["access"] for name in WANTED} == WANTED
    assert {one["engine"] for name, one in told.items() if name != "survey.seen"} == {"duckdb"}
    assert told["survey.seen"]["engine"] is None
    shown = run_hven("status", cwd=tmp_path).stdout
    assert "group kepler" in shown
    assert "duckdb" in shown
    # a collection that was renamed: its tables stand under the old name, and no page does
    (tmp_path / "collections" / "stars").rename(tmp_path / "collections" / "suns")
    text = (
        (tmp_path / "collections" / "suns" / "stars.yaml").read_text().replace("collection: stars", "collection: suns")
    )
    (tmp_path / "collections" / "suns" / "stars.yaml").unlink()
    (tmp_path / "collections" / "suns" / "suns.yaml").write_text(text)
    told = {one["table"]: one for one in json.loads(run_hven("status", "--json", cwd=tmp_path).stdout)["tables"]}
    assert told["stars.main"]["access"] == "public; no page, because there is no descriptor"


def test_access_is_described_in_words() -> None:
    """The rules of the test above, without a site."""

    def describe(
        rows: str | None = None, read_tables: tuple[str, ...] = (), *, has_page: bool = True, **facts: Any
    ) -> str:
        policy = SimpleNamespace(rows=rows, take=facts.pop("take", None), files=None)
        table = SimpleNamespace(**{"access": "public", "project": None, "policy": policy, **facts})
        published: Any = SimpleNamespace(table=table, read_tables=read_tables, resource=has_page or None)
        return describe_table_access(published, tables)

    secret = SimpleNamespace(access="private", project=None, policy=None)
    tables: Any = {"a.secret": SimpleNamespace(table=secret)}
    assert describe() == "public"
    assert describe(has_page=False) == "public; no page, because there is no descriptor"
    assert describe(access="private") == "nobody"
    assert describe(access="members", project="hesiod") == "members of hesiod"
    assert describe("'kepler' in groups") == "group kepler"
    assert describe("n < 3") == "conditions: n < 3"
    assert describe(take="n < 3") == "public; files, conditions: n < 3"
    assert describe(read_tables=("a.secret", "a.gone")) == "as a.secret"
