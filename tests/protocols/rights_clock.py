"""The clock of policies, which tests stop or move, and the patience of pages."""

from __future__ import annotations

import importlib
import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from unittest import mock

from plugin_needs import list_package_directories
from shared import ROOT

PATIENCE_SECONDS = 600.0
PATIENCE_PATTERN = re.compile(r"^(_?[A-Z_]*(?:TIMEOUT|WAIT)_SECONDS)\b[^=\n]*= ", re.MULTILINE)


@contextmanager
def stop_policy_clock(moment: Callable[[], int]) -> Iterator[None]:
    """Give policies a time, in microseconds since 1970."""
    with (
        mock.patch("hven.adql._row_policy.get_current_instant", moment),
        mock.patch("hven.site._published_state.get_current_instant", moment),
    ):
        yield


@contextmanager
def stop_grants_clock(moment: Callable[[], int]) -> Iterator[None]:
    """Give invitations and delegations a time, in microseconds since 1970."""
    clock = SimpleNamespace(time=lambda: moment() / 1e6, monotonic=time.monotonic)
    with mock.patch("hven.site.store._grants.time", clock):
        yield


@contextmanager
def let_pages_wait() -> Iterator[None]:
    """Let pages wait for their counts, however busy the machine is: an answer without them differs from its twin."""
    with ExitStack() as stack:
        for directory in (ROOT / "src/hven/portal", *list_package_directories()):
            for path in sorted(directory.rglob("*.py")):
                names = PATIENCE_PATTERN.findall(path.read_text(encoding="utf-8"))
                if names:
                    words = path.relative_to(ROOT / "src").with_suffix("").parts
                    module = importlib.import_module(".".join(words).removesuffix(".__init__"))
                    stack.enter_context(mock.patch.multiple(module, **dict.fromkeys(names, PATIENCE_SECONDS)))
        yield
