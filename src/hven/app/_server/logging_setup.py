"""Where log lines go: the access log in gulps, so that no request waits for the terminal, the pipe or the disk."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing import TextIO

FLUSH_DELAY_SECONDS = 0.1  # seconds that a line waits for others
MAX_BUFFERED_LINES = 500  # lines that wait at most


class BufferedHandler(logging.StreamHandler["TextIO"]):
    """A stream handler that gathers the lines of an event loop's tenth of a second into one write."""

    def __init__(self, stream: TextIO | None = None) -> None:
        super().__init__(stream)
        self._lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line, and see to it that it is written soon: at once if there is no event loop here."""
        self._lines.append(self.format(record))
        waiting = len(self._lines)
        if waiting == 1:
            try:
                asyncio.get_running_loop().call_later(FLUSH_DELAY_SECONDS, self.flush)
            except RuntimeError:
                self.flush()
        elif waiting >= MAX_BUFFERED_LINES:
            self.flush()

    def flush(self) -> None:
        """Write what waits; called when the process ends too."""
        lines = self._lines
        self._lines = []
        if lines:
            self.stream.write("\n".join(lines) + "\n")
        super().flush()


def reduce_log_records() -> None:
    """Omit where in the code, in which thread and process a line was made.

    Ours do not say it, and it is half the price.

    For a process that serves and does nothing else (the logging howto, "Optimization").
    """
    logging._srcfile = None  # noqa: SLF001  (documented there)
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False


LOGGING_CONFIG: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "plain": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"},
        "bare": {"format": "%(message)s"},
    },
    "handlers": {
        "plain": {"class": "logging.StreamHandler", "formatter": "plain"},
        "gathering": {
            "class": "hven.app._server.logging_setup.BufferedHandler",
            "formatter": "bare",
            "stream": "ext://sys.stdout",
        },
    },
    "loggers": {
        "hven": {"handlers": ["plain"], "level": "INFO", "propagate": False},
        "hven.access": {"handlers": ["gathering"], "level": "INFO", "propagate": False},
        "_granian": {"handlers": ["plain"], "level": "WARNING", "propagate": False},
        # an answer that breaks off must be an exception to granian; our own log has said why, with the request's id
        "_granian.utils": {"level": "CRITICAL"},
    },
    "root": {"handlers": ["plain"], "level": "WARNING"},
}
