"""Where a job type is found: a module, a plug-in, or the site's ``jobs/NAME.yaml``, which names a program or a service elsewhere."""

import os
import re
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from hven.descriptor.value_schema import Faults, Fields, Keys, Loose, Many, Needed, Text, kind
from hven.descriptor.written import Entries, Items, Written, parse, read_page
from hven.jobs._command import HOLE, Command, Output
from hven.jobs._remote import Remote
from hven.jobs._types import Quota, Type
from hven.model import plugins
from hven.model.errors import DescriptorError, Fault, NotFound, ParamError, Place, nearest
from hven.model.params import Param, Params, collect
from hven.model.settings import URL, Settings, read_bytes
from hven.model.types import parse_type
from hven.sources.programs import PATH

DIRECTORY = "jobs"
NAME = re.compile(r"[a-z][a-z0-9_-]{0,39}")
PARAM = re.compile(r"[A-Z][A-Z0-9_]{0,39}")
RESULT = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,39}")
OWN = ("PHASE", "RUNID", "ACTION", "DESTRUCTION", "EXECUTIONDURATION", "WAIT", "DEPENDS_ON", "PARENT")


def _arguments(value: Any, what: str, faults: Faults) -> tuple[Any, ...] | None:
    """Read a program and its arguments; a list inside the list stays or goes as a whole."""
    if not isinstance(value, Items):
        faults.error(
            f"{what} must be a list of the program and its arguments, not {kind(value)}",
            value.place,
            "[bin/program, '{NAME}']",
        )
        return None
    made: list[Any] = []
    for item in value:
        if isinstance(item, Items):
            made.append(tuple(found for part in item if (found := _argument(part, what, faults)) is not None))
        elif (found := _argument(item, what, faults)) is not None:
            made.append(found)
    if not made or isinstance(made[0], tuple):
        faults.error(f"{what} must begin with the program", value.place)
        return None
    return tuple(made)


def _argument(value: Any, what: str, faults: Faults) -> Written | None:
    if isinstance(value, Written) and not value.is_null:
        return value
    remedy = "put it in quotes: '{...}'" if isinstance(value, Entries) else ""
    faults.error(f"{what}: an argument must be text, not {kind(value)}", value.place, remedy)
    return None


class Parameter(Keys, empty=True):
    """A parameter of the job."""

    type: Literal["int16", "int32", "int64", "float32", "float64", "string", "timestamp", "bool"]
    "type of its value; string if not said"
    file: bool
    "true: its value is a file that comes with the request, in the part of this name"
    required: bool
    "true: a job without it is refused"
    many: bool
    "true: it may come several times"
    default: Loose
    "its value if it is not given"
    allowed: Many[Loose]
    "the only values that it may have"
    minimum: float
    "of a number"
    maximum: float
    "of a number"
    pattern: Text
    "regular expression that the whole text must match"
    unit: Text
    "of a number"
    description: Text
    "what it means"


class Result(Keys):
    """A file that the program makes."""

    file: Needed[Text]
    "its path below the program's directory"
    type: Needed[Text]
    "its media type"
    optional: bool
    "true: it may be missing"


class Limits(Keys):
    """What a job of this type may use."""

    seconds: Annotated[int, Field(ge=1)]
    "time limit of a job"
    cpu: Annotated[int, Field(ge=1)]
    "seconds of processor time, of each process of the program"
    memory: Loose
    "address space of each process of the program: 2 GiB"
    disk: Loose
    "bytes of any one file that it writes, or of any one result that is fetched: 1 GiB"
    running: Annotated[int, Field(ge=1)]
    "jobs that run at once, in the whole site"
    waiting: Annotated[int, Field(ge=1)]
    "jobs of one user or address that wait and run; further ones are HELD"


class JobType(Keys):
    """A type of job."""

    title: Needed[Text]
    "one line for people"
    description: Text
    "what it does"
    access: Literal["public", "private"]
    "private: for those who are logged in"
    command: Annotated[list[str], _arguments]
    "the program and its arguments; {NAME} stands for a parameter"
    remote: Text
    "address of a job list elsewhere: https://other.example/tap/async"
    send: dict[str, Loose]
    "parameters that are always sent there"
    params: dict[str, Parameter]
    "what a job is asked with"
    results: dict[str, Result]
    "name of a result: the file that becomes it"
    environment: dict[str, Loose]
    "variables that the program sees; $NAME is that of the service"
    limits: Limits
    "what a job may use"


