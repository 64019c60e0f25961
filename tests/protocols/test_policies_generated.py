"""Policies at random, over rows at random: what readers see is what a plain reading of the policy in Python says, at any moment."""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hven import query
from hven.adql import RowDelegation
from hven.ingest.api.runs import ingest_collection
from hven.model import settings as site_settings
from hven.model.errors import StorageUnavailableError
from hven.model.table import RowAccessPolicy
from hven.site import AccessPolicyBinder, Site
from hven.site.auth import Principal, apply_access_control, collect_row_filters

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from hven.engines import Snapshot, StorageEngine

BEGIN = datetime(2030, 1, 1)
MOMENTS = [None, *(BEGIN + timedelta(microseconds=number * 250_000) for number in range(8))]
PEOPLE = [None, "Anna", "anna ", "Bob", "Bob/Anna", "carl;  ANNA", "b o b", "B  o b|x"]
PROJECTS = [None, "p1", "p2"]
ROWS = [
    {
        "id": number,
        "release": MOMENTS[number * 7 % 9],
        "pi": PEOPLE[number * 5 % 8],
        "coi": PEOPLE[number * 3 % 8],
        "project": PROJECTS[number % 3],
        "path": f"{number // 2}.fits",  # each file is of two rows
    }
    for number in range(72)
]
DESCRIPTOR = """\
collection: night
title: Observations
{engine}
tables:
  main:
    source: {{kind: csv, file: rows.csv}}
    primary: id
    columns:
      id: {{type: int32}}
      release: {{type: timestamp}}
      pi: {{type: string}}
      coi: {{type: string}}
      project: {{type: string}}
      path: {{type: string}}
      access_url: {{type: string, required: true}}
      data_rights: {{type: string}}
    text: {{access_url: "https://x/{{path}}"}}
    set: {{data_rights: unknown}}
"""
Truth = bool | None


@dataclass(frozen=True)
class Atom:
    """A text of the policy, and what it means for a row, a reader and a moment."""

    text: str
    means: Callable[[dict[str, Any], Principal, datetime], Truth]


def people(text: str | None) -> set[str]:
    return {" ".join(part.lower().split()) for part in re.split(r"[/;|]", text or "")} - {""}


def moment_of(now: datetime) -> int:
    return (now - datetime(1970, 1, 1)) // timedelta(microseconds=1)


def compare_values(op: str, a: Any, b: Any) -> Truth:
    if a is None or b is None:
        return None
    return {"<": a < b, "<=": a <= b, ">": a > b, ">=": a >= b}[op]


def build_name_rule(*columns: str, also: str = "") -> Callable[[dict[str, Any], Principal, datetime], Truth]:
    def means(row: dict[str, Any], who: Principal, now: datetime) -> Truth:
        there = set.union(*(people(row[column]) for column in columns))
        given = {
            one.name
            for one in who.delegations
            if moment_of(now) < one.until and (not one.column or row[one.column] == one.value)
        }
        return bool(who.names & (there | ({also} if also else set())) or given & there)

    return means


ATOMS = [
    *(
        Atom(f"release {op} now", lambda row, _, now, op=op: compare_values(op, row["release"], now))
        for op in ("<", "<=", ">", ">=")
    ),
    *(
        Atom(f"now {op} release", lambda row, _, now, op=op: compare_values(op, now, row["release"]))
        for op in ("<", "<=", ">", ">=")
    ),
    Atom(
        "release BETWEEN CAST('2030-01-01T00:00:00.5' AS TIMESTAMP) AND now",
        lambda row, _, now: None if row["release"] is None else BEGIN + timedelta(seconds=0.5) <= row["release"] <= now,
    ),
    Atom("reader in (pi, coi)", build_name_rule("pi", "coi")),
    Atom("reader = pi", build_name_rule("pi")),
    Atom("reader <> coi", lambda row, who, now: not build_name_rule("coi")(row, who, now)),
    Atom("reader not in (coi)", lambda row, who, now: not build_name_rule("coi")(row, who, now)),
    Atom("reader in ('BOB', coi)", build_name_rule("coi", also="bob")),
    Atom("'spica' in groups", lambda _row, who, _: "spica" in who.groups),
    Atom("project in groups", lambda row, who, _: row["project"] in who.groups),
    Atom("project not in groups", lambda row, who, _: row["project"] not in who.groups),
    Atom("project = 'p1'", lambda row, *_: None if row["project"] is None else row["project"] == "p1"),
    Atom("MOD(id, 3) = 0", lambda row, *_: row["id"] % 3 == 0),
    Atom("pi IS NULL", lambda row, *_: row["pi"] is None),
]


def negate_rule(one: Atom) -> Atom:
    def means(row: dict[str, Any], who: Principal, now: datetime) -> Truth:
        found = one.means(row, who, now)
        return None if found is None else not found

    return Atom(f"NOT ({one.text})", means)


