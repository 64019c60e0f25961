"""Tests of HiPS in a real browser."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[3] / "browser"))

from browser_fixtures import BrowserTests, browser, external_programs, web_port  # noqa: F401  (fixtures)


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(BrowserTests(Path(__file__).parent))
