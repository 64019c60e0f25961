"""What may stand in hven.toml: a line of documentation for each setting, bounds and patterns, and pydantic's view of the dataclasses."""

from __future__ import annotations

import re
from dataclasses import fields
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictStr, StringConstraints, create_model

from hven.model.resource import PythonLimits
from hven.model.settings._shape import (
    AlertSettings,
    Alias,
    Foreign,
    HealthSettings,
    JobLimits,
    LiveLimits,
    Portal,
    Postgres,
    QueryLimits,
    RemoteService,
    ResolverSettings,
    ScheduleSettings,
    Settings,
    TreeSettings,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

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
    "engine": "which engine keeps the rows of collections that do not say it: duckdb (embedded) or postgres",
    "store": "system store: postgresql+psycopg://user@host/database, or $NAME of a secret that holds it; default: var/hven.sqlite",
    "data": "directory of snapshots and jobs, for machines that share one store; default: var/",
    "postgres": "the engine postgres",
    "python": "what Python beside a descriptor (`functions:`, `source: python`) may use, in its own process",
    "live": "what one process may ask of each database whose tables are read in place",
    "limits": "what one query may use",
    "jobs": "what one asynchronous job may use, and how long it is kept",
    "resolver": "where names of objects are looked up",
    "schedule": "how collections are synchronised by themselves (`sync: {every: 1 h}` in a descriptor)",
    "alerts": "who is told when a collection does not follow its source",
    "health": "who sees on the health page what not every reader may know; when the files of snapshots are verified",
    "variant": "name of this server among several for one service, as in blue and green; shown by the health page",
    "keep_snapshots": "how many states of a table are kept for rollback",
    "keep_changes": "days for which it is kept what each sync changed, for /changes and hven diff",
    "disk_budget": "bytes that var/ may take: 200 GiB; default: what the disk has",
    "allow_private": "true: files may also be fetched from addresses that are not on the public internet (the institute's own network)",
    "cors": "web origins that may call the services from a browser",
    "roots": "directories outside the site that links among its data files, published files and included descriptors may lead into; a link that leads elsewhere is refused",
    "origins": "other web origins whose images (previews, thumbnails) and surveys pages may load: https://img.example.org, https://*.example.org; without any, pages ask nobody else",
    "surveys": "addresses of HiPS that maps of the sky may show below the rows, the first one at once: https://hips.example.org/DSSColor; without any, or where it does not come, a drawn sky that asks nobody",
    "alias": "old addresses answered by one of our faces",
    "foreign": "tables of other PostgreSQL databases, which `hven fdw` sets up as foreign tables",
    "remote": "TAP services elsewhere that the form over all EPN-TAP or ObsCore tables asks, too; without one nothing is sent anywhere",
    "defaults": "merged below every descriptor",
    "rules": "name of a rule = error, warning, info or off: for all collections that do not say it themselves",
    "accent": "colour of the pages: #0b5cad; one too light, or too dark for dark pages, is changed until text in it can be read",
    "highlight": "colour of what is chosen, written as accent is",
    "logo": "picture at the head of all pages, beside hven.toml: logo.svg (.png, .jpg, .webp)",
    "text": "Markdown file beside hven.toml that stands on the first page; home.fr.md beside home.md is read by readers of French",
    "news": "directory of news beside hven.toml: Markdown files such as 2026-11-20-new-maps.md",
    "help": "directory of help pages beside hven.toml, and beside each descriptor: Markdown files, and pictures for them",
    "credit": "one line at the foot of all pages: who pays, whom to thank",
    "language": "of pages for readers who ask for none that there is: en or fr",
    "tree": "the tree with counts on the first page",
    "portals": "several portals over the same collections, each with its own name",
    "limits.maxrec_default": "rows of an answer without MAXREC",
    "limits.maxrec_hard": "rows of any answer at most",
    "limits.seconds": "time limit of a synchronous query",
    "limits.memory": "memory of one process's engine: 2 GiB",
    "limits.text": "bytes of a query",
    "limits.upload": "bytes of all tables uploaded with one query, unpacked; 0: uploads are not offered",
    "limits.upload_rows": "rows of one uploaded table",
    "limits.concurrent": "big queries that compute at once, per process; who would wait for a turn in vain is told at once to come again; default: as many as processors, 3 at least. More make each slower, and all else as well; a database on a machine of its own may carry more",
    "limits.bodies": "requests of more than 1 MiB that a process holds at once; others are told to come again",
    "limits.user_tables": "tables that one account may keep in the service; 0: none",
    "limits.user_rows": "rows of all tables that one account keeps",
    "limits.user_bytes": "bytes on disk of all tables that one account keeps",
    "limits.user_days": "days after the last writing when a user's table goes",
    "limits.copy_rows": "rows that one query may copy from one engine to another",
    "limits.copy_bytes": "bytes that one query may copy from one engine to another",
    "limits.copy_keys": "join keys that are sent to another engine, so that it gives only the rows that match",
    "postgres.url": "postgresql://user@host/database, or $NAME of a secret that holds it",
    "postgres.namespace": "schema of the database in which snapshots are kept",
    "postgres.read_role": "role that queries run as: one that the owner of the snapshots may become, and that may read them and nothing else",
    "postgres.read_url": "another login for queries instead, written as url is",
    "postgres.pool": "connections of one process for queries",
    "postgres.position": "how positions are indexed: pgsphere, q3c or healpix; default: the best that the database has",
    "python.seconds": "seconds for a batch of rows of a function, or until the next row of a source",
    "python.memory": "memory of its data: 4 GiB",
    "live.pool": "connections at most",
    "live.at_once": "statements that run at once; others wait here, where they hold no lock. What takes longer than 50 ms is not counted any more",
    "jobs.seconds": "time limit of a job that asks for none",
    "jobs.seconds_hard": "time limit of any job",
    "jobs.keep_days": "days after which a job and its result are destroyed, if nothing else was asked for",
    "jobs.keep_days_hard": "days that a job may be kept at most",
    "jobs.archive_days": "days that a destroyed job stays as ARCHIVED, without its result",
    "jobs.maxrec_default": "rows of a job's answer without MAXREC; default: limits.maxrec_default",
    "jobs.maxrec_hard": "rows of a job's answer at most: they take disk and no memory; default: limits.maxrec_hard",
    "jobs.queued": "jobs of one user or address that may wait and run; further ones are HELD",
    "jobs.open": "jobs of one user or address that have not ended, PENDING and HELD ones too; further ones are refused",
    "jobs.idle": "seconds after which a worker for jobs that has nothing to do ends",
    "resolver.table": "schema.table of this site that knows names of objects and their positions; everybody may ask for its public rows by name",
    "resolver.remote": "true: names that are not known here are sent to Sesame (CDS); without it nothing leaves this machine",
    "resolver.url": "address of Sesame, or of a mirror of it",
    "resolver.seconds": "seconds that Sesame may take",
    "resolver.keep_days": "days that an answer of Sesame is remembered, by each process; that a name is unknown there: a day at most",
    "schedule.runs": "collections that are synchronised at once, on all machines that share the store; 0: this server runs none",
    "schedule.retry": "seconds after a failure when it is tried again; twice as long each further time",
    "schedule.retry_most": "seconds between two attempts at most",
    "schedule.grace": "seconds by which a run may be late to be made up, when no server ran at its time; default: always made up, once",
    "schedule.stale": "times of its schedule that may pass without a good run before a collection is stale",
    "alerts.webhook": "https address that gets each alert as JSON, or $NAME of a secret that holds it; one in the house's own network needs allow_private",
    "alerts.command": "program and arguments that get each alert as JSON on standard input; one with a slash is beside hven.toml",
    "alerts.mail_to": "mail addresses that get each alert",
    "alerts.mail_from": "mail address that they come from",
    "alerts.smtp_host": "mail server",
    "alerts.smtp_port": "its port; default: 587 for starttls, 465 for tls, 25 for none",
    "alerts.smtp_user": "login there, if it wants one",
    "alerts.smtp_password": "$NAME of the secret that holds its password; never sent without TLS",
    "alerts.smtp_tls": "starttls, tls or none",
    "alerts.repeat_failures": "failures in a row after which an alert comes again",
    "alerts.repeat_hours": "hours after which an alert comes again, as long as nothing has become better",
    "health.operators": "accounts that see everything there: private collections, and what went wrong, in words",
    "health.open": "true: everybody sees everything there; for a server that only the house's own network reaches",
    "health.verify_days": "days after which the files of every snapshot that is kept are read again and compared with their checksums; 0: new ones alone",
    "health.verify_rate": "bytes a second that this may read",
    "tree.levels": "columns that make its levels, from the outermost; `a|b`: the first that a table has; `@facility`, `@instrument`, `@subject`, `@collection`: as the descriptor says",
    "tree.branches": "values of one column at most; a table with more has no such level",
    "portals.name": "its name is that of the section: [portals.NAME]",
    "portals.host": "host name by which readers come to it: medoc.example.org; or",
    "portals.path": "path before the paths of its pages: /medoc",
    "portals.title": "heading of its first page",
    "portals.description": "one paragraph about it",
    "portals.collections": "the collections on its pages; default: all. It hides nothing: TAP serves all, `access: private` in a descriptor hides",
    "portals.levels": "as tree.levels",
    "portals.accent": "as accent",
    "portals.highlight": "as highlight",
    "portals.logo": "as logo",
    "portals.text": "as text",
    "portals.news": "as news",
    "portals.language": "as language",
    "portals.contact_email": "who answers questions",
    "alias.path": "the old path: /cs/scs.xml",
    "alias.to": "the path that answers it: /cone/stars.main",
    "alias.rename": "old parameter name -> new one",
    "alias.set": "parameters to add",
    "alias.query": "ADQL that answers it by /tap/sync; {where} stands for the conditions of the parameters that are given",
    "alias.where": "old parameter -> its condition, with ? for its value: date_updated >= ?",
    "foreign.name": "name of the foreign server",
    "foreign.url": "postgresql://reader@host/database of the other database, or $NAME of a secret that holds it",
    "foreign.namespace": "schema of the tables there",
    "foreign.tables": "their names",
    "foreign.into": "schema of the foreign tables here; default: the name",
    "foreign.roles": "who may read them here; default: the roles of the engine postgres",
    "foreign.fetch_size": "rows that travel at a time",
    "foreign.extensions": "extensions whose functions may be sent there; default: those that both databases have, of pg_sphere, q3c and some others",
    "remote.name": "its name in addresses: amda",
    "remote.url": "address of its TAP service, without /sync; one in the house's own network needs allow_private",
    "remote.kind": "epn or obscore",
    "remote.tables": "its tables: amdadb.epn_core; default for obscore: ivoa.obscore",
    "remote.title": "how pages call it; default: the name",
    "remote.seconds": "seconds that it may take; what has not come then is told as missing",
}

