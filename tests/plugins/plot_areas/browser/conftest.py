"""Tests of areas of plots in a real browser."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[3] / "browser"))

from browser_fixtures import (  # noqa: F401  (fixtures)
    BrowserTests,
    browser,
    consent,
    external_programs,
    hub,
    phone_tab,
    scriptless_tab,
    server,
    tab,
    topcat,
    web_port,
)


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(BrowserTests(Path(__file__).parent))
