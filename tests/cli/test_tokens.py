"""``hven token`` and ``hven user password``: what a site's owner does in the shell."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest

from clocks import MovableClock
from hven.app._cli import main
from hven.model.errors import UnauthenticatedError
from hven.model.settings import create_site_directory, load_settings
from hven.site.auth.local import LocalIdentityProvider
from hven.site.store import StateStore
from hven.site.store._grants import POLL_INTERVAL_SECONDS


def test_from_a_token_to_its_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, clock: MovableClock
) -> None:
    create_site_directory(tmp_path / "site")

    def run_command(*words: str, besides: str = "") -> str:
        code = main([*words, "--site", str(tmp_path / "site")])
        out = capsys.readouterr()
        assert code == 0, out.err
        assert besides in out.err
        return out.out.strip()

    assert re.fullmatch(r"anna\.\S+", run_command("user", "add", "anna", besides="this is the token of anna"))
    token = run_command("token", "add", "anna", "--days", "2", "--for", "a notebook")
    (one,) = json.loads(run_command("token", "list", "--json"))
    assert (one["account"], one["scope"], one["purpose"], one["by"]) == ("anna", "read", "a notebook", "owner")
    settings = load_settings(tmp_path / "site", {})
    store = StateStore(settings.var_directory)
    accounts = LocalIdentityProvider(store, settings)
    who = accounts.verify_credentials("anna", token)
    assert (who.name, "scope:read" in who.groups) == ("anna", True)
    run_command("token", "end", one["id"])
    assert json.loads(run_command("token", "list", "anna", "--json")) == []
    monkeypatch.setattr("sys.stdin", io.StringIO("four words are enough\n"))
    assert "new password" in run_command("user", "password", "anna")
    clock.move(POLL_INTERVAL_SECONDS)  # another process sees it then
    assert accounts.verify_credentials("anna", "four words are enough").name == "anna"
    again = run_command("token", "add", "anna")
    old = run_command(
        "user", "token", "anna", besides="still valid; to end them as well, run: hven user token anna --all"
    )
    new = run_command("user", "token", "anna", "--all", besides=") are no longer valid")
    clock.move(POLL_INTERVAL_SECONDS)
    for word in (again, old, "four words are enough"):
        with pytest.raises(UnauthenticatedError):
            accounts.verify_credentials("anna", word)
    assert accounts.verify_credentials("anna", new).name == "anna"
    run_command("token", "add", "anna")
    assert "no longer has a password" in run_command("user", "password", "anna", "--remove")
    store.close()


@pytest.mark.parametrize("line", ["", "\n", "  \n"])
def test_an_empty_password_does_not_remove_the_old_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    site = str(tmp_path / "site")
    create_site_directory(tmp_path / "site")
    assert main(["user", "add", "anna", "--site", site]) == 0
    monkeypatch.setattr("sys.stdin", io.StringIO("four words are enough\n"))
    assert main(["user", "password", "anna", "--site", site]) == 0
    capsys.readouterr()
    monkeypatch.setattr("sys.stdin", io.StringIO(line))
    assert main(["user", "password", "anna", "--site", site]) == 1
    assert "the password is empty; give a password, or remove the old one with --remove" in capsys.readouterr().err
    settings = load_settings(tmp_path / "site", {})
    store = StateStore(settings.var_directory)
    provider = LocalIdentityProvider(store, settings)
    assert provider.verify_credentials("anna", "four words are enough").name == "anna"
    store.close()


@pytest.mark.parametrize("days", ["0", "-1", "367", "nan"])
def test_the_days_of_a_token_have_two_limits(tmp_path: Path, capsys: pytest.CaptureFixture[str], days: str) -> None:
    site = str(tmp_path / "site")
    create_site_directory(tmp_path / "site")
    assert main(["user", "add", "anna", "--site", site]) == 0
    capsys.readouterr()
    assert main(["token", "add", "anna", f"--days={days}", "--site", site]) == 1
    assert capsys.readouterr().err == (
        f"hven: a token can be valid for up to 366 days, not {days}; choose a number of days above 0 and within this "
        "limit\n"
    )
