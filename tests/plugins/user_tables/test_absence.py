"""A site that leaves the package out: tables that are kept still end with their time and with their owners."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from asgi_client import Client

from hven import query
from hven.app._server import create_and_start_application
from hven.jobs._worker import run_next_job
from hven.model import plugins
from hven.model.errors import BindError
from hven.model.settings import create_site_directory, load_settings
from hven.plugins.user_tables.table_records import UserTableRecordWriter
from hven.site import Site
from hven.site.auth import Principal
from hven.site.user_tables import delete_expired_user_tables
from process_runner import run_hven

FORM = {"content-type": "application/x-www-form-urlencoded"}
TOLD = "'{name}' belongs to the plug-in package user_tables, but `plugins` in hven.toml does not list this package"


@pytest.fixture(autouse=True)
def _all_packages() -> Iterator[None]:
    """Use all packages again after the test."""
    yield
    plugins.select_plugin_packages(None)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Make a site where anna and bert each keep a table, and that then leaves the package out."""
    directory = create_site_directory(tmp_path / "site", name="Uraniborg")
    settings = (directory / "hven.toml").read_text()
    with Site(load_settings(directory, {})) as site:
        client = Client(create_and_start_application(site))
        for name in ("anna", "bert"):
            headers = {"authorization": f"Bearer {site.store.users.add_account(name)}"}
            assert client.ask("PUT", "/tap/user_tables/mine", body=b"n\n7\n", headers=headers).status == 201
        body = b"TABLE=tap_user.mine&INDEX=n&PHASE=RUN"
        made = client.ask("POST", "/tap/table-update", body=body, headers={**headers, **FORM})
        assert made.status == 303
        (tmp_path / "job").write_text(made.headers["location"].rpartition("/")[2])
    (directory / "hven.toml").write_text(f"plugins = []\n{settings}")
    return directory


def count_rows(site: Site, account: str) -> int:
    with query.run_query("SELECT n FROM tap_user.mine", Principal(name=account), site=site) as result:
        return int(result.read_table().num_rows)


def test_tables_are_read_until_they_end_and_stay_away_when_the_package_is_back(directory: Path) -> None:
    with Site(load_settings(directory, {})) as site:
        client = Client(create_and_start_application(site))
        headers = {"authorization": f"Bearer {site.store.users.renew_token_and_end_sessions('anna')}"}
        assert client.ask("PUT", "/tap/user_tables/mine", body=b"n\n8\n", headers=headers).status in {404, 405}
        assert "table-load-sync" not in client.get("/tap/capabilities").text
        assert count_rows(site, "anna") == count_rows(site, "bert") == 1
        site.store.get_or_create(UserTableRecordWriter).set_expiry("bert", "mine", "2026-01-01T00:00:00Z")
        assert delete_expired_user_tables(site) == 1
    run_hven("user", "remove", "anna", "--site", directory)
    (directory / "hven.toml").write_text((directory / "hven.toml").read_text().replace("plugins = []\n", ""))
    plugins.select_plugin_packages(None)
    with Site(load_settings(directory, {})) as site:
        site.store.users.add_account("anna")
        for account in ("anna", "bert"):
            assert site.store.user_tables.list_unexpired_owner_tables(account) == []
            with pytest.raises(BindError, match=r"no table 'tap_user\.mine'"):
                count_rows(site, account)


def test_the_verb_and_a_queued_job_name_the_package(directory: Path, tmp_path: Path) -> None:
    refusal = run_hven("tables", "--site", directory, expected_code=1, in_subprocess=True).stderr
    assert TOLD.format(name="tables") in refusal
    with Site(load_settings(directory, {})) as site:
        assert run_next_job(site)
        job = site.store.jobs.get_job((tmp_path / "job").read_text())
        assert job.phase == "ERROR"
        assert job.error is not None
        assert TOLD.format(name="table_update") in job.error["message"]
