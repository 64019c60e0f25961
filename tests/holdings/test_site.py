"""A site: what is published is seen within a second in every process; metadata edits need no reload; faults keep the last good state."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from contextlib import nullcontext
from dataclasses import replace

import pyarrow as pa
import pytest

from hven import query
from hven.model.errors import BindError, StorageError
from hven.model.settings import Settings, load_settings
from hven.model.table import Column, Table
from hven.model.types import FLOAT64, INT64
from hven.site import Site
from hven.site.auth._access_control import (
    ANONYMOUS_PRINCIPAL,
    DEFAULT_POLICIES,
    OWNER_PRINCIPAL,
    PUBLIC_SCOPE,
    Principal,
)
from hven.testing.policies import build_odd_rows_hidden_policies
from hven.testing.site import build_table_from_arrow, open_site_with_uningested_files, open_tiny_site, publish_rows

STARS = pa.table({"id": [1, 2, 3], "ra": [10.0, 20.0, 30.0], "dec": [-1.0, 0.0, 1.0], "name": ["a", "é", None]})

DESCRIPTOR = """\
collection: cat
title: A catalogue
description: Stars of the test
tables:
  stars:
    description: Stars
    position: [ra, dec]
    columns:
      id: {type: int64, description: Number}
      ra: {type: float64, unit: deg, ucd: pos.eq.ra;meta.main}
      dec: {type: float64, unit: deg, ucd: pos.eq.dec;meta.main}
    source: {kind: csv, files: stars.csv}
