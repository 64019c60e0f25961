"""How people are told: a webhook, a mail server and a program of this test; what fails is tried again, and no secret is in any of it."""

from __future__ import annotations

import email
import email.policy
import http.server
import json
import socketserver
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from hven.jobs import _alert_delivery as sending
from hven.jobs._redaction import SecretRedactor
from hven.model.settings import Settings, create_site_directory, load_settings
from hven.site.store import CollectionAlert, StateStore
from hven.site.store._schedules import create_alert
from process_runner import is_gone

SECRET = "s3cr3t-of-the-harbour"


@dataclass
class Heard:
    """What a server was told."""

    messages: list[bytes] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    status: int = 200
    port: int = 0


@contextmanager
def webhook() -> Iterator[Heard]:
    heard = Heard()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            heard.messages.append(self.rfile.read(int(self.headers["content-length"])))
            heard.headers.append({name.lower(): value for name, value in self.headers.items()})
            self.send_response(heard.status)
            if heard.status == 302:
                self.send_header("location", "/elsewhere")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        heard.port = server.server_address[1]
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield heard
        server.shutdown()


@contextmanager
def mail_server(*, refuses: bool = False) -> Iterator[Heard]:
    """Speak as much of SMTP (RFC 5321) as a client needs to leave a message."""
    heard = Heard()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(b"220 here\r\n")
            while line := self.rfile.readline():
                word = line.strip().upper()
                if word.startswith(b"EHLO"):
                    self.wfile.write(b"250-here\r\n250 8BITMIME\r\n")
                elif word.startswith(b"RCPT") and refuses:
                    self.wfile.write(b"550 nobody of that name\r\n")
                elif word == b"DATA":
                    self.wfile.write(b"354 go on\r\n")
                    text = b""
                    while (row := self.rfile.readline()) != b".\r\n":
                        text += row
                    heard.messages.append(text)
                    self.wfile.write(b"250 taken\r\n")
                elif word == b"QUIT":
                    self.wfile.write(b"221 bye\r\n")
                    return
                else:
                    self.wfile.write(b"250 ok\r\n")

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        heard.port = server.server_address[1]
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield heard
        server.shutdown()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    made = create_site_directory(tmp_path / "site", name="Uraniborg")
    (made / "secrets.toml").write_text(
        f"SOURCE = 'postgresql://reader:{SECRET}@db.example/stars'\nPLAIN = '{SECRET}'\n"
    )
    return made


def load_alert_settings(directory: Path, lines: str, *, private: bool = True) -> Settings:
    path = directory / "hven.toml"
    path.write_text(
        f'name = "Uraniborg"\nallow_private = {str(private).lower()}\nvariant = "blue"\n[alerts]\n{lines}\n'
    )
    return load_settings(directory, {})


def raise_alert(
    settings: Settings, message: str = "the sync of stars failed: no answer"
) -> tuple[StateStore, CollectionAlert]:
    store = StateStore(settings.var_directory, settings.store)
    moment = store.schedules.get_database_time()
    made = create_alert("stars", "failed", message, sending.list_alert_channels(settings), moment, failures=1)
    store.schedules.update_schedule("stars", lambda row, _: (row, [made]))
    return store, made


