"""hven.toml and the environment -> one frozen object, handed down as arguments."""

from __future__ import annotations

import difflib
import json
import os
import re
import tomllib
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, StrictStr, ValidationError, create_model

from hven.errors import DescriptorError, Fault, Place, UserError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

FILE = "hven.toml"
PREFIX = "HVEN_"


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
    upload: int = 100 * 1024**2  # of all uploads of a query, unpacked; 0 = none
    upload_rows: int = 10_000_000
    concurrent: int = 32  # running queries per process; more wait, then get 503
    user_tables: int = 50  # that one account may keep; 0 = none
    user_bytes: int = 1024**3  # on disk, of all tables of an account
    user_days: float = 30.0  # after which a table that nobody wrote to goes


@dataclass(frozen=True, slots=True, kw_only=True)
class JobLimits:
    """What one asynchronous job may use, and how long it is kept."""

    seconds: int = 3600
    seconds_hard: int = 24 * 3600
    keep_days: float = 7.0
    keep_days_hard: float = 92.0
    archive_days: float = 0.0
    queued: int = 2000  # of one user or address
    idle: float = 120.0


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
    limits: QueryLimits = field(default_factory=QueryLimits)
    jobs: JobLimits = field(default_factory=JobLimits)
    keep_snapshots: int = 3
    disk_budget: int | None = None  # bytes of var/, None = what the disk has
    allow_private: bool = False  # downloads from addresses that are not on the public internet
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


# --- what may stand in hven.toml: pydantic's view of the dataclasses above ------------------------------------

URL = r"^https?://[^\s/?#]+(/[^\s?#]*)?$"
_UNITS = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3, "t": 1024**4}
_BYTES = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([kmgt]?)(?:i?b)?\s*", re.IGNORECASE)


def read_bytes(value: object) -> object:
    """Read ``2 GiB``, ``500M`` or a number of bytes."""
    match = _BYTES.fullmatch(value) if isinstance(value, str) else None
    return round(float(match[1]) * _UNITS[match[2].lower()]) if match else value


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


DOCS: dict[str, str] = {
    "name": "short name of the site",
    "title": "heading of its first page",
    "description": "one paragraph about the site",
    "authority": "the IVOA authority (ivo://authority/...)",
    "contact_name": "who answers questions; also the contact of collections that name none",
    "contact_email": "their address",
    "public_url": "what readers see: https://vo.example.org/hven; every link is made from it",
    "root_path": "prefix that a reverse proxy leaves in place; default: the path of public_url",
    "host": "address to listen on",
    "port": "port to listen on",
    "workers": "server processes",
    "job_workers": "processes for asynchronous jobs, started when they are needed; 0: none here, `hven work` runs elsewhere",
    "engine": "where rows are stored and queries run",
    "store": "SQLAlchemy URL of the system store; default: var/hven.sqlite",
    "limits": "what one query may use",
    "jobs": "what one asynchronous job may use, and how long it is kept",
    "keep_snapshots": "how many states of a table are kept for rollback",
    "disk_budget": "bytes that var/ may take: 200 GiB; default: what the disk has",
    "allow_private": "true: files may also be fetched from addresses that are not on the public internet (the institute's own network)",
    "cors": "web origins that may call the services from a browser",
    "alias": "old addresses answered by one of our faces",
    "defaults": "merged below every descriptor",
    "accent": "colour of the pages: #0b5cad",
    "limits.maxrec_default": "rows of an answer without MAXREC",
    "limits.maxrec_hard": "rows of any answer at most",
    "limits.seconds": "time limit of a synchronous query",
    "limits.memory": "memory of one process's engine: 2 GiB",
    "limits.text": "bytes of a query",
    "limits.upload": "bytes of all tables uploaded with one query, unpacked; 0: uploads are not offered",
    "limits.upload_rows": "rows of one uploaded table",
    "limits.concurrent": "running queries per process; more wait, then are told to come again",
    "limits.user_tables": "tables that one account may keep in the service; 0: none",
    "limits.user_bytes": "bytes on disk of all tables that one account keeps",
    "limits.user_days": "days after the last writing when a user's table goes",
    "jobs.seconds": "time limit of a job that asks for none",
    "jobs.seconds_hard": "time limit of any job",
    "jobs.keep_days": "days after which a job and its result are destroyed, if nothing else was asked for",
    "jobs.keep_days_hard": "days that a job may be kept at most",
    "jobs.archive_days": "days that a destroyed job stays as ARCHIVED, without its result",
    "jobs.queued": "jobs of one user or address that may wait and run; further ones are HELD",
    "jobs.idle": "seconds after which a worker for jobs that has nothing to do ends",
    "alias.path": "the old path: /cs/scs.xml",
    "alias.to": "the path that answers it: /cone/stars.main",
    "alias.rename": "old parameter name -> new one",
    "alias.set": "parameters to add",
}