"""
TABLE = Table(
    schema="cat",
    name="stars",
    position=("ra", "dec"),
    columns=(
        Column(name="id", type=INT64),
        Column(name="ra", type=FLOAT64, unit="deg"),
        Column(name="dec", type=FLOAT64, unit="deg"),
    ),
)
ROWS = STARS.select(["id", "ra", "dec"])


@pytest.fixture
def site(tmp_path):
    with open_site_with_uningested_files(tmp_path, DESCRIPTOR, {"stars.csv": "id,ra,dec\n1,10,-1\n"}) as opened:
        publish_rows(opened, TABLE, ROWS)
        opened.refresh_published_state()
        yield opened


def descriptor(site: Site, text: str) -> None:
    (site.settings.collections_directory / "cat" / "cat.yaml").write_text(text, encoding="utf-8")


def test_a_tiny_site_publishes_rows(tmp_path):
    with open_tiny_site(tmp_path, {"s.stars": STARS, "t.x": pa.table({"a": [1]})}) as site:
        holdings = site.get_published_state()
        assert [schema.name for schema in holdings.schemas] == ["s", "t"]
        item = holdings.tables_by_name["s.stars"]
        assert (item.rows, item.table.position) == (3, ("ra", "dec"))
        assert item.coverage is not None
        assert item.table.find_column("name").type.datatype == "unicodeChar"
        read = pa.Table.from_batches(site.embedded_engine.read_rows(item.relation))
        assert sorted(read.column("id").to_pylist()) == [1, 2, 3]
        assert holdings.find_relation("s.stars") is item.relation
        with pytest.raises(KeyError):
            holdings.find_relation("s.nope")


def test_nothing_changes_until_something_does(site):
    first = site.get_published_state()
    assert site.refresh_published_state() is first
    publish_rows(site, build_table_from_arrow("cat.more", pa.table({"a": [1]})), pa.table({"a": [1]}))
    second = site.refresh_published_state()
    assert second.version != first.version
    assert set(first.tables_by_name) == {"cat.stars"}  # the old picture stays as it was
    assert set(second.tables_by_name) == {"cat.stars", "cat.more"}


def test_a_description_is_seen_as_the_descriptor_says_it_now(site):
    table = site.get_published_state().tables_by_name["cat.stars"].table
    assert (table.description, table.find_column("id").description, table.find_column("ra").ucd) == (
        "Stars",
        "Number",
        "pos.eq.ra;meta.main",
    )
    before = site.get_published_state().version
    descriptor(
        site, DESCRIPTOR.replace("Number", "Running number").replace("description: Stars\n", "description: Suns\n", 1)
    )
    deadline = time.monotonic() + 60
    while site.get_published_state().version == before and time.monotonic() < deadline:
        time.sleep(0.05)
    table = site.get_published_state().tables_by_name["cat.stars"].table
    assert table.find_column("id").description == "Running number"
    rows = site.get_published_state().get_catalogue().memory_relations["TAP_SCHEMA.columns"].rows.to_pylist()
    assert [row["description"] for row in rows if row["column_name"] == "id"] == ["Running number"]
    assert (table.description, site.get_published_state().schemas[0].description) == ("Suns", "Stars of the test")


def test_what_becomes_private_is_hidden_at_once(site):
    assert "cat.stars" in site.get_published_state().get_catalogue().list_table_names()
    descriptor(site, DESCRIPTOR + "access: private\n")
    holdings = site.refresh_published_state()
    assert "cat.stars" not in holdings.get_catalogue().list_table_names()
    assert "cat.stars" in holdings.get_catalogue(OWNER_PRINCIPAL).list_table_names()
    descriptor(site, DESCRIPTOR)
    assert "cat.stars" in site.refresh_published_state().get_catalogue().list_table_names()


def test_an_answer_from_tap_schema_is_remembered_for_those_alone_who_see_the_same(site):
    def scope(who):
        with query.run_query("SELECT table_name FROM TAP_SCHEMA.tables", who, site=site) as result:
            names = [name for batch in result.iterate_batches() for name in batch.column(0).to_pylist()]
            return result.scope, "cat.stars" in names

    assert scope(ANONYMOUS_PRINCIPAL)[0].is_public
    descriptor(site, DESCRIPTOR + "access: private\n")
    site.refresh_published_state()
    assert scope(ANONYMOUS_PRINCIPAL) == (PUBLIC_SCOPE, False)
    mine, seen = scope(OWNER_PRINCIPAL)
    assert seen
    assert not mine.is_public


def test_a_descriptor_with_faults_leaves_the_last_good_one_in_force(site):
    good = site.get_published_state()
    descriptor(site, DESCRIPTOR.replace("description: Number", "descripton: Nummer"))
    holdings = site.refresh_published_state()
    assert holdings.tables_by_name["cat.stars"].table == good.tables_by_name["cat.stars"].table
    assert len(holdings.problems) == 1
    assert "cat.yaml:9" in holdings.problems[0]
    descriptor(site, DESCRIPTOR)
    assert site.refresh_published_state().problems == ()


@pytest.mark.parametrize(("text", "names"), [("access: private\n", []), ("", ["cat.stars"])])
def test_a_process_that_starts_with_a_faulty_descriptor_hides_what_may_be_private(site, text, names):
    descriptor(site, DESCRIPTOR + text + "nonsense: 1\n")
    with Site(site.settings) as other:
        found = other.get_published_state()
        assert [name for name in found.get_catalogue().list_table_names() if not name.startswith("TAP_")] == names
        assert found.problems


def test_a_running_process_hides_what_a_faulty_descriptor_may_make_private(site):
    descriptor(site, DESCRIPTOR + "access: private\nnonsense: 1\n")
    found = site.refresh_published_state()
    assert "cat.stars" not in found.get_catalogue().list_table_names()
    assert "is closed to readers" in found.descriptor_faults["cat"]
    descriptor(site, DESCRIPTOR)
    assert "cat.stars" in site.refresh_published_state().get_catalogue().list_table_names()


def test_a_process_that_starts_with_a_faulty_descriptor_has_the_last_good_one(site):
    home = site.settings.collections_directory / "cat"
    (home / "part.yaml").write_text("description: Of a part\n")
    (home / "more.py").write_text("def more(x: float) -> float:\n    return x\n")
    good = DESCRIPTOR.replace(
        "description: Stars of the test\n", "include: part.yaml\nfunctions: [{file: more.py, names: {more: float64}}]\n"
    )
    descriptor(site, good)
    assert site.refresh_published_state().problems == ()
    before = site.get_published_state()
    descriptor(site, good.replace("title:", "titel:"))
    (home / "part.yaml").unlink()  # an include and a function that are gone are faults, too
    (home / "more.py").unlink()
    with Site(site.settings) as other:
        found = other.get_published_state()
        assert found.resources["cat"].title == "A catalogue"
        assert found.resources["cat"].description == "Of a part"
        assert found.resources["cat"].hashes == before.resources["cat"].hashes
        assert found.tables_by_name["cat.stars"].table == before.tables_by_name["cat.stars"].table
        (problem,) = found.problems
        assert "titel" in problem
        assert "the last valid descriptor of cat of 20" in problem
        assert found.descriptor_faults == {"cat": problem}
        descriptor(site, DESCRIPTOR)
        assert other.refresh_published_state().problems == ()


def test_defaults_with_faults_leave_the_last_good_descriptors_in_force(site):
    bad = replace(site.settings, defaults={"titel": "x"})
    with Site(bad) as other:
        found = other.get_published_state()
        assert found.resources["cat"].title == "A catalogue"
        assert "titel" in found.descriptor_faults["cat"]


def test_a_standard_of_the_site_with_faults_leaves_the_last_good_descriptor_in_force(site):
    standards = site.settings.directory / "standards"
    standards.mkdir()
    own = "collection: own\ntitle: Own\ntables:\n  any:\n    columns: {extra: {type: int64, required: false}}\n"
    (standards / "own.yaml").write_text(own)
    descriptor(site, DESCRIPTOR.replace("    description: Stars\n", "    description: Stars\n    standard: own\n"))
    assert site.refresh_published_state().problems == ()
    (standards / "own.yaml").write_text("collection: [")
    with Site(site.settings) as other:
        assert other.get_published_state().resources["cat"].tables[0].table.standard == "own"
        assert other.get_published_state().problems


def test_a_descriptor_that_the_store_did_not_take_is_given_again(site, monkeypatch):
    from hven.site import descriptor_watch
    from hven.site.store._descriptors import LastGoodDescriptorStore

    def full(*_):
        raise StorageError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(LastGoodDescriptorStore, "save_descriptor", full)
        descriptor(site, DESCRIPTOR.replace("A catalogue", "Another"))
        assert site.refresh_published_state().resources["cat"].title == "Another"  # it is served all the same
    monkeypatch.setattr(descriptor_watch, "SAVE_AGAIN_SECONDS", 0.0)
    site.refresh_published_state()
    descriptor(site, "titel: x\n")
    with Site(site.settings) as other:
        assert other.get_published_state().resources["cat"].title == "Another"


def test_a_part_that_changes_while_it_is_read_is_seen_at_the_next_look(site, monkeypatch):
    from hven import descriptor as room

    load, part = room.load_descriptor, site.settings.collections_directory / "cat" / "part.yaml"
    part.write_text("description: One\n")

    def meanwhile(path, settings):
        found = load(path, settings)
        if "One" in part.read_text():
            part.write_text("description: Two\n")
        return found

    monkeypatch.setattr(room, "load_descriptor", meanwhile)
    descriptor(site, DESCRIPTOR.replace("description: Stars of the test\n", "include: [part.yaml]\n"))
    assert site.refresh_published_state().schemas[0].description == "One"
    assert site.refresh_published_state().schemas[0].description == "Two"
    assert site.refresh_published_state() is site.refresh_published_state()


def test_a_collection_without_descriptor_goes_on(site):
    (site.settings.collections_directory / "cat" / "cat.yaml").unlink()
    assert site.refresh_published_state().tables_by_name["cat.stars"].rows == 3


def list_visible_ids(opened: Site) -> list[int]:
    try:
        with query.run_query("SELECT id FROM cat.stars", ANONYMOUS_PRINCIPAL, site=opened) as result:
            return [value for batch in result.iterate_batches() for value in batch.column(0).to_pylist()]
    except BindError:
        return []


@pytest.mark.parametrize("is_restarted", [False, True])
@pytest.mark.parametrize("key", ["access: private", "access: id > 1 and reader = 'anna'", "project: hesiod"])
def test_rows_do_not_open_when_the_folder_of_their_descriptor_is_moved(site, key, is_restarted):
    """The access may be narrower than when the rows were ingested, as here."""
    assert sorted(list_visible_ids(site)) == [1, 2, 3]
    text = DESCRIPTOR.replace("tables:\n", f"{key}\ntables:\n")
    if "reader" in key:
        text = DESCRIPTOR.replace("    position:", f"    {key}\n    position:")
    (site.settings.directory / "hven.toml").write_text("[projects.hesiod]\n")
    settings = load_settings(site.settings.directory, {})
    with Site(settings) as first:
        descriptor(first, text)
        first.refresh_published_state()
        assert list_visible_ids(first) == []
        folder = settings.collections_directory / "cat"
        folder.rename(folder.with_name("dog"))
        first.refresh_published_state()
        with Site(settings) if is_restarted else nullcontext(first) as second:
            assert second.get_published_state().tables_by_name["cat.stars"].rows == 3
            assert second.get_published_state().tables_by_name["cat.stars"].resource is None
            assert second.read_descriptor("cat") is None
            assert list_visible_ids(second) == []
            folder.with_name("dog").rename(folder)
            descriptor(second, DESCRIPTOR)
            second.refresh_published_state()
            assert sorted(list_visible_ids(second)) == [1, 2, 3]


def test_rows_do_not_open_when_their_table_is_renamed(site):
    private = DESCRIPTOR.replace("    position:", "    access: private\n    position:")
    descriptor(site, private)
    site.refresh_published_state()
    assert list_visible_ids(site) == []
    descriptor(site, private.replace("  stars:", "  suns:"))
    site.refresh_published_state()
    assert list_visible_ids(site) == []
    descriptor(site, DESCRIPTOR.replace("  stars:", "  suns:"))
    site.refresh_published_state()
    assert sorted(list_visible_ids(site)) == [1, 2, 3]


def test_another_process_is_seen_within_a_second(site, tmp_path):
    code = f"""
