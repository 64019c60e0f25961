"""Jobs that wait for others and jobs that are parts of others, again, over a system store on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from hven.site import Site
from hven.testing.site import open_tiny_site
from postgres_cluster import run_server
from postgres_job_tests import close_supervisors, drop_all_tables, load_module

pytestmark = pytest.mark.outside

depends = load_module(Path(__file__).with_name("test_depends.py"))
MANY = "test_whatever_is_asked_for_no_circle_comes_to_be_and_all_end"  # hypothesis' hundred examples are SQLite's
desk = depends.desk
globals().update({name: item for name, item in vars(depends).items() if name.startswith("test_") and name != MANY})


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with run_server() as found:
        yield f"postgresql+psycopg://{found}"


@pytest.fixture
def site(tmp_path: Path, address: str) -> Iterator[Site]:
    with open_tiny_site(tmp_path, {"s.t": pa.table({"x": [1]})}, store=drop_all_tables(address)) as made:
        yield made


@pytest.fixture(autouse=True)
def keepers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with close_supervisors(monkeypatch, depends):
        yield
