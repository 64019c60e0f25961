"""A progress bar with rate and time left, for ``hven ingest``; silent where nobody looks."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType

    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

    from hven.ingest import IngestProgress


class ProgressBar:
    """Called by ingest with each `hven.ingest.IngestProgress`."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet or not sys.stderr.isatty()
        self._bar: RichProgress | None = None
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        if not self._quiet:
            from rich.console import Console  # noqa: PLC0415  (a tenth of a second, for people alone)

            # a tenth of a second, for people alone
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
        """Show where an ingest is."""
        if self._bar is None:
            return
        task = self._tasks.get(current.table)
        if task is None:
            task = self._tasks[current.table] = self._bar.add_task(
                current.table, total=current.total, shown="", rate=""
            )
        elapsed = self._bar.tasks[task].elapsed or 0
        if current.step == "fetch":
            count = current.done or 0
        else:
            count = current.rows
        if elapsed > 0.2 and current.step in {"read", "fetch"}:
            rate = f"{count / elapsed:,.0f}/s"
        else:
            rate = ""
        if current.step == "fetch":
            count_text = f"{count:,} of {current.total or 0:,} documents"
        else:
            count_text = f"{count:,} rows"
        if current.step == "read":
            step = ""
        else:
            step = f" {current.step}"
        self._bar.update(
            task,
            description=current.table + step,
            completed=current.done or 0,
            total=current.total,
            shown=count_text,
            rate=rate,
        )