import sys, json, pathlib, time
from hven.model.settings import Settings, load_settings
from hven.site import Site
with Site(Settings(directory=pathlib.Path({str(tmp_path)!r})), watch_for_changes=True) as site:
    print(json.dumps([site.get_published_state().tables_by_name["cat.stars"].rows, site.get_published_state().version]), flush=True)
    sys.stdin.readline()
    began = time.monotonic()
    while site.get_published_state().tables_by_name["cat.stars"].rows == 3 and time.monotonic() - began < 60:
        time.sleep(0.01)
    print(json.dumps([site.get_published_state().tables_by_name["cat.stars"].rows, time.monotonic() - began]), flush=True)
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert json.loads(child.stdout.readline()) == [
            3,
            site.get_published_state().version,
        ]  # ETags are the same in all processes
        publish_rows(site, TABLE, ROWS.slice(0, 2))
        child.stdin.write("\n")
        child.stdin.flush()
        rows, _ = json.loads(child.stdout.readline())
        assert rows == 2
        child.wait(timeout=60)


def test_a_store_that_fails_later_keeps_the_last_state_and_says_so(site, monkeypatch):
    good = site.get_published_state()

    def broken() -> int:
        raise StorageError("the disk is gone")

    monkeypatch.setattr(site.store, "get_version", broken)
    holdings = site.refresh_published_state()
    assert holdings.tables_by_name.keys() == good.tables_by_name.keys()
    assert any("the disk is gone" in problem for problem in holdings.problems)
    monkeypatch.undo()
    assert site.refresh_published_state().problems == ()
    with Site(site.settings) as other:
        monkeypatch.setattr(other.store, "get_version", broken)
        with pytest.raises(StorageError):
            other.get_published_state()