def join_rules(word: str, parts: list[Atom]) -> Atom:
    ends = word == "OR"

    def means(row: dict[str, Any], who: Principal, now: datetime) -> Truth:
        found = [part.means(row, who, now) for part in parts]
        return ends if ends in found else None if None in found else not ends

    return Atom(f" {word} ".join(f"({part.text})" for part in parts), means)


POLICIES = st.recursive(
    st.sampled_from(ATOMS),
    lambda inner: (
        inner.map(negate_rule)
        | st.builds(join_rules, st.sampled_from(["AND", "OR"]), st.lists(inner, min_size=2, max_size=3))
    ),
    max_leaves=6,
)
WHO = st.builds(
    Principal,
    name=st.sampled_from([None, "anna", "BOB", "B O B", "nobody"]),
    groups=st.sets(st.sampled_from(["spica", "p1", "p2", "p3"])).map(frozenset),
    aliases=st.sets(st.sampled_from(["Carl", "x"])).map(frozenset),
    delegations=st.sets(
        st.builds(
            RowDelegation,
            name=st.sampled_from(["anna", "bob"]),
            column=st.sampled_from(["", "project"]),
            value=st.sampled_from(["p1", "p2"]),
            until=st.sampled_from([math.inf, *(moment_of(BEGIN) + 250_000 * number for number in (0, 3, 5))]),
        ),
        max_size=2,
    ).map(frozenset),
)
TIMES = st.lists(
    st.integers(-300_000, 2_300_000).map(lambda number: BEGIN + timedelta(microseconds=number)), min_size=1, max_size=4
)


def write_rights_site(place: Path, engine: str = "") -> None:
    """Write the rows and the descriptor of a site; `engine` is a line of the descriptor."""
    folder = place / "collections" / "night"
    folder.mkdir(parents=True)
    lines = [
        ",".join(
            "" if value is None else value.isoformat() if isinstance(value, datetime) else f'"{value}"'
            for value in row.values()
        )
        for row in ROWS
    ]
    (folder / "rows.csv").write_text("\n".join(["id,release,pi,coi,project,path", *lines]) + "\n")
    (folder / "night.yaml").write_text(DESCRIPTOR.format(engine=engine))


@pytest.fixture(scope="module")
def rights_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    place = tmp_path_factory.mktemp("rights")
    write_rights_site(place)
    (place / "hven.toml").write_text('name = "rights"\n')
    with Site(site_settings.load_settings(place)) as made:
        ingest_collection(made, "night")
        yield made


@settings(max_examples=60, deadline=None)
@given(policy=POLICIES, readers=st.lists(WHO, min_size=1, max_size=3), times=TIMES)
def test_readers_see_what_the_policy_says(
    rights_site: Site, policy: Atom, readers: list[Principal], times: list[datetime]
) -> None:
    item = rights_site.get_published_state().tables_by_name["night.main"]
    published = {"night.main": replace(item, table=item.table.copy_with(policy=RowAccessPolicy(rows=policy.text)))}
    assert AccessPolicyBinder(rights_site.engines.find_engine).bind_policies_and_list_problems(published) == []
    holdings = replace(
        rights_site.get_published_state(),
        tables_by_name=published,
        version=f"{rights_site.get_published_state().version}{policy.text}",
        _access_keys={},
        _catalogues={},
        _owner_catalogues={},
    )
    for now in times:  # in any order: a clock may go back
        moment = (now - datetime(1970, 1, 1)) // timedelta(microseconds=1)
        with (
            mock.patch("hven.adql._row_policy.get_current_instant", lambda moment=moment: moment),
            mock.patch("hven.site._published_state.get_current_instant", lambda moment=moment: moment),
        ):
            for who in readers:
                wanted = [row["id"] for row in ROWS if policy.means(row, who, now) is True]
                with query.run_query(
                    "SELECT id FROM night.main ORDER BY id", who, site=rights_site, published_state=holdings
                ) as result:
                    assert [
                        value for batch in result.iterate_batches() for value in batch.column(0).to_pylist()
                    ] == wanted, (
                        policy.text,
                        who,
                        now,
                    )


