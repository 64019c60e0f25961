"""The interface of the engine of a database that is read in place, for its plans and executions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from hven.plugins.postgres.engine.engine_protocol import PostgresEngineProtocol

if TYPE_CHECKING:
    from hven.plugins.postgres.live.statement_limiter import ShortStatementLimiter


class LiveEngineProtocol(PostgresEngineProtocol, Protocol):
    """The engine of a database that is read in place."""

    timeout_seconds: float
    turnstile: ShortStatementLimiter

    def reload_features_for_extension(self, extension: str) -> None:
        """Look at the database again unless it has this extension, which may have been installed since."""