def of(settings: Settings, name: str) -> Type:
    """Find a type: a module of this room or a plug-in, else one that the site declares.

    Parameters
    ----------
    settings
        Of the site.
    name
        Of the type.

    Returns
    -------
    type
        Its record.

    Raises
    ------
    NotFound
        There is none.
    DescriptorError
        The site's declaration has faults.
    """
    if name in plugins.names("jobs"):
        found: Type = plugins.load("jobs", name).JOB
        return found
    return load(settings, name)


def offered(settings: Settings) -> dict[str, Type]:
    """Load every type: built-in, plugged in, and declared by the site.

    Parameters
    ----------
    settings
        Of the site.

    Returns
    -------
    types
        By name.

    Raises
    ------
    DescriptorError
        Declarations have faults: all of them.
    """
    return {name: of(settings, name) for name in plugins.names("jobs")} | load_all(settings)


def bounds(settings: Settings) -> dict[str, int]:
    """Count how many jobs of a type may run at once, for those types that limit it. A declaration that has faults limits nothing: its jobs end at once.

    Parameters
    ----------
    settings
        Of the site.

    Returns
    -------
    bounds
        By the name of the type.
    """
    made = {}
    for name in (*plugins.names("jobs"), *(path.stem for path in _files(settings))):
        try:
            running = of(settings, name).quota.running
        except (DescriptorError, NotFound):
            continue
        if running is not None:
            made[name] = running
    return made


def load(settings: Settings, name: str) -> Type:
    """Load one declaration.

    Parameters
    ----------
    settings
        Of the site.
    name
        ``jobs/NAME.yaml``.

    Returns
    -------
    type
        Its record.

    Raises
    ------
    NotFound
        There is none of that name.
    DescriptorError
        It has faults: all of them, with file:line:column.
    """
    path = settings.directory / DIRECTORY / f"{name}.yaml"
    if not NAME.fullmatch(name) or not path.is_file():
        raise NotFound(f"no type of job is called {name!r:.60}")
    found, faults = _read(path, settings)
    if found is None or faults:
        raise DescriptorError(faults)
    return found


def load_all(settings: Settings) -> dict[str, Type]:
    """Load all declarations.

    Parameters
    ----------
    settings
        Of the site.

    Returns
    -------
    types
        By name.

    Raises
    ------
    DescriptorError
        There are faults: all of all files.
    """
    made: dict[str, Type] = {}
    faults: list[Fault] = []
    for path in _files(settings):
        found, wrong = _read(path, settings)
        faults += wrong
        if found is not None:
            made[found.name] = found
    if faults:
        raise DescriptorError(faults)
    return made


def check(settings: Settings) -> list[Fault]:
    """Validate all declarations.

    Parameters
    ----------
    settings
        Of the site.

    Returns
    -------
    faults
        Of all files, with file:line:column.
    """
    return [fault for path in _files(settings) for fault in _read(path, settings)[1]]


def _files(settings: Settings) -> list[Path]:
    place = settings.directory / DIRECTORY
    return sorted(place.glob("*.yaml")) if place.is_dir() else []


def _read(path: Path, settings: Settings) -> tuple[Type | None, list[Fault]]:
    """Read a file, or return what was read when it was the same."""
    try:
        facts = path.stat()
    except OSError:
        return None, [Fault(message="the file has gone", place=Place(file=f"{DIRECTORY}/{path.name}"))]
    stamp = (facts.st_mtime_ns, facts.st_size, facts.st_ino)
    known = _seen.get(path)
    # what was wrong may be cured elsewhere: a program that is there now
    if known is None or known[0] != stamp or known[2]:
        known = _seen[path] = (stamp, *_anew(path, settings))
    return known[1:]


_seen: dict[Path, tuple[tuple[int, int, int], Type | None, list[Fault]]] = {}


def _anew(path: Path, settings: Settings) -> tuple[Type | None, list[Fault]]:
    shown = f"{DIRECTORY}/{path.name}"
    faults = Faults()
    page = read_page(path, shown, faults.found)
    root = None if page is None else parse(page, faults.found)
    if root is None:
        if page is not None and not faults.found:
            faults.error("the file is empty", page.place(0), "title: ..., command: [...]")
        return None, faults.sorted()
    fields = JobType.record.read(root, "", faults)
    if fields is None:
        return None, faults.sorted()
    name = path.stem
    if not NAME.fullmatch(name):
        faults.error(
            f"the type is called {name!r}, after its file", fields.place, "lower-case letters, digits, - and _"
        )
    elif name in plugins.names("jobs"):
        faults.error(f"there is a type {name!r} already", fields.place, "give the file another name")
    made = _type(name, fields, settings, faults)
    found = faults.sorted()
    return (None if found else made), found


