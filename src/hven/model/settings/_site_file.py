"""hven.toml and the environment -> one frozen object; every fault at once, each with its line."""

from __future__ import annotations

import os
import re
import tomllib
from typing import TYPE_CHECKING, Any

from hven.model import plugins
from hven.model.errors import DescriptorError, Fault, Place, UserError, meant, nearest
from hven.model.settings._secrets import secret
from hven.model.settings._shape import Settings
from hven.model.settings._validation import NAMED, brought, checked, keys, read_bytes, records, sections

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

FILE = "hven.toml"
PREFIX = "HVEN_"
SERVED = frozenset(  # first words of paths that answer themselves
    [
        "adql",
        "assets",
        "changes",
        "collections",
        "cone",
        "datalink",
        "docs",
        "edit",
        "epn",
        "files",
        "health",
        "help",
        "jobs",
        "login",
        "logo",
        "logout",
        "metrics",
        "news",
        "news.atom",
        "news.rss",
        "oai",
        "obscore",
        "projects",
        "robots.txt",
        "search",
        "siap",
        "soda",
        "ssap",
        "statistics",
        "tables",
        "tap",
        "tree",
        "vosi",
    ]
)


def load(directory: Path, environment: Mapping[str, str] | None = None) -> Settings:
    """Read ``hven.toml`` of a site, then ``HVEN_*`` variables, which win (``HVEN_PORT``, ``HVEN_LIMITS_SECONDS``).

    Parameters
    ----------
    directory
        The site's.
    environment
        Variables; None: those of this process.

    Returns
    -------
    settings
        With the sections that engines bring.

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
        Fault(message=f"{_variable(key)}: {message}", place=Place(file="environment"))
        for key, message in _check(_nested(overrides))
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
        raise DescriptorError(
            [Fault(message="not UTF-8", place=Place(file=FILE, line=line), remedy="save the file as UTF-8")]
        ) from None
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
    for key, said in keys().items():
        section, _, name = key.rpartition(".")
        holder = data.get(section) if section else data
        if not said["size"] or not isinstance(holder, dict):
            continue
        for one in holder.values() if section in sections() and sections()[section].kind in NAMED else (holder,):
            if isinstance(one, dict) and name in one:
                one[name] = read_bytes(one[name])


def _check(data: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield (dotted key, message) for everything that is wrong."""
    from pydantic import ValidationError  # noqa: PLC0415  (a tenth of a second, which `hven --help` does not need)

    try:
        checked().model_validate(data)
    except ValidationError as error:
        named = {name for name, one in sections().items() if one.kind in NAMED}
        for item in error.errors():
            # a name in a map is its own place
            steps = [step for step in item["loc"] if isinstance(step, int | str) and step != "[key]"]
            key = ".".join(str(step) for step in steps)
            words = [step for step in steps if isinstance(step, str)]
            name = ".".join(words[:1] + words[2:] if words[0] in named else words)  # the second is its name
            if item["type"] == "dict_type" and steps[-1] == words[0] and name in named:
                example = next((one["name"] for one in _tables_of(item["input"]) if "name" in one), "NAME")
                yield key, f"each has a section with its own name: write [{name}.{example}], and no `name` in it"
            elif item["type"] == "extra_forbidden":
                section = name.rpartition(".")[0]
                known = [other.rpartition(".")[2] for other in keys() if other.rpartition(".")[0] == section]
                yield key, f"there is no such setting; {nearest(words[-1], known) or 'known: ' + ', '.join(known)}"
            elif item["type"] == "missing":
                yield key, "is missing"
            elif item["type"] == "string_pattern_mismatch":
                said = keys().get(name) or keys().get(name.rpartition(".")[0], {})
                expected = said.get("example", "another form")
                yield key, f"{item['input']!r} does not look right; expected {expected}"
            elif item["type"] == "value_error":
                yield key, str(item["ctx"]["error"])
            else:
                message = str(item["msg"])
                yield key, f"{message[:1].lower()}{message[1:]}, not {item['input']!r}"


def _tables_of(value: object) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _fault(text: str, key: str, message: str, remedy: str = "", *, at: str = "", severity: str = "error") -> Fault:
    return Fault(
        message=f"{key}: {message}",
        place=Place(file=FILE, line=_line(text, at or key)),
        remedy=remedy,
        severity=severity,
    )


