"""A progress bar with rate and remaining time, for ``hven ingest``; it prints nothing if there is no terminal."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType

    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

    from hven.ingest.api.runs import IngestProgress


class IngestProgressBar:
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

    def __call__(self, ingest_progress: IngestProgress) -> None:
        """Show how far an ingest is."""
        if self._bar is None:
            return
        task = self._tasks.get(ingest_progress.table)
        if task is None:
            task = self._bar.add_task(ingest_progress.table, total=ingest_progress.total, shown="", rate="")
            self._tasks[ingest_progress.table] = task
        if ingest_progress.step == "fetch":
            count = ingest_progress.done or 0
            count_text = f"{count:,} of {ingest_progress.total or 0:,} documents"
        else:
            count = ingest_progress.rows
            count_text = f"{count:,} rows"
        elapsed = self._bar.tasks[task].elapsed or 0
        rate_text = ""
        if elapsed > 0.2 and ingest_progress.step in {"read", "fetch"}:
            rate_text = f"{count / elapsed:,.0f}/s"
        description = ingest_progress.table
        if ingest_progress.step != "read":
            description = f"{ingest_progress.table} {ingest_progress.step}"
        self._bar.update(
            task,
            description=description,
            completed=ingest_progress.done or 0,
            total=ingest_progress.total,
            shown=count_text,
            rate=rate_text,
        )


def print_percentage(share: float) -> None:
    """Print the completed share of a task on one line of the terminal; nothing if stderr goes elsewhere.

    Parameters
    ----------
    share
        0 to 1.
    """
    if sys.stderr.isatty():
        print(f"\r{share:4.0%}", end="", file=sys.stderr, flush=True)
