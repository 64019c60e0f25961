"""Rights at full size, of the engine postgres: queries made at random under policies, with and without copies of the rows that readers see."""

from __future__ import annotations

import sys
from pathlib import Path
from unittest import mock

import pytest

from shared import ROOT

sys.path.insert(0, str(ROOT / "tests/proofs"))

from test_rights import compare_sites

from hven.plugins.postgres.settings import PostgresSettings
from postgres_cluster import install_extensions, run_server

pytestmark = pytest.mark.needs("proof")


@pytest.mark.parametrize(("name", "least"), [("postgres", 5_000), ("copied", 0)])
def test_queries_under_policies(tmp_path: Path, name: str, least: int) -> None:
    copies = mock.patch("hven.plugins.postgres.engine.accessible_copies.MIN_COPIED_ROWS", least)
    with run_server() as address, copies:
        install_extensions(f"postgresql://{address}")
        where = {
            name: PostgresSettings(url=f"postgresql://{address}", namespace=name) for name in ("without", "hiding")
        }
        compare_sites(tmp_path, name, engine=lambda _: "postgres", brought=lambda name: {"postgres": where[name]})
