"""hven.toml and the environment -> one frozen object, handed down as arguments."""

from __future__ import annotations

from hven.settings.beginning import init
from hven.settings.living import FIXED, Settled
from hven.settings.reading import FILE, load, strangers
from hven.settings.secrets import SECRETS, secret
from hven.settings.shape import (
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
from hven.settings.words import DOCS, URL, names, read_bytes

__all__ = [
    "DOCS",
    "FILE",
    "FIXED",
    "SECRETS",
    "URL",
    "AlertSettings",
    "Alias",
    "Foreign",
    "HealthSettings",
    "JobLimits",
    "Portal",
    "Postgres",
    "QueryLimits",
    "RemoteService",
    "ResolverSettings",
    "ScheduleSettings",
    "Settings",
    "Settled",
    "TreeSettings",
    "init",
    "load",
    "names",
    "read_bytes",
    "secret",
    "strangers",
]
