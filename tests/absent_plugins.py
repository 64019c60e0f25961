"""Skip tests that fail because a plug-in belongs to a package that is absent."""

from __future__ import annotations

import re
from collections.abc import Generator

import pytest

MISSING_PLUGIN = re.compile(
    r"'(?P<name>\w+)' belongs to the plug-in package|there is no source '(?P<kind>\w+)'"
    r"|addresses that begin with (?P<scheme>\w+)://"
    r"|(?P<planner>tables of several engines) \([\w, ]+\), but no plug-in package"
)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup() -> Generator[None, object, object]:
    return (yield from _skip_without_package())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, object, object]:
    return (yield from _skip_without_package())


def _skip_without_package() -> Generator[None, object, object]:
    try:
        return (yield)
    except Exception as error:
        match = MISSING_PLUGIN.search(str(error))
        if match is not None:
            from plugin_needs import list_absent_packages  # it imports much of Hven

            if list_absent_packages():
                pytest.skip(f"no plug-in package in use has {match[match.lastgroup or 0]}")
        raise