_RULES: dict[str, tuple[Any, dict[str, Any]]] = {
    "authority": (StrictStr, {"pattern": r"^[A-Za-z0-9][A-Za-z0-9.\-_!~*'()+=]{2,}$"}),
    "contact_email": (StrictStr, {"pattern": r"^[^@\s]+@[^@\s]+$"}),
    "public_url": (StrictStr, {"pattern": URL}),
    "root_path": (StrictStr, {"pattern": r"^(/[^\s?#]*[^/\s?#])?$"}),
    "port": (int, {"ge": 1, "le": 65535}),
    "workers": (int, {"ge": 1, "le": 256}),
    "job_workers": (int, {"ge": 0, "le": 256}),
    "keep_snapshots": (int, {"ge": 1}),
    "disk_budget": (int, {"ge": 1}),
    "allow_private": (bool, {}),
    "cors": (list[StrictStr], {}),
    "defaults": (dict[str, Any], {}),
    "accent": (StrictStr, {"pattern": r"^#[0-9a-fA-F]{6}$"}),
    "limits.maxrec_default": (int, {"ge": 1}),
    "limits.maxrec_hard": (int, {"ge": 1}),
    "limits.seconds": (float, {"gt": 0}),
    "limits.memory": (int, {"ge": 64 * 1024**2}),
    "limits.text": (int, {"ge": 1000}),
    "limits.upload": (int, {"ge": 0}),
    "limits.upload_rows": (int, {"ge": 1}),
    "limits.concurrent": (int, {"ge": 1}),
    "limits.user_tables": (int, {"ge": 0}),
    "limits.user_bytes": (int, {"ge": 1}),
    "limits.user_days": (float, {"gt": 0, "le": 36500}),
    "jobs.seconds": (int, {"ge": 1, "le": 2**31 - 1}),
    "jobs.seconds_hard": (int, {"ge": 1, "le": 2**31 - 1}),
    "jobs.keep_days": (float, {"gt": 0, "le": 36500}),
    "jobs.keep_days_hard": (float, {"gt": 0, "le": 36500}),
    "jobs.archive_days": (float, {"ge": 0, "le": 36500}),
    "jobs.queued": (int, {"ge": 1}),
    "jobs.idle": (float, {"gt": 0}),
    "alias.path": (StrictStr, {"pattern": "^/"}),
    "alias.to": (StrictStr, {"pattern": "^/"}),
    "alias.rename": (dict[str, StrictStr], {}),
    "alias.set": (dict[str, StrictStr], {}),
}
_SIZES = ("disk_budget", "limits.memory", "limits.text", "limits.upload", "limits.user_bytes")


def _model(name: str, source: type, prefix: str, skip: tuple[str, ...] = (), **more: Any) -> type[BaseModel]:
    """Derive the pydantic model of a dataclass: same keys, bounds and patterns from `_RULES`; nothing is required but an alias's path and to."""
    made: dict[str, Any] = {}
    for item in fields(source):
        if item.name in skip:
            continue
        kind, rule = _RULES.get(prefix + item.name, (StrictStr, {}))
        needed = prefix + item.name in {"alias.path", "alias.to"}
        made[item.name] = (kind if needed else kind | None, Field(... if needed else None, description=DOCS[prefix + item.name], **rule))
    for key, kind in more.items():
        made[key] = (kind | None, Field(None, description=DOCS[key]))
    return create_model(name, __base__=_Strict, **made)


LimitsModel = _model("Limits", QueryLimits, "limits.")
JobsModel = _model("Jobs", JobLimits, "jobs.")
AliasModel = _model("AliasEntry", Alias, "alias.")
Aliases = list[AliasModel]  # type: ignore[valid-type]
SettingsModel = _model(
    "SettingsFile", Settings, "", ("directory", "limits", "jobs", "aliases"), limits=LimitsModel, jobs=JobsModel, alias=Aliases
)


def names() -> Iterator[str]:
    """Every setting, ``limits.seconds`` as one word, as hven.toml has them."""
    yield from DOCS


# --- reading -------------------------------------------------------------------------------------------------


def load(directory: Path, environment: Mapping[str, str] | None = None) -> Settings:
    """Read ``hven.toml`` of a site, then ``HVEN_*`` variables, which win (``HVEN_PORT``, ``HVEN_LIMITS_SECONDS``).

    Raises
    ------
    UserError
        The directory is no site.
    DescriptorError
        There are faults: all of them, with file:line.
    """
    environment = os.environ if environment is None else environment
    file = directory / FILE
    if not file.is_file():
        why = "there is no such directory" if not directory.is_dir() else f"it has no {FILE}"
        message = f"{directory} is no site: {why}"
        raise UserError(message, remedy=f"hven init {directory}")
    faults: list[Fault] = []
    text, data = _parsed(file, faults)
    _refine(data)
    overrides = _from_environment(environment, faults)
    faults += _faults(data, text)
    faults += [
        Fault(message=f"{_variable(key)}: {message}", place=Place(file="environment")) for key, message in _check(_nested(overrides))
    ]
    if faults:
        raise DescriptorError(faults)
    for key, value in overrides.items():
        section, dot, name = key.rpartition(".")
        (data.setdefault(section, {}) if dot else data)[name] = value
    return _settings(directory, data)


