"""Define the settings of a site, as a frozen dataclass with its defaults."""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003  (types of fields are read when they are checked)
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from hven.model.settings._secrets import resolve_secret
from hven.model.settings._sections import (
    AUTHORITY_PATTERN,
    COLOUR_PATTERN,
    PICTURE_PATH_PATTERN,
    RELATIVE_PATH_PATTERN,
    URL_PATTERN,
    AccountGroupSettings,
    AlertSettings,
    CitedResultSettings,
    CountTreeSettings,
    DescriptorPythonLimits,
    FederatedSearchSettings,
    FileCacheSettings,
    HealthSettings,
    InPlaceDatabaseLimits,
    JobLimits,
    LoginSettings,
    PortalSettings,
    ProjectSettings,
    QueryLimits,
    RegistrySettings,
    RemoteTapService,
    SampleReaderProgram,
    ScheduleSettings,
    define_setting,
    normalize_network,
)

if TYPE_CHECKING:  # as in `_sections`
    from pydantic import AfterValidator, Field

# both go into the content security policy without a change
ORIGIN_PATTERN = r"^https?://(?:\*\.)?[A-Za-z0-9.-]+(?::[0-9]{1,5})?$"
SURVEY_URL_PATTERN = r"^https?://[A-Za-z0-9.-]+(?::[0-9]{1,5})?/[A-Za-z0-9._~%/+-]*$"
JOB_TYPES_DIRECTORY = "jobs"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Hold all settings of a site, which `load_settings` reads from ``hven.toml`` and ``HVEN_*``.

    Attributes
    ----------
    directory
        The site's directory (hven.toml, collections/, var/).
    public_url
        The address of the site for readers: ``https://vo.example.org/hven``; all links begin with it. None for the
        address of the request.
    root_path
        Prefix that a reverse proxy leaves in place; by default the path of `public_url`.
    defaults
        ``[defaults]``: the lowest layer of every descriptor.
    brought
        The values of sections that engines and packages add, by the names of sections (`SettingsSection.key`).
    """

    directory: Path
    name: str = define_setting("Hven site", "short name of the site")
    title: str | None = define_setting(None, "heading of the site's home page")
    description: str | None = define_setting(None, "one paragraph about the site")
    authority: str = define_setting(
        "example.org",
        "the site's IVOA authority, as in ivo://authority/...",
        pattern=AUTHORITY_PATTERN,
        example="an IVOA authority such as 'example.org'",
    )
    contact_name: str | None = define_setting(
        None,
        (
            "name of the person or team that answers questions about the site, and about collections that do not name "
            "a contact"
        ),
    )
    contact_email: str | None = define_setting(
        None,
        "email address of the contact",
        pattern="^[^@\\s]+@[^@\\s]+$",
        example="an address such as 'vo@example.org'",
    )
    public_url: str | None = define_setting(
        None,
        "the site's address for readers, for example https://vo.example.org/hven. Every link begins with this address",
        pattern=URL_PATTERN,
        example="an address such as 'https://vo.example.org/hven'",
        placed="every link begins with it",
    )
    root_path: str = define_setting(
        "",
        "prefix of the paths, if a reverse proxy does not remove it. Default: the path of public_url",
        pattern="^(/[^\\s?#]*[^/\\s?#])?$",
        example="a path such as '/hven', without a slash at its end",
    )
    host: str = define_setting("127.0.0.1", "address to listen on", placed="the address to listen on")
    port: int = define_setting(8080, "port to listen on", placed="another site may use it", ge=1, le=65535)
    workers: int = define_setting(2, "number of server processes", ge=1, le=256)
    job_workers: int = define_setting(
        1,
        (
            "maximum number of processes for asynchronous jobs. The server starts them when it needs them. 0: the "
            "server starts no such processes. Use 0 if `hven work` runs the jobs"
        ),
        ge=0,
        le=256,
    )
    engine: str = define_setting(
        "duckdb", "engine for the rows of collections that do not set `engine`: duckdb (embedded), postgres or hats"
    )
    store: str | None = define_setting(
        None,
        (
            "address of the system store, for example postgresql+psycopg://user@host/database, or $NAME, where the "
            "secret NAME contains this address. Default: var/hven.sqlite"
        ),
        placed="the database of the system state",
    )
    data: str | None = define_setting(
        None,
        "directory of snapshots and jobs, for machines that share a store. Default: var/",
        placed="the directory of rows and jobs",
    )
    python: DescriptorPythonLimits = define_setting(
        DescriptorPythonLimits,
        (
            "limits and environment variables for Python code next to a descriptor (`functions:`, `source: python`), "
            "which runs in its own process"
        ),
    )
    readers: tuple[SampleReaderProgram, ...] = define_setting(
        (),
        (
            "a program that reads the samples of time series from files (`reader:` in a data set). Each program has "
            "its own name"
        ),
    )
    live: InPlaceDatabaseLimits = define_setting(
        InPlaceDatabaseLimits,
        "limits that apply in each process to each database whose tables are published as live tables",
    )
    files: FileCacheSettings = define_setting(
        FileCacheSettings,
        "limits for published files that this site passes on from other servers (`root:` in `files:`)",
    )
    limits: QueryLimits = define_setting(QueryLimits, "limits of queries, uploads and user tables")
    jobs: JobLimits = define_setting(JobLimits, "limits of asynchronous jobs, and how long Hven keeps the jobs")
    schedule: ScheduleSettings = define_setting(
        ScheduleSettings, "how Hven synchronises collections automatically (`sync: {every: 1 h}` in a descriptor)"
    )
    alerts: AlertSettings = define_setting(
        AlertSettings, "who receives alerts when a collection no longer follows its source"
    )
    health: HealthSettings = define_setting(
        HealthSettings,
        "who can see everything on the health page, and when Hven verifies the files of snapshots",
    )
    variant: str | None = define_setting(
        None,
        (
            "name of this server, for example blue or green, if several servers run the same service. The health page "
            "shows this name"
        ),
        pattern="^[A-Za-z0-9][A-Za-z0-9._-]{0,40}$",
        example="a word such as 'blue'",
    )
    keep_snapshots: int = define_setting(3, "number of states that Hven keeps of each table, for rollbacks", ge=1)
    keep_changes: int = define_setting(
        30, "number of days for which Hven keeps the changes of each sync, for /changes and `hven diff`", ge=0
    )
    disk_budget: int | None = define_setting(
        None, "maximum size of var/ in bytes, for example 200 GiB. Default: the size of the disk", ge=1, size=True
    )
    allow_private: bool = define_setting(
        False,
        (
            "true: Hven also fetches files from addresses that are not on the public internet, such as addresses in "
            "the institute's own network"
        ),
    )
    ceilings: Mapping[str, Annotated[float, Field(gt=0, le=10_000)]] = define_setting(
        dict,
        (
            "maximum number of requests per second to each other host, from all processes together. Example: "
            '"simbad.cds.unistra.fr" = 5, "ned.ipac.caltech.edu" = 1. SIMBAD and NED have these limits by default'
        ),
    )
    trusted_proxies: tuple[Annotated[str, AfterValidator(normalize_network)], ...] = define_setting(
        ("127.0.0.1/32", "::1/128"),
        "addresses or networks of the reverse proxies whose header X-Forwarded-For names the client. Hven ignores this "
        "header in requests from other addresses",
    )
    cors: tuple[str, ...] = define_setting(("*",), "web origins whose scripts can call the services from a browser")
    roots: tuple[Annotated[str, Field(min_length=1)], ...] = define_setting(
        (),
        (
            "directories outside the site that can also contain its files. Symbolic links among the site's data files, "
            "published files and included descriptors can point into these directories. Hven rejects links to "
            "other places outside the site"
        ),
        max_length=50,
    )
    origins: tuple[Annotated[str, Field(pattern=ORIGIN_PATTERN)], ...] = define_setting(
        (),
        (
            "other web origins from which pages can load images (previews, thumbnails) and surveys, for example "
            "https://img.example.org or `https://*.example.org`. By default, pages send no requests to other servers"
        ),
        max_length=50,
    )
    surveys: tuple[Annotated[str, Field(pattern=SURVEY_URL_PATTERN)], ...] = define_setting(
        (),
        (
            "addresses of HiPS that sky maps can show as their background, for example "
            "https://hips.example.org/DSSColor. Maps begin with the first HiPS in the list. By default, or if the HiPS "
            "server does not respond, maps show a drawing of the sky, which needs no server"
        ),
        max_length=20,
    )
    remote: tuple[RemoteTapService, ...] = define_setting(
        (),
        (
            "other TAP services that Hven also queries when a reader searches all EPN-TAP or ObsCore tables. Without "
            "[[remote]] and [everywhere], this search sends nothing to other servers"
        ),
    )
    everywhere: FederatedSearchSettings = define_setting(
        FederatedSearchSettings,
        "services, found in a registry, that Hven also queries when a reader searches all EPN-TAP or ObsCore tables",
    )
    plugins: tuple[str, ...] = define_setting(
        ("all",),
        "names of the plug-in packages that the site uses. If the list is empty, the site uses no plug-in package",
        example="a list of names such as ['lint']",
    )
    defaults: Mapping[str, Any] = define_setting(
        dict, "keys that Hven adds to every descriptor that does not have them"
    )
    rules: Mapping[str, Literal["error", "warning", "info", "off"]] = define_setting(
        dict,
        (
            "severity of each rule, by the rule's name: error, warning, info or off. This setting applies to all "
            "collections that do not set the severity themselves"
        ),
    )
    accent: str | None = define_setting(
        None,
        (
            "accent colour of the pages, for example #0b5cad. If the colour is too light for light pages, or too "
            "dark for dark pages, Hven adjusts it until text in this colour is readable"
        ),
        pattern=COLOUR_PATTERN,
        example="a colour such as '#0b5cad'",
    )
    highlight: str | None = define_setting(
        None,
        "colour of selected items, written like `accent`",
        pattern=COLOUR_PATTERN,
        example="a colour such as '#b3541e'",
    )
    logo: str | None = define_setting(
        None,
        "picture at the top of all pages, as a file next to hven.toml, for example logo.svg (or .png, .jpg, .webp)",
        pattern=PICTURE_PATH_PATTERN,
        example="a picture beside hven.toml, such as 'logo.svg'",
    )
    text: str = define_setting(
        "home.md",
        "Markdown file for the home page, next to hven.toml. French-speaking readers get home.fr.md if this file is "
        "next to home.md",
        pattern=RELATIVE_PATH_PATTERN,
        example="a file beside hven.toml, such as 'home.md'",
    )
    news: str = define_setting(
        "news",
        "directory with news, next to hven.toml. It contains Markdown files such as 2026-11-20-new-maps.md",
        pattern=RELATIVE_PATH_PATTERN,
        example="a directory beside hven.toml, such as 'news'",
    )
    help: str = define_setting(
        "help",
        (
            "name of the directories with help pages, next to hven.toml and next to each descriptor. They contain "
            "Markdown files and their pictures"
        ),
        pattern=RELATIVE_PATH_PATTERN,
        example="a name such as 'help'",
    )
    credit: str | None = define_setting(
        None, ("one line at the bottom of all pages, for example to state who funds the site")
    )
    language: Literal["en", "fr"] = define_setting(
        "en", "language of the pages for readers whose own language is not available: en or fr"
    )
    access: Literal["public", "private"] = define_setting(
        "public", "access to collections that do not set `access` themselves: public or private"
    )
    people: AccountGroupSettings = define_setting(
        AccountGroupSettings, "groups and other names of accounts, for policies"
    )
    login: LoginSettings = define_setting(LoginSettings, "how readers log in")
    tree: CountTreeSettings = define_setting(CountTreeSettings, "the tree with counts on the home page")
    registry: RegistrySettings = define_setting(
        RegistrySettings, "what the site publishes about itself for registries of the Virtual Observatory (/oai)"
    )
    results: CitedResultSettings = define_setting(CitedResultSettings, "persistent addresses of results")
    portals: tuple[PortalSettings, ...] = define_setting(
        (), "one of several portals for the same collections. Each portal has its own name"
    )
    projects: tuple[ProjectSettings, ...] = define_setting(
        (), "a group of people who share collections. Each project has its own name"
    )
    brought: Mapping[str, Any] = field(default_factory=dict)

    @property
    def job_row_limits(self) -> tuple[int, int]:
        """The row limits of a job's answer: without MAXREC, and at most."""
        hard_limit = self.jobs.maxrec_hard
        if hard_limit is None:
            hard_limit = self.limits.maxrec_hard
        default_limit = self.jobs.maxrec_default
        if default_limit is None:
            default_limit = self.limits.maxrec_default
        return min(default_limit, hard_limit), hard_limit

    @property
    def listening_address(self) -> str:
        """Host and port as in an address, with an IPv6 host in brackets (RFC 3986 section 3.2.2)."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def site_url(self) -> str:
        """The value of ``{site.url}``: the address of the site for readers, without a slash at the end."""
        local_url = f"http://{self.listening_address}{self.root_path}"
        return (self.public_url or local_url).rstrip("/")

    def find_collection_authority(self, collection: str) -> str:
        """Return the authority of a collection's ids.

        It is that of the first portal with the collection and an authority, otherwise that of the site.

        Parameters
        ----------
        collection
            Name of the collection.
        """
        for portal in self.portals:
            if portal.authority and collection in portal.collections:
                return portal.authority
        return self.authority

    @property
    def authorities(self) -> tuple[str, ...]:
        """The IVOA authorities of this site, its own first; names that differ in case only appear once."""
        portal_authorities = [portal.authority for portal in self.portals if portal.authority]
        names_by_key: dict[str, str] = {}
        for name in (self.authority, *portal_authorities, *self.registry.authorities):
            names_by_key.setdefault(name.lower(), name)
        return tuple(names_by_key.values())

    def list_administered_collections(self, account: str | None) -> frozenset[str]:
        """Return the collections of the portals that an account administers.

        Parameters
        ----------
        account
            Name of the account; None for nobody.
        """
        names: set[str] = set()
        for portal in self.portals:
            if account in portal.administrators:
                names.update(portal.collections)
        return frozenset(names)

    @property
    def collections_directory(self) -> Path:
        """The directory of descriptors: ``collections/<name>/<name>.yaml``."""
        return self.directory / "collections"

    def locate_descriptor(self, collection: str) -> Path:
        """Return where the descriptor of a collection lies, or would lie.

        Parameters
        ----------
        collection
            Name of the collection.

        Returns
        -------
        path
            ``collections/<name>/<name>.yaml`` of the site.
        """
        return self.collections_directory / collection / f"{collection}.yaml"

    def list_collections(self) -> list[str]:
        """List the collections that have a descriptor.

        Returns
        -------
        names
            Names of collections, in alphabetical order.
        """
        paths = self.collections_directory.glob("*/*.yaml")
        return sorted(path.stem for path in paths if path.stem == path.parent.name)

    @property
    def job_types_directory(self) -> Path:
        """The directory of declared job types: ``jobs/<name>.yaml``."""
        return self.directory / JOB_TYPES_DIRECTORY

    @property
    def var_directory(self) -> Path:
        """The directory of snapshots, system state and caches, which can be rebuilt."""
        return self.directory / "var"

    @property
    def allowed_directories(self) -> tuple[Path, ...]:
        """The directories that may hold files of the site: the site's own, and those in `roots`."""
        other_roots = [self.directory / Path(root).expanduser() for root in self.roots]
        return (self.directory, *other_roots)

    def resolve_secret_address(self, address: str) -> str:
        """Resolve an address that may be a secret's name.

        Parameters
        ----------
        address
            An address, or ``$NAME``.

        Returns
        -------
        address
            The address itself, or the value of the secret.
        """
        if address.startswith("$"):
            return resolve_secret(self.directory, address)
        return address

    @property
    def data_directory(self) -> Path:
        """The directory of snapshots and of the files of jobs.

        It is ``var/``, or the directory in `data`, which machines with one store share. The path is absolute, because
        programs that get the path of a file here run in other directories.
        """
        if self.data is None:
            return self.var_directory.absolute()
        return (self.directory / self.data).absolute()