def test_three_ways(directory: Path) -> None:
    program = directory / "tell"
    program.write_text(
        f"#!{sys.executable}\nimport sys, os\nopen({str(directory / 'told')!r}, 'w').write(sys.argv[1] + ' ' + sys.stdin.read() + str(sorted(os.environ)))\n"
    )
    program.chmod(0o755)
    with webhook() as web, mail_server() as post:
        settings = load_alert_settings(
            directory,
            f'webhook = "http://127.0.0.1:{web.port}/in"\nmail_to = ["a@example.org", "b@example.org"]\nmail_from = "hven@example.org"\n'
            f'smtp_host = "127.0.0.1"\nsmtp_port = {post.port}\nsmtp_tls = "none"\ncommand = ["./tell", "--now"]',
        )
        store, made = raise_alert(
            settings,
            f"the sync of stars failed: postgresql://reader:{SECRET}@db.example/stars?key=abcdef is away\r\nBcc: x@y",
        )
        assert sending.send_due_alerts(settings, store) == 1
        assert sending.send_due_alerts(settings, store) == 0
        (after,) = store.schedules.list_alerts()
        store.close()
    assert after.due is None
    assert after.delivery_problem is None
    assert all(facts["attempts"] == 1 and facts["sent"] for facts in after.ways.values())
    body = json.loads(web.messages[0])
    assert web.headers[0]["content-type"].startswith("application/json")
    assert (body["collection"], body["kind"], body["id"], body["variant"], body["failures"]) == (
        "stars",
        "failed",
        made.id,
        "blue",
        1,
    )
    assert body["text"].startswith("[Uraniborg] the sync of stars failed")
    mail = email.message_from_bytes(post.messages[0], policy=email.policy.default)
    assert mail["To"] == "a@example.org, b@example.org"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["Bcc"] is None
    assert mail["Subject"].startswith("[Uraniborg] the sync of stars failed")
    said = (directory / "told").read_text()
    assert said.startswith("--now {")
    assert json.loads(said.removeprefix("--now ").rpartition("[")[0]) == {
        key: value for key, value in body.items() if key != "text"
    }
    assert "HOME" in said
    everything = b"".join([*web.messages, *post.messages]).decode() + said + mail.get_content()
    assert SECRET not in everything
    assert "abcdef" not in everything


def test_what_cannot_be_told_is_tried_again_and_holds_up_nothing_else(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "FIRST_RETRY_SECONDS", 0.01)
    with webhook() as web, mail_server(refuses=True) as post:
        web.status = 503
        settings = load_alert_settings(
            directory,
            f'webhook = "http://127.0.0.1:{web.port}/in"\nmail_to = ["a@example.org"]\nmail_from = "hven@example.org"\n'
            f'smtp_host = "127.0.0.1"\nsmtp_port = {post.port}\nsmtp_tls = "none"\ncommand = ["true"]',
        )
        store, _ = raise_alert(settings)
        assert sending.send_due_alerts(settings, store) == 0
        (item,) = store.schedules.list_alerts()
        assert item.delivery_problem is not None
        assert "webhook: the webhook returned status 503" in item.delivery_problem
        assert "nobody of that name" in item.delivery_problem
        assert item.ways["command"]["sent"]
        web.status = 204
        time.sleep(0.05)
        assert sending.send_due_alerts(settings, store) == 0
        (item,) = store.schedules.list_alerts()
        assert item.ways["webhook"]["attempts"] == 2
        assert "sent" in item.ways["webhook"]
        assert item.ways["command"]["attempts"] == 1  # not told twice
        monkeypatch.setattr(sending, "MAX_ATTEMPTS", 3)
        time.sleep(0.05)
        sending.send_due_alerts(settings, store)
        (item,) = store.schedules.list_alerts()
        # it has been tried often enough; status goes on saying so
        assert (item.due, item.ways["mail"]["attempts"]) == (None, 3)
        store.close()


@pytest.mark.parametrize(
    ("lines", "private", "why"),
    [
        ('webhook = "http://127.0.0.1:9/in"', False, "not on the public internet"),
        ('webhook = "$NOWHERE"', True, "the secret NOWHERE is not set"),
        ('command = ["./there-is-none"]', True, "cannot be started"),
        ('command = ["false"]', True, "ended with exit code 1"),
        ('mail_to = ["a@example.org"]', True, "sending mail requires alerts.smtp_host and alerts.mail_from"),
        (
            'mail_to = ["a@example.org"]\nmail_from = "b@example.org"\nsmtp_host = "127.0.0.1"\nsmtp_tls = "none"\nsmtp_password = "$PLAIN"',
            True,
            "does not send passwords over unencrypted connections",
        ),
    ],
)
def test_what_is_wrong_with_a_way_is_said_in_words(directory: Path, lines: str, private: bool, why: str) -> None:
    settings = load_alert_settings(directory, lines, private=private)
    store, _ = raise_alert(settings)
    sending.send_due_alerts(settings, store)
    (item,) = store.schedules.list_alerts()
    store.close()
    assert why in (item.delivery_problem or "")
    assert SECRET not in (item.delivery_problem or "")