def test_a_bug_of_ours_stops_neither_the_watch_nor_the_other_collections(site, monkeypatch):
    from hven import descriptor as room

    load = room.load_descriptor

    def broken(path, settings):
        if "cat.yaml" in str(path):
            raise KeyError("oops")
        return load(path, settings)

    monkeypatch.setattr(room, "load_descriptor", broken)
    descriptor(site, DESCRIPTOR + "description: new\n")
    holdings = site.refresh_published_state()
    assert holdings.tables_by_name["cat.stars"].rows == 3
    assert any("report this as a bug in Hven" in problem for problem in holdings.problems)
    with Site(site.settings, watch_for_changes=True) as other:
        monkeypatch.setattr(other, "refresh_published_state", lambda: 1 / 0)
        deadline = time.monotonic() + 60
        while (
            not any("division" in problem for problem in other.get_published_state().problems)
            and time.monotonic() < deadline
        ):
            time.sleep(0.02)
        assert any("looking for changes failed" in problem for problem in other.get_published_state().problems)
        assert other.get_published_state().tables_by_name["cat.stars"].rows == 3


def test_views_are_shown_with_the_columns_of_their_query(tmp_path):
    text = (
        DESCRIPTOR
        + """\
  bright:
    view: SELECT id AS star, ra FROM cat.stars WHERE ra > 15
    description: Bright ones
  brighter: {view: SELECT star FROM cat.bright}
"""
    )
    with open_site_with_uningested_files(tmp_path, text, {"stars.csv": ""}) as site:
        publish_rows(site, TABLE, ROWS)
        holdings = site.refresh_published_state()
        assert holdings.problems == ()
        view = holdings.tables_by_name["cat.bright"]
        assert [(column.name, column.unit) for column in view.table.columns] == [("star", None), ("ra", "deg")]
        assert (view.relation, view.table.description) == (None, "Bright ones")
        kinds = {
            row["table_name"]: row["table_type"]
            for row in holdings.get_catalogue().memory_relations["TAP_SCHEMA.tables"].rows.to_pylist()
        }
        assert (kinds["cat.stars"], kinds["cat.bright"], kinds["cat.brighter"]) == ("table", "view", "view")
        descriptor(site, text.replace("    description: Stars\n", "    description: Stars\n    access: private\n"))
        holdings = site.refresh_published_state()
        assert [name for name in holdings.get_catalogue().list_table_names() if name.startswith("cat.")] == []
        assert "cat.brighter" in holdings.get_catalogue(OWNER_PRINCIPAL).list_table_names()
        descriptor(site, text.replace("SELECT id AS star", "SELECT idd AS star"))
        holdings = site.refresh_published_state()
        assert "cat.bright" not in holdings.tables_by_name
        assert any("view cat.bright" in problem and "idd" in problem for problem in holdings.problems)