def _type(name: str, fields: Fields, settings: Settings, faults: Faults) -> Type | None:
    params, files, patterns = _params(fields, faults)
    limits: Mapping[str, Any] = fields.get("limits", {})
    sizes = {key: _size(limits.get(key), f"limits.{key}", faults) for key in ("memory", "disk")}
    if ("command" in fields.places) == ("remote" in fields.places):
        faults.error(
            "a type has either a command or a remote", fields.place, "command: [bin/program] or remote: https://..."
        )
        return None
    for key in ("results", "environment") if "remote" in fields else ("send",):
        if key in fields.places:
            faults.error(
                f"'{key}' does not go with '{'remote' if 'remote' in fields else 'command'}'",
                fields.places[key],
                "remove it",
            )
    run: Command | Remote | None
    if "command" in fields:
        run = _command(fields, params, files, limits, sizes, settings, faults)
    else:
        run = _remote(fields, params, files, sizes, faults) if "remote" in fields else None
    if run is None:
        return None
    return Type(
        name=name,
        title=str(fields.get("title", name)),
        description=str(fields["description"]).strip() if "description" in fields else None,
        params=tuple(params.values()),
        files=files,
        run=run,
        check=_checker(tuple(params.values()), files, patterns),
        dropped=run.dropped if isinstance(run, Remote) else None,
        quota=Quota(running=limits.get("running"), waiting=limits.get("waiting"), seconds=limits.get("seconds")),
        access=fields.get("access", "public"),
        served=True,
    )


def _params(fields: Fields, faults: Faults) -> tuple[dict[str, Param], tuple[str, ...], dict[str, re.Pattern[str]]]:
    made: dict[str, Param] = {}
    files: list[str] = []
    patterns: dict[str, re.Pattern[str]] = {}
    for key, item in fields.get("params", {}).items():
        what = f"params.{key}"
        if not PARAM.fullmatch(key):
            faults.error(
                f"{what}: a parameter is called in capitals: {str(key).upper()!r}", key.place, "letters, digits and _"
            )
            continue
        if key in OWN:
            faults.error(f"{what}: {key} is a word of every job", key.place, "choose another name")
            continue
        name = str(key)
        if item.get("file"):
            files.append(name)
            for other in ("type", "default", "allowed", "minimum", "maximum", "pattern", "many"):
                if other in item.places:
                    faults.error(f"{what}: a file has no '{other}'", item.places[other], "remove it")
        type_ = parse_type(item.get("type", "string"))
        for bound in ("minimum", "maximum"):
            if bound in item.places and not type_.is_numeric:
                faults.error(
                    f"{what}.{bound} is for numbers, and this is a {item.get('type', 'string')}", item.places[bound]
                )
        if "pattern" in item:
            try:
                patterns[name] = re.compile(item["pattern"])
            except re.error as error:
                faults.error(f"{what}.pattern is no regular expression: {error}", item.places["pattern"])
        made[name] = Param(
            name=name,
            type=type_,
            unit=str(item["unit"]) if "unit" in item else None,
            description=str(item["description"]) if "description" in item else None,
            default=str(item["default"]) if "default" in item else None,
            required=bool(item.get("required")),
            many=bool(item.get("many")),
            allowed=tuple(str(word) for word in item.get("allowed", ())),
            minimum=item.get("minimum"),
            maximum=item.get("maximum"),
        )
        if "default" in item:
            try:
                _one(made[name], str(item["default"]), patterns.get(name))
            except ParamError as error:
                faults.error(f"{what}.default: {error.message}", item.places["default"], error.remedy)
    return made, tuple(files), patterns


def _size(text: Written | None, what: str, faults: Faults) -> int | None:
    if text is None:
        return None
    found = read_bytes(str(text))
    if isinstance(found, int) and found > 0:
        return found
    faults.error(f"{what} must be a number of bytes, not {kind(text)}", text.place, "2 GiB, 500M")
    return None


