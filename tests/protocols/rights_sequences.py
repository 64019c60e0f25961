"""Sequences of changes between requests of users with caches: no user gets an outdated answer."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any
from unittest import mock
from urllib.parse import urlencode

from asgi_client import Client
from rights_clock import stop_policy_clock
from test_policies_generated import ATOMS, BEGIN, MOMENTS, PEOPLE, PROJECTS, ROWS, Atom, join_rules, negate_rule

from hven.adql import RowDelegation
from hven.app._server import create_and_start_application, identification
from hven.ingest.api.runs import ingest_collection
from hven.model import settings
from hven.site import Site
from hven.site.auth import ANONYMOUS_PRINCIPAL, Principal, session

DESCRIPTOR = """\
collection: night
title: Observations
tables:
  main:
    source: {{kind: csv, file: rows.csv}}
    primary: id
    access: "{policy}"
    columns:
      id: {{type: int32, ucd: meta.id;meta.main, rank: 1}}
      release: {{type: timestamp, rank: 1}}
      pi: {{type: string, rank: 1}}
      coi: {{type: string, rank: 1}}
      project: {{type: string, rank: 1}}
"""
ACCOUNTS = ("anna", "bob", "carl")
ALIASES = ("b o b", "X", "Carl")
GROUPS = ("spica", "p1", "p2")
ROLES = ("reader", "contributor", "curator", "owner")


def _write_tap_address(query: str, **more: str) -> str:
    return "/tap/sync?" + urlencode({"LANG": "ADQL", "RESPONSEFORMAT": "csv", "QUERY": query, **more})


def _read_ids(text: str) -> list[int]:
    return [int(line) for line in text.split()[1:]]


PARSERS_BY_ADDRESS = {  # address -> function that reads the ids of the visible rows, or their number, from its answer
    _write_tap_address("SELECT id FROM night.main ORDER BY id"): _read_ids,
    _write_tap_address("SELECT COUNT(*) AS n FROM night.main"): lambda text: _read_ids(text)[0],
    _write_tap_address("SELECT MAX(id) AS n FROM night.main WHERE id < 40 GROUP BY id ORDER BY 1"): _read_ids,
    "/collections/night/main/rows?_sort=id": lambda text: sorted(int(row[0]) for row in json.loads(text)["rows"]),
    "/collections/night/main/count": lambda text: json.loads(text)["total"],
    "/collections/night/main/download?_as=csv": lambda text: sorted(int(line.split(",")[0]) for line in text.splitlines()[1:]),
}  # fmt: skip


@dataclass
class CachingClient:
    """A client that caches answers and revalidates them with tags."""

    client: Client
    headers: dict[str, str] = field(default_factory=dict)
    kept: dict[str, tuple[str, str]] = field(default_factory=dict)  # address -> tag, text

    async def fetch(self, address: str) -> tuple[int, str]:
        """Request an address; an unchanged answer comes from the cache."""
        tag, text = self.kept.get(address, ("", ""))
        tags = {"if-none-match": tag} if tag else {}
        answer = await self.client.ask_async("GET", address, headers={**self.headers, **tags})
        if answer.status == 304:
            return 200, text
        if answer.status != 200:
            return answer.status, answer.text
        cached = answer.headers.get("cache-control", "")
        assert "no-cache" in cached or "no-store" in cached, f"{address}: {cached}: nobody would ask again"
        if "etag" in answer.headers and "no-store" not in cached:
            self.kept[address] = answer.headers["etag"], answer.text
        return answer.status, answer.text


class ChangingSite:
    """A site, its clock and its users, all of which change."""

    def __init__(self, directory: Path, chance: Random, clock: list[int]) -> None:
        self.chance, self.directory, self.clock = chance, directory, clock
        self.runner = asyncio.Runner()
        self.folder = directory / "collections" / "night"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.rows = [dict(row) for row in ROWS]
        self.policy: Atom = ATOMS[1]
        self.now = BEGIN
        self.people: dict[str, Any] = {"groups": {}, "aliases": {}}
        self.delegations: list[tuple[str, str, RowDelegation]] = []  # id, to whom, what
        self.members: list[tuple[str, str, str]] = []  # id, account, role in the project
        self.write_people()
        self.write_policy()
        self.write_rows()
        self.site = Site(settings.load_settings(directory), watch_for_changes=True)  # else hven.toml is read once
        assert ingest_collection(self.site, "night").published
        self.site.refresh_published_state()
        self.client = Client(create_and_start_application(self.site))
        self.tokens = {name: self.site.store.users.add_account(name) for name in ACCOUNTS}
        self.reset_browsers()

    def reset_browsers(self) -> None:
        """Give all users empty caches; carl has a cookie, the others tokens."""
        self.browsers = {name: CachingClient(self.client) for name in ("", *ACCOUNTS)}
        for name in ACCOUNTS[:2]:
            self.browsers[name].headers = {"authorization": f"Bearer {self.tokens[name]}"}
        self.log_in()

    def log_in(self) -> None:
        body = json.dumps({"name": "carl", "token": self.tokens["carl"]}).encode()
        answer = self.client.ask("POST", "/login", body=body, headers={"content-type": "application/json"})
        self.browsers["carl"].headers = {"cookie": answer.headers["set-cookie"].partition(";")[0]}

    # --- changes

    def write_policy(self) -> None:
        (self.folder / "night.yaml").write_text(DESCRIPTOR.format(policy=self.policy.text))

    def write_people(self) -> None:
        groups, aliases = (
            ", ".join(f"{name} = {json.dumps(members)}" for name, members in self.people[what].items())
            for what in ("groups", "aliases")
        )
        (self.directory / "hven.toml").write_text(f'name = "rights"\n[people]\ngroups = {{{groups}}}\naliases = {{{aliases}}}\n')  # fmt: skip

    def write_rows(self) -> None:
        lines = [",".join("" if value is None else value.isoformat() if isinstance(value, datetime) else f'"{value}"' for value in row.values()) for row in self.rows]  # fmt: skip
        (self.folder / "rows.csv").write_text("\n".join([",".join(self.rows[0]), *lines]) + "\n")

    def edit_policy(self) -> str:
        chance = self.chance
        found = [chance.choice(ATOMS) for _ in range(chance.choice([1, 2, 3]))]
        found = [negate_rule(one) if chance.random() < 0.2 else one for one in found]
        self.policy = found[0] if len(found) == 1 else join_rules(chance.choice(["AND", "OR", "OR"]), found)
        self.write_policy()
        return f"policy: {self.policy.text}"

    def edit_people(self) -> str:
        chance = self.chance
        self.people = {
            "groups": {name: [one for one in ACCOUNTS if chance.random() < 0.4] for name in GROUPS if chance.random() < 0.7},
            "aliases": {name: [one for one in ALIASES if chance.random() < 0.4] for name in ACCOUNTS if chance.random() < 0.5},
        }  # fmt: skip
        self.write_people()
        return f"people: {self.people}"

    def change_delegations(self) -> str:
        chance, grants = self.chance, self.site.store.grants
        if self.delegations and chance.random() < 0.4:
            ident, who, what = self.delegations.pop(chance.randrange(len(self.delegations)))
            grants.revoke_grant(ident, actor="carl")
            return f"delegation ended: {who} {what}"
        until = chance.choice([None, self.now + timedelta(microseconds=chance.randint(1, 900_000))])
        moment = None if until is None else _count_microseconds(until) / 1e6
        what = RowDelegation(
            chance.choice(["carl", "anna", "b o b"]),
            *chance.choice([("", ""), ("project", "p1"), ("project", "p2")]),
            until=math.inf if moment is None else moment * 1e6,
        )
        who = chance.choice(ACCOUNTS)
        facts = {"column": what.column, "value": what.value} if what.column else {}
        made, _ = grants.add_grant(
            "delegation", subject=who, object=what.name, expiry_time=moment, actor="carl", facts=facts
        )
        self.delegations.append((made.id, who, what))
        return f"delegation: {who} {what}"

    def change_membership(self) -> str:
        chance, grants = self.chance, self.site.store.grants
        if self.members and chance.random() < 0.5:
            ident, who, role = self.members.pop(chance.randrange(len(self.members)))
            grants.revoke_grant(ident, actor="carl")
            return f"member ended: {who} {role}"
        who, role = chance.choice(ACCOUNTS), chance.choice(ROLES)
        if any(one == who for _, one, _ in self.members):
            return "member: is one"
        made, _ = grants.add_grant("member", subject=who, object="hesiod", role=role, actor="carl")
        self.members.append((made.id, who, role))
        return f"member: {who} {role}"

    def publish(self) -> str:
        for row in self.chance.sample(self.rows, 9):
            row.update(release=self.chance.choice(MOMENTS), pi=self.chance.choice(PEOPLE), project=self.chance.choice([*PROJECTS, "project:hesiod", "project:hesiod:curator"]))  # fmt: skip
        if self.chance.random() < 0.3 and len(self.rows) > 60:
            self.rows.pop(self.chance.randrange(len(self.rows)))
        self.write_rows()
        assert ingest_collection(self.site, "night").published
        return "publish"

    def move_clock(self) -> str:
        self.now = BEGIN + timedelta(microseconds=self.chance.randint(-300_000, 2_300_000))
        self.clock[0] = _count_microseconds(self.now)
        return f"clock: {self.now}"

    def renew_token(self) -> str:
        name = self.chance.choice(ACCOUNTS[:2])
        before = self.browsers[name]
        self.tokens[name] = self.site.store.users.renew_token_and_end_sessions(name)
        for address, status, text in self.fetch_all(before):
            assert status == 401, f"a token of {name} that was revoked: {address}: {status} {text[:200]}"
        before.headers = {"authorization": f"Bearer {self.tokens[name]}"}
        return f"renew: {name}"

    def log_out(self) -> str:
        browser = self.browsers["carl"]
        ended = self.client.ask("POST", "/logout", headers=browser.headers)
        assert ended.status == 303, ended.text
        for address, status, text in self.fetch_all(
            browser
        ):  # the cookie is no longer valid, but the cache is still that of carl
            assert status == 401 or PARSERS_BY_ADDRESS[address](text) == self.compute_expected(
                address, ANONYMOUS_PRINCIPAL
            ), f"a session that ended: {address}"
        self.log_in()
        return "log out and in"

    # --- expected state

    def build_reader(self, name: str) -> Principal:
        groups = frozenset(group for group, members in self.people["groups"].items() if name in members)
        for _, one, role in self.members:
            if one == name:
                groups |= {"project:hesiod", *(f"project:hesiod:{low}" for low in ROLES[: ROLES.index(role) + 1])}
        given = frozenset(what for _, one, what in self.delegations if one == name)
        aliases = frozenset(self.people["aliases"].get(name, ()))
        return Principal(name=name or None, groups=groups, aliases=aliases, delegations=given)

    def compute_expected(self, address: str, who: Principal) -> Any:
        seen = sorted(row["id"] for row in self.rows if self.policy.means(row, who, self.now) is True)
        return len(seen) if "COUNT" in address or "/count" in address else [one for one in seen if one < 40] if "MAX" in address else seen  # fmt: skip

    def fetch_all(self, browser: CachingClient) -> list[tuple[str, int, str]]:
        """Request all addresses in one event loop, whose threads start once."""

        async def fetch_every_address() -> list[tuple[str, int, str]]:
            return [(address, *await browser.fetch(address)) for address in PARSERS_BY_ADDRESS]

        return self.runner.run(fetch_every_address())

    def run_step(self) -> str:
        """Change something, refresh the site, and check the answers of all users."""
        made = self.chance.choice([self.edit_policy, self.edit_policy, self.edit_people, self.publish, self.move_clock, self.move_clock, self.change_delegations, self.change_delegations, self.change_membership, self.renew_token, self.log_out])  # fmt: skip
        said = made()
        self.site.refresh_published_state()
        for name, browser in self.browsers.items():
            who = self.build_reader(name)
            for address, status, text in self.fetch_all(browser):
                assert status == 200, f"{said}; {who}: {address}: {status} {text[:300]}"
                found, wanted = PARSERS_BY_ADDRESS[address](text), self.compute_expected(address, who)
                assert found == wanted, f"{said}; policy {self.policy.text}; {self.now}; {who}: {address}: {found}, not {wanted}"  # fmt: skip
        return said


@contextmanager
def open_changing_site(directory: Path, seed: int) -> Iterator[ChangingSite]:
    """Open the site; its clock is that of policies."""
    clock = [_count_microseconds(BEGIN)]
    with (
        stop_policy_clock(lambda: clock[0]),
        mock.patch.object(session, "MAX_DELAY_SECONDS", 0.0),  # wrong proof is answered late
        # tokens are believed for so long in each process; `python -m bench rights` measures it
        mock.patch.object(identification, "CREDENTIAL_CACHE_SECONDS", 0.0),
    ):
        made = ChangingSite(directory, Random(seed), clock)
        with made.site, made.runner:
            yield made


def _count_microseconds(moment: datetime) -> int:
    return (moment - datetime(1970, 1, 1)) // timedelta(microseconds=1)


def run_sequence(made: ChangingSite, seed: int, steps: int = 5) -> list[str]:
    """Run one sequence with the caches of earlier ones and return its steps; a failure names the seed."""
    made.chance = Random(seed)
    done: list[str] = []
    try:
        for _ in range(steps):
            said = made.run_step()
            done.append(said)
    except AssertionError as error:
        made.reset_browsers()
        raise AssertionError(f"sequence {seed}, after {done}: {error}") from error
    return done


__all__ = ["open_changing_site", "run_sequence"]
