"""The section ``[operations]`` of hven.toml."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hven.model.settings import SettingsSection, define_setting

if TYPE_CHECKING:
    from hven.model.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationsSettings:
    """Which queries are logged as slow."""

    slow_seconds: float = define_setting(
        5.0, "number of seconds after which Hven logs a query as slow. 0: Hven logs no queries", ge=0, le=86400
    )
    log_bytes: int = define_setting(
        10 * 1024**2, "maximum size of the log of slow queries, in bytes", ge=64 * 1024, size=True
    )
    names: bool = define_setting(
        False,
        "true: the log of slow queries also contains the names of accounts. Default: only whether the user was "
        "anonymous, had an account, or was an operator",
    )


OPERATIONS_SECTION = SettingsSection(
    name="operations",
    settings_class=OperationsSettings,
    doc="which queries Hven logs as slow",
    previous_setting="health",
    example_text="""\
[operations]
slow_seconds = 2.0
log_bytes = "50 MiB"
names = true
""",
)


def get_operations_settings(settings: Settings) -> OperationsSettings:
    """Return the section ``[operations]``."""
    operations: OperationsSettings = settings.brought.get(OPERATIONS_SECTION.key, OperationsSettings())
    return operations