def _command(
    fields: Fields,
    params: Mapping[str, Param],
    files: Sequence[str],
    limits: Mapping[str, Any],
    sizes: Mapping[str, int | None],
    settings: Settings,
    faults: Faults,
) -> Command | None:
    argv: tuple[Any, ...] = fields["command"]
    for part in (part for item in argv for part in (item if isinstance(item, tuple) else (item,))):
        for hole in HOLE.finditer(part):
            if hole[1] not in params:
                faults.error(
                    f"command: there is no parameter {hole[1]}",
                    part.at(hole.start()),
                    nearest(hole[1], params) or "add it to 'params'",
                )
    program = _program(argv[0], settings, faults)
    outputs: dict[str, Output] = {}
    for key, item in fields.get("results", {}).items():
        if not RESULT.fullmatch(key) or key in {"stdout", "stderr"}:
            faults.error(
                f"results.{key} cannot be the name of a result",
                key.place,
                "letters, digits, - and _; not stdout or stderr",
            )
        file = item.get("file")
        if file is not None and (Path(file).is_absolute() or ".." in Path(file).parts):
            faults.error(
                f"results.{key}.file must be below the program's directory",
                file.place,
                "a path without / at its beginning and without ..",
            )
        if file is not None and "type" in item:
            outputs[str(key)] = Output(
                file=str(file), media_type=str(item["type"]), required=not item.get("optional", False)
            )
    if program is None:
        return None
    plain = tuple(tuple(str(part) for part in item) if isinstance(item, tuple) else str(item) for item in argv[1:])
    return Command(
        argv=(program, *plain),
        params=tuple(params.values()),
        files=files,
        outputs=outputs,
        environment={str(key): str(value) for key, value in fields.get("environment", {}).items()},
        seconds=limits.get("cpu"),
        memory=sizes["memory"],
        disk=sizes["disk"],
    )


def _program(word: Written, settings: Settings, faults: Faults) -> str | None:
    """Find the program: a path from the declaration's directory, or a name that PATH knows."""
    if HOLE.search(word):
        faults.error("command: the program itself cannot be a parameter", word.place, "write its path")
        return None
    if "/" in word:
        path = (settings.directory / DIRECTORY / str(word)).resolve()
        if path.is_file() and os.access(path, os.X_OK):
            return str(path)
        why = "is no program that may be run" if path.exists() else "does not exist"
        faults.error(
            f"command: {word} {why}", word.place, f"looked at {DIRECTORY}/{word}; chmod +x makes a file a program"
        )
        return None
    found = shutil.which(word, path=PATH)
    if found is None:
        faults.error(
            f"command: no program {word} in {PATH}",
            word.place,
            f"for one of your own write ./{word}, a path below {DIRECTORY}/",
        )
    return found


def _remote(
    fields: Fields, params: Mapping[str, Param], files: Sequence[str], sizes: Mapping[str, int | None], faults: Faults
) -> Remote | None:
    url: Written = fields["remote"]
    if not re.match(URL, url):
        faults.error(f"remote must be an address, not {kind(url)}", url.place, "https://other.example/tap/async")
        return None
    declared = None if "params" not in fields.places else frozenset(params) - frozenset(files)
    size = {} if sizes["disk"] is None else {"limit": sizes["disk"]}
    return Remote(
        url=url.rstrip("/"),
        fixed={str(key): str(value) for key, value in fields.get("send", {}).items()},
        params=declared,
        **size,
    )


# --- what is asked for ---------------------------------------------------------------------------------------


def _checker(
    known: Sequence[Param], files: Sequence[str], patterns: Mapping[str, re.Pattern[str]]
) -> Callable[[Params, Collection[str]], None]:
    """Build the check of a job's parameters, and of the files that came with it."""

    def check(params: Params, given: Collection[str]) -> None:
        for param in known:
            values = [value for value in params.all(param.name) if value != ""]
            if param.name in files:
                if param.required and param.name not in given:
                    remedy = f"send it as the part {param.name} of a multipart request"
                    raise ParamError(f"the file {param.name} is missing", name=param.name, remedy=remedy)
                continue
            if param.required and not values and param.default is None:
                raise ParamError(
                    f"{param.name} is missing", name=param.name, remedy=param.description or "give it a value"
                )
            if not param.many:
                params.one(param.name)
            for value in values:
                _one(param, value, patterns.get(param.name))

    return check


def _one(param: Param, value: str, pattern: re.Pattern[str] | None) -> None:
    one = collect([(param.name, value)])
    one.check([param])
    if param.type.is_integer:
        one.whole(param.name, minimum=-(10**18))
    if param.type.is_numeric:
        one.number(param.name, minimum=param.minimum, maximum=param.maximum)
    if pattern is not None and not pattern.fullmatch(value):
        raise ParamError(
            f"{param.name}={value!r:.60} does not look right",
            name=param.name,
            remedy=f"it must match {pattern.pattern}",
        )
