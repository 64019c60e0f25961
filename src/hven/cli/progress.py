"""A progress bar with rate and time left, for ``hven ingest``; silent where nobody looks."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType

    from rich.progress import Progress as Bar
    from rich.progress import TaskID


class Progress:
    """Called by ingest: ``progress(table, phase, rows, done, total)``; `done` and `total` in the source's own unit."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet or not sys.stderr.isatty()
        self._bar: Bar | None = None
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        if not self._quiet:
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.fields[rows]:>12,} rows  {task.fields[rate]}"),
                TimeRemainingColumn(),
                console=Console(stderr=True),
            )
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, table: str, phase: str, rows: int, done: int | None = None, total: int | None = None) -> None:
        """Show where an ingest is."""
        if self._bar is None:
            return
        task = self._tasks.get(table)
        if task is None:
            task = self._tasks[table] = self._bar.add_task(table, total=total, rows=0, rate="")
        elapsed = self._bar.tasks[task].elapsed or 0
        rate = f"{rows / elapsed:,.0f}/s" if elapsed > 0.2 else ""
        self._bar.update(task, description=f"{table} {phase}", completed=done or 0, total=total, rows=rows, rate=rate)
