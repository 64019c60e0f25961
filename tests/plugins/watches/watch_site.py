"""A site with stars that people watch."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pyarrow as pa
import sqlalchemy as sa
from asgi_client import Answer, Client
from notification_site import Announcer

from hven.app._server import create_and_start_application
from hven.model.settings import load_settings
from hven.model.table import Table
from hven.plugins.notifications.choice_store import ChoiceStore
from hven.plugins.watches.change_matching import ChangeMatcher
from hven.plugins.watches.store_tables import watch_matches
from hven.plugins.watches.watch_delivery import WatchDelivery
from hven.plugins.watches.watch_store import Watch, WatchMatch, WatchStore
from hven.site import Site
from hven.site.auth.local import create_personal_token
from hven.testing.site import build_table_from_arrow, publish_rows

FORM = {"content-type": "application/x-www-form-urlencoded", "accept": "application/json"}
UCDS = {"id": "meta.id;meta.main", "ra": "pos.eq.ra;meta.main", "dec": "pos.eq.dec;meta.main"}
Star = tuple[int, float, float, float | None, str]
STARS: Sequence[Star] = (
    (1, 10.0, 20.0, 5.0, "alpha"),
    (2, 10.5, 20.0, 15.0, "beta"),
    (3, 200.0, -40.0, 7.0, "gamma"),
)


def build_rows(stars: Sequence[Star]) -> pa.Table:
    names = ("id", "ra", "dec", "mag", "name")
    types = (pa.int64(), pa.float64(), pa.float64(), pa.float64(), pa.string())
    columns = list(zip(*stars, strict=True)) if stars else [()] * 5
    return pa.table({name: pa.array(values, kind) for name, kind, values in zip(names, types, columns, strict=True)})


def describe_table(rows: pa.Table, name: str = "stars.main", **values: Any) -> Table:
    table = build_table_from_arrow(name, rows)
    columns = tuple(replace(column, ucd=UCDS.get(column.name)) for column in table.columns)
    return replace(table, **{"primary": ("id",), "columns": columns, **values})


@dataclass
class Browser:
    """A client of an account, or of nobody."""

    client: Client
    proof: dict[str, str] = field(default_factory=dict)

    def show(self, path: str, accept: str = "text/html", **headers: str) -> Answer:
        path, _, query = path.partition("?")
        return self.client.ask("GET", path, query.encode(), headers={"accept": accept, **self.proof, **headers})

    def read(self, path: str) -> Any:
        answer = self.show(path, "application/json")
        assert answer.status == 200, answer.text
        return json.loads(answer.body)

    def post(self, path: str, fields: Mapping[str, Any], **headers: str) -> Answer:
        path, _, query = path.partition("?")
        body = urlencode(fields, doseq=True).encode()
        return self.client.ask("POST", path, query.encode(), body, {**FORM, **self.proof, **headers})


@dataclass
class WatchSite:
    """The site with short ways to use it."""

    site: Site

    @property
    def store(self) -> WatchStore:
        return self.site.store.get_or_create(WatchStore)

    def publish(self, stars: Sequence[Star], name: str = "stars.main", **values: Any) -> None:
        rows = build_rows(stars)
        publish_rows(self.site, describe_table(rows, name, **values), rows)
        self.site.refresh_published_state()

    def open_browser(self, account: str = "") -> Browser:
        client = Client(create_and_start_application(self.site))
        if not account:
            return Browser(client)
        token = create_personal_token(self.site.store, account, "all", 1, created_by=account)[1]
        return Browser(client, {"authorization": f"Bearer {token}"})

    def watch(self, account: str = "anna", **fields: Any) -> Watch:
        fields = {name.upper(): value for name, value in fields.items()}
        table = {} if "QUERY" in fields else {"TABLE": "stars.main"}
        answer = self.open_browser(account).post("/watches", {**table, **fields})
        assert answer.status == 201, answer.text
        watch = self.store.find_watch(json.loads(answer.body)["name"])
        assert watch is not None
        return watch

    def match(self) -> None:
        ChangeMatcher(self.site).match_all_changes()

    def deliver(self) -> None:
        WatchDelivery(self.site).run()

    def find_matches(self, watch: Watch) -> list[WatchMatch]:
        return self.store.list_matches([watch.name], newest_first=False)

    def find_rows(self, watch: Watch) -> list[tuple[str, str]]:
        """Return all that a watch has found, in order: key and change."""
        return [(row[0], row[1]) for match in self.find_matches(watch) for row in match.rows]

    def make_due(self) -> None:
        self.site.store.get_or_create(Announcer).execute(
            sa.update(watch_matches).where(watch_matches.c.state == "waiting").values(due=0.0)
        )

    def confirm_address(self, account: str, address: str) -> None:
        choice_store = self.site.store.get_or_create(ChoiceStore)
        choice_store.change_choices(account, lambda old: replace(old, address=address, confirmed=True))


def write_settings(directory: Path, mail_port: int, watches: str = "") -> None:
    (directory / "hven.toml").write_text(
        'name = "Uraniborg"\npublic_url = "https://vo.example/hven"\n[alerts]\nmail_from = "hven@vo.example"\n'
        f'smtp_host = "127.0.0.1"\nsmtp_port = {mail_port}\nsmtp_tls = "none"\n'
        f"[notifications]\nmail = true\nwebhooks = true\nprivate_webhooks = true\n{watches}"
    )


@contextmanager
def open_watch_site(directory: Path, mail_port: int = 25) -> Iterator[WatchSite]:
    (directory / "collections").mkdir(exist_ok=True)
    write_settings(directory, mail_port)
    with Site(load_settings(directory, {})) as site:
        watch_site = WatchSite(site)
        watch_site.publish(STARS)
        for name in ("anna", "mia"):
            site.store.users.add_account(name)
        watch_site.confirm_address("anna", "anna@example.org")
        yield watch_site