def _parsed(file: Path, faults: list[Fault]) -> tuple[str, dict[str, Any]]:
    raw = file.read_bytes()
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise DescriptorError([Fault(message="not UTF-8", place=Place(file=FILE, line=line), remedy="save the file as UTF-8")]) from None
    try:
        return text, tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        place = re.search(r"\(at line (\d+), column (\d+)\)|\(at end of document\)", str(error))
        line, column = (int(place[1]), int(place[2])) if place and place[1] else (text.count("\n") + 1, None)
        message = str(error).partition(" (at ")[0]
        faults.append(
            Fault(
                message=f"not TOML: {message}",
                place=Place(file=FILE, line=line, column=column),
                remedy='text stands in double quotes: name = "x"',
            )
        )
        raise DescriptorError(faults) from None


def _refine(data: dict[str, Any]) -> None:
    for key in _SIZES:
        section, _, name = key.rpartition(".")
        holder = data.get(section) if section else data
        if isinstance(holder, dict) and name in holder:
            holder[name] = read_bytes(holder[name])


def _check(data: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Give (dotted key, message) for everything that is wrong."""
    try:
        SettingsModel.model_validate(data)
    except ValidationError as error:
        for item in error.errors():
            steps = [step for step in item["loc"] if isinstance(step, int | str)]
            key = ".".join(str(step) for step in steps)
            if item["type"] == "extra_forbidden":
                section = ".".join(str(step) for step in steps[:-1] if isinstance(step, str))
                known = [name.removeprefix(section + ".") if section else name for name in DOCS if name.rpartition(".")[0] == section]
                close = difflib.get_close_matches(str(steps[-1]), known, n=1)
                yield key, f"there is no such setting; {f'did you mean {close[0]!r}?' if close else 'known: ' + ', '.join(known)}"
            elif item["type"] == "missing":
                yield key, "is missing"
            elif item["type"] == "string_pattern_mismatch":
                yield key, f"{item['input']!r} does not look right; expected {_EXAMPLES.get(str(steps[-1]), 'another form')}"
            else:
                message = str(item["msg"])
                yield key, f"{message[:1].lower()}{message[1:]}, not {item['input']!r}"


_EXAMPLES = {
    "authority": "an IVOA authority such as 'example.org'",
    "public_url": "an address such as 'https://vo.example.org/hven'",
    "root_path": "a path such as '/hven', without a slash at its end",
    "contact_email": "an address such as 'vo@example.org'",
    "accent": "a colour such as '#0b5cad'",
    "path": "a path that begins with '/'",
    "to": "a path that begins with '/'",
}


def _faults(data: dict[str, Any], text: str) -> list[Fault]:
    found = [Fault(message=f"{key}: {message}", place=Place(file=FILE, line=_line(text, key))) for key, message in _check(data)]
    pairs = (
        ("limits", QueryLimits(), "maxrec_default", "maxrec_hard"),
        ("jobs", JobLimits(), "seconds", "seconds_hard"),
        ("jobs", JobLimits(), "keep_days", "keep_days_hard"),
    )
    for section, usual, one, other in pairs:
        given = data.get(section, {})
        if isinstance(given, dict):
            default, hard = (given.get(key, getattr(usual, key)) for key in (one, other))
            if isinstance(default, int | float) and isinstance(hard, int | float) and default > hard:
                place = Place(file=FILE, line=_line(text, f"{section}.{one}") or _line(text, f"{section}.{other}"))
                found.append(Fault(message=f"{section}.{one} ({default}) is above {section}.{other} ({hard})", place=place))
    return sorted(found, key=lambda fault: fault.place.line or 0)


def _line(text: str, key: str) -> int | None:
    """Find the line in which a dotted key stands; `alias.1.to` counts tables of an array from 0."""
    steps = key.split(".")
    section, number = "", -1
    wanted = [step for step in steps[:-1] if not step.isdigit()]
    index = next((int(step) for step in steps if step.isdigit()), 0)
    head = None
    for line, row in enumerate(text.splitlines(), 1):
        header = re.match(r"\s*(\[\[?)\s*([^\]]+?)\s*\]", row)
        if header:
            again = header[1] == "[["
            number = number + 1 if again and header[2] == section else 0
            section = header[2]
            if section == ".".join(wanted) and (not again or number == index):
                head = line
            if section == key:
                return line
            continue
        match = re.match(r"\s*[\"']?([A-Za-z0-9_.-]+)[\"']?\s*=", row)
        if (
            match
            and (section + "." if section else "") + match[1] == ".".join([*wanted, steps[-1]])
            and (section != "alias" or number == index)
        ):
            return line
    return head


def _known_variables() -> dict[str, str]:
    return {_variable(name): name for name in DOCS if not name.startswith(("alias", "defaults")) and name not in {"limits", "jobs"}}


def _variable(key: str) -> str:
    return PREFIX + key.replace(".", "_").upper()


def _from_environment(environment: Mapping[str, str], faults: list[Fault]) -> dict[str, Any]:
    """Read the variables; one that is nearly the name of a setting is a fault, others may be secrets."""
    known = _known_variables()
    found: dict[str, Any] = {}
    for variable, value in environment.items():
        if not variable.startswith(PREFIX):
            continue
        if variable in known:
            key = known[variable]
            found[key] = read_bytes(value) if key in _SIZES else value.split(",") if key == "cors" else value
            continue
        close = difflib.get_close_matches(variable, known, n=1, cutoff=0.85)
        if close:
            faults.append(
                Fault(message=f"there is no setting {variable}", place=Place(file="environment"), remedy=f"did you mean {close[0]}?")
            )
    return found


def _nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    data: dict[str, Any] = {}
    for key, value in flat.items():
        section, dot, name = key.rpartition(".")
        (data.setdefault(section, {}) if dot else data)[name] = value
    return data


def _settings(directory: Path, data: dict[str, Any]) -> Settings:
    model = SettingsModel.model_validate(data).model_dump(exclude_none=True)
    limits = QueryLimits(**model.pop("limits", {}))
    jobs = JobLimits(**model.pop("jobs", {}))
    aliases = tuple(Alias(**item) for item in model.pop("alias", []))
    if "cors" in model:
        model["cors"] = tuple(model["cors"])
    if "public_url" in model:
        model["public_url"] = model["public_url"].rstrip("/")
        model.setdefault("root_path", re.sub(r"^https?://[^/]+", "", model["public_url"]))
    return Settings(directory=directory, limits=limits, jobs=jobs, aliases=aliases, **model)


# --- hven init -----------------------------------------------------------------------------------------------


def template(
    *, name: str = "Hven site", authority: str = "example.org", contact_name: str | None = None, contact_email: str | None = None
) -> str:
    """Write the first hven.toml of a site: what is set, and the most wanted settings as comments."""
    quoted = json.dumps  # TOML's basic strings are JSON's
    contact = f"contact_name = {quoted(contact_name)}" if contact_name else '# contact_name = "The data team"'
    email = f"contact_email = {quoted(contact_email)}" if contact_email else '# contact_email = "vo@example.org"'
    return f"""# Settings of this site; all of them: docs/reference/settings.md. HVEN_PORT=9000 and the like win over this file.
name = {quoted(name)}
authority = {quoted(authority)}          # ivo://{authority}/...
{contact}
{email}

# public_url = "https://vo.example.org/hven"   # what readers see; every link is made from it
# host = "127.0.0.1"
# port = 8080
# workers = 2
# keep_snapshots = 3
# disk_budget = "200 GiB"

# [limits]
# seconds = 60
# maxrec_default = 2_000_000
# memory = "2 GiB"

# [defaults]              # merged below every descriptor
# publisher = "An observatory"

# [[alias]]               # an old address that scripts still use
# path = "/old/scs.xml"
# to = "/cone/stars.main"
"""


def init(
    directory: Path,
    *,
    name: str | None = None,
    authority: str = "example.org",
    contact_name: str | None = None,
    contact_email: str | None = None,
) -> Path:
    """Make a site: hven.toml, collections/, .gitignore. Files that are there already stay.

    Returns
    -------
    Path
        The directory.

    Raises
    ------
    UserError
        It is a site already, or cannot be written.
    """
    file = directory / FILE
    if file.exists():
        message = f"{directory} is a site already"
        raise UserError(message, remedy=f"edit {file}")
    try:
        (directory / "collections").mkdir(parents=True, exist_ok=True)
        text = template(name=name or directory.resolve().name, authority=authority, contact_name=contact_name, contact_email=contact_email)
        file.write_text(text, encoding="utf-8")
        ignore = directory / ".gitignore"
        if not ignore.exists():
            ignore.write_text("var/\nsecrets.toml\n", encoding="utf-8")
    except OSError as error:
        message = f"cannot make a site in {directory}: {error.strerror}"
        raise UserError(message) from error
    load(directory, {})
    return directory
