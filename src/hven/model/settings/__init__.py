"""hven.toml and the environment -> one frozen object, handed down as arguments."""

from __future__ import annotations

from hven.model.settings._beginning import init
from hven.model.settings._living import FIXED, Settled
from hven.model.settings._secrets import SECRETS, exposed, secret
from hven.model.settings._setting_docs import DOCS, URL, read_bytes
from hven.model.settings._shape import (
    AlertSettings,
    Alias,
    Foreign,
    HealthSettings,
    JobLimits,
    Portal,
    Postgres,
    QueryLimits,
    RemoteService,
    ResolverSettings,
    ScheduleSettings,
    Settings,
    TreeSettings,
)
from hven.model.settings._site_file import FILE, load, strangers

__all__ = [
    "DOCS", "FILE", "FIXED", "SECRETS", "URL", "AlertSettings", "Alias", "Foreign", "HealthSettings", "JobLimits", "Portal",
    "Postgres", "QueryLimits", "RemoteService", "ResolverSettings", "ScheduleSettings", "Settings", "Settled", "TreeSettings",
    "exposed", "init", "load", "read_bytes", "secret", "strangers",
]  # fmt: skip