MAIL = r"^[^@\s,<>\x00-\x1f]+@[^@\s,<>\x00-\x1f]+$"
COLOUR = r"^#[0-9a-fA-F]{6}$"
ORIGIN = r"^https?://(?:\*\.)?[A-Za-z0-9.-]+(?::[0-9]{1,5})?$"  # goes into the content security policy as it stands
SURVEY = r"^https?://[A-Za-z0-9.-]+(?::[0-9]{1,5})?/[A-Za-z0-9._~%/+-]*$"  # its origin does, too
INSIDE = r"^[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*$"  # a path that does not lead out of the site
PICTURE = INSIDE.removesuffix("$") + r"\.(svg|png|jpg|jpeg|webp)$"
_DATABASE = r"^(\$[A-Za-z_][A-Za-z0-9_]*|postgres(ql)?://([^/:@]*@)?[^/@]*(/.*)?)$"  # a password is a secret's
_RULES: dict[str, tuple[Any, dict[str, Any]]] = {
    "authority": (StrictStr, {"pattern": r"^[A-Za-z0-9][A-Za-z0-9.\-_!~*'()+=]{2,}$"}),
    "contact_email": (StrictStr, {"pattern": r"^[^@\s]+@[^@\s]+$"}),
    "public_url": (StrictStr, {"pattern": URL}),
    "root_path": (StrictStr, {"pattern": r"^(/[^\s?#]*[^/\s?#])?$"}),
    "port": (int, {"ge": 1, "le": 65535}),
    "workers": (int, {"ge": 1, "le": 256}),
    "job_workers": (int, {"ge": 0, "le": 256}),
    "keep_snapshots": (int, {"ge": 1}),
    "keep_changes": (int, {"ge": 0}),
    "disk_budget": (int, {"ge": 1}),
    "allow_private": (bool, {}),
    "cors": (list[StrictStr], {}),
    "origins": (list[Annotated[str, StringConstraints(strict=True, pattern=ORIGIN)]], {"max_length": 50}),
    "roots": (list[Annotated[str, StringConstraints(strict=True, min_length=1)]], {"max_length": 50}),
    "surveys": (list[Annotated[str, StringConstraints(strict=True, pattern=SURVEY)]], {"max_length": 20}),
    "defaults": (dict[str, Any], {}),
    "rules": (dict[str, Literal["error", "warning", "info", "off"]], {}),
    "accent": (StrictStr, {"pattern": COLOUR}),
    "highlight": (StrictStr, {"pattern": COLOUR}),
    "logo": (StrictStr, {"pattern": PICTURE}),
    "text": (StrictStr, {"pattern": INSIDE}),
    "news": (StrictStr, {"pattern": INSIDE}),
    "help": (StrictStr, {"pattern": INSIDE}),
    "language": (Literal["en", "fr"], {}),
    "tree.levels": (list[StrictStr], {"min_length": 1, "max_length": 6}),
    "tree.branches": (int, {"ge": 1, "le": 1000}),
    "portals.host": (StrictStr, {"pattern": r"^[A-Za-z0-9][A-Za-z0-9.-]*(:[0-9]+)?$"}),
    "portals.path": (StrictStr, {"pattern": r"^(/[A-Za-z0-9_-]+)+$"}),
    "portals.collections": (list[StrictStr], {"min_length": 1}),
    "portals.levels": (list[StrictStr], {"min_length": 1, "max_length": 6}),
    "portals.accent": (StrictStr, {"pattern": COLOUR}),
    "portals.highlight": (StrictStr, {"pattern": COLOUR}),
    "portals.logo": (StrictStr, {"pattern": PICTURE}),
    "portals.text": (StrictStr, {"pattern": INSIDE}),
    "portals.news": (StrictStr, {"pattern": INSIDE}),
    "portals.language": (Literal["en", "fr"], {}),
    "portals.contact_email": (StrictStr, {"pattern": r"^[^@\s]+@[^@\s]+$"}),
    "limits.maxrec_default": (int, {"ge": 1}),
    "limits.maxrec_hard": (int, {"ge": 1}),
    "limits.seconds": (float, {"gt": 0}),
    "limits.memory": (int, {"ge": 64 * 1024**2}),
    "limits.text": (int, {"ge": 1000}),
    "limits.upload": (int, {"ge": 0}),
    "limits.upload_rows": (int, {"ge": 1}),
    "limits.concurrent": (int, {"ge": 1}),
    "limits.bodies": (int, {"ge": 1}),
    "limits.user_tables": (int, {"ge": 0}),
    "limits.user_rows": (int, {"ge": 1}),
    "limits.user_bytes": (int, {"ge": 1}),
    "limits.user_days": (float, {"gt": 0, "le": 36500}),
    "limits.copy_rows": (int, {"ge": 1}),
    "limits.copy_bytes": (int, {"ge": 1}),
    "limits.copy_keys": (int, {"ge": 0}),
    "postgres.url": (StrictStr, {"pattern": _DATABASE}),
    "postgres.namespace": (StrictStr, {"pattern": r"^[a-z_][a-z0-9_]{0,40}$"}),
    "postgres.read_role": (StrictStr, {"pattern": r"^\S{1,63}$"}),
    "postgres.read_url": (StrictStr, {"pattern": _DATABASE}),
    "postgres.position": (StrictStr, {"pattern": r"^(pgsphere|q3c|healpix)?$"}),
    "postgres.pool": (int, {"ge": 1, "le": 1000}),
    "python.seconds": (float, {"gt": 0, "le": 7 * 86400}),
    "python.memory": (int, {"ge": 64 * 1024**2}),
    "live.pool": (int, {"ge": 1, "le": 1000}),
    "live.at_once": (int, {"ge": 1, "le": 1000}),
    "jobs.seconds": (int, {"ge": 1, "le": 2**31 - 1}),
    "jobs.seconds_hard": (int, {"ge": 1, "le": 2**31 - 1}),
    "jobs.keep_days": (float, {"gt": 0, "le": 36500}),
    "jobs.keep_days_hard": (float, {"gt": 0, "le": 36500}),
    "jobs.archive_days": (float, {"ge": 0, "le": 36500}),
    "jobs.maxrec_default": (int, {"ge": 1}),
    "jobs.maxrec_hard": (int, {"ge": 1}),
    "jobs.queued": (int, {"ge": 1}),
    "jobs.open": (int, {"ge": 1}),
    "jobs.idle": (float, {"gt": 0}),
    "resolver.table": (StrictStr, {"pattern": r"^[^.\s]+\.[^.\s]+$"}),
    "resolver.remote": (bool, {}),
    "resolver.url": (StrictStr, {"pattern": URL}),
    "resolver.seconds": (float, {"gt": 0, "le": 60}),
    "resolver.keep_days": (float, {"ge": 0, "le": 36500}),
    "variant": (StrictStr, {"pattern": r"^[A-Za-z0-9][A-Za-z0-9._-]{0,40}$"}),
    "schedule.runs": (int, {"ge": 0, "le": 64}),
    "schedule.retry": (float, {"gt": 0, "le": 86400}),
    "schedule.retry_most": (float, {"gt": 0, "le": 7 * 86400}),
    "schedule.grace": (float, {"ge": 0}),
    "schedule.stale": (int, {"ge": 1, "le": 1000}),
    "alerts.webhook": (StrictStr, {"pattern": r"^(\$[A-Za-z_][A-Za-z0-9_]*|https?://[^\s/?#@]+(/[^\s?#]*)?)$"}),  # a key is a secret's
    "alerts.command": (list[StrictStr], {"min_length": 1}),
    "alerts.mail_to": (list[Annotated[str, StringConstraints(pattern=MAIL)]], {"min_length": 1}),
    "alerts.mail_from": (StrictStr, {"pattern": MAIL}),
    "alerts.smtp_host": (StrictStr, {"pattern": r"^[A-Za-z0-9._:-]+$"}),
    "alerts.smtp_port": (int, {"ge": 1, "le": 65535}),
    "alerts.smtp_password": (StrictStr, {"pattern": r"^\$[A-Za-z_][A-Za-z0-9_]*$"}),
    "alerts.smtp_tls": (Literal["starttls", "tls", "none"], {}),
    "alerts.repeat_failures": (int, {"ge": 1}),
    "alerts.repeat_hours": (float, {"gt": 0}),
    "health.operators": (list[StrictStr], {}),
    "health.open": (bool, {}),
    "health.verify_days": (float, {"ge": 0, "le": 3650}),
    "health.verify_rate": (int, {"ge": 1024}),
    "alias.path": (StrictStr, {"pattern": "^/"}),
    "alias.to": (StrictStr, {"pattern": "^/"}),
    "alias.rename": (dict[str, StrictStr], {}),
    "alias.set": (dict[str, StrictStr], {}),
    "alias.where": (dict[str, Annotated[str, StringConstraints(strict=True, pattern=r"\?")]], {}),
    "foreign.name": (StrictStr, {"pattern": r"^[A-Za-z_][A-Za-z0-9_]{0,40}$"}),
    "foreign.url": (StrictStr, {"pattern": _DATABASE}),
    "foreign.tables": (list[StrictStr], {"min_length": 1}),
    "foreign.roles": (list[StrictStr], {}),
    "foreign.fetch_size": (int, {"ge": 100, "le": 1_000_000}),
    "foreign.extensions": (list[StrictStr], {}),
    "remote.name": (StrictStr, {"pattern": r"^[a-z][a-z0-9_-]{0,40}$"}),
    "remote.url": (StrictStr, {"pattern": URL}),
    "remote.kind": (Literal["epn", "obscore"], {}),
    "remote.tables": (
        list[Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*){0,2}$")]],
        {"min_length": 1, "max_length": 100},
    ),
    "remote.seconds": (float, {"gt": 0, "le": 60}),
}
SIZES = (
    "disk_budget",
    "limits.memory",
    "python.memory",
    "limits.text",
    "limits.upload",
    "limits.user_bytes",
    "limits.copy_bytes",
    "health.verify_rate",
)