class Hides:
    """A policy that hides a public table from everybody but Ann."""

    def decide_visibility(self, table, who):
        return False if table.qualified_name == "cat.stars" and who.name != "ann" else None

    def find_row_condition(self, table, who):
        return None


def test_a_view_is_hidden_from_whom_its_tables_are_hidden(tmp_path):
    text = (
        DESCRIPTOR + "  bright:\n    view: SELECT id FROM cat.stars\n  brighter:\n    view: SELECT id FROM cat.bright\n"
    )
    policies = (*DEFAULT_POLICIES, Hides())
    with open_site_with_uningested_files(tmp_path, text, {"stars.csv": ""}) as site:
        publish_rows(site, TABLE, ROWS)
        holdings = site.refresh_published_state()
        assert holdings.tables_by_name["cat.brighter"].read_tables == ("cat.bright", "cat.stars")
        names = [
            name
            for name in holdings.get_catalogue(ANONYMOUS_PRINCIPAL, policies).list_table_names()
            if name.startswith("cat.")
        ]
        assert names == []
        assert (
            holdings.find_access_key(ANONYMOUS_PRINCIPAL, policies)
            != holdings.find_access_key(Principal(name="ann"), policies)
            == "public"
        )
        with query.run_query(
            "SELECT id FROM cat.brighter", Principal(name="ann"), site=site, policies=policies
        ) as result:
            assert sum(batch.num_rows for batch in result.iterate_batches()) == 3
        with pytest.raises(BindError) as caught:
            query.run_query("SELECT id FROM cat.brighter", site=site, policies=policies)
        assert "stars" not in str(caught.value)


