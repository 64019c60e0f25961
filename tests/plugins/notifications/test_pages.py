"""The page of choices, the links of mails, and who may open them."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import pytest
from asgi_client import Answer, Client
from notification_site import KIND

from hven.app._server import create_and_start_application
from hven.model.errors import ParamError
from hven.plugins.notifications import portal_pages
from hven.plugins.notifications.email_addresses import parse_email_address
from hven.site.auth.local import create_personal_token

if TYPE_CHECKING:
    from notification_site import MailServer, NotificationSite, WebhookServer

FORM = {"content-type": "application/x-www-form-urlencoded", "accept": "application/json"}


@dataclass
class Browser:
    """A client of an account, or of nobody."""

    client: Client
    proof: dict[str, str]

    def show(self, path: str, accept: str = "text/html") -> Answer:
        path, _, query = path.partition("?")
        return self.client.ask("GET", path, query.encode(), headers={"accept": accept, **self.proof})

    def post(self, path: str, fields: dict[str, str], **headers: str) -> Answer:
        path, _, query = path.partition("?")
        body = urlencode(fields).encode()
        return self.client.ask("POST", path, query.encode(), body, {**FORM, **self.proof, **headers})


@pytest.fixture
def anna(site: NotificationSite) -> Browser:
    token = create_personal_token(site.site.store, "anna", "all", 1, created_by="anna")[1]
    return Browser(Client(create_and_start_application(site.site)), {"authorization": f"Bearer {token}"})


@pytest.fixture
def nobody(anna: Browser) -> Browser:
    return Browser(anna.client, {})


def find_link(mail_server: MailServer, action: str) -> str:
    text = mail_server.mails[-1].get_content()
    match = re.search(rf"https://vo\.example/hven(/notifications/{action}\?\S+)", text)
    assert match is not None, text
    return match[1]


def test_an_address_counts_when_it_is_confirmed(
    site: NotificationSite, mail_server: MailServer, anna: Browser, nobody: Browser
) -> None:
    answer = anna.post("/notifications", {"ADDRESS": " Anna@Example.ORG ", f"CHANNEL.{KIND}": "mail"})
    assert answer.status == 200, answer.text
    assert json.loads(answer.body)["confirmed"] is False
    site.announce("anna")
    site.deliver()
    (mail,) = mail_server.mails
    assert mail["To"] == "Anna@example.org"
    assert mail["List-Unsubscribe"] is None
    link = find_link(mail_server, "confirm")
    assert "<form" in nobody.show(link).text
    site.announce("anna")
    site.deliver()
    assert len(mail_server.mails) == 1, "only the button confirms, because programs follow links"
    assert nobody.post(link, {}).status == 200
    site.announce("anna")
    site.deliver()
    assert len(mail_server.mails) == 2
    anna.post("/notifications", {"ADDRESS": "other@example.org", f"CHANNEL.{KIND}": "mail"})
    assert nobody.post(link, {}).status == 403, "of the address before"


def test_unsubscribe_without_log_in(
    site: NotificationSite, mail_server: MailServer, anna: Browser, nobody: Browser
) -> None:
    site.announce("anna")
    site.deliver()
    link = find_link(mail_server, "unsubscribe")
    assert "A job that I started" in nobody.show(link).text
    choices = site.choice_store.find_choices("anna")
    assert choices is not None
    assert choices.find_reachable_channel(KIND) == "mail", "a GET changes nothing"
    for bad_link in (
        link.replace("anna", "mia"),
        link.replace(KIND, "jobs.start"),
        link[:-1] + "x",
        link.split("&sig")[0],
    ):
        assert nobody.post(bad_link, {}).status == 403, bad_link
    assert nobody.post(link.replace("unsubscribe", "confirm"), {}).status == 403
    assert nobody.post(link, {"List-Unsubscribe": "One-Click"}).status == 200
    choices = site.choice_store.find_choices("anna")
    assert choices is not None
    assert choices.find_reachable_channel(KIND) == "none"


def test_who_sees_the_page(anna: Browser, nobody: Browser) -> None:
    assert nobody.show("/notifications").status in {303, 401}
    assert nobody.post("/notifications", {"ADDRESS": "x@example.org"}).status == 401
    page = anna.show("/notifications")
    assert page.status == 200
    assert page.headers["cache-control"] == "private, no-store"
    for text in ("anna@example.org", "A job that I started with NOTIFY=true has ended", 'href="http'):
        assert text in page.text, text
    assert anna.post("/notifications", {}, origin="https://evil.example").status == 403
    assert "Adresse électronique" in anna.show("/notifications?lang=fr").text


def test_a_webhook_and_its_secret(site: NotificationSite, webhook_server: WebhookServer, anna: Browser) -> None:
    answer = anna.post("/notifications", {"WEBHOOK": webhook_server.url, f"CHANNEL.{KIND}": "webhook"})
    assert json.loads(answer.body)["webhook_secret"].startswith("whsec_")
    token = create_personal_token(site.site.store, "anna", "read", 1, created_by="anna")[1]
    reader = Browser(anna.client, {"authorization": f"Bearer {token}"})
    assert json.loads(reader.show("/notifications", "application/json").body)["webhook_secret"] == ""
    assert reader.post("/notifications", {"WEBHOOK": ""}).status == 403
    site.choose("anna", problem="the webhook returned status 500")
    assert "returned status 500" in anna.show("/notifications").text
    anna.post("/notifications", {"WEBHOOK": webhook_server.url, f"CHANNEL.{KIND}": "webhook"})
    assert "returned status 500" not in anna.show("/notifications").text, "the form starts it again"
    site.change_settings(private_webhooks=False)
    for url in (
        "http://example.org/",
        "https://127.0.0.1/in",
        "https://[::1]/",
        "https://10.0.0.1/",
        "ftp://x/",
        "x" * 2000,
    ):
        answer = anna.post("/notifications", {"WEBHOOK": url})
        assert answer.status in {400, 403}, url
        assert json.loads(answer.body)["problem"]
    assert json.loads(anna.show("/notifications", "application/json").body)["webhook"] == webhook_server.url


def test_confirmation_mails_are_limited(anna: Browser) -> None:
    statuses = [anna.post("/notifications", {"ADDRESS": f"a{number}@example.org"}).status for number in range(6)]
    assert statuses == [200] * portal_pages.MAX_CONFIRMATIONS_PER_DAY + [429]


def test_unknown_channels_and_kinds_count_for_nothing(site: NotificationSite, anna: Browser) -> None:
    anna.post("/notifications", {"ADDRESS": "anna@example.org", f"CHANNEL.{KIND}": "pigeon", "CHANNEL.no.kind": "mail"})
    choices = site.choice_store.find_choices("anna")
    assert choices is not None
    assert choices.channels[KIND] == "none"
    assert "no.kind" not in choices.channels


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("anna@example.org", "anna@example.org"),
        (" a.b+c_d'e@Sub.Example.ORG ", "a.b+c_d'e@sub.example.org"),
        ("jean@observatoire-côte.fr", "jean@xn--observatoire-cte-0vb.fr"),
    ],
)
def test_addresses(text: str, address: str) -> None:
    assert parse_email_address(text) == address


@pytest.mark.parametrize(
    "text",
    [
        "", "anna", "@example.org", "anna@", "anna@localhost", "a@b@example.org", "Anna <anna@example.org>", "a@x.org, b@x.org",
        '"a b"@example.org', "a..b@example.org", ".a@example.org", "anna@[127.0.0.1]", "anna@127.0.0.1", "anna(x)@example.org",
        "anna@example.org\nBcc: eve@example.org", "an\r\nna@example.org", "élise@example.org", "a" * 65 + "@example.org",
        "a@" + "b" * 64 + ".org", "a@" + "b." * 150 + "org", "undisclosed:;@example.org", "a@-b.org", "a@example..org",
    ],
)  # fmt: skip
def test_addresses_that_are_refused(text: str) -> None:
    with pytest.raises(ParamError):
        parse_email_address(text)
