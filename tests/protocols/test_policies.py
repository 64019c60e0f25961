"""Policies of descriptors, end to end: who sees which rows, at which second."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from asgi_client import Client

from clocks import MovableClock
from hven import query
from hven.app._server.application import create_and_start_application
from hven.descriptor import check_descriptor
from hven.ingest.api.runs import ingest_collection
from hven.model import settings
from hven.model.errors import DescriptorError
from hven.site import Site
from hven.site.auth import ANONYMOUS_PRINCIPAL, OWNER_PRINCIPAL, Principal
from process_runner import run_hven, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

DESCRIPTOR = """\
collection: night
title: Observations
tables:
  main:
    source: {{kind: csv, file: rows.csv}}
    primary: id
    access: {policy}
    columns:
      id: {{type: int32}}
      release: {{type: timestamp}}
      pi: {{type: string}}
      coi: {{type: string}}
      project: {{type: string}}
      category: {{type: string}}
"""
POLICY = "release <= now or reader in (pi, coi) or 'spica' in groups or project in groups or category = 'CALIB'"
ROWS = """\
id,release,pi,coi,project,category
1,2001-01-01T00:00:00,Anna Berg,,p1,SCIENCE
2,2999-01-01T00:00:00,Anna  BERG / bob@x.org,,p1,SCIENCE
3,2999-01-01T00:00:00,Carl,anna berg,p2,SCIENCE
4,2999-01-01T00:00:00,Carl,,p2,CALIB
5,,,,p3,SCIENCE
6,2999-06-01T00:00:00,Bo,,,SCIENCE
"""


def site(place: Path, policy: str = POLICY, rows: str = ROWS) -> Site:
    folder = place / "collections" / "night"
    folder.mkdir(parents=True)
    (place / "hven.toml").write_text('name = "rights"\n')
    (folder / "night.yaml").write_text(DESCRIPTOR.format(policy=policy))
    (folder / "rows.csv").write_text(rows)
    made = Site(settings.load_settings(place))
    ingest_collection(made, "night")
    return made


@pytest.fixture
def policy_site(tmp_path: Path) -> Iterator[Site]:
    with site(tmp_path) as made:
        yield made


def test_a_site_may_be_private_where_nothing_is_said(tmp_path: Path) -> None:
    with site(tmp_path, "{take: release <= now}") as here:  # it says who takes files, and nothing of rows
        folder = tmp_path / "collections" / "dawn"
        folder.mkdir()
        (folder / "rows.csv").write_text(ROWS)
        text = DESCRIPTOR.format(policy="public").replace("night", "dawn").replace("    access: public\n", "")
        (folder / "dawn.yaml").write_text(text)
        ingest_collection(here, "dawn")
        here.refresh_published_state()
        assert {"night.main", "dawn.main"} <= set(here.get_published_state().get_catalogue().list_table_names())
        (tmp_path / "hven.toml").write_text('name = "rights"\naccess = "private"\n')
    with Site(settings.load_settings(tmp_path)) as here:
        known = set(here.get_published_state().get_catalogue().list_table_names())
        assert "night.main" in known
        assert "dawn.main" not in known
        (folder / "dawn.yaml").write_text(text.replace("title:", "access: public\ntitle:"))
        here.refresh_published_state()
        assert "dawn.main" in here.get_published_state().get_catalogue().list_table_names()


def test_release_dates_are_those_of_the_policy(tmp_path: Path) -> None:
    text = "release_date,id\n2001-01-01T00:00:00,1\n2999-06-01T00:00:00,2\n"
    with site(tmp_path, "{take: release <= now}") as here:
        folder = tmp_path / "collections" / "night"
        (folder / "rows.csv").write_text(
            "id,release,release_date\n1,2001-01-01T00:00:00,\n2,2999-06-01T00:00:00,2002-01-01\n"
        )
        (folder / "night.yaml").write_text(
            DESCRIPTOR.format(policy="{take: release <= now}").split("      pi:")[0]
            + "      release_date: {type: timestamp}\n"
        )
        ingest_collection(here, "night")
        with query.run_query("SELECT release_date, id FROM night.main ORDER BY id", site=here) as result:
            rows = [tuple(row.values()) for batch in result.iterate_batches() for row in batch.to_pylist()]
        told = [f"{when.replace(tzinfo=None).isoformat()},{ident}" for when, ident in rows]
        assert told == text.splitlines()[1:]


def query_values(policy_site: Site, who: Principal, text: str = "SELECT id FROM night.main ORDER BY id") -> list[Any]:
    with query.run_query(text, who, site=policy_site) as result:
        return [value for batch in result.iterate_batches() for value in batch.column(0).to_pylist()]


def reader(name: str, *aliases: str, groups: Sequence[str] = ()) -> Principal:
    return Principal(name=name, aliases=frozenset(aliases), groups=frozenset(groups))


@pytest.mark.parametrize(
    ("who", "rows"),
    [
        (ANONYMOUS_PRINCIPAL, [1, 4]),
        (reader("nobody"), [1, 4]),
        (reader("ANNA berg"), [1, 2, 3, 4]),
        (reader("bob", "Bob@X.org"), [1, 2, 4]),
        (reader("bo"), [1, 4, 6]),
        (reader("carl"), [1, 3, 4]),
        (reader("x", groups=["spica"]), [1, 2, 3, 4, 5, 6]),
        (reader("x", groups=["p2", "p3"]), [1, 3, 4, 5]),
        (OWNER_PRINCIPAL, [1, 2, 3, 4, 5, 6]),
    ],
)
def test_readers_see_their_rows(policy_site: Site, who: Principal, rows: list[int]) -> None:
    assert query_values(policy_site, who) == rows
    assert query_values(policy_site, who, "SELECT COUNT(*) FROM night.main") == [len(rows)]


def test_who_sees_no_row_at_all_has_the_columns_of_the_others(tmp_path: Path) -> None:
    asked = 'SELECT COALESCE(UPPER("pi"), project) AS c, release, id FROM night.main WHERE id > 0 OR "pi" LIKE \'a%\''
    with site(tmp_path, "\"'spica' in groups\"") as here:
        for who, rows in ((ANONYMOUS_PRINCIPAL, 0), (reader("x", groups=["spica"]), 6)):
            with query.run_query(asked, who, site=here) as result:
                batches = list(result.iterate_batches())
                assert [str(column.type) for column in result.columns] == ["string", "timestamp", "int32"]
                assert sum(batch.num_rows for batch in batches) == rows


def after(seconds: float, clock: MovableClock) -> datetime:
    """Return the moment so much after that at which the clock stands from now on."""
    return datetime.fromtimestamp(clock.stop_time() + seconds, UTC).replace(tzinfo=None)


def test_an_embargo_ends_at_its_second(tmp_path: Path, clock: MovableClock) -> None:
    soon, later = after(2, clock), after(3, clock)
    rows = f"id,release,pi,coi,project,category\n1,{soon.isoformat()},,,,\n2,{later.isoformat()},,,,\n3,,,,,\n"
    with site(tmp_path, "release <= now", rows) as here:
        begun = here.get_published_state()
        assert query_values(here, ANONYMOUS_PRINCIPAL) == []
        keys = {here.get_published_state().find_access_key()}
        for to_it, before, ids in ((2, [], [1]), (1, [1], [1, 2])):
            clock.move(to_it - 1e-6)
            assert query_values(here, ANONYMOUS_PRINCIPAL) == before
            clock.move(1e-6)
            assert query_values(here, ANONYMOUS_PRINCIPAL) == ids
            keys.add(here.get_published_state().find_access_key())
        assert len(keys) == 3
        assert here.get_published_state() is begun  # nothing was published, nobody was told


def test_a_tag_is_good_until_the_next_release(tmp_path: Path, clock: MovableClock) -> None:
    rows = f"id,release,pi,coi,project,category\n1,{after(3, clock).isoformat()},,,,\n2,,,,,\n"
    with site(tmp_path, "release <= now", rows) as here:
        client = Client(create_and_start_application(here))
        asked = "/tap/sync?LANG=ADQL&RESPONSEFORMAT=csv&QUERY=SELECT+id+FROM+night.main"
        first = client.ask("GET", asked)
        tag = first.headers["etag"]
        assert first.text.split() == ["id"]
        clock.move(3 - 1e-6)
        assert client.ask("GET", asked, headers={"if-none-match": tag}).status == 304
        assert "private" in first.headers["cache-control"]
        clock.move(1e-6)
        again = client.ask("GET", asked, headers={"if-none-match": tag})
        assert again.status == 200
        assert again.text.split() == ["id", "1"]


@pytest.mark.parametrize(
    ("policy", "column", "message", "remedy"),
    [
        ("relese <= now", 13, "no column 'relese'", "did you mean 'release'"),
        (
            "release = now",
            13,
            "this comparison with `now` is not possible",
            "write TIME <= now or TIME > now, where TIME is a time column",
        ),
        ("id <= now", 13, "<= cannot compare a number (column id) with a timestamp", ""),
        (
            "reader in (SELECT pi FROM night.main)",
            13,
            "`reader` can be compared only with columns and strings",
            "write reader in (pi, coi)",
        ),
        (
            "reader in (id + 1)",
            24,
            "`reader` can be compared only with columns and strings",
            "write reader in (pi, coi)",
        ),
        ("reader like 'a%'", 13, "reader is not allowed in this position in a policy", "write reader in (pi, coi)"),
        ("groups = 'a'", 13, "groups is not allowed in this position in a policy", "write 'spica' in groups"),
        (
            "id in groups",
            13,
            "IN cannot compare a number (column id) with a string",
            "convert one of the two with CAST",
        ),
        ("privat", 13, "must be 'public', 'private', 'members' or a condition, not 'privat'", "did you mean 'private'"),
        ("release <= now or", 29, "expected a value, found the end of the text", "complete the query"),
        ("1 = 1 or relese <= now", 22, "no column 'relese'", "did you mean 'release'"),
        ("(release <= now) and 'x' in groups and relese = 3", 52, "no column 'relese'", "did you mean 'release'"),
    ],
)
def test_faults_have_their_place(tmp_path: Path, policy: str, column: int, message: str, remedy: str) -> None:
    with pytest.raises(DescriptorError) as fault:
        site(tmp_path, policy)
    first = fault.value.faults[0]
    assert (first.place.line, first.place.column) == (7, column)
    assert message in first.message
    assert remedy in first.remedy


@pytest.mark.usefixtures("policy_site")
def test_check_tells_what_a_policy_means(tmp_path: Path) -> None:
    assert (
        'night.main: rows are visible to everybody, from release on; everybody who is named in "pi" or coi; members of the group spica;'
        " members of the group that project names; everybody, where category = 'CALIB'"
    ) in run_hven("check", "--site", tmp_path).stdout


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ("'a' in groups and reader = 'b' and not 'a' in groups", "nobody sees any row under this policy"),
        ("reader not in ('x', pi) or reader in ('x', pi)", None),  # who knows: they are looked for in rows
        ("reader not in ('x') or reader in ('x', pi)", "everybody sees every row under this policy"),
        ("'a' in groups and reader not in ('b')", None),
        ("1 = 1 or release <= now", None),
        ("not ('a' in groups) or 'a' in groups", "everybody sees every row under this policy"),
        ("release <= now", None),
    ],
)
def test_policies_that_nobody_or_everybody_passes(tmp_path: Path, policy: str, message: str | None) -> None:
    with site(tmp_path, f'"{policy}"'):
        faults = check_descriptor(tmp_path / "collections" / "night" / "night.yaml", settings.load_settings(tmp_path))
    assert [fault.message.partition(": ")[2] for fault in faults if "reserved" not in fault.message] == (
        [message] if message else []
    )


def test_what_a_policy_meant_holds_when_its_descriptor_is_gone(tmp_path: Path) -> None:
    site(tmp_path).close()
    (tmp_path / "collections" / "night" / "night.yaml").unlink()
    with Site(settings.load_settings(tmp_path)) as here:
        assert query_values(here, ANONYMOUS_PRINCIPAL) == [1, 4]
        assert query_values(here, reader("bo")) == [1, 4, 6]


def test_the_policy_of_now_holds_for_snapshots_of_then(policy_site: Site, tmp_path: Path) -> None:
    run = policy_site.get_published_state().tables_by_name["night.main"].run_id
    path = tmp_path / "collections" / "night" / "night.yaml"
    path.write_text(DESCRIPTOR.format(policy="category = 'CALIB'"))
    (tmp_path / "collections" / "night" / "rows.csv").write_text(ROWS + "7,,,,,CALIB\n")
    ingest_collection(policy_site, "night")
    policy_site.refresh_published_state()
    assert query_values(policy_site, ANONYMOUS_PRINCIPAL) == [4, 7]
    with query.run_query("SELECT id FROM night.main", ANONYMOUS_PRINCIPAL, site=policy_site, as_of=run) as result:
        assert [value for batch in result.iterate_batches() for value in batch.column(0).to_pylist()] == [4]


def test_who_is_who_stands_in_the_sites_file(tmp_path: Path) -> None:
    site(tmp_path).close()
    toml = tmp_path / "hven.toml"
    toml.write_text('name = "rights"\n[people]\ngroups = {spica = ["dora"]}\naliases = {bob = ["Bob@X.org"]}\n')
    asked = "/tap/sync?LANG=ADQL&RESPONSEFORMAT=csv&QUERY=SELECT+id+FROM+night.main+ORDER+BY+id"
    with Site(settings.load_settings(tmp_path), watch_for_changes=True) as here:
        tokens = {name: here.store.users.add_account(name) for name in ("bob", "dora")}
        client = Client(create_and_start_application(here))

        def rows(name: str) -> list[int]:
            return [
                int(one)
                for one in client.ask("GET", asked, headers={"authorization": f"Bearer {tokens[name]}"}).text.split()[
                    1:
                ]
            ]

        assert rows("bob") == [1, 2, 4]
        assert rows("dora") == [1, 2, 3, 4, 5, 6]
        toml.write_text('name = "rights"\n[people]\ngroups = {spica = ["bob"]}\n')
        wait_until(lambda: rows("dora") == [1, 4], timeout_seconds=5)  # no restart, and whoever was logged in is still
        assert rows("bob") == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("name", ["owner", "user:anna", "a b"])
def test_groups_of_the_house_are_not_given_away(tmp_path: Path, name: str) -> None:
    (tmp_path / "hven.toml").write_text(f'name = "rights"\n[people]\ngroups = {{"{name}" = ["anna"]}}\n')
    with pytest.raises(DescriptorError, match=r"hven.toml:3: people.groups"):
        settings.load_settings(tmp_path)


def test_the_shell_asks_as_somebody(tmp_path: Path) -> None:
    with site(tmp_path) as here:
        here.store.users.add_account("bo")
        here.store.users.add_account("cy")
    text = "SELECT COUNT(*) AS n FROM night.main"
    asked = [
        run_hven("query", text, *more, "-f", "csv", "--site", tmp_path).stdout.split()[-1]
        for more in ((), ("--public",), ("--as", "bo"), ("--as", "cy"))
    ]
    assert asked == ["6", "2", "3", "2"]
    assert (
        "no account 'nobody'" in run_hven("query", text, "--as", "nobody", "--site", tmp_path, expected_code=1).stderr
    )
    run_hven("query", text, "--as", "bo", "--public", "--site", tmp_path, expected_code=2)
