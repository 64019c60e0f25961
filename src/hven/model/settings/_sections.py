"""A setting is one field: its default, its line of documentation, its bounds, what its value looks like.

Here those that stand in sections.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping  # noqa: TC003  (types of fields are read when they are checked)
from dataclasses import dataclass, field, fields, is_dataclass
from ipaddress import ip_network
from typing import TYPE_CHECKING, Annotated, Any, Literal

if (
    TYPE_CHECKING
):  # `_validation` gives these names to the annotations: a verb that reads no settings does not load pydantic
    from pydantic import AfterValidator, Field

URL_PATTERN = r"^https?://[^\s/?#]+(/[^\s?#]*)?$"
EMAIL_PATTERN = r"^[^@\s,<>\x00-\x1f]+@[^@\s,<>\x00-\x1f]+$"
COLOUR_PATTERN = r"^#[0-9a-fA-F]{6}$"
AUTHORITY_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9.\-_!~*'()+=]{2,}$"
# VOResource 1.1: without query and fragment
IVOID_PATTERN = r"^ivo://[A-Za-z0-9][A-Za-z0-9.\-_!~*'()+=]{2,}(/[A-Za-z0-9.\-_!~*'()+=]+)*$"
RELATIVE_PATH_PATTERN = (
    r"^[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*$"  # a path that does not lead out of the site
)
PICTURE_PATH_PATTERN = RELATIVE_PATH_PATTERN.removesuffix("$") + r"\.(svg|png|jpg|jpeg|webp)$"


def build_setting_metadata(
    doc: str,
    *,
    example: str = "another form",
    placed: str = "",
    size: bool = False,
    is_list: bool = False,
    is_section_name: bool = False,
    **rule: Any,
) -> dict[str, Any]:
    """Describe a field of hven.toml, as its `metadata`; without a default it is required.

    Parameters
    ----------
    doc
        Its line of documentation.
    example
        What was expected where the `pattern` does not fit.
    placed
        For what belongs to one place: what it would do in another.
    size
        Bytes, which may be written ``2 GiB``.
    is_list
        Several values, which a variable has between commas.
    is_section_name
        The name of an entry of a repeated section, which stands in its heading: ``[readers.NAME]``.
    rule
        Bounds of `pydantic.Field`.

    Returns
    -------
    metadata
        For `dataclasses.field`.
    """
    metadata = {"doc": doc, "example": example, "placed": placed, "size": size, "many": is_list, "rule": rule}
    return metadata | {"is_section_name": is_section_name}


def has_named_entries(settings_class: Any) -> bool:
    """Return whether entries of a section have names of their own, as in ``[readers.NAME]``."""
    if not is_dataclass(settings_class):
        return False
    return any(item.metadata.get("is_section_name") for item in fields(settings_class))


def define_setting(default: Any, doc: str, **metadata_options: Any) -> Any:
    """Make a field of hven.toml with a default.

    Parameters
    ----------
    default
        Its value; a class makes a new one for each object.
    doc
        Its line of documentation, without a full stop.
    metadata_options
        As `build_setting_metadata` takes them.

    Returns
    -------
    field
        For a dataclass.
    """
    is_list = isinstance(default, tuple)
    metadata = build_setting_metadata(doc, is_list=is_list, **metadata_options)
    if isinstance(default, type):
        return field(default_factory=default, metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingsSection:
    """A section of hven.toml, ``[name]``, or a part of one.

    It belongs to Hven, to an engine (`hven.engines.EnginePluginRecord`) or to a plug-in package
    (`hven.model.plugins.PluginPackage`).

    Attributes
    ----------
    part
        Name of a part, if the settings are added to a section that belongs to somebody else; empty for a whole section.
    settings_class
        A dataclass, each field a `define_setting`.
    doc
        Its line of documentation.
    is_repeated
        There may be several: ``[[name]]``; or ``[name.NAME]``, if a field of `settings_class` is the name of its
        section.
    previous_setting
        The setting that it is documented behind.
    required_modules
        Modules that come with an extra of Hven, without which it is in vain.
    template_text
        Lines of comment for the hven.toml of a new site.
    example_text
        The section with all of its settings, for the page of settings.
    find_faults
        Finds faults that lie between settings: yields the setting and the message. It gets the section as the file has
        it, or each entry of a repeated one.
    """

    name: str
    settings_class: type
    part: str = ""
    doc: str = ""
    is_repeated: bool = False
    previous_setting: str = ""
    required_modules: tuple[str, ...] = ()
    template_text: str = ""
    example_text: str = ""
    find_faults: Callable[[Mapping[str, Any]], Iterable[tuple[str, str]]] = lambda _: ()

    @property
    def key(self) -> str:
        """The name of its values in `Settings.brought`."""
        if self.part:
            return f"{self.name}:{self.part}"
        return self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteTapService:
    """A TAP service elsewhere that the form over all EPN-TAP or ObsCore tables asks, too: ``[[remote]]``.

    Attributes
    ----------
    name
        As commands and descriptors name it.
    url
        Address of its TAP service.
    """

    name: str = field(
        metadata=build_setting_metadata(
            ("name of the service in addresses, for example amda"), pattern="^[a-z][a-z0-9_-]{0,40}$"
        )
    )
    url: str = field(
        metadata=build_setting_metadata(
            "address of the TAP service, without /sync. An address in a local network requires allow_private",
            pattern=URL_PATTERN,
            example="an address such as 'https://vo.example.org/tap'",
        )
    )
    kind: Literal["epn", "obscore"] = define_setting("epn", "kind of tables that the service has: epn or obscore")
    tables: tuple[Annotated[str, Field(pattern="^[A-Za-z_][A-Za-z0-9_]*(\\.[A-Za-z_][A-Za-z0-9_]*){0,2}$")], ...] = (
        define_setting(
            (),
            ("tables of the service, for example amdadb.epn_core. Default for obscore: ivoa.obscore"),
            min_length=1,
            max_length=100,
        )
    )
    title: str | None = define_setting(None, "name of the service on pages. Default: the setting `name`")
    seconds: float = define_setting(
        10.0, "time limit for the service in seconds. Hven reports a late response as missing", gt=0, le=60
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class FederatedSearchSettings:
    """Which services the form over all EPN-TAP or ObsCore tables asks besides ``[[remote]]``: ``[everywhere]``."""

    registry: str | None = define_setting(
        None,
        (
            "a registry that lists EPN-TAP and ObsCore tables, which Hven then also searches. Write the address of a "
            "TAP service with RegTAP, for example http://reg.example.org/tap, or the name of a collection of this site "
            "that has the RegTAP tables, for example rr. By default, Hven queries no service"
        ),
        pattern=r"^([A-Za-z_][A-Za-z0-9_]*|https?://[^\s/?#]+(/[^\s?#]*)?)$",
        example="an address such as 'https://reg.example.org/tap', or a collection such as 'rr'",
    )
    most: int = define_setting(100, "maximum number of tables from the registry that Hven searches", ge=1, le=1000)
    hours: float = define_setting(24.0, "number of hours for which Hven keeps the list of tables", gt=0, le=8760)
    seconds: float = define_setting(
        10.0, "time limit for each service in seconds. Hven reports late responses as missing", gt=0, le=60
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryLimits:
    """What one query may use."""

    maxrec_default: int = define_setting(
        2_000_000, ("maximum number of rows in a result if the request does not set MAXREC"), ge=1
    )
    maxrec_hard: int = define_setting(20_000_000, "maximum number of rows in any result", ge=1)
    seconds: float = define_setting(60.0, "time limit of a synchronous query, in seconds", gt=0)
    memory: int = define_setting(
        2 * 1024**3, ("memory that the engine can use in each process, for example 2 GiB"), ge=64 * 1024**2, size=True
    )
    text: int = define_setting(1_000_000, "maximum length of a query in bytes", ge=1000, size=True)
    upload: int = define_setting(
        100 * 1024**2,
        "maximum uncompressed size in bytes of all tables that a user uploads with one query. 0: no uploads",
        ge=0,
        size=True,
    )
    upload_rows: int = define_setting(10_000_000, "maximum number of rows in an uploaded table", ge=1)
    concurrent: int | None = define_setting(
        None,
        (
            "maximum number of big queries that run at once in each process. If a query would have to wait longer "
            "than its time limit, Hven rejects it immediately. A user who is alone leaves one of them to "
            "others. Default: one more than the number of processors, and at least 4. A larger number slows down all "
            "queries and the rest of the server, but can be useful if a database on a separate machine executes the "
            "queries"
        ),
        ge=1,
    )
    bodies: int = define_setting(
        8,
        (
            "maximum number of requests larger than 1 MiB that a process accepts at once. Hven asks the senders of "
            "further such requests to try again later"
        ),
        ge=1,
    )
    user_tables: int = define_setting(
        50, "maximum number of tables that one account can keep in the service. 0: accounts cannot store tables", ge=0
    )
    user_rows: int = define_setting(50_000_000, "maximum number of rows in all tables of one account", ge=1)
    user_bytes: int = define_setting(
        1024**3, ("maximum size on disk, in bytes, of all tables of one account"), ge=1, size=True
    )
    user_days: float = define_setting(
        30.0, ("number of days without a change after which Hven deletes a user table"), gt=0, le=36500
    )
    signed_minutes: float = define_setting(
        10.0,
        ("number of minutes for which a signed address is valid. Signed addresses are for programs that cannot log in"),
        gt=0,
        le=1440,
    )
    copy_rows: int = define_setting(
        2_000_000, ("maximum number of rows that one query can copy from one engine to another"), ge=1
    )
    copy_bytes: int = define_setting(
        512 * 1024**2, "maximum number of bytes that one query can copy from one engine to another", ge=1, size=True
    )
    copy_keys: int = define_setting(
        100_000,
        (
            "maximum number of join keys that Hven sends to another engine so that this engine returns only matching "
            "rows"
        ),
        ge=0,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class InPlaceDatabaseLimits:
    """What one process may ask of a database whose tables are read in place."""

    pool: int = define_setting(4, "maximum number of connections", ge=1, le=1000)
    at_once: int = define_setting(
        2,
        (
            "number of statements that run at once. Further statements wait in Hven, where they hold no lock. After 50 "
            "ms, a statement no longer counts towards this limit"
        ),
        ge=1,
        le=1000,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class FileCacheSettings:
    """Settings of the cache of files on other servers that this one forwards."""

    cache: int = define_setting(
        2 * 1024**3,
        "maximum total size, in bytes, of the file blocks from other servers that Hven keeps in var/files. Hven "
        "deletes the least recently used blocks first",
        ge=64 * 1024**2,
        size=True,
    )
    at_once: int = define_setting(
        8, ("maximum number of simultaneous requests to other servers in each process"), ge=1, le=256
    )
    seconds: float = define_setting(
        30.0, "number of seconds within which another server must send the next MiB", gt=0, le=3600
    )
    fresh: float = define_setting(
        30.0, "number of seconds after which Hven rechecks whether a file on another server has changed", ge=0, le=86400
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class DescriptorPythonLimits:
    """What Python beside a descriptor may use."""

    seconds: float = define_setting(
        300.0,
        "number of seconds within which a function must process a batch of rows, or a source must yield its next row",
        gt=0,
        le=7 * 86400,
    )
    memory: int = define_setting(
        4 * 1024**3, ("memory for the process's data, for example 4 GiB"), ge=64 * 1024**2, size=True
    )
    environment: Mapping[str, str] = define_setting(
        dict,
        (
            "environment variables for the code, in addition to PATH, HOME, USER, LANG, `LC_*`, TZ, TMPDIR, "
            "LD_LIBRARY_PATH, `SSL_CERT_*` and `*_NUM_THREADS`. The code cannot read the server's other variables"
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleReaderProgram:
    """A program that reads files of samples which Hven cannot: ``[readers.NAME]``."""

    name: str = field(
        metadata=build_setting_metadata("its name is that of the section: [readers.NAME]", is_section_name=True)
    )
    command: tuple[str, ...] = field(
        metadata=build_setting_metadata(
            (
                "program and arguments, for example ['/opt/maser/bin/python', './maser_reader.py']. A program "
                "with a slash, or a word that begins with ./, is a path relative to hven.toml"
            ),
            is_list=True,
            min_length=1,
        )
    )
    environment: Mapping[str, str] = define_setting(
        dict,
        (
            "environment variables for the program, in addition to PATH, LANG, HOME and TMPDIR. The program cannot "
            "read the server's other variables"
        ),
    )
    seconds: float = define_setting(
        60.0, ("maximum number of seconds for a response, including the program's start"), gt=0, le=86400
    )
    memory: int = define_setting(
        4 * 1024**3, ("memory for the process's data, for example 4 GiB"), ge=64 * 1024**2, size=True
    )
    processes: int = define_setting(
        2, ("number of copies of the program that each server process runs at once"), ge=1, le=64
    )
    idle: float = define_setting(
        300.0, "number of seconds without a request after which a program ends", gt=0, le=86400
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class JobLimits:
    """What one asynchronous job may use, and how long it is kept."""

    seconds: int = define_setting(
        3600, ("time limit, in seconds, of a job that does not request its own limit"), ge=1, le=2**31 - 1
    )
    seconds_hard: int = define_setting(24 * 3600, "maximum time limit, in seconds, of any job", ge=1, le=2**31 - 1)
    keep_days: float = define_setting(
        7.0,
        "number of days after which Hven destroys a job and its result, unless the job requests a different time",
        gt=0,
        le=36500,
    )
    keep_days_hard: float = define_setting(92.0, "maximum number of days for which Hven keeps a job", gt=0, le=36500)
    archive_days: float = define_setting(
        0.0, "number of days for which Hven lists a destroyed job as ARCHIVED, without its result", ge=0, le=36500
    )
    maxrec_default: int | None = define_setting(
        None,
        ("maximum number of rows in a job's result if the job does not set MAXREC. Default: limits.maxrec_default"),
        ge=1,
    )
    maxrec_hard: int | None = define_setting(
        None,
        (
            "maximum number of rows in any job's result. These rows take disk space but no memory. Default: "
            "limits.maxrec_hard"
        ),
        ge=1,
    )
    queued: int = define_setting(
        2000, ("maximum number of waiting and running jobs of one user or address. Further jobs are HELD"), ge=1
    )
    open: int = define_setting(
        10_000,
        (
            "maximum number of unfinished jobs of one user or address, including PENDING and HELD jobs. Hven rejects "
            "further jobs"
        ),
        ge=1,
    )
    idle: float = define_setting(60.0, "number of idle seconds after which a job worker ends", gt=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleSettings:
    """How collections are synchronised by themselves. Times in seconds."""

    runs: int = define_setting(
        2,
        (
            "maximum number of collections that are synchronised at once, on all machines that share the store. 0: "
            "this server synchronises no collections"
        ),
        ge=0,
        le=64,
    )
    retry: float = define_setting(
        60.0,
        ("number of seconds that Hven waits after a failure before it tries again. Each further wait is twice as long"),
        gt=0,
        le=86400,
    )
    retry_most: float = define_setting(3600.0, "maximum number of seconds between two attempts", gt=0, le=7 * 86400)
    grace: float | None = define_setting(
        None,
        (
            "maximum delay, in seconds, for making up a run that was missed while no server ran. If the delay would be "
            "longer, Hven skips the run. Default: no maximum; one run replaces all missed runs"
        ),
        ge=0,
    )
    stale: int = define_setting(
        2, "a collection is stale after this number of scheduled times without a successful run", ge=1, le=1000
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertSettings:
    """Who is told when a collection does not follow its source."""

    webhook: str | None = define_setting(
        None,
        (
            "https address to which Hven sends each alert as JSON, or $NAME, where the secret NAME contains this "
            "address. If the address is in a local network, you must also set allow_private"
        ),
        pattern="^(\\$[A-Za-z_][A-Za-z0-9_]*|https?://[^\\s/?#@]+(/[^\\s?#]*)?)$",
        example="'https://host/path', or '$NAME' of a secret if it contains a key",
        placed="alerts are sent there",
    )
    command: tuple[str, ...] = define_setting(
        (),
        (
            "program, with its arguments, that receives each alert as JSON on standard input. A path with a slash is "
            "relative to hven.toml"
        ),
        min_length=1,
    )
    mail_to: tuple[Annotated[str, Field(pattern=EMAIL_PATTERN)], ...] = define_setting(
        (), "email addresses to which Hven sends each alert", min_length=1, placed="alerts are sent there"
    )
    mail_from: str | None = define_setting(
        None, "email address of the sender", pattern=EMAIL_PATTERN, example="an address such as 'vo@example.org'"
    )
    smtp_host: str | None = define_setting(None, "mail server", pattern="^[A-Za-z0-9._:-]+$")
    smtp_port: int | None = define_setting(
        None, "port of the mail server. Default: 587 for starttls, 465 for tls, 25 for none", ge=1, le=65535
    )
    smtp_user: str | None = define_setting(None, "user name for the mail server, if the server requires a log-in")
    smtp_password: str | None = define_setting(
        None,
        (
            "$NAME, where the secret NAME contains the password for the mail server. Hven never sends the password "
            "without TLS"
        ),
        pattern="^\\$[A-Za-z_][A-Za-z0-9_]*$",
        example="'$NAME' of a secret",
    )
    smtp_tls: Literal["starttls", "tls", "none"] = define_setting(
        "starttls", ("encryption of the connection to the mail server: starttls, tls or none")
    )
    repeat_failures: int = define_setting(10, "number of consecutive failures after which Hven repeats an alert", ge=1)
    repeat_hours: float = define_setting(
        24.0, "number of hours after which Hven repeats an alert, as long as the problem persists", gt=0
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthSettings:
    """Who sees on the health page what not every reader may know; how the files of published rows are verified."""

    operators: tuple[str, ...] = define_setting(
        (),
        (
            "accounts that can see everything on the health page, including private collections and descriptions of "
            "failures"
        ),
    )
    open: bool = define_setting(
        False,
        (
            "true: everybody can see everything on the health page. Use this setting only for a server that can be "
            "reached only from a local network"
        ),
    )
    see_as: bool = define_setting(
        False,
        (
            "true: on the page /access, the accounts in `operators` can also view the site as any other reader sees "
            "it. Hven logs this"
        ),
    )
    verify_days: float = define_setting(
        7.0,
        (
            "number of days after which Hven rereads the files of every kept snapshot and compares them with their "
            "checksums. 0: Hven does this only for new snapshots"
        ),
        ge=0,
        le=3650,
    )
    verify_rate: int = define_setting(
        64 * 1024**2,
        "maximum number of bytes per second that Hven reads while it verifies snapshots",
        ge=1024,
        size=True,
    )


def normalize_network(text: str) -> str:
    """Write a network, or an address as a network, in its usual form.

    Parameters
    ----------
    text
        A network, or an address.

    Returns
    -------
    network
        A network as ``10.1.0.0/24``.
    """
    return str(ip_network(text))


def _check_group_name(group: str) -> str:
    if group == "owner":
        raise ValueError("the group 'owner' is reserved for the site's owner, who sees everything")
    return group


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountGroupSettings:
    """Who is who, for policies: groups and other names of accounts."""

    groups: Mapping[Annotated[str, Field(pattern="^[^:\\s]+$"), AfterValidator(_check_group_name)], tuple[str, ...]] = (
        define_setting(
            dict,
            "groups to which policies refer, with the accounts in each of them, for example spica = ['anna', 'bob']",
            example="one word without a colon",
        )
    )
    aliases: Mapping[str, tuple[str, ...]] = define_setting(
        dict, "other names that accounts have in tables, for example anna = ['anna@example.org', 'A. Berg']"
    )
    tables: tuple[Annotated[str, Field(pattern="^[^.]+\\.[^.]+$")], ...] = define_setting(
        (),
        (
            "the site's private tables that contain further groups and names. Each row has an account in the column "
            "`account`, and a group in `member_of` or another name of the account in `name`, `alias` or `email`"
        ),
        example="['people.members']",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginSettings:
    """How readers may say who they are."""

    schemes: tuple[Literal["ivoa_cookie", "Basic", "ivoa_bearer", "Bearer"], ...] = define_setting(
        ("ivoa_cookie", "Basic", "ivoa_bearer", "Bearer"),
        (
            "authentication methods that Hven offers to programs, in this order. Hven rejects passwords from programs "
            "if the list does not contain Basic, and rejects tokens if it contains neither ivoa_bearer nor Bearer"
        ),
    )
    required: bool = define_setting(
        False, "true: readers who are not logged in see only capabilities, availability and the page /login"
    )
    domain: str | None = define_setting(
        None,
        (
            "domain that contains the hosts of all portals, so that a log-in at one portal is valid at all of them. "
            "Browsers send the session to every host in this domain"
        ),
        pattern=r"^[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+$",
        example="a domain such as 'example.org'",
    )
    own_passwords: bool = define_setting(True, "false: readers cannot set their passwords on the page /login")
    proxy_header: str | None = define_setting(
        None,
        (
            "header in which a proxy names the user who has logged in at the proxy, for example X-Remote-User. Every "
            "user whom the proxy names has an account. Hven rejects this header if it comes from a host that is not in "
            "`proxies`"
        ),
        pattern="^[A-Za-z][A-Za-z0-9-]{0,60}$",
        example="the name of a header such as 'X-Remote-User'",
    )
    proxies: tuple[Annotated[str, AfterValidator(normalize_network)], ...] = define_setting(
        (),
        (
            "addresses or networks of the proxy that sends `proxy_header`, as seen from this server, for example "
            "127.0.0.1 or 10.1.0.0/24"
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectSettings:
    """People who share collections: ``[projects.NAME]``. Who is a member, and in which role, the store knows."""

    name: str = field(
        metadata=build_setting_metadata("its name is that of the section: [projects.NAME]", is_section_name=True)
    )
    title: str | None = define_setting(None, "name of the project for readers")
    description: str | None = define_setting(None, "one paragraph about the project")
    contact: str | None = define_setting(None, "person or address for questions")
    listed: bool = define_setting(
        False,
        (
            "true: everybody can see that the project exists, and logged-in users can request access. The project's "
            "collections stay hidden"
        ),
    )
    open: bool = define_setting(
        False,
        (
            "true: everybody can see the project's collections, except collections with `access: members` or `access: "
            "private`"
        ),
    )
    news: str | None = define_setting(
        None,
        (
            "directory with the project's news, next to hven.toml. Members see all news. Everybody who can see that "
            "the project exists sees the news in the subdirectory `public`"
        ),
        pattern=RELATIVE_PATH_PATTERN,
        example="a directory beside hven.toml, such as 'hesiod'",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class CountTreeSettings:
    """The tree of counts on the home page: what its levels are, from the outermost."""

    levels: tuple[str, ...] = define_setting(
        (
            "instrument_host_name|facility_name|mission|telescope|@facility",
            "instrument_name|instrument|@instrument",
            "@collection",
        ),
        (
            "columns that form the levels of the tree, beginning with the outermost level. `a|b` means the first of "
            "these columns that a table has. `@facility`, `@instrument`, `@subject` and `@collection` mean the values "
            "in the descriptor"
        ),
        min_length=1,
        max_length=6,
    )
    branches: int = define_setting(
        100,
        "maximum number of values of one column. If a table's column has more values, the table does not have this "
        "level",
        ge=1,
        le=1000,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrySettings:
    """What registries of the Virtual Observatory are told of the site besides its collections: ``[registry]``."""

    organisation: str | None = define_setting(None, "name of the institute that publishes the data. Default: `title`")
    organisation_url: str | None = define_setting(
        None,
        "home page of the institute. Default: `public_url`",
        pattern=URL_PATTERN,
        example="an address such as 'https://www.example.org'",
    )
    organisation_ror: str | None = define_setting(
        None,
        "identifier of the institute in the Research Organization Registry, for example https://ror.org/02feahw73",
        pattern=r"^https://ror\.org/0[a-hj-km-np-tv-z0-9]{6}[0-9]{2}$",
        example="an address such as 'https://ror.org/02feahw73'",
    )
    address: str | None = define_setting(None, "postal address of the institute, for the contact in all records")
    authorities: tuple[Annotated[str, Field(pattern=AUTHORITY_PATTERN)], ...] = define_setting(
        (),
        (
            "further IVOA authorities of this site, in addition to `authority` and the portals' authorities. "
            "Descriptors can use identifiers with these authorities"
        ),
    )
    ids: Mapping[str, Annotated[str, Field(pattern=IVOID_PATTERN)]] = define_setting(
        dict,
        (
            "identifiers for records that should not have the default identifier ivo://AUTHORITY/NAME, for example "
            "because they already had another one. NAME is the name of the record: registry, organisation, tap, soda, "
            'hapi, das2, hips or SCHEMA.TABLE.SERVICE. Example: `tap = "ivo://example.org/__system__/tap/run"`'
        ),
    )
    mirrors: Mapping[str, tuple[Annotated[str, Field(pattern=URL_PATTERN)], ...]] = define_setting(
        dict,
        (
            "further addresses of records, such as mirrors and old addresses. Write each list of addresses under the "
            'name of its record (see `ids`). Example: `tap = ["http://old.example.org/tap"]`'
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class CitedResultSettings:
    """Results that readers give a persistent address: ``[results]``."""

    keep: int = define_setting(
        100_000, "maximum number of persistent addresses. 0: readers cannot create such addresses", ge=0
    )
    own: int = define_setting(
        200,
        (
            "number of addresses that one reader can create per day. Hven identifies readers who are not logged in by "
            "their host"
        ),
        ge=1,
    )
    rows: int = define_setting(2_000_000, "maximum number of rows in a result that has an address", ge=1)
    seconds: float = define_setting(60.0, "time limit in seconds for counting the rows", gt=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class PortalSettings:
    """One portal of several on one site: ``[portals.NAME]``. What is None is the site's.

    Attributes
    ----------
    host, path
        By which of them readers come: a host name, or the beginning of the path.
    collections
        The only ones that its pages and services know; empty: all. It hides nothing: the site's own TAP has them all.
    authority
        Authority of the ids of its collections; of one that stands in two portals, that of the first.
    administrators
        Accounts that operate its collections, and no others.
    """

    name: str = field(
        metadata=build_setting_metadata("its name is that of the section: [portals.NAME]", is_section_name=True)
    )
    host: str | None = define_setting(
        None,
        "host name of the portal, for example medoc.example.org. Alternatively, set `path`",
        pattern="^[A-Za-z0-9][A-Za-z0-9.-]*(:[0-9]+)?$",
        example="a host name such as 'medoc.example.org'",
    )
    path: str | None = define_setting(
        None,
        "prefix of the paths of the portal's pages, for example /medoc",
        pattern="^(/[A-Za-z0-9_-]+)+$",
        example="a path that begins with '/'",
    )
    title: str | None = define_setting(None, "heading of the portal's home page")
    description: str | None = define_setting(None, "one paragraph about the portal")
    collections: tuple[str, ...] = define_setting(
        (),
        (
            "the collections on the portal's pages and in its services. Default: all collections. This setting does "
            "not hide the other collections, because the site's TAP service serves all of them. To hide a collection, "
            "write `access: private` in its descriptor"
        ),
        min_length=1,
    )
    levels: tuple[str, ...] | None = define_setting(
        None, ("like `tree.levels`, for the portal"), min_length=1, max_length=6
    )
    accent: str | None = define_setting(
        None, ("like `accent`, for the portal"), pattern=COLOUR_PATTERN, example="a colour such as '#0b5cad'"
    )
    highlight: str | None = define_setting(
        None, "like `highlight`, for the portal", pattern=COLOUR_PATTERN, example="a colour such as '#b3541e'"
    )
    logo: str | None = define_setting(
        None,
        ("like `logo`, for the portal"),
        pattern=PICTURE_PATH_PATTERN,
        example="a picture beside hven.toml, such as 'logo.svg'",
    )
    text: str | None = define_setting(
        None,
        ("like `text`, for the portal"),
        pattern=RELATIVE_PATH_PATTERN,
        example="a file beside hven.toml, such as 'home.md'",
    )
    news: str | None = define_setting(
        None,
        ("like `news`, for the portal"),
        pattern=RELATIVE_PATH_PATTERN,
        example="a directory beside hven.toml, such as 'news'",
    )
    language: Literal["en", "fr"] | None = define_setting(None, "like `language`, for the portal")
    contact_email: str | None = define_setting(
        None,
        "email address for questions",
        pattern="^[^@\\s]+@[^@\\s]+$",
        example="an address such as 'vo@example.org'",
    )
    help: str | None = define_setting(
        None,
        ("like `help`, for the portal"),
        pattern=RELATIVE_PATH_PATTERN,
        example="a directory beside hven.toml, such as 'help'",
    )
    authority: str | None = define_setting(
        None,
        (
            "IVOA authority in the identifiers of the portal's collections. A collection in two portals has the "
            "authority of the first portal"
        ),
        pattern=AUTHORITY_PATTERN,
        example="an IVOA authority such as 'example.org'",
    )
    administrators: tuple[str, ...] = define_setting(
        (),
        (
            "accounts that can see the full health of the portal's collections, prepare their files, and edit the "
            "portal's texts and the texts of the collections that they are allowed to see. In other portals, these "
            "accounts do not have these rights"
        ),
        min_length=1,
    )