def test_redirects_are_not_followed(directory: Path) -> None:
    with webhook() as web:
        web.status = 302
        settings = load_alert_settings(directory, f'webhook = "http://127.0.0.1:{web.port}/in"')
        store, _ = raise_alert(settings)
        sending.send_due_alerts(settings, store)
        assert "returned status 302" in (store.schedules.list_alerts()[0].delivery_problem or "")
        store.close()
    assert len(web.messages) == 1


def test_a_program_that_does_not_end_is_killed_with_its_children(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = directory / "child"
    program = directory / "hang"
    program.write_text(f"#!/bin/sh\nsleep 600 & echo $! > {child}.new && mv {child}.new {child}\nwait\n")
    program.chmod(0o755)
    settings = load_alert_settings(directory, 'command = ["./hang"]')
    for seconds in (2, 60):  # a busy machine may need more until it has begun
        monkeypatch.setattr(sending, "PROGRAM_TIMEOUT_SECONDS", float(seconds))
        store, _ = raise_alert(settings)
        sending.send_due_alerts(settings, store)
        assert f"did not end within {seconds} s" in (store.schedules.list_alerts()[0].delivery_problem or "")
        store.close()
        if child.exists():
            break
    assert is_gone(int(child.read_text()))


def test_two_that_deliver_tell_once(directory: Path) -> None:
    with webhook() as web:
        settings = load_alert_settings(directory, f'webhook = "http://127.0.0.1:{web.port}/in"')
        store, _ = raise_alert(settings)
        (item,) = store.schedules.list_due_alerts()
        assert store.schedules.claim_alert(item, 60)
        assert not store.schedules.claim_alert(item, 60)
        assert sending.send_due_alerts(settings, store) == 0
        store.close()
    assert web.messages == []


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://reader:{0}@db.example/stars is away",
        "https://hooks.example/in?token={0}&x=1",
        "Authorization: Bearer {0}",
        "password={0}",
        "password: {0}",
        "what the driver says: {0}",
        "s3cr3t%2Dof-the-harbour {0}",
    ],
)
def test_secrets_are_hidden_whatever_they_are_in(directory: Path, text: str) -> None:
    assert SECRET not in SecretRedactor(directory, {}).redact_text(text.format(SECRET))


def test_secrets_of_the_environment_and_of_strangers_are_hidden(directory: Path) -> None:
    (directory / "collections" / "a").mkdir()
    (directory / "collections" / "a" / "a.yaml").write_text("source: {kind: sql, url: $OPS}\n")
    hiding = SecretRedactor(
        directory, {"OPS": "mysql://u:hidden-word@h/d", "MY_API_KEY": "kkkk-1234", "LANG": "C.UTF-8", "HOME": "/root"}
    )
    assert hiding.redact_text("mysql://u:hidden-word@h/d hidden-word kkkk-1234 C.UTF-8") == "*** *** *** C.UTF-8"
    assert hiding.redact_text("ftp://someone:unknown@h/f?sig=abc&a=b") == "ftp://someone:***@h/f?sig=***&a=b"
    assert hiding.redact_data({"a": ["hidden-word", 1], "b": None}) == {"a": ["***", 1], "b": None}
    plain = "collections/stars/stars.yaml:14:13: no file a.csv; look at the token list"
    assert hiding.redact_text(plain) == plain
    assert len(hiding.redact_text("x" * 10_000)) == 2000
