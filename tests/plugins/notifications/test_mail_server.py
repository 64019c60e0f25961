"""Connections to mail servers: STARTTLS with a certificate of the institute's own authority, passwords, and commands."""

from __future__ import annotations

import datetime as dt
import ipaddress
import json
import ssl
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.smtp import AuthResult, LoginPassword
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from notification_site import MailServer, NotificationSite, write_settings
from typer.testing import CliRunner, Result

from hven.app._cli.verbs import build_typer_app
from hven.jobs import _alert_delivery
from hven.model.settings import load_settings
from hven.plugins.notifications.settings import find_settings_faults

PASSWORD = "tycho-and-sophie"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a certificate and its key in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "mail")])
    now = dt.datetime.now(dt.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("certificate") / "mail.pem"
    private_text = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private_text + made.public_bytes(serialization.Encoding.PEM))
    return path


def log_in(_server: Any, _session: Any, _envelope: Any, _mechanism: str, data: LoginPassword) -> AuthResult:
    return AuthResult(success=data.login == b"hven" and data.password == PASSWORD.encode())


def run(directory: Path, *words: str) -> Result:
    return CliRunner().invoke(build_typer_app(), ["--site", str(directory), *words])


def test_starttls_and_log_in(tmp_path: Path, certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    options = {"tls_context": context, "require_starttls": True, "authenticator": log_in, "auth_required": True}
    with MailServer(**options) as server:
        alerts = 'smtp_tls = "starttls"\nsmtp_user = "hven"\nsmtp_password = "$MAIL_PASSWORD"'
        write_settings(tmp_path, server.port, alerts)
        (tmp_path / "secrets.toml").write_text(f'MAIL_PASSWORD = "{PASSWORD}"\n')
        with monkeypatch.context() as patch:
            patch.setattr(_alert_delivery, "DELIVERY_TIMEOUT_SECONDS", 5.0)  # of a farewell that nobody answers
            refused = run(tmp_path, "messages", "test", "--to", "anna@example.org")
        assert refused.exit_code != 0
        assert "CERTIFICATE_VERIFY_FAILED" in str(refused.exception)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        sent = run(tmp_path, "messages", "test", "--to", "anna@example.org")
        assert sent.exit_code == 0, sent.output
        assert [mail["To"] for mail in server.mails] == ["anna@example.org"]
        (tmp_path / "secrets.toml").write_text('MAIL_PASSWORD = "wrong"\n')
        refused = run(tmp_path, "messages", "test", "--to", "anna@example.org")
        assert refused.exit_code != 0
        assert "wrong" not in str(refused.exception)


def test_a_password_is_never_sent_without_tls(tmp_path: Path, mail_server: MailServer) -> None:
    write_settings(tmp_path, mail_server.port, 'smtp_tls = "none"\nsmtp_user = "x"\nsmtp_password = "$MAIL_PASSWORD"')
    (tmp_path / "secrets.toml").write_text(f'MAIL_PASSWORD = "{PASSWORD}"\n')
    assert run(tmp_path, "messages", "test", "--to", "anna@example.org").exit_code != 0
    assert mail_server.mails == []


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        (
            "[notifications]\nmail = true\n",
            ["the links in notifications need", "notifications.mail needs alerts.smtp_host and"],
        ),
        (
            (
                'public_url = "https://x.example"\n[alerts]\nsmtp_host = "x"\nmail_from = "a@x.example"\nsmtp_tls = "none"\n'
                'smtp_password = "$NO_SUCH"\n[notifications]\nmail = true\n'
            ),
            ["Hven never sends the password", "the secret NO_SUCH is not set"],
        ),
        ("", []),
        ('public_url = "https://x.example"\n[notifications]\nwebhooks = true\n', []),
    ],
)
def test_faults_of_settings(tmp_path: Path, text: str, messages: list[str]) -> None:
    (tmp_path / "hven.toml").write_text(text)
    faults = list(find_settings_faults(load_settings(tmp_path, {})))
    assert [any(fault.message.startswith(message) for fault in faults) for message in messages] == [True] * len(
        messages
    )
    assert len(faults) == len(messages)


def test_the_list_of_messages(site: NotificationSite, tmp_path: Path, mail_server: MailServer) -> None:
    mail_server.recipient_answer = "550 nobody"
    site.announce("anna", "mia")
    site.deliver()
    rows = json.loads(run(tmp_path, "messages", "list", "--json").output)
    assert [(row["account"], row["state"]) for row in rows] == [("mia", "sent"), ("anna", "failed")]
    shown = run(tmp_path, "messages", "list", "--undelivered").output
    assert ("anna" in shown, "mia" in shown) == (True, False)
    assert run(tmp_path, "messages", "test", "--to", "no address").exit_code != 0
