"""Write each failed test to ``.pytest_cache/d/failures/failures.txt`` at once: a long run can be read while it goes on.

The file has a line for each failure (the test, the step, the first line of the error), and is empty while all is well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path


def pytest_configure(config: pytest.Config) -> None:
    """Begin an empty file; workers of pytest-xdist report to the process that began it."""
    if config.option.collectonly or hasattr(config, "workerinput") or not hasattr(config, "cache"):
        return
    folder = config.cache.mkdir("failures")  # below .pytest_cache/d
    config.pluginmanager.register(FailureLog(folder / "failures.txt"), "failed_tests")


class FailureLog:
    """The plug-in of the process that collects the reports."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.write_text("", encoding="utf-8")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if not report.failed:
            return
        crash = getattr(report.longrepr, "reprcrash", None)
        words = str(crash.message if crash is not None else report.longrepr).strip().splitlines() or [""]
        with self.path.open("a", encoding="utf-8") as lines:
            lines.write(f"{report.nodeid} ({report.when}): {words[0][:300]}\n")
