"""Rows and tables that a reader may not see are neither counted nor listed."""

from __future__ import annotations

from pathlib import Path

from asgi_client import Client
from joint_site import LOG_COUNT, make_rows, open_joint_site, search

from hven.app._server import create_and_start_application
from hven.site.auth import DEFAULT_POLICIES
from hven.site.auth._access_control import Principal
from hven.testing.policies import OddRowsHiddenPolicy


def test_hidden_rows_are_not_found(tmp_path: Path) -> None:
    _, files = make_rows()
    with open_joint_site(tmp_path) as (site, _):
        client = Client(create_and_start_application(site, policies=(*DEFAULT_POLICIES, OddRowsHiddenPolicy("id"))))
        found = search(client)
        assert [table["rows"] for table in found["tables"]] == [LOG_COUNT, sum(row["id"] % 2 == 0 for row in files)]


def test_private_tables_are_left_out(tmp_path: Path) -> None:
    with open_joint_site(tmp_path, access="private") as (site, client):
        found = search(client)
        assert [table["key"] for table in found["tables"]] == ["logs"]
        assert found["total"] == LOG_COUNT
        assert "files" not in str(found)
        owner = Client(
            create_and_start_application(
                site, identify_principal=lambda request: Principal(name="owner", groups=frozenset({"owner"}))
            )
        )
        assert [table["key"] for table in search(owner)["tables"]] == ["logs", "files"]