def _entries(data: dict[str, Any], section: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the tables of an array, as far as they are such, with their keys."""
    given = data.get(section)
    yield from (
        (f"{section}.{number}", one)
        for number, one in enumerate(given if isinstance(given, list) else ())
        if isinstance(one, dict)
    )


def _faults(data: dict[str, Any], text: str) -> list[Fault]:
    found = [_fault(text, key, message) for key, message in _check(data)]
    for key, item in _entries(data, "alias"):
        query = item.get("query")
        if query is not None and item.get("to") != "/tap/sync":
            found.append(_fault(text, f"{key}.query", "is for to = '/tap/sync'"))
        elif query is None and item.get("where"):
            found.append(_fault(text, f"{key}.where", "is for the conditions of a `query`, which is missing"))
    login = data.get("login")
    if isinstance(login, dict) and login.get("proxy_header") and not login.get("proxies"):
        found.append(_fault(text, "login.proxy_header", "is believed from nobody", 'proxies = ["127.0.0.1"]'))
    pairs = (
        ("limits", "maxrec_default", "maxrec_hard"),
        ("jobs", "seconds", "seconds_hard"),
        ("jobs", "keep_days", "keep_days_hard"),
        ("jobs", "maxrec_default", "maxrec_hard"),
        ("schedule", "retry", "retry_most"),
    )
    for section, one, other in pairs:
        given = data.get(section, {})
        if isinstance(given, dict):
            usual = sections()[section].kind()
            default, hard = (given.get(key, getattr(usual, key)) for key in (one, other))
            if isinstance(default, int | float) and isinstance(hard, int | float) and default > hard:
                place = Place(file=FILE, line=_line(text, f"{section}.{one}") or _line(text, f"{section}.{other}"))
                found.append(
                    Fault(message=f"{section}.{one} ({default}) is above {section}.{other} ({hard})", place=place)
                )
    return sorted(
        [*found, *_portal_faults(data, text), *_remote_faults(data, text)], key=lambda fault: fault.place.line or 0
    )


def _remote_faults(data: dict[str, Any], text: str) -> Iterator[Fault]:
    """Find services of one name, and EPN-TAP ones without tables: finding them would be a question to each at every search."""
    taken: set[str] = set()
    for key, given in _entries(data, "remote"):
        name, at = str(given.get("name", "")), f"{key}.name"
        if name in taken:
            yield _fault(text, at, f"there are two services {name}")
        taken.add(name)
        if given.get("kind", "epn") == "epn" and not given.get("tables"):
            yield _fault(text, f"{key}.tables", "is missing", 'its EPN-TAP tables: tables = ["amdadb.epn_core"]', at=at)


def _portal_faults(data: dict[str, Any], text: str) -> Iterator[Fault]:
    """Find portals that nobody could come to, and two at one place."""
    taken: dict[str, str] = {}
    portals = data.get("portals", {})
    for name, given in portals.items() if isinstance(portals, dict) else ():
        if not isinstance(given, dict):
            continue
        key = f"portals.{name}"
        places = [str(given[key]).lower() for key in ("host", "path") if given.get(key)]
        if len(places) != 1:
            why = "it has neither host nor path" if not places else "it has a host and a path"
            yield _fault(text, key, why, 'one of: host = "x.example.org", path = "/x"')
        first = str(given.get("path") or "").split("/")[1:2]
        if first and first[0].lower() in SERVED:
            yield _fault(text, key, f"/{first[0]} is the path of a service", "choose another one")
        for at in places:
            if at in taken:
                yield _fault(text, key, f"{at} is that of {taken[at]}", "give each its own")
            taken.setdefault(at, key)


def strangers(settings: Settings) -> list[Fault]:
    """List what the portals name and the site does not have: collections, logos, texts.

    Parameters
    ----------
    settings
        Of a site.

    Returns
    -------
    faults
        Warnings, each with its line.
    """
    found = []
    text = _text(settings)
    known = sorted(path.parent.name for path in settings.collections.glob("*/*.yaml") if path.stem == path.parent.name)
    for portal in settings.portals:
        for name in portal.collections:
            if name not in known:
                remedy = nearest(name, known) or f"known: {', '.join(known)}"
                key = f"portals.{portal.name}.collections"
                found.append(_fault(text, key, f"there is no collection {name!r}", remedy, severity="warning"))
    files = [
        ("logo", settings.logo),
        *(
            (f"portals.{one.name}.{key}", getattr(one, key))
            for one in settings.portals
            for key in ("logo", "text", "help")
        ),
    ]
    for key, file in files:
        if file and not (settings.directory / file).exists():
            missing = f"there is no {'directory' if key.endswith('.help') else 'file'} {file} beside {FILE}"
            found.append(_fault(text, key, missing, "write it, or leave the setting out", severity="warning"))
    return found


def lacking(settings: Settings) -> list[Fault]:
    """List sections that are in vain: what they need is not installed.

    Parameters
    ----------
    settings
        Of a site.

    Returns
    -------
    faults
        Each with the line of the section and the remedy.
    """
    found = []
    for one in brought():
        if settings.brought[one.name] != (() if one.many else one.kind()):
            try:
                plugins.need("it", *one.needs)
            except UserError as error:
                found.append(_fault(_text(settings), one.name, error.message, error.remedy))
    return found


def _text(settings: Settings) -> str:
    return (settings.directory / FILE).read_text(encoding="utf-8-sig")


def _line(text: str, key: str) -> int | None:
    """Find the line in which a dotted key stands; `alias.1.to` counts tables of an array from 0."""
    found = _line_of(text, key)
    # within a table in one line
    return _line_of(text, key.rpartition(".")[0]) if found is None and key.count(".") > 1 else found


def _line_of(text: str, key: str) -> int | None:
    steps = key.split(".")
    section, number, again = "", -1, False
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
            and (not again or number == index)
        ):
            return line
    return head


def _known_variables() -> dict[str, str]:
    """Map variables of the environment to the settings that are one value."""
    many = {"ceilings", "defaults", "rules", *(name for name, one in sections().items() if one.many)}
    return {_variable(name): name for name in keys() if name not in sections() and name.partition(".")[0] not in many}


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
            found[key] = (
                read_bytes(value) if keys()[key]["size"] else value.split(",") if keys()[key]["many"] else value
            )
            continue
        close = meant(variable, known, 0.85)
        if close is not None:
            faults.append(
                Fault(
                    message=f"there is no setting {variable}",
                    place=Place(file="environment"),
                    remedy=f"did you mean {close}?",
                )
            )
    return found


def _nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    data: dict[str, Any] = {}
    for key, value in flat.items():
        section, dot, name = key.rpartition(".")
        (data.setdefault(section, {}) if dot else data)[name] = value
    return data


def _settings(directory: Path, data: dict[str, Any]) -> Settings:
    read = records(data)
    if read.get("store", "").startswith("$"):
        read["store"] = secret(directory, read["store"])
    if "public_url" in read:
        read["public_url"] = read["public_url"].rstrip("/")
        read.setdefault("root_path", re.sub(r"^https?://[^/]+", "", read["public_url"]))
    return Settings(directory=directory, **read)
