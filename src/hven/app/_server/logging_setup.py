"""Configure logging. Lines of the access log are buffered, so that no request waits for a terminal, pipe or disk."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from hven.site import CURRENT_USAGE

if TYPE_CHECKING:
    from typing import TextIO

FLUSH_DELAY_SECONDS = 0.1  # time that a line waits for others
MAX_BUFFERED_LINES = 500  # with this number of lines, the buffer is written at once


class BufferedLogHandler(logging.StreamHandler["TextIO"]):
    """A stream handler that writes the lines of a tenth of a second at once."""

    def __init__(self, stream: TextIO | None = None) -> None:
        super().__init__(stream)
        self._lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Add a line to the buffer, and schedule its writing."""
        self._lines.append(self.format(record))
        line_count = len(self._lines)
        if line_count == 1:
            try:
                asyncio.get_running_loop().call_later(FLUSH_DELAY_SECONDS, self.flush)
            except RuntimeError:
                self.flush()
        elif line_count >= MAX_BUFFERED_LINES:
            self.flush()

    def flush(self) -> None:
        """Write the buffered lines. This is also called when the process ends."""
        lines = self._lines
        self._lines = []
        if lines:
            self.stream.write("\n".join(lines) + "\n")
        super().flush()


class MessageFormatter(logging.Formatter):
    """Formats messages as text, or as JSON with the id of the request if the environment has HVEN_LOG_FORMAT=json."""

    def format(self, record: logging.LogRecord) -> str:
        """Format a message with its traceback."""
        if os.environ.get("HVEN_LOG_FORMAT") != "json":
            return super().format(record)
        usage = CURRENT_USAGE.get()
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname,
            "logger": record.name,
            "id": usage and usage.request_id,
            "message": record.getMessage(),
            "traceback": record.exc_info and self.formatException(record.exc_info),
        }
        return json.dumps(line)  # the names of files in a message may be no Unicode


def skip_log_record_details() -> None:
    """Omit from log records the place in the code, the thread and the process.

    Hven's formats do not show them, and they take half of the time of a record. This is for processes that only serve
    (see "Optimization" in Python's logging how-to).
    """
    logging._srcfile = None  # noqa: SLF001  (documented there)
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False


LOGGING_CONFIG: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "plain": {
            "class": "hven.app._server.logging_setup.MessageFormatter",
            "format": "%(asctime)s %(levelname)s %(name)s: %(message)s",
        },
        "bare": {"format": "%(message)s"},
    },
    "handlers": {
        "plain": {"class": "logging.StreamHandler", "formatter": "plain"},
        "gathering": {
            "class": "hven.app._server.logging_setup.BufferedLogHandler",
            "formatter": "bare",
            "stream": "ext://sys.stdout",
        },
    },
    "loggers": {
        "hven": {"level": "INFO"},
        "hven.access": {"handlers": ["gathering"], "level": "INFO", "propagate": False},
        "_granian": {"level": "WARNING"},
        # An answer that breaks off must be an exception to granian. The log "hven" has the reason and the request's id.
        "_granian.utils": {"level": "CRITICAL"},
    },
    "root": {"handlers": ["plain"], "level": "WARNING"},
}
