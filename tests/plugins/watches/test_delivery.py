"""Mail and webhooks of watches: each once, signed, again after failures, and stopped after a week of them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from notification_site import Announcer
from watch_site import STARS

from hven.model.errors import UserError
from hven.model.settings import load_settings
from hven.plugins.notifications.choice_store import ChoiceStore
from hven.plugins.notifications.outbox import Outbox
from hven.plugins.notifications.store_tables import notification_events
from hven.plugins.watches import watch_delivery
from hven.plugins.watches.store_tables import watch_matches
from hven.plugins.watches.watch_service import WATCH_SERVICE
from hven.sources import http_client

if TYPE_CHECKING:
    from notification_site import MailServer, WebhookServer
    from watch_site import WatchSite

NEW_STAR = (4, 10.2, 20.1, 8.0, "delta")


def publish_and_match(site: WatchSite) -> None:
    site.publish([*STARS, NEW_STAR])
    site.match()


def test_a_mail_with_one_click_unsubscription(site: WatchSite, mail_server: MailServer) -> None:
    watch = site.watch(title="Near Aldebaran", channel="mail", targets="10 20", radius=1)
    publish_and_match(site)
    site.deliver()
    site.deliver()
    (mail,) = mail_server.mails
    (raw_mail,) = mail_server.raw_mails
    assert mail["To"] == "anna@example.org"
    assert mail["Subject"] == "[Uraniborg] Near Aldebaran: 1 new"
    link = re.search(
        rb"^List-Unsubscribe: <(https://vo\.example/hven(/watches/\S+/unsubscribe\?key=\w+))>\r$",
        raw_mail,
        re.MULTILINE,
    )
    assert link is not None
    assert b"List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n" in raw_mail
    text = mail.get_content()
    assert "[4]  RA 10.2 Dec 20.1  https://vo.example/hven/collections/stars/main?_row=%5B4%5D" in text
    assert link[1].decode() in text
    path = link[2].decode()
    nobody = site.open_browser()
    assert "Near Aldebaran" in nobody.show(path).text
    assert site.store.find_watch(watch.name) is not None, "a GET changes nothing"
    assert nobody.post(path[:-1] + "x", {}).status == 404
    assert nobody.post(path, {"List-Unsubscribe": "One-Click"}).status == 200
    assert site.store.find_watch(watch.name) is None
    assert nobody.post(path, {"List-Unsubscribe": "One-Click"}).status == 404


def test_a_webhook_is_signed(site: WatchSite, webhook_server: WebhookServer) -> None:
    watch = site.watch(title="all", channel="webhook", webhook=webhook_server.url)
    publish_and_match(site)
    site.deliver()
    ((headers, body),) = webhook_server.calls
    secret = site.open_browser("anna").read(f"/watches/{watch.name}")["webhook_secret"]
    key = base64.b64decode(secret.removeprefix("whsec_"))
    content = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    signature = base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{signature}"
    assert abs(int(headers["webhook-timestamp"]) - time.time()) < 300
    data = json.loads(body)["data"]
    assert data["rows"] == [
        {
            "key": "[4]",
            "change": "new",
            "ra": 10.2,
            "dec": 20.1,
            "url": "https://vo.example/hven/collections/stars/main?_row=%5B4%5D",
        }
    ]
    assert data["id"] == headers["webhook-id"]


def test_a_webhook_that_fails_for_a_week(
    site: WatchSite, webhook_server: WebhookServer, mail_server: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.site.store.get_or_create(Announcer)
    choice_store = site.site.store.get_or_create(ChoiceStore)
    choice_store.change_choices("anna", lambda old: replace(old, channels={"watches.stopped": "mail"}))
    watch = site.watch(channel="webhook", webhook=webhook_server.url)
    webhook_server.status = 500
    publish_and_match(site)
    site.deliver()
    (match,) = site.find_matches(watch)
    assert (match.state, match.attempts) == ("waiting", 1)
    assert "status 500" in match.error
    assert match.due > time.time() + 10
    assert not WATCH_SERVICE.is_delivery_due(site.site.settings, site.site.store)
    site.publish([*STARS, NEW_STAR, (5, 1.0, 1.0, 1.0, "x")])
    site.match()
    pauses = []
    for _ in range(12):
        site.make_due()
        site.deliver()
        pauses.append(site.find_matches(watch)[0].due - time.time())
    assert [round(pause, -1) for pause in pauses] == sorted(round(pause, -1) for pause in pauses)
    assert pauses[-1] < 4 * 3600 + 1
    week_later = time.time() + watch_delivery.MAX_FAILING_SECONDS + 60
    monkeypatch.setattr(time, "time", lambda: week_later)
    site.deliver()
    stopped_watch = site.store.find_watch(watch.name)
    assert stopped_watch is not None
    assert "status 500" in stopped_watch.problem
    assert {match.state for match in site.find_matches(watch)} == {"failed"}
    assert "status 500" in WATCH_SERVICE.find_problems(site.site.settings, site.site.store)[0]
    call_count = len(webhook_server.calls)
    site.publish([*STARS, NEW_STAR, (6, 1.0, 1.0, 1.0, "x")])
    site.match()
    site.deliver()
    assert len(webhook_server.calls) == call_count, "it is no longer called"
    assert site.find_matches(watch)[-1].state == "kept", "feeds have it"

    class Reader:
        def __init__(self, database) -> None:
            self.database = database

        def list_kinds(self) -> list[tuple[str, str]]:
            with self.database.begin_read() as connection:
                query = sa.select(notification_events.c.kind, notification_events.c.accounts)
                return [tuple(row) for row in connection.execute(query)]

    assert site.site.store.get_or_create(Reader).list_kinds() == [("watches.stopped", '["anna"]')]
    page = site.open_browser("anna").show(f"/watches/{watch.name}")
    assert "status 500" in page.text
    assert "Deliver again" in page.text
    assert site.open_browser("anna").post(f"/watches/{watch.name}", {"ACTION": "resume"}).status == 303
    webhook_server.status = 204
    site.publish([*STARS, (7, 1.0, 1.0, 1.0, "x")])
    site.match()
    site.deliver()
    assert len(webhook_server.calls) == call_count + 1


def test_a_kill_repeats_only_what_was_being_sent(
    site: WatchSite, mail_server: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        site.watch(title=f"watch {number}", channel="mail")
    publish_and_match(site)
    send_mail = watch_delivery.send_mail

    def send_two_mails(*arguments: Any) -> None:
        if len(mail_server.mails) == 2:
            raise SystemExit
        send_mail(*arguments)

    monkeypatch.setattr(watch_delivery, "send_mail", send_two_mails)
    with pytest.raises(SystemExit):
        site.deliver()
    monkeypatch.setattr(watch_delivery, "send_mail", send_mail)
    site.make_due()  # the claim of the killed process has expired
    site.deliver()
    assert sorted(mail["Subject"] for mail in mail_server.mails) == [
        f"[Uraniborg] watch {number}: 1 new" for number in range(3)
    ]


def test_one_failure_after_a_week_without_the_site_stops_nothing(
    site: WatchSite, webhook_server: WebhookServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = site.watch(channel="webhook", webhook=webhook_server.url)
    publish_and_match(site)
    webhook_server.status = 500
    week_later = time.time() + watch_delivery.MAX_FAILING_SECONDS + 60
    monkeypatch.setattr(time, "time", lambda: week_later)
    site.deliver()
    (match,) = site.find_matches(watch)
    assert (match.state, match.attempts) == ("waiting", 1)


def test_errors_do_not_show_the_key_of_a_webhook(site: WatchSite, webhook_server: WebhookServer) -> None:
    watch = site.watch(channel="webhook", webhook=f"{webhook_server.url}?token=zqsecret")
    delivery = watch_delivery.WatchDelivery(site.site)
    publish_and_match(site)
    ((match, _),) = site.store.claim_due_matches(1)
    values = delivery._describe_failure(match, watch, UserError(f"{watch.webhook} does not answer"))
    assert "zqsecret" not in values["error"]


def test_the_limit_of_mails_counts_those_of_other_packages(
    site: WatchSite, mail_server: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Outbox, "count_sent_messages", lambda _: 10**9)
    watch = site.watch(channel="mail")
    publish_and_match(site)
    site.deliver()
    assert mail_server.mails == []
    assert site.find_matches(watch)[0].state == "waiting"


def test_a_webhook_that_is_gone(site: WatchSite, webhook_server: WebhookServer) -> None:
    watch = site.watch(channel="webhook", webhook=webhook_server.url)
    webhook_server.status = 410
    publish_and_match(site)
    site.deliver()
    found = site.store.find_watch(watch.name)
    assert found is not None
    assert "410" in found.problem


def test_a_webhook_that_hangs_does_not_stop_others(
    site: WatchSite, webhook_server: WebhookServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = http_client.send_request_once

    def send(method: str, url: str, **options: object) -> object:
        if "hang" in url:
            raise TimeoutError
        return original(method, url, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(http_client, "send_request_once", send)
    hanging = site.watch(channel="webhook", webhook=f"{webhook_server.url}?hang")
    site.watch(channel="webhook", webhook=webhook_server.url)
    publish_and_match(site)
    site.deliver()
    assert len(webhook_server.calls) == 1
    assert site.find_matches(hanging)[0].state == "waiting"


def test_webhooks_that_lead_inwards(site: WatchSite, tmp_path: Path) -> None:
    settings_file = tmp_path / "hven.toml"
    site.site.settings = load_settings(tmp_path, {})
    settings_file.write_text(settings_file.read_text().replace("private_webhooks = true", ""))
    site.site.settings = load_settings(tmp_path, {})
    anna = site.open_browser("anna")
    for url in ("http://example.org/", "https://127.0.0.1/in", "https://[::1]/", "https://10.0.0.1/", "ftp://x/", ""):
        answer = anna.post("/watches", {"TABLE": "stars.main", "CHANNEL": "webhook", "WEBHOOK": url})
        assert answer.status in {400, 403}, (url, answer.text)


def test_a_name_that_leads_inwards_later(site: WatchSite, webhook_server: WebhookServer, tmp_path: Path) -> None:
    """The address is looked up again at each call: the name of a host may get another one."""
    watch = site.watch(channel="webhook", webhook=webhook_server.url)
    settings_file = tmp_path / "hven.toml"
    settings_file.write_text(settings_file.read_text().replace("private_webhooks = true", ""))
    site.site.settings = load_settings(tmp_path, {})
    publish_and_match(site)
    site.deliver()
    assert webhook_server.calls == []
    found = site.store.find_watch(watch.name)
    assert found is not None
    assert "not on the public internet" in found.problem


def test_mail_within_the_limits(site: WatchSite, mail_server: MailServer, tmp_path: Path) -> None:
    settings_file = tmp_path / "hven.toml"
    settings_file.write_text(settings_file.read_text() + "per_account = 2\n")
    site.site.settings = load_settings(tmp_path, {})
    watches = [site.watch(channel="mail") for _ in range(4)]
    publish_and_match(site)
    site.deliver()
    assert len(mail_server.mails) == 2
    assert sorted(site.find_matches(watch)[0].state for watch in watches) == ["sent", "sent", "waiting", "waiting"]
    assert not WATCH_SERVICE.is_delivery_due(site.site.settings, site.site.store)


def test_a_mail_server_that_is_down(site: WatchSite, mail_server: MailServer) -> None:
    for _ in range(3):
        site.watch(channel="mail")
    mail_server.answer = "451 later"
    publish_and_match(site)
    site.deliver()
    assert len(mail_server.mails) == 1, "the others wait"
    mail_server.reset()
    site.make_due()
    site.deliver()
    assert len({mail["Message-ID"] for mail in mail_server.mails}) == 3


def test_mails_wait_until_a_new_address_is_confirmed(
    site: WatchSite, mail_server: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = site.watch(channel="mail")
    choice_store = site.site.store.get_or_create(ChoiceStore)
    choice_store.change_choices("anna", lambda old: replace(old, address="new@example.org", confirmed=False))
    publish_and_match(site)
    site.deliver()
    assert [(match.state, match.attempts) for match in site.find_matches(watch)] == [("waiting", 0)]
    site.confirm_address("anna", "new@example.org")
    site.make_due()
    site.deliver()
    assert [match.state for match in site.find_matches(watch)] == ["sent"]
    choice_store.change_choices("anna", lambda old: replace(old, confirmed=False))
    site.publish([*STARS, NEW_STAR, (5, 1.0, 1.0, 1.0, "x")])
    site.match()
    week_later = time.time() + watch_delivery.MAX_FAILING_SECONDS + 60
    monkeypatch.setattr(time, "time", lambda: week_later)
    site.deliver()
    stopped_watch = site.store.find_watch(watch.name)
    assert stopped_watch is not None
    assert "no confirmed e-mail address" in stopped_watch.problem


def test_old_matches_are_deleted(site: WatchSite) -> None:
    watch = site.watch()
    publish_and_match(site)
    site.site.store.get_or_create(Announcer).execute(sa.update(watch_matches).values(at=0.0))
    site.deliver()
    assert site.find_matches(watch) == []


def test_a_mail_is_in_the_language_of_the_account(site: WatchSite, mail_server: MailServer) -> None:
    watch = site.watch(title="suivi", channel="mail", changes="all")
    site.store.update_watch(watch.name, language="fr")
    site.publish([(1, 10.0, 20.0, 6.0, "alpha"), STARS[1], NEW_STAR])
    site.match()
    site.deliver()
    (mail,) = mail_server.mails
    words = {line.split("  ")[0] for line in mail.get_content().splitlines() if "  [" in line}
    assert words == {"modifié", "nouvelle", "plus trouvée"}
    feed = site.open_browser("anna").show(f"/watches/{watch.name}/events.atom").text
    assert "nouvelle [4]" in feed