SECTIONS: dict[str, type] = {
    "limits": QueryLimits,
    "jobs": JobLimits,
    "postgres": Postgres,
    "live": LiveLimits,
    "python": PythonLimits,
    "resolver": ResolverSettings,
    "schedule": ScheduleSettings,
    "alerts": AlertSettings,
    "health": HealthSettings,
    "tree": TreeSettings,
}
LISTS = {"cors", "roots", "origins", "surveys", "alerts.command", "alerts.mail_to", "health.operators", "tree.levels"}


def _model(name: str, source: type, prefix: str, skip: tuple[str, ...] = (), **more: Any) -> type[BaseModel]:
    """Derive the pydantic model of a dataclass: same keys, bounds and patterns from `_RULES`; little is required."""
    made: dict[str, Any] = {}
    for item in fields(source):
        if item.name in skip:
            continue
        kind, rule = _RULES.get(prefix + item.name, (StrictStr, {}))
        needed = prefix + item.name in {
            "alias.path",
            "alias.to",
            "foreign.name",
            "foreign.url",
            "foreign.tables",
            "remote.name",
            "remote.url",
        }
        made[item.name] = (kind if needed else kind | None, Field(... if needed else None, description=DOCS[prefix + item.name], **rule))
    for key, kind in more.items():
        made[key] = (kind | None, Field(None, description=DOCS[key]))
    return create_model(name, __base__=_Strict, **made)