@settings(max_examples=40, deadline=None)
@given(
    levels=st.tuples(*[st.none() | POLICIES] * 3),
    readers=st.lists(WHO, min_size=1, max_size=2),
    times=TIMES,
)
def test_levels_of_files(
    rights_site: Site,
    levels: tuple[Atom | None, Atom | None, Atom | None],
    readers: list[Principal],
    times: list[datetime],
) -> None:
    item = rights_site.get_published_state().tables_by_name["night.main"]
    rows, files, take = (None if one is None else one.text for one in levels)
    policy = RowAccessPolicy(rows=rows, files=files, take=take, path="path", contact="the observatory")
    published = {"night.main": replace(item, table=item.table.copy_with(policy=policy))}
    assert AccessPolicyBinder(rights_site.engines.find_engine).bind_policies_and_list_problems(published) == []
    holdings = replace(
        rights_site.get_published_state(),
        tables_by_name=published,
        version=f"{rights_site.get_published_state().version}{levels}",
        _access_keys={},
        _catalogues={},
        _owner_catalogues={},
    )
    rights = published["night.main"].table.rights
    assert rights is not None

    def holds(row: dict[str, Any], who: Principal, now: datetime, most: int) -> bool:
        return all(one is None or one.means(row, who, now) is True for one in levels[:most])

    for now in times:
        moment = moment_of(now)
        with (
            mock.patch("hven.adql._row_policy.get_current_instant", lambda moment=moment: moment),
            mock.patch("hven.site._published_state.get_current_instant", lambda moment=moment: moment),
        ):
            for who in readers:
                wanted = []
                for row in ROWS:
                    if holds(row, who, now, 1):
                        known = holds(row, who, now, 2) or files is None
                        data = (
                            "public"
                            if holds(row, Principal(), now, 3)
                            else "secure"
                            if holds(row, who, now, 3)
                            else "proprietary"
                        )
                        wanted.append((row["id"], f"https://x/{row['path']}" if known else None, data))
                text = "SELECT id, access_url, data_rights FROM night.main ORDER BY id"
                with query.run_query(text, who, site=rights_site, published_state=holdings) as result:
                    found = [tuple(row.values()) for batch in result.iterate_batches() for row in batch.to_pylist()]
                assert found == wanted, (policy, who, now)
                grouped = "SELECT data_rights, COUNT(access_url) AS n FROM night.main WHERE access_url <> 'x' GROUP BY data_rights"
                with query.run_query(grouped, who, site=rights_site, published_state=holdings) as result:
                    found = sorted(
                        tuple(row.values()) for batch in result.iterate_batches() for row in batch.to_pylist()
                    )
                assert found == sorted(Counter(data for _, url, data in wanted if url is not None).items())
                for path in ("0.fits", "7.fits", "35.fits", "none.fits"):
                    shut = [row for row in ROWS if row["path"] == path and not holds(row, who, now, 3)]
                    locked = rights.find_file_embargo(who, {"path": path})
                    assert (locked is not None) == bool(shut), (policy, who, now, path)
                    assert locked is None or locked.contact == "the observatory"


def test_a_release_while_a_query_is_planned_is_in_no_plan_of_before(rights_site: Site) -> None:
    item = rights_site.get_published_state().tables_by_name["night.main"]
    published = {"night.main": replace(item, table=item.table.copy_with(policy=RowAccessPolicy(rows="release <= now")))}
    assert AccessPolicyBinder(rights_site.engines.find_engine).bind_policies_and_list_problems(published) == []
    holdings = replace(
        rights_site.get_published_state(),
        tables_by_name=published,
        version="planned",
        _access_keys={},
        _catalogues={},
        _owner_catalogues={},
    )
    before = (BEGIN - datetime(1970, 1, 1)) // timedelta(microseconds=1) - 1
    moment = before

    def clock() -> int:
        return moment

    def late(*given: Any) -> Any:  # the first release comes behind the reader's reach, and before the filter
        nonlocal moment
        moment = before + 2
        return apply_access_control(*given)

    def rows() -> int:
        with query.run_query(
            "SELECT id FROM night.main WHERE id >= 0", site=rights_site, published_state=holdings
        ) as result:
            return sum(batch.num_rows for batch in result.iterate_batches())

    with (
        mock.patch("hven.site._published_state.get_current_instant", clock),
        mock.patch("hven.adql._row_policy.get_current_instant", clock),
    ):
        with mock.patch("hven.query._planning.apply_access_control", late):
            assert rows() == 8
        moment = before  # the clock goes back: what was planned with the rows of later is not found
        assert rows() == 0
        moment = before + 2
        assert rows() == 8


def test_an_engine_that_is_away_makes_no_table_private(rights_site: Site) -> None:
    item = rights_site.get_published_state().tables_by_name["night.main"]

    def fail_to_answer(_: Snapshot) -> StorageEngine:
        raise StorageUnavailableError("the database does not respond")

    levels = RowAccessPolicy(rows="release <= now or reader in (pi)")
    published = {"night.main": replace(item, table=item.table.copy_with(policy=levels))}
    assert AccessPolicyBinder(fail_to_answer).bind_policies_and_list_problems(published) == []
    table = published["night.main"].table
    assert (table.access, table.policy) == ("public", levels)
    with pytest.raises(StorageUnavailableError):  # and nobody sees a row of it meanwhile
        collect_row_filters([table], Principal(name="anna"))
