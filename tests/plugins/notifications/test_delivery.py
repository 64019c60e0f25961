"""What accounts get: mail, webhooks, each once, and nothing after their right has ended."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa
from notification_site import KIND, SECRET

from hven.jobs.health import SiteHealthMonitor
from hven.model.errors import format_message
from hven.plugins.notifications import delivery, digests, outbox
from hven.plugins.notifications.event_service import EVENT_SERVICE
from hven.plugins.notifications.store_tables import notification_events, notification_messages
from hven.site.api.events import EventKind, SiteEvent
from hven.sources import http_client

if TYPE_CHECKING:
    from notification_site import MailServer, NotificationSite, WebhookServer


def test_a_mail_is_sent_once(site: NotificationSite, mail_server: MailServer) -> None:
    settings, store = site.site.settings, site.site.store
    assert not EVENT_SERVICE.is_delivery_due(settings, store)
    site.announce("anna", "nobody")
    assert EVENT_SERVICE.is_delivery_due(settings, store)
    EVENT_SERVICE.send_due_events(settings)
    EVENT_SERVICE.send_due_events(settings)
    assert not EVENT_SERVICE.is_delivery_due(settings, store)
    (mail,) = mail_server.mails
    assert mail["To"] == "anna@example.org"
    assert mail["From"] == "hven@vo.example"
    assert mail["Subject"] == "[Uraniborg] the job a1 is ready"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert re.fullmatch(r"<hven-[0-9a-f]{32}@vo\.example>", mail["Message-ID"])
    assert "https://vo.example/hven/jobs?job=a1" in mail.get_content()
    assert site.states == ["sent"]


def test_headers_of_one_click_unsubscription(site: NotificationSite, mail_server: MailServer) -> None:
    site.announce("anna")
    site.deliver()
    (raw_mail,) = mail_server.raw_mails
    url = re.search(
        rb"^List-Unsubscribe: <(https://vo\.example/hven/notifications/unsubscribe\?\S+)>\r$", raw_mail, re.MULTILINE
    )
    assert url is not None, "the address is not folded or encoded"
    assert b"List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n" in raw_mail
    assert url[1].decode() in mail_server.mails[0].get_content()


def test_a_webhook_is_signed(site: NotificationSite, webhook_server: WebhookServer) -> None:
    site.announce("mia")
    site.deliver()
    ((headers, body),) = webhook_server.calls
    document = json.loads(body)
    assert (document["type"], document["data"]["message"]) == (KIND, "the job a1 is ready")
    assert document["data"]["url"] == "https://vo.example/hven/jobs?job=a1"
    choices = site.choice_store.find_choices("mia")
    assert choices is not None
    key = base64.b64decode(choices.build_webhook_secret(site.site.store).removeprefix("whsec_"))
    content = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    signature = base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{signature}"
    assert abs(int(headers["webhook-timestamp"]) - time.time()) < 300


def test_an_event_is_recorded_only_with_what_it_reports(site: NotificationSite, mail_server: MailServer) -> None:
    event = SiteEvent(kind=KIND, accounts=("anna",), message=format_message("never happened"))
    with pytest.raises(ZeroDivisionError):
        site.announcer.announce(event, fails=True)
    site.deliver()
    assert mail_server.mails == []


def test_events_that_nobody_wants_are_not_recorded(site: NotificationSite) -> None:
    site.announce("anna", kind="entries.decided")
    assert site.outbox.list_new_events() == []


@pytest.mark.parametrize("step", ["add_messages", "claim_message", "end_message"])
def test_a_kill_after_each_step(
    site: NotificationSite, mail_server: MailServer, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """A process that dies before or after a step leaves no message out; only an accepted mail comes again, by its name."""
    site.announce("anna")

    class KilledError(BaseException):
        pass

    original = getattr(outbox.Outbox, step)
    for is_done in (False, True):

        def die(*arguments: object, is_done: bool = is_done, **options: object) -> object:
            if is_done:
                original(*arguments, **options)
            raise KilledError

        monkeypatch.setattr(outbox.Outbox, step, die)
        with pytest.raises(KilledError):
            site.deliver()
        monkeypatch.setattr(outbox.Outbox, step, original)
        if not is_done:
            site.make_due()  # the claim has expired
    site.make_due()
    site.deliver()
    assert site.states == ["sent"]
    assert len({mail["Message-ID"] for mail in mail_server.mails}) == 1
    assert len(mail_server.mails) == (2 if step == "end_message" else 1)


def test_two_processes_send_a_message_once(site: NotificationSite, mail_server: MailServer) -> None:
    site.announce("anna")
    (event,) = site.outbox.list_new_events()
    for _ in range(2):
        site.outbox.add_messages(event, [("anna", "mail")])
    (message,) = site.list_messages()
    assert [site.outbox.claim_message(message) for _ in range(2)] == [True, False]
    site.deliver()
    assert mail_server.mails == [], "the other process has claimed it"


def test_no_message_after_the_right_has_ended(site: NotificationSite, mail_server: MailServer) -> None:
    mail_server.answer = "451 later"
    for accounts, table in ((("anna",), ""), (("anna",), "no.such"), (("others",), ""), (("mia",), "")):
        site.announce(*accounts, table=table)
    site.deliver()
    assert [message.account for message in site.list_messages()] == ["anna", "mia"]
    site.site.store.users.remove_account("anna")
    mail_server.reset()
    site.make_due()
    site.deliver()
    assert mail_server.mails == []
    assert "sent" not in [message.state for message in site.list_messages() if message.account == "anna"]


def test_a_message_that_is_no_longer_wanted_is_dropped(site: NotificationSite, mail_server: MailServer) -> None:
    mail_server.answer = "451 later"
    site.announce("anna")
    site.deliver()
    site.choice_store.store_channel_choice("anna", KIND, "none")
    mail_server.reset()
    site.make_due()
    site.deliver()
    assert (site.states, mail_server.mails) == (["dropped"], [])


def test_failures_are_retried_then_given_up_and_told(
    site: NotificationSite, webhook_server: WebhookServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    webhook_server.status = 500
    site.announce("mia")
    site.announce("mia")
    pauses = []
    for _ in range(outbox.MAX_ATTEMPTS):
        site.deliver()
        pauses.append(max(message.due for message in site.list_messages()) - time.time())
        site.make_due()
    assert len(webhook_server.calls) == outbox.MAX_ATTEMPTS, "one call in a round, for all messages of the account"
    assert max(pauses) < outbox.MAX_RETRY_SECONDS + 1
    choices = site.choice_store.find_choices("mia")
    assert choices is not None
    assert choices.problem == "the webhook returned status 500"
    site.deliver()
    assert sorted(site.states) == ["dropped", "failed"]
    assert len(webhook_server.calls) == outbox.MAX_ATTEMPTS
    status = site.site.get_or_create(SiteHealthMonitor, site.site).get_status(wait_seconds=None)
    assert any("a webhook message to mia could not be delivered" in problem for problem in status.problems)


def test_a_webhook_that_hangs_is_left_after_a_time(
    site: NotificationSite, mail_server: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    import threading

    released = threading.Event()
    monkeypatch.setattr(delivery, "MAX_WEBHOOK_SECONDS", 0.05)
    monkeypatch.setattr(http_client, "send_request_once", lambda *_, **__: released.wait(60))
    site.announce("mia", "anna")
    site.deliver()
    released.set()
    errors = {message.account: message.error for message in site.list_messages()}
    assert errors["mia"].startswith("the webhook did not answer within")
    assert len(mail_server.mails) == 1


def test_mails_do_not_wait_for_webhooks(
    site: NotificationSite, mail_server: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    mails_before_calls = []

    def hang(*_: object, **__: object) -> None:
        mails_before_calls.append(len(mail_server.mails))
        raise TimeoutError

    monkeypatch.setattr(http_client, "send_request_once", hang)
    site.announce("mia")
    site.announce("anna")
    site.deliver()
    assert mails_before_calls == [1]


def test_a_redirect_is_a_failure(site: NotificationSite, webhook_server: WebhookServer) -> None:
    webhook_server.status, webhook_server.location = 302, webhook_server.url
    site.announce("mia")
    site.deliver()
    assert len(webhook_server.calls) == 1
    assert site.list_messages()[0].error == "the webhook returned status 302"


def test_a_webhook_that_leads_inwards(site: NotificationSite, webhook_server: WebhookServer) -> None:
    site.change_settings(private_webhooks=False)
    site.announce("mia")
    site.deliver()
    (message,) = site.list_messages()
    assert webhook_server.calls == []
    assert (message.state, "not on the public internet" in message.error) == ("failed", True)


def test_a_rejected_recipient_is_given_up_at_once(site: NotificationSite, mail_server: MailServer) -> None:
    mail_server.recipient_answer = "550 nobody of that name"
    site.announce("anna")
    site.deliver()
    assert site.states == ["failed"]


def test_limits(site: NotificationSite, mail_server: MailServer) -> None:
    site.change_settings(per_account=2)
    for _ in range(4):
        site.announce("anna")
    site.deliver()
    site.deliver()
    assert len(mail_server.mails) == 2
    assert not EVENT_SERVICE.is_delivery_due(site.site.settings, site.site.store), "the others wait"
    site.change_settings(per_account=30, per_hour=3)
    site.make_due()
    site.deliver()
    assert len(mail_server.mails) == 3


@pytest.mark.parametrize(
    "value", ["x\r\nBcc: eve@example.org\r\n\r\nhello", "a\u2028b\u0085Bcc: eve@example.org", "é" * 300]
)
def test_no_header_comes_from_a_value(site: NotificationSite, mail_server: MailServer, value: str) -> None:
    site.announce("anna", text="run {name}", value=value)
    site.deliver()
    (mail,) = mail_server.mails
    assert mail["Bcc"] is None
    assert mail_server.recipients == [["anna@example.org"]]
    assert len(mail["Subject"]) <= 200
    assert all(len(line) <= 998 for line in mail_server.raw_mails[0].split(b"\r\n"))


def test_no_secret_leaves_the_site(
    site: NotificationSite, mail_server: MailServer, webhook_server: WebhookServer
) -> None:
    site.announce("anna", "mia", text="it failed: {reason}", value=f"password {SECRET} is wrong")
    site.deliver()
    everything = mail_server.raw_mails[0] + webhook_server.calls[0][1]
    assert SECRET.encode() not in everything


def test_mail_in_french(site: NotificationSite, mail_server: MailServer) -> None:
    site.choose("anna", language="fr")
    message = format_message("the job {id} ({type}) has ended: {phase}", "a1", "tap", "COMPLETED")
    site.announcer.announce(SiteEvent(kind=KIND, accounts=("anna",), message=message))
    site.deliver()
    (mail,) = mail_server.mails
    assert mail["Subject"] == "[Uraniborg] la tâche a1 (tap) est terminée : COMPLETED"
    assert "Pour ne plus recevoir ces messages" in mail.get_content()


def test_old_events_and_messages_are_deleted(site: NotificationSite) -> None:
    site.announce("anna")
    site.deliver()
    site.announcer.execute(sa.update(notification_messages).values(ended=1.0))
    site.announce("anna")
    site.announcer.execute(sa.update(notification_events).where(notification_events.c.expanded == 0).values(at=1.0))
    site.outbox.delete_old_messages()
    assert (site.list_messages(), site.outbox.list_new_events()) == ([], [])


def test_a_digest_once_a_day(site: NotificationSite, mail_server: MailServer, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = EventKind(title="Night report", digest_writer="notification_site:write_night_lines", path="/n")
    for module in (delivery, digests):
        monkeypatch.setattr(module, "load_event_kinds", lambda: {"night.report": kind})
    site.choose("anna", channels={"night.report": "mail"})
    assert EVENT_SERVICE.is_delivery_due(site.site.settings, site.site.store)
    site.deliver()
    site.deliver()
    (mail,) = mail_server.mails
    assert mail["Subject"].startswith("[Uraniborg] Night report: ")
    assert "stars: nothing" in mail.get_content()
    assert SECRET not in mail.get_content()
    assert not EVENT_SERVICE.is_delivery_due(site.site.settings, site.site.store)


def test_a_removed_account_leaves_nothing(site: NotificationSite, tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from hven.app._cli.verbs import build_typer_app

    site.announce("anna")
    assert CliRunner().invoke(build_typer_app(), ["--site", str(tmp_path), "user", "remove", "anna"]).exit_code == 0
    assert site.choice_store.find_choices("anna") is None
    assert site.outbox.list_new_events() == []
