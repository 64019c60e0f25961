"""hven.toml and the environment -> one frozen object, handed down as arguments."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Alias:
    """An old address answered by one of our faces: ``[[alias]]`` with `path`, `to` and renamed or fixed parameters."""

    path: str
    to: str
    rename: Mapping[str, str] = field(default_factory=dict)
    set: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryLimits:
    """What one query may use."""

    maxrec_default: int = 2_000_000
    maxrec_hard: int = 20_000_000
    seconds: float = 60.0
    memory: int = 2 * 1024**3  # of one process's engine
    text: int = 1_000_000  # bytes of ADQL
    upload: int = 100 * 1024**2
    concurrent: int = 32  # running queries per process; more wait, then get 503


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything a site's owner may set. Read by :func:`load` from ``hven.toml`` and ``HVEN_*``.

    Attributes
    ----------
    directory
        The site's directory (hven.toml, collections/, var/).
    public_url
        What readers see: ``https://vo.example.org/hven``; every link is made from it. None: the request's own.
    root_path
        Prefix that a reverse proxy leaves in place; taken from `public_url` if not given.
    defaults
        ``[defaults]``: merged below every descriptor.
    """

    directory: Path
    name: str = "Hven site"
    title: str | None = None
    description: str | None = None
    authority: str = "example.org"
    contact_name: str | None = None
    contact_email: str | None = None
    public_url: str | None = None
    root_path: str = ""
    host: str = "127.0.0.1"
    port: int = 8080
    workers: int = 2
    engine: str = "duckdb"
    store: str | None = None  # SQLAlchemy URL; None = var/hven.sqlite
    limits: QueryLimits = field(default_factory=QueryLimits)
    keep_snapshots: int = 3
    disk_budget: int | None = None  # bytes of var/, None = what the disk has
    cors: tuple[str, ...] = ("*",)
    aliases: tuple[Alias, ...] = ()
    defaults: Mapping[str, Any] = field(default_factory=dict)
    accent: str | None = None

    @property
    def collections(self) -> Path:
        """Where descriptors live: ``collections/<name>/<name>.yaml``."""
        return self.directory / "collections"

    @property
    def var(self) -> Path:
        """Snapshots, system state, cache: rebuildable."""
        return self.directory / "var"
