"""Long timeouts for optional parts of pages, so that answers do not depend on the load of the machine."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from functools import cache
from types import FunctionType, ModuleType
from typing import Any

import pytest

import hven.portal
from hven.jobs.health import SiteHealthMonitor
from plugin_needs import load_core_fixtures

LONG_SECONDS = 100.0
CONSTANT_PATTERN = re.compile(r"[A-Z_]*(WAIT|TIMEOUT)_SECONDS")
PARAMETER_NAMES = ("timeout_seconds", "wait_seconds")
# these do not leave out a part of a page: they end a program, a download or the wait for a lease
OTHER_CONSTANTS = frozenset(
    [
        "GIT_TIMEOUT_SECONDS",
        "IDLE_TIMEOUT_SECONDS",
        "LEASE_TIMEOUT_SECONDS",
        "TOTAL_TIMEOUT_SECONDS",
        "TRIAL_TIMEOUT_SECONDS",
    ]
)


def iterate_modules() -> Iterator[ModuleType]:
    names = [module.name for module in pkgutil.walk_packages(hven.portal.__path__, "hven.portal.")]
    for name in (*names, *load_core_fixtures("PAGE_TIMEOUT_MODULES")):
        yield importlib.import_module(name)


def iterate_functions(module: ModuleType) -> Iterator[FunctionType]:
    """Yield the functions of a module, and the methods of its classes."""
    for value in vars(module).values():
        if getattr(value, "__module__", None) != module.__name__:
            continue
        members = vars(value).values() if inspect.isclass(value) else [value]
        for member in members:
            function = inspect.unwrap(getattr(member, "__func__", member))
            if isinstance(function, FunctionType):
                yield function


@cache
def list_constants() -> list[tuple[ModuleType, str]]:
    """List the constants of the portal that are a time after which a page goes without something."""
    return [
        (module, name)
        for module in iterate_modules()
        for name in vars(module)
        if CONSTANT_PATTERN.fullmatch(name) and name not in OTHER_CONSTANTS
    ]


@cache
def list_defaults() -> list[tuple[dict[str, Any], str]]:
    """List the defaults of keyword-only parameters that are such a time."""
    functions = [function for module in iterate_modules() for function in iterate_functions(module)]
    functions.append(SiteHealthMonitor.get_status)
    return [
        (function.__kwdefaults__, name)
        for function in functions
        for name in PARAMETER_NAMES
        if isinstance((function.__kwdefaults__ or {}).get(name), float | int)
    ]


@pytest.fixture(autouse=True)
def long_page_timeouts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set long timeouts; a test of a timeout sets its own."""
    for module, name in list_constants():
        monkeypatch.setattr(module, name, LONG_SECONDS)
    for defaults, name in list_defaults():
        monkeypatch.setitem(defaults, name, LONG_SECONDS)
