"""Fixtures of all tests."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# the helpers beside the tests (shared.py, ...) are plain modules
sys.path.insert(0, str(Path(__file__).parent))

from shared import MORE

# speed is measured in bench/: a busy machine must not fail a test of correctness
settings.register_profile("hven", deadline=None, max_examples=40 * MORE, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("hven")


def pytest_addoption(parser):
    parser.addoption("--update", action="store_true", help="rewrite the golden documents (refused when CI=true)")


def pytest_configure(config):
    if config.getoption("--update") and os.environ.get("CI") == "true":
        raise pytest.UsageError("golden documents are not rewritten in CI: rewrite them at home and read the difference")


@pytest.fixture
def golden(request):
    """Compare bytes with the golden document of that name below tests/golden, or rewrite it with --update."""
    update = request.config.getoption("--update")

    def compare(name: str, data: bytes) -> None:
        path = Path(__file__).parent / "golden" / name
        if update:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        assert path.exists(), f"there is no golden document {name}: write it with pytest --update"
        assert data == path.read_bytes(), f"{path} has changed; if that is meant, rewrite it with pytest --update"

    return compare
