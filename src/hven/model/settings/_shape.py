"""Settings: everything that a site's owner may set, as frozen dataclasses with their defaults."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hven.model.resource import PythonLimits
from hven.model.settings._secrets import secret

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class Alias:
    """An old address answered by one of our faces: ``[[alias]]`` with `path`, `to` and renamed or fixed parameters.

    `query` is ADQL for ``/tap/sync``; `where` has the condition that each old parameter becomes in it, with ``?`` for its value.
    """

    path: str
    to: str
    rename: Mapping[str, str] = field(default_factory=dict)
    set: Mapping[str, str] = field(default_factory=dict)
    query: str | None = None
    where: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreign:
    """Tables of another PostgreSQL database, which `hven fdw` makes foreign tables of ours: ``[[foreign]]``."""

    name: str
    url: str
    namespace: str = "public"
    tables: tuple[str, ...] = ()
    into: str | None = None  # None = as name
    roles: tuple[str, ...] = ()  # none = those of the engine postgres
    fetch_size: int = 10_000
    extensions: tuple[str, ...] | None = None  # None = those that both databases have


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteService:
    """A TAP service elsewhere that the form over all EPN-TAP or ObsCore tables asks, too: ``[[remote]]``."""

    name: str
    url: str
    kind: str = "epn"  # or obscore
    tables: tuple[str, ...] = ()
    title: str | None = None
    seconds: float = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryLimits:
    """What one query may use."""

    maxrec_default: int = 2_000_000
    maxrec_hard: int = 20_000_000
    seconds: float = 60.0
    memory: int = 2 * 1024**3  # of one process's engine
    text: int = 1_000_000  # bytes of ADQL
    upload: int = 100 * 1024**2  # of all uploads of a query, unpacked; 0 = none
    upload_rows: int = 10_000_000
    concurrent: int | None = None  # big queries that compute at once, per process; None: as many as processors
    bodies: int = 8  # big requests that a process receives at once; more get 503
    user_tables: int = 50  # that one account may keep; 0 = none
    user_rows: int = 50_000_000  # of all tables of an account
    user_bytes: int = 1024**3  # on disk, of all tables of an account
    user_days: float = 30.0  # after which a table that nobody wrote to goes
    copy_rows: int = 2_000_000  # between two engines, for one query
    copy_bytes: int = 512 * 1024**2
    copy_keys: int = 100_000  # keys of one table that narrow another one in another engine


@dataclass(frozen=True, slots=True, kw_only=True)
class Postgres:
    """The engine ``postgres``: where its rows are, and how many connections a process may have."""

    url: str | None = None  # postgresql://user@host/database, or $NAME of a secret that holds it
    namespace: str = "hven"
    read_role: str | None = None
    read_url: str | None = None
    pool: int = 10
    position: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveLimits:
    """What one process may ask of a database whose tables are read in place."""

    pool: int = 4
    at_once: int = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class JobLimits:
    """What one asynchronous job may use, and how long it is kept."""

    seconds: int = 3600
    seconds_hard: int = 24 * 3600
    keep_days: float = 7.0
    keep_days_hard: float = 92.0
    archive_days: float = 0.0
    maxrec_default: int | None = None  # None = as limits.maxrec_default
    maxrec_hard: int | None = None  # None = as limits.maxrec_hard
    queued: int = 2000  # of one user or address
    open: int = 10_000  # of one user or address, whatever they wait for
    idle: float = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolverSettings:
    """Where names of objects are looked up."""

    table: str | None = None  # schema.table of this site
    remote: bool = False
    url: str = "https://cds.unistra.fr/cgi-bin/nph-sesame"
    seconds: float = 10.0
    keep_days: float = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleSettings:
    """How collections are synchronised by themselves. Times in seconds."""

    runs: int = 2  # at once, of all machines; 0: this server runs none
    retry: float = 60.0
    retry_most: float = 3600.0
    grace: float | None = None  # None: what was missed is made up, however late
    stale: int = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertSettings:
    """Who is told when a collection does not follow its source."""

    webhook: str | None = None  # an address, or $NAME of a secret that holds it
    command: tuple[str, ...] = ()
    mail_to: tuple[str, ...] = ()
    mail_from: str | None = None
    smtp_host: str | None = None
    smtp_port: int | None = None  # None: what is usual with smtp_tls
    smtp_user: str | None = None
    smtp_password: str | None = None  # $NAME of a secret
    smtp_tls: str = "starttls"
    repeat_failures: int = 10
    repeat_hours: float = 24.0


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthSettings:
    """Who sees on the health page what not every reader may know; how the files of published rows are verified."""

    operators: tuple[str, ...] = ()  # names of accounts
    open: bool = False  # everybody
    verify_days: float = 7.0  # 0: only what was published a moment ago, and when somebody asks
    verify_rate: int = 64 * 1024**2  # bytes a second


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeSettings:
    """The tree of counts on the first page: what its levels are, from the outermost."""

    levels: tuple[str, ...] = (
        "instrument_host_name|facility_name|mission|telescope|@facility",
        "instrument_name|instrument|@instrument",
        "@collection",
    )
    branches: int = 100  # of one level of one table


@dataclass(frozen=True, slots=True, kw_only=True)
class Portal:
    """One portal of several on one site: ``[portals.NAME]``. What is None is the site's.

    Attributes
    ----------
    host, path
        By which of them readers come: a host name, or the beginning of the path.
    collections
        The only ones that its pages show; empty: all. It hides nothing: TAP and the other portals have them.
    """

    name: str
    host: str | None = None
    path: str | None = None
    title: str | None = None
    description: str | None = None
    collections: tuple[str, ...] = ()
    levels: tuple[str, ...] | None = None
    accent: str | None = None
    highlight: str | None = None
    logo: str | None = None
    text: str | None = None
    news: str | None = None
    language: str | None = None
    contact_email: str | None = None


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
    job_workers: int = 1
    engine: str = "duckdb"
    store: str | None = None  # SQLAlchemy URL; None = var/hven.sqlite
    data: str | None = None  # directory of snapshots and jobs; None = var/
    postgres: Postgres = field(default_factory=Postgres)
    live: LiveLimits = field(default_factory=LiveLimits)
    limits: QueryLimits = field(default_factory=QueryLimits)
    jobs: JobLimits = field(default_factory=JobLimits)
    resolver: ResolverSettings = field(default_factory=ResolverSettings)
    schedule: ScheduleSettings = field(default_factory=ScheduleSettings)
    python: PythonLimits = field(default_factory=PythonLimits)
    alerts: AlertSettings = field(default_factory=AlertSettings)
    health: HealthSettings = field(default_factory=HealthSettings)
    variant: str | None = None
    keep_snapshots: int = 3
    keep_changes: int = 30  # days
    disk_budget: int | None = None  # bytes of var/, None = what the disk has
    allow_private: bool = False  # downloads from addresses that are not on the public internet
    roots: tuple[str, ...] = ()  # directories outside the site that links among its files may lead into
    cors: tuple[str, ...] = ("*",)
    origins: tuple[str, ...] = ()  # whose images pages may show
    surveys: tuple[str, ...] = ()  # HiPS below the maps of the sky, the first one at once
    aliases: tuple[Alias, ...] = ()
    foreign: tuple[Foreign, ...] = ()
    remote: tuple[RemoteService, ...] = ()
    defaults: Mapping[str, Any] = field(default_factory=dict)
    rules: Mapping[str, str] = field(default_factory=dict)  # name of a rule -> severity, for all collections
    accent: str | None = None
    highlight: str | None = None
    logo: str | None = None
    text: str = "home.md"
    news: str = "news"
    help: str = "help"
    credit: str | None = None
    language: str = "en"
    tree: TreeSettings = field(default_factory=TreeSettings)
    portals: tuple[Portal, ...] = ()

    @property
    def job_rows(self) -> tuple[int, int]:
        """Rows of a job's answer: without MAXREC, and at most."""
        hard = self.limits.maxrec_hard if self.jobs.maxrec_hard is None else self.jobs.maxrec_hard
        default = self.limits.maxrec_default if self.jobs.maxrec_default is None else self.jobs.maxrec_default
        return min(default, hard), hard

    @property
    def url(self) -> str:
        """What ``{site.url}`` is: where readers find the site, without a slash at the end."""
        return (self.public_url or f"http://{self.host}:{self.port}{self.root_path}").rstrip("/")

    @property
    def collections(self) -> Path:
        """Where descriptors live: ``collections/<name>/<name>.yaml``."""
        return self.directory / "collections"

    @property
    def var(self) -> Path:
        """Snapshots, system state, cache: rebuildable."""
        return self.directory / "var"

    @property
    def grounds(self) -> tuple[Path, ...]:
        """Where files of the site may really lie: the site itself, and what `roots` names."""
        return (self.directory, *(self.directory / Path(root).expanduser() for root in self.roots))

    def resolved(self, text: str) -> str:
        """Give an address, or what the secret holds that `text` names (``$NAME``)."""
        return secret(self.directory, text) if text.startswith("$") else text

    @property
    def kept(self) -> Path:
        """Where snapshots and the files of jobs are: ``var/``, or what `data` says, which machines with one store share."""
        return self.var if self.data is None else self.directory / self.data
