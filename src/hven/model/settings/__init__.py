"""hven.toml and the environment -> one frozen object, handed down as arguments."""

from __future__ import annotations

from hven.model.settings._beginning import init
from hven.model.settings._living import Settled
from hven.model.settings._secrets import SECRETS, exposed, secret
from hven.model.settings._sections import (
    URL,
    AlertSettings,
    Alias,
    Portal,
    Project,
    PythonLimits,
    QueryLimits,
    RemoteService,
    ScheduleSettings,
    Section,
    said,
    setting,
)
from hven.model.settings._shape import Settings
from hven.model.settings._site_file import FILE, lacking, load, strangers
from hven.model.settings._validation import docs, placed, read_bytes

__all__ = [
    "FILE", "SECRETS", "URL", "AlertSettings", "Alias", "Portal", "Project", "PythonLimits",
    "QueryLimits", "RemoteService", "ScheduleSettings", "Section", "Settings", "Settled",
    "docs", "exposed", "init", "lacking", "load", "placed", "read_bytes", "said", "secret", "setting", "strangers",
]  # fmt: skip
