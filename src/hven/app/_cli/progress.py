"""A progress bar with rate and remaining time, for ``hven ingest``; it prints nothing if there is no terminal."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType

    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

    from hven.ingest import IngestProgress


class ProgressBar:
    """Show the progress of an ingest, which calls it with each `hven.ingest.IngestProgress`."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet or not sys.stderr.isatty()
        self._bar: RichProgress | None = None
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        if not self._quiet:
            # imported here: they take a tenth of a second, and are needed only at a terminal
            from rich.console import Console  # noqa: PLC0415
            from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415

            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.fields[shown]:>17}  {task.fields[rate]}"),
                TimeRemainingColumn(),
                console=Console(stderr=True),
            )
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, current: IngestProgress) -> None:
        """Show how far an ingest is."""
        if self._bar is None:
            return
        task = self._tasks.get(current.table)
        if task is None:
            task = self._bar.add_task(current.table, total=current.total, shown="", rate="")
            self._tasks[current.table] = task
        if current.step == "fetch":
            count = current.done or 0
            count_text = f"{count:,} of {current.total or 0:,} documents"
        else:
            count = current.rows
            count_text = f"{count:,} rows"
        elapsed = self._bar.tasks[task].elapsed or 0
        rate_text = ""
        if elapsed > 0.2 and current.step in {"read", "fetch"}:
            rate_text = f"{count / elapsed:,.0f}/s"
        description = current.table
        if current.step != "read":
            description = f"{current.table} {current.step}"
        self._bar.update(
            task,
            description=description,
            completed=current.done or 0,
            total=current.total,
            shown=count_text,
            rate=rate_text,
        )
