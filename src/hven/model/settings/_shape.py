"""Settings: everything that a site's owner may set, as a frozen dataclass with its defaults."""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003  (types of fields are read when they are checked)
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from hven.model.settings._secrets import secret
from hven.model.settings._sections import (
    AUTHORITY,
    COLOUR,
    INSIDE,
    PICTURE,
    URL,
    AlertSettings,
    Alias,
    CitedResults,
    DoiSettings,
    EverywhereSettings,
    FarFiles,
    HealthSettings,
    IdentityProvider,
    JobLimits,
    LiveLimits,
    Login,
    People,
    Portal,
    Project,
    PythonLimits,
    QueryLimits,
    ReaderProgram,
    RegistrySettings,
    RemoteService,
    ResolverSettings,
    ScheduleSettings,
    TreeSettings,
    setting,
)  # fmt: skip

if TYPE_CHECKING:  # as in `_sections`
    from pydantic import Field

ORIGIN = r"^https?://(?:\*\.)?[A-Za-z0-9.-]+(?::[0-9]{1,5})?$"  # goes into the content security policy as it stands
SURVEY = r"^https?://[A-Za-z0-9.-]+(?::[0-9]{1,5})?/[A-Za-z0-9._~%/+-]*$"  # its origin does, too


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
    brought
        What sections say that engines bring (`Section`), by their names.
    """

    directory: Path
    name: str = setting("Hven site", "short name of the site")
    title: str | None = setting(None, "heading of its first page")
    description: str | None = setting(None, "one paragraph about the site")
    authority: str = setting(
        "example.org",
        "the IVOA authority (ivo://authority/...)",
        pattern=AUTHORITY,
        example="an IVOA authority such as 'example.org'",
    )
    contact_name: str | None = setting(None, "who answers questions; also the contact of collections that name none")
    contact_email: str | None = setting(
        None, "their address", pattern="^[^@\\s]+@[^@\\s]+$", example="an address such as 'vo@example.org'"
    )
    public_url: str | None = setting(
        None,
        "what readers see: https://vo.example.org/hven; every link is made from it",
        pattern=URL,
        example="an address such as 'https://vo.example.org/hven'",
        placed="every link leads there",
    )
    root_path: str = setting(
        "",
        "prefix that a reverse proxy leaves in place; default: the path of public_url",
        pattern="^(/[^\\s?#]*[^/\\s?#])?$",
        example="a path such as '/hven', without a slash at its end",
    )
    host: str = setting("127.0.0.1", "address to listen on", placed="the address to listen at")
    port: int = setting(8080, "port to listen on", placed="another site may have it", ge=1, le=65535)
    workers: int = setting(2, "server processes", ge=1, le=256)
    job_workers: int = setting(
        1,
        "processes for asynchronous jobs, started when they are needed; 0: none here, `hven work` runs elsewhere",
        ge=0,
        le=256,
    )
    engine: str = setting(
        "duckdb", "which engine keeps the rows of collections that do not say it: duckdb (embedded), postgres or hats"
    )
    store: str | None = setting(
        None,
        "system store: postgresql+psycopg://user@host/database, or $NAME of a secret that holds it; default: var/hven.sqlite",
        placed="the database of the system state",
    )
    data: str | None = setting(
        None,
        "directory of snapshots and jobs, for machines that share one store; default: var/",
        placed="the directory of rows and jobs",
    )
    python: PythonLimits = setting(
        PythonLimits, "what Python beside a descriptor (`functions:`, `source: python`) may use, in its own process"
    )
    readers: tuple[ReaderProgram, ...] = setting(
        (), "programs that read files of samples (`reader:` of a data set), each with its own name"
    )
    live: LiveLimits = setting(LiveLimits, "what one process may ask of each database whose tables are read in place")
    files: FarFiles = setting(
        FarFiles,
        "what published files take that lie on servers elsewhere (`root:` of `files:`) and are given through this one",
    )
    limits: QueryLimits = setting(QueryLimits, "what one query may use")
    jobs: JobLimits = setting(JobLimits, "what one asynchronous job may use, and how long it is kept")
    resolver: ResolverSettings = setting(ResolverSettings, "where names of objects are looked up")
    schedule: ScheduleSettings = setting(
        ScheduleSettings, "how collections are synchronised by themselves (`sync: {every: 1 h}` in a descriptor)"
    )
    alerts: AlertSettings = setting(AlertSettings, "who is told when a collection does not follow its source")
    health: HealthSettings = setting(
        HealthSettings,
        "who sees on the health page what not every reader may know; when the files of snapshots are verified",
    )
    variant: str | None = setting(
        None,
        "name of this server among several for one service, as in blue and green; shown by the health page",
        pattern="^[A-Za-z0-9][A-Za-z0-9._-]{0,40}$",
        example="a word such as 'blue'",
    )
    keep_snapshots: int = setting(3, "how many states of a table are kept for rollback", ge=1)
    keep_changes: int = setting(
        30, "days for which it is kept what each sync changed, for /changes and hven diff", ge=0
    )
    disk_budget: int | None = setting(
        None, "bytes that var/ may take: 200 GiB; default: what the disk has", ge=1, size=True
    )
    allow_private: bool = setting(
        False,
        "true: files may also be fetched from addresses that are not on the public internet (the institute's own network)",
    )
    ceilings: Mapping[str, Annotated[float, Field(gt=0, le=10_000)]] = setting(
        dict,
        'host elsewhere = requests a second at most, by all processes together: "simbad.cds.unistra.fr" = 8, "ned.ipac.caltech.edu" = 1 (SIMBAD and NED have these without it)',
    )
    cors: tuple[str, ...] = setting(("*",), "web origins that may call the services from a browser")
    roots: tuple[Annotated[str, Field(min_length=1)], ...] = setting(
        (),
        "directories outside the site that links among its data files, published files and included descriptors may lead into; a link that leads elsewhere is refused",
        max_length=50,
    )
    origins: tuple[Annotated[str, Field(pattern=ORIGIN)], ...] = setting(
        (),
        "other web origins whose images (previews, thumbnails) and surveys pages may load: https://img.example.org, https://*.example.org; without any, pages ask nobody else",
        max_length=50,
    )
    surveys: tuple[Annotated[str, Field(pattern=SURVEY)], ...] = setting(
        (),
        "addresses of HiPS that maps of the sky may show below the rows, the first one at once: https://hips.example.org/DSSColor; without any, or where it does not come, a drawn sky that asks nobody",
        max_length=20,
    )
    alias: tuple[Alias, ...] = setting((), "old addresses answered by one of our faces")
    remote: tuple[RemoteService, ...] = setting(
        (),
        "TAP services elsewhere that the form over all EPN-TAP or ObsCore tables asks, too; without one nothing is sent anywhere",
    )
    everywhere: EverywhereSettings = setting(
        EverywhereSettings, "which services a registry lists that the form over all EPN-TAP or ObsCore tables asks, too"
    )
    defaults: Mapping[str, Any] = setting(dict, "merged below every descriptor")
    rules: Mapping[str, Literal["error", "warning", "info", "off"]] = setting(
        dict, "name of a rule = error, warning, info or off: for all collections that do not say it themselves"
    )
    accent: str | None = setting(
        None,
        "colour of the pages: #0b5cad; one too light, or too dark for dark pages, is changed until text in it can be read",
        pattern=COLOUR,
        example="a colour such as '#0b5cad'",
    )
    highlight: str | None = setting(
        None, "colour of what is chosen, written as accent is", pattern=COLOUR, example="a colour such as '#b3541e'"
    )
    logo: str | None = setting(
        None,
        "picture at the head of all pages, beside hven.toml: logo.svg (.png, .jpg, .webp)",
        pattern=PICTURE,
        example="a picture beside hven.toml, such as 'logo.svg'",
    )
    text: str = setting(
        "home.md",
        "Markdown file beside hven.toml that stands on the first page; home.fr.md beside home.md is read by readers of French",
        pattern=INSIDE,
        example="a file beside hven.toml, such as 'home.md'",
    )
    news: str = setting(
        "news",
        "directory of news beside hven.toml: Markdown files such as 2026-11-20-new-maps.md",
        pattern=INSIDE,
        example="a directory beside hven.toml, such as 'news'",
    )
    help: str = setting(
        "help",
        "directory of help pages beside hven.toml, and beside each descriptor: Markdown files, and pictures for them",
        pattern=INSIDE,
        example="a name such as 'help'",
    )
    credit: str | None = setting(None, "one line at the foot of all pages: who pays, whom to thank")
    language: Literal["en", "fr"] = setting("en", "of pages for readers who ask for none that there is: en or fr")
    access: Literal["public", "private"] = setting("public", "of collections that say nothing of it: public or private")
    people: People = setting(People, "groups and other names of accounts, for policies")
    login: Login = setting(Login, "how readers may say who they are")
    identity: tuple[IdentityProvider, ...] = setting(
        (), "providers of OpenID Connect by whom readers log in, each with its own name"
    )
    tree: TreeSettings = setting(TreeSettings, "the tree with counts on the first page")
    registry: RegistrySettings = setting(
        RegistrySettings, "what registries of the Virtual Observatory are told of the site (/oai)"
    )
    doi: DoiSettings = setting(DoiSettings, "where DOIs are registered (`hven doi`)")
    results: CitedResults = setting(CitedResults, "persistent addresses of results")
    portals: tuple[Portal, ...] = setting((), "several portals over the same collections, each with its own name")
    projects: tuple[Project, ...] = setting((), "people who share collections, each with its own name")
    brought: Mapping[str, Any] = field(default_factory=dict)

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

    def authority_of(self, collection: str) -> str:
        """Return the authority of a collection's ids: that of the first portal which has it and says one, else the site's.

        Parameters
        ----------
        collection
            Its name.
        """
        return next(
            (one.authority for one in self.portals if one.authority and collection in one.collections), self.authority
        )

    @property
    def authorities(self) -> tuple[str, ...]:
        """The IVOA authorities that are this site's, its own first; each once, without case."""
        named = (self.authority, *(one.authority for one in self.portals if one.authority), *self.registry.authorities)
        return tuple(name for at, name in enumerate(named) if name.lower() not in {one.lower() for one in named[:at]})

    def administered(self, account: str | None) -> frozenset[str]:
        """Return the collections of the portals that an account administers.

        Parameters
        ----------
        account
            Its name; None: nobody's.
        """
        return frozenset(name for one in self.portals if account in one.administrators for name in one.collections)

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
        """Resolve an address that may be a secret's name.

        Parameters
        ----------
        text
            An address, or ``$NAME``.

        Returns
        -------
        address
            `text` itself, or what the secret holds.
        """
        return secret(self.directory, text) if text.startswith("$") else text

    @property
    def kept(self) -> Path:
        """Where snapshots and the files of jobs are: ``var/``, or what `data` says, which machines with one store share."""
        return self.var if self.data is None else self.directory / self.data