def test_a_public_view_of_a_private_table_is_told(tmp_path):
    text = DESCRIPTOR + "  bright:\n    view: SELECT id FROM cat.stars\n"
    closed = text.replace("    description: Stars\n", "    description: Stars\n    access: private\n")
    with open_site_with_uningested_files(tmp_path, closed, {"stars.csv": ""}) as site:
        publish_rows(site, TABLE, ROWS)
        (problem,) = site.refresh_published_state().problems
        assert problem.startswith(
            "view cat.bright: it is public, but readers do not see it, because cat.stars is private; set `access: private`"
        )
        with pytest.raises(BindError, match=r"no table 'cat\.bright'") as caught:
            query.run_query("SELECT id FROM cat.bright", site=site)
        assert "stars" not in str(caught.value)
        descriptor(site, closed.replace("cat.stars\n", "cat.stars\n    access: private\n"))
        assert site.refresh_published_state().problems == ()


class Grants:
    """A policy that shows one private table to Ann."""

    def decide_visibility(self, table, who):
        return True if table.qualified_name == "cat.stars" and who.name == "ann" else None

    def find_row_condition(self, table, who):
        return None


def test_who_may_see_the_tables_sees_the_view(tmp_path):
    text = (
        DESCRIPTOR
        + "  bright:\n    view: SELECT id FROM cat.stars\n  own:\n    view: SELECT id FROM cat.stars\n    access: private\n"
    )
    text += "  brighter:\n    view: SELECT id FROM cat.bright\n"
    closed = text.replace("    description: Stars\n", "    description: Stars\n    access: private\n")
    policies = (*DEFAULT_POLICIES, Grants())
    with open_site_with_uningested_files(tmp_path, closed, {"stars.csv": ""}) as site:
        publish_rows(site, TABLE, ROWS)
        holdings = site.refresh_published_state()

        def list_visible_tables(who, policies=policies):
            return [
                name for name in holdings.get_catalogue(who, policies).list_table_names() if name.startswith("cat.")
            ]

        assert (
            list_visible_tables(ANONYMOUS_PRINCIPAL) == list_visible_tables(ANONYMOUS_PRINCIPAL, DEFAULT_POLICIES) == []
        )
        assert list_visible_tables(Principal(name="ann")) == ["cat.stars", "cat.bright", "cat.brighter"]
        assert list_visible_tables(OWNER_PRINCIPAL) == ["cat.stars", "cat.bright", "cat.own", "cat.brighter"]
        with query.run_query(
            "SELECT id FROM cat.brighter", Principal(name="ann"), site=site, policies=policies
        ) as result:
            assert sum(batch.num_rows for batch in result.iterate_batches()) == 3
            assert not result.scope.is_public