LimitsModel = _model("Limits", QueryLimits, "limits.")
JobsModel = _model("Jobs", JobLimits, "jobs.")
PostgresModel = _model("Postgres", Postgres, "postgres.")
PythonModel = _model("Python", PythonLimits, "python.")
LiveModel = _model("Live", LiveLimits, "live.")
ResolverModel = _model("Resolver", ResolverSettings, "resolver.")
ScheduleModel = _model("Schedule", ScheduleSettings, "schedule.")
AlertsModel = _model("Alerts", AlertSettings, "alerts.")
HealthModel = _model("Health", HealthSettings, "health.")
AliasModel = _model("AliasEntry", Alias, "alias.")
Aliases = list[AliasModel]  # type: ignore[valid-type]
TreeModel = _model("Tree", TreeSettings, "tree.")
PortalModel = _model("PortalEntry", Portal, "portals.", ("name",))
Portals = dict[Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,40}$")], PortalModel]  # type: ignore[valid-type]
ForeignModel = _model("ForeignEntry", Foreign, "foreign.")
Foreigns = list[ForeignModel]  # type: ignore[valid-type]
RemoteModel = _model("RemoteEntry", RemoteService, "remote.")
Remotes = list[RemoteModel]  # type: ignore[valid-type]
SettingsModel = _model(
    "SettingsFile",
    Settings,
    "",
    ("directory", *SECTIONS, "aliases", "foreign", "remote", "portals"),
    limits=LimitsModel,
    jobs=JobsModel,
    resolver=ResolverModel,
    postgres=PostgresModel,
    live=LiveModel,
    python=PythonModel,
    schedule=ScheduleModel,
    alerts=AlertsModel,
    health=HealthModel,
    alias=Aliases,
    foreign=Foreigns,
    remote=Remotes,
    tree=TreeModel,
    portals=Portals,
)


def names() -> Iterator[str]:
    """Every setting, ``limits.seconds`` as one word, as hven.toml has them."""
    yield from DOCS