def test_a_public_view_of_a_private_view_is_hidden(tmp_path):
    text = (
        DESCRIPTOR
        + "  within:\n    view: SELECT id FROM cat.stars\n    access: private\n"
        + "  above:\n    view: WITH fine AS (SELECT id FROM cat.stars) SELECT i.id FROM cat.within AS i JOIN fine AS f ON f.id = i.id\n"
        + "  other:\n    view: WITH inner_ AS (SELECT id FROM cat.stars) SELECT id FROM inner_\n"
    )
    with open_site_with_uningested_files(tmp_path, text, {"stars.csv": ""}) as site:
        publish_rows(site, TABLE, ROWS)
        holdings = site.refresh_published_state()
        (problem,) = holdings.problems
        assert problem.startswith(
            "view cat.above: it is public, but readers do not see it, because cat.within is private"
        )
        assert [name for name in holdings.get_catalogue().list_table_names() if name.startswith("cat.")] == [
            "cat.stars",
            "cat.other",
        ]
        with pytest.raises(BindError, match=r"no table 'cat\.above'") as caught:
            query.run_query("SELECT id FROM cat.above", site=site)
        assert "within" not in str(caught.value)
        with query.run_query("SELECT id FROM cat.above", OWNER_PRINCIPAL, site=site) as result:
            assert sum(batch.num_rows for batch in result.iterate_batches()) == 3


def test_rows_are_hidden_under_a_view(tmp_path):
    text = (
        DESCRIPTOR
        + "  bright:\n    view: SELECT id AS star FROM cat.stars\n  brighter:\n    view: SELECT star FROM cat.bright\n"
    )
    with open_site_with_uningested_files(tmp_path, text, {"stars.csv": ""}) as site:
        publish_rows(site, TABLE, ROWS)
        site.refresh_published_state()
        with query.run_query(
            "SELECT star FROM cat.brighter", site=site, policies=build_odd_rows_hidden_policies("id")
        ) as result:
            assert [row["star"] for batch in result.iterate_batches() for row in batch.to_pylist()] == [2]
            assert not result.scope.is_public


class Counts:
    """A policy that counts how often it is asked."""

    def __init__(self):
        self.asked = 0

    def decide_visibility(self, table, who):
        self.asked += 1
        return True

    def find_row_condition(self, table, who):
        return build_odd_rows_hidden_policies("id")[1].find_row_condition(table, who)


def test_policies_are_asked_once_about_each_reader(site):
    policies = (counts := Counts(),)
    holdings = site.get_published_state()
    first = holdings.find_access_key(Principal(name="ann"), policies)
    asked = counts.asked
    assert [holdings.find_access_key(Principal(name="ann"), policies) for _ in range(5)] == [first] * 5
    assert counts.asked == asked
    assert holdings.find_access_key(Principal(name="bob"), policies) == first
    assert counts.asked > asked
    assert holdings.find_access_key(Principal(name="ann"), (Counts(), *DEFAULT_POLICIES)) == first, (
        "other policies that see the same"
    )
    assert holdings.find_access_key(Principal(name="ann")) == "public"
    assert holdings.find_access_key(OWNER_PRINCIPAL, build_odd_rows_hidden_policies("id")) != first


def test_a_reach_is_the_same_in_every_process(site):
    """Remembered answers are keyed by it: nothing in it may depend on the process's hashes."""
    code = (
        "import sys\nfrom pathlib import Path\nfrom hven.site import Site\nfrom hven.model.settings import Settings\n"
        "from hven.testing.policies import build_odd_rows_hidden_policies\n"
        "with Site(Settings(directory=Path(sys.argv[1]))) as site:\n    print(site.get_published_state().find_access_key(policies=build_odd_rows_hidden_policies('id')))"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code, str(site.settings.directory)],
            check=True,
            capture_output=True,
            text=True,
            env={"PYTHONHASHSEED": seed},
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert found == {site.get_published_state().find_access_key(policies=build_odd_rows_hidden_policies("id"))}


def test_settings_reach_the_site(tmp_path):
    with Site(Settings(directory=tmp_path, store=f"sqlite:///{tmp_path}/else.sqlite")) as site:
        assert site.get_published_state().tables_by_name == {}
        assert (tmp_path / "else.sqlite").exists()
