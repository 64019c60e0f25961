"""Read the job types of a site: each ``jobs/NAME.yaml`` declares a program, or a service elsewhere."""

import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from hven.descriptor.value_schema import (
    DescriptorSection,
    FaultCollector,
    LocatedKeyValues,
    OneOrMore,
    Required,
    RetypedText,
    Text,
    describe_value,
)
from hven.descriptor.written_yaml import (
    LocatedYamlList,
    LocatedYamlMap,
    LocatedYamlScalar,
    parse_yaml_file,
    read_yaml_file,
)
from hven.jobs import JobDefinition, JobTypeLimits
from hven.model import plugins
from hven.model.errors import DescriptorError, Fault, ParamError, TextPlace, suggest_spelling
from hven.model.params import Param, RequestParams, collect_params
from hven.model.settings import JOB_TYPES_DIRECTORY, URL_PATTERN, Settings, parse_byte_size_if_text
from hven.model.types import parse_type
from hven.plugins.declared_jobs.function_signatures import (
    FUNCTION_OUTPUTS,
    AnnotatedSignature,
    SignatureError,
    build_function_arguments,
    read_function_signature,
)
from hven.plugins.declared_jobs.program_limits import DEFAULT_DISK_BYTES, DEFAULT_PROCESS_LIMIT
from hven.plugins.declared_jobs.program_runner import PLACEHOLDER_PATTERN, ProgramOutputFile, ProgramRunner
from hven.plugins.declared_jobs.remote_jobs import DEFAULT_RESULT_LIMIT_BYTES, RemoteJobRunner
from hven.sources.site_programs import PROGRAM_PATH

TYPE_NAME_PATTERN = re.compile(r"[a-z][a-z0-9_-]{0,39}")
PARAMETER_NAME_PATTERN = re.compile(r"[A-Z][A-Z0-9_]{0,39}")
RESULT_NAME_PATTERN = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,39}")
VALID_VERSIONS_DIRECTORY = "job-types"  # in the data directory: the last version of each file without faults
LOCK_PATTERN = re.compile("sha256:[0-9a-f]{64}")
RESERVED_PARAMETERS = ("PHASE", "RUNID", "ACTION", "DESTRUCTION", "EXECUTIONDURATION", "WAIT", "DEPENDS_ON", "PARENT")


def _parse_program_arguments(value: Any, key_path: str, faults: FaultCollector) -> tuple[Any, ...] | None:
    """Read a program and its arguments; the arguments of a list inside the list are used together or not at all."""
    if not isinstance(value, LocatedYamlList):
        faults.add_error(
            f"{key_path} must be a list of the program and its arguments, not {describe_value(value)}",
            value.place,
            "write [bin/program, '{NAME}']",
        )
        return None
    arguments: list[Any] = []
    for member in value:
        if isinstance(member, LocatedYamlList):
            group = [_parse_program_argument(part, key_path, faults) for part in member]
            arguments.append(tuple(argument for argument in group if argument is not None))
            continue
        argument = _parse_program_argument(member, key_path, faults)
        if argument is not None:
            arguments.append(argument)
    if not arguments or isinstance(arguments[0], tuple):
        faults.add_error(f"{key_path} must begin with the program", value.place)
        return None
    return tuple(arguments)


def _parse_program_argument(value: Any, key_path: str, faults: FaultCollector) -> LocatedYamlScalar | None:
    if isinstance(value, LocatedYamlScalar) and not value.is_null:
        return value
    remedy = ""
    if isinstance(value, LocatedYamlMap):
        remedy = "put the argument in quotes: '{...}'"
    faults.add_error(f"{key_path}: an argument must be text, not {describe_value(value)}", value.place, remedy)
    return None


class JobParameterSection(DescriptorSection, empty=True):
    """A parameter of the job."""

    type: Literal["int16", "int32", "int64", "float32", "float64", "string", "timestamp", "bool"]
    "type of the value (default: string)"
    file: bool
    "true: the value is a file, sent with the request as the part with this name"
    required: bool
    "true: Hven rejects jobs without this parameter"
    many: bool
    "true: a request can contain this parameter several times"
    default: RetypedText
    "value that Hven uses if a request does not contain this parameter"
    allowed: OneOrMore[RetypedText]
    "allowed values"
    minimum: float
    "smallest value of a number"
    maximum: float
    "largest value of a number"
    pattern: Text
    "regular expression that the whole text must match"
    unit: Text
    "unit of a number"
    description: Text
    "meaning of the parameter"


class JobResultSection(DescriptorSection):
    """A file that the program makes."""

    file: Required[Text]
    "path relative to the program's directory"
    type: Required[Text]
    "media type"
    optional: bool
    "true: the program need not write this file"


class JobLimitSection(DescriptorSection):
    """What a job of this type may use."""

    seconds: Annotated[int, Field(ge=1)]
    "time limit of a job"
    cpu: Annotated[int, Field(ge=1)]
    "seconds of processor time for each process of the program"
    memory: RetypedText
    "address space of each process of the program, such as 2 GiB"
    disk: RetypedText
    "maximum size of all files and output of the program (default: 10 GiB), or of each result that Hven fetches"
    processes: Annotated[int, Field(ge=1)]
    "maximum number of processes of the program (default: 256)"
    running: Annotated[int, Field(ge=1)]
    "maximum number of jobs that run at the same time on the whole site"
    waiting: Annotated[int, Field(ge=1)]
    "maximum number of waiting and running jobs of one user or address; further jobs are HELD"


class JobTypeSection(DescriptorSection):
    """A type of job."""

    title: Required[Text]
    "title in one line"
    description: Text
    "what the job does"
    access: Literal["public", "private"]
    "public (the default), or private: only users who are logged in can run the job"
    command: Annotated[list[str], _parse_program_arguments]
    "the program and its arguments. Hven replaces {NAME} with the parameter NAME"
    function: Text
    "instead of command: a function of a Python file beside the declaration, as 'file.py:function'"
    remote: Text
    "address of the job list of another service, such as https://other.example/tap/async"
    send: dict[str, RetypedText]
    "parameters that Hven always sends to the other service"
    params: dict[str, JobParameterSection]
    "the parameters of a job"
    results: dict[str, JobResultSection]
    "results of a job, as 'name: file'"
    environment: dict[str, RetypedText]
    "environment variables for the program. Hven replaces $NAME with the variable NAME of the server's environment"
    lock: Text
    "digest of the program and its packages (`environment` in the jobInfo of a job); jobs with a different digest fail"
    limits: JobLimitSection
    "what a job may use"


@dataclass(frozen=True, kw_only=True)
class JobDeclarationKind:
    """A kind of files that declare job types.

    Attributes
    ----------
    folder
        Their folder in ``jobs/``; empty: ``jobs/`` itself.
    section
        The keys of a file.
    build_type
        Makes a job type of the name and the keys of a file, and collects faults; None if there are any.
    hint
        What an empty file should contain.
    """

    folder: str = ""
    section: type[DescriptorSection]
    build_type: Callable[[str, LocatedKeyValues, Settings, FaultCollector], JobDefinition | None]
    hint: str


class DeclaredJobTypeProvider:
    """The job types that a site declares in files of one kind."""

    def __init__(self, kind: JobDeclarationKind) -> None:
        self._kind = kind
        # path -> time, size and inode of the file; the type; the faults
        self._cache: dict[Path, tuple[tuple[int, int, int], JobDefinition | None, list[Fault]]] = {}

    def _get_directory(self, settings: Settings) -> Path:
        return settings.job_types_directory / self._kind.folder

    def _list_files(self, settings: Settings) -> list[Path]:
        directory = self._get_directory(settings)
        if directory.is_dir():
            return sorted(directory.glob("*.yaml"))
        return []

    def list_type_names(self, settings: Settings) -> list[str]:
        """List the names of the files; see `hven.jobs.JobTypeProvider`."""
        return [path.stem for path in self._list_files(settings)]

    def find_job_type(self, settings: Settings, type_name: str) -> JobDefinition | None:
        """Read one declaration; see `hven.jobs.JobTypeProvider`."""
        path = self._get_directory(settings) / f"{type_name}.yaml"
        if not TYPE_NAME_PATTERN.fullmatch(type_name):
            return None
        valid_path = self._get_valid_version_path(settings, type_name)
        if not path.is_file():
            with contextlib.suppress(OSError):
                valid_path.unlink(missing_ok=True)  # a new file with this name has no earlier version
            return None
        declared_type, faults = self._load_cached_declaration(path, settings)
        if declared_type is None and valid_path.is_file():
            declared_type, _ = self._load_cached_declaration(valid_path, settings)
        if declared_type is None:
            raise DescriptorError(faults)
        return declared_type

    def load_job_types(self, settings: Settings) -> dict[str, JobDefinition]:
        """Read all declarations; see `hven.jobs.JobTypeProvider`."""
        readings = [self._load_cached_declaration(path, settings) for path in self._list_files(settings)]
        faults = [fault for _, file_faults in readings for fault in file_faults]
        if faults:
            raise DescriptorError(faults)
        return {job_type.name: job_type for job_type, _ in readings if job_type is not None}

    def _get_valid_version_path(self, settings: Settings, type_name: str) -> Path:
        return settings.data_directory / VALID_VERSIONS_DIRECTORY / self._kind.folder / f"{type_name}.yaml"

    def _keep_valid_version(self, path: Path, settings: Settings) -> None:
        """Keep a copy of a file without faults, for all processes of the site."""
        valid_path = self._get_valid_version_path(settings, path.stem)
        # a site without data has no server, and whoever cannot write there is not its server
        if path == valid_path or not settings.data_directory.is_dir():
            return
        with contextlib.suppress(OSError):
            text = path.read_bytes()
            if valid_path.is_file() and valid_path.read_bytes() == text:
                return
            valid_path.parent.mkdir(parents=True, exist_ok=True)
            number, temporary_name = tempfile.mkstemp(dir=valid_path.parent)
            with os.fdopen(number, "wb") as file:
                file.write(text)
            Path(temporary_name).replace(valid_path)

    def _load_cached_declaration(self, path: Path, settings: Settings) -> tuple[JobDefinition | None, list[Fault]]:
        """Read a declaration, or return the cached result if the file is unchanged."""
        display_path = "/".join((JOB_TYPES_DIRECTORY, *filter(None, (self._kind.folder, path.name))))
        try:
            file_stat = path.stat()
        except OSError:
            return None, [Fault(message="the file no longer exists", place=TextPlace(file=display_path))]
        file_stamp = (file_stat.st_mtime_ns, file_stat.st_size, file_stat.st_ino)
        cached_reading = self._cache.get(path)
        # a fault may disappear without a change of the file, such as a program that did not exist
        if cached_reading is None or cached_reading[0] != file_stamp or cached_reading[2]:
            reading = self._parse_declaration_file(path, display_path, settings)
            if reading[0] is not None:
                self._keep_valid_version(path, settings)
            cached_reading = self._cache[path] = (file_stamp, *reading)
        return cached_reading[1:]

    def _parse_declaration_file(
        self, path: Path, display_path: str, settings: Settings
    ) -> tuple[JobDefinition | None, list[Fault]]:
        faults = FaultCollector()
        page = read_yaml_file(path, display_path, faults.faults)
        root = None
        if page is not None:
            root = parse_yaml_file(page, faults.faults)
        if root is None:
            if page is not None and not faults.faults:
                faults.add_error("the file is empty", page.locate_index(0), self._kind.hint)
            return None, faults.list_sorted()
        fields = self._kind.section.record.read_section(root, "", faults)
        if fields is None:
            return None, faults.list_sorted()
        name = path.stem
        if not TYPE_NAME_PATTERN.fullmatch(name):
            faults.add_error(
                f"the file name {name!r} is not a valid name for a job type",
                fields.place,
                "begin with a lower-case letter, and use only lower-case letters, digits, - and _",
            )
        elif name in plugins.list_plugins("jobs"):
            faults.add_error(f"there is already a job type {name!r}", fields.place, "give the file a different name")
        job_type = self._kind.build_type(name, fields, settings, faults)
        sorted_faults = faults.list_sorted()
        return (None if sorted_faults else job_type), sorted_faults


def _build_job_type(
    type_name: str, fields: LocatedKeyValues, settings: Settings, faults: FaultCollector
) -> JobDefinition | None:
    function = _find_function(fields["function"], settings, faults) if "function" in fields else None
    type_words = {} if function is None else function[2].type_words
    params, files, patterns = parse_parameter_sections(
        fields.get("params", {}), "params", faults, default_types=type_words
    )
    limits: Mapping[str, Any] = fields.get("limits", {})
    sizes = {key: _parse_size_limit(limits.get(key), f"limits.{key}", faults) for key in ("memory", "disk")}
    type_keys = [key for key in ("command", "function", "remote") if key in fields.places]
    if len(type_keys) != 1:
        faults.add_error(
            "a job type must have exactly one of `command`, `function` and `remote`",
            fields.place,
            "write `command: [bin/program]`, `function: file.py:function` or `remote: https://...`",
        )
        return None
    type_key, excluded_keys = type_keys[0], ["send"]
    if type_key == "remote":
        excluded_keys = ["results", "environment", "lock"]
    for key in excluded_keys:
        if key in fields.places:
            faults.add_error(f"'{key}' cannot be combined with '{type_key}'", fields.places[key], f"remove '{key}'")
    runner: ProgramRunner | RemoteJobRunner | None = None
    description = None
    if "description" in fields:
        description = str(fields["description"]).strip()
    if function is not None:
        script_path, function_name, signature = function
        params = _merge_params(signature.params, params, fields.get("params", {}), faults)
        files = tuple(signature.files)
        description = description or signature.description or None
        runner = ProgramRunner(
            argv=build_function_arguments(script_path, function_name, signature.params),
            params=tuple(params.values()),
            files=files,
            outputs={**FUNCTION_OUTPUTS, **_parse_output_files(fields, faults)},
            environment={str(key): str(value) for key, value in fields.get("environment", {}).items()},
            cpu_limit_seconds=limits.get("cpu"),
            memory_limit_bytes=sizes["memory"],
            disk_limit_bytes=sizes["disk"] or DEFAULT_DISK_BYTES,
            process_limit=limits.get("processes", DEFAULT_PROCESS_LIMIT),
            lock=_parse_environment_lock(fields, faults),
        )
    elif "command" in fields:
        runner = _build_program_runner(fields, params, files, limits, sizes=sizes, settings=settings, faults=faults)
    elif "remote" in fields:
        runner = _build_remote_runner(fields, params, files, sizes, faults)
    if runner is None:
        return None
    all_params = tuple(params.values())
    quota = JobTypeLimits(
        running_limit=limits.get("running"),
        waiting_limit=limits.get("waiting"),
        duration_limit_seconds=limits.get("seconds"),
    )
    return JobDefinition(
        name=type_name,
        title=str(fields.get("title", type_name)),
        description=description,
        params=all_params,
        files=files,
        run=runner,
        check=build_parameter_check(all_params, files, patterns),
        on_drop=runner.send_abort_or_delete if isinstance(runner, RemoteJobRunner) else None,
        quota=quota,
        access=fields.get("access", "public"),
        is_served=True,
    )


def parse_parameter_sections(
    sections: Mapping[Any, LocatedKeyValues],
    map_path: str,
    faults: FaultCollector,
    *,
    default_types: Mapping[str, str] | None = None,
) -> tuple[dict[str, Param], tuple[str, ...], dict[str, re.Pattern[str]]]:
    """Read the parameters of a job type.

    Parameters
    ----------
    sections
        The keys of each parameter.
    map_path
        Key of the map that contains them.
    faults
        Takes what is wrong.
    default_types
        Types of parameters whose section names none; otherwise, these are texts.

    Returns
    -------
    params
        The parameters by their names.
    files
        The names of those that are files.
    patterns
        The patterns of those that have one.
    """
    params_by_name: dict[str, Param] = {}
    files: list[str] = []
    patterns: dict[str, re.Pattern[str]] = {}
    for key, section in sections.items():
        key_path = f"{map_path}.{key}"
        if not PARAMETER_NAME_PATTERN.fullmatch(key):
            faults.add_error(
                f"{key_path}: the name of a parameter must be in capitals, as in {str(key).upper()!r}",
                key.place,
                "begin with a letter, and use only letters, digits and _",
            )
            continue
        if key in RESERVED_PARAMETERS:
            faults.add_error(
                f"{key_path}: every job already has a parameter {key}", key.place, "choose a different name"
            )
            continue
        name = str(key)
        if section.get("file"):
            files.append(name)
        type_text = section.get("type", (default_types or {}).get(name, "string"))
        _check_key_conflicts(key_path, section, type_text, faults)
        if "pattern" in section:
            try:
                patterns[name] = re.compile(section["pattern"])
            except re.error as error:
                faults.add_error(f"{key_path}.pattern is not a regular expression: {error}", section.places["pattern"])
        param = _build_declared_param(name, type_text, section)
        params_by_name[name] = param
        if param.default is not None:
            try:
                check_parameter_value(param, param.default, patterns.get(name))
            except ParamError as error:
                faults.add_error(f"{key_path}.default: {error.message}", section.places["default"], error.remedy)
    return params_by_name, tuple(files), patterns


def _check_key_conflicts(key_path: str, section: LocatedKeyValues, type_text: str, faults: FaultCollector) -> None:
    """Report keys that exclude each other: a file has no type, and only numbers have limits."""
    places = section.places
    if section.get("file"):
        for excluded_key in ("type", "default", "allowed", "minimum", "maximum", "pattern", "many"):
            if excluded_key in places:
                faults.add_error(
                    f"{key_path}: a file parameter cannot have the key '{excluded_key}'",
                    places[excluded_key],
                    f"remove '{excluded_key}'",
                )
    if not parse_type(type_text).is_numeric:
        for limit_key in ("minimum", "maximum"):
            if limit_key in places:
                message = f"{key_path}.{limit_key} is only for numbers, but the type is {type_text}"
                faults.add_error(message, places[limit_key])


def _build_declared_param(parameter_name: str, type_text: str, section: LocatedKeyValues) -> Param:
    def read_text(key: str) -> str | None:
        if key in section:
            return str(section[key])
        return None

    allowed_words = tuple(str(word) for word in section.get("allowed", ()))
    return Param(
        name=parameter_name,
        type=parse_type(type_text),
        unit=read_text("unit"),
        description=read_text("description"),
        default=read_text("default"),
        required=bool(section.get("required")),
        many=bool(section.get("many")),
        allowed=allowed_words,
        minimum=section.get("minimum"),
        maximum=section.get("maximum"),
    )


def _parse_size_limit(text: LocatedYamlScalar | None, key_path: str, faults: FaultCollector) -> int | None:
    if text is None:
        return None
    byte_count = parse_byte_size_if_text(str(text))
    if isinstance(byte_count, int) and byte_count > 0:
        return byte_count
    faults.add_error(
        f"{key_path} must be a number of bytes, not {describe_value(text)}",
        text.place,
        "write a size such as 2 GiB or 500M",
    )
    return None


def _parse_environment_lock(fields: LocatedKeyValues, faults: FaultCollector) -> str:
    if "lock" not in fields:
        return ""
    text = str(fields["lock"])
    if not LOCK_PATTERN.fullmatch(text):
        faults.add_error(
            f"lock must be the digest of an environment, not {text!r:.80}",
            fields.places["lock"],
            "write `sha256:` followed by 64 hexadecimal digits, as in the jobInfo of a job",
        )
    return text


def _build_program_runner(
    fields: LocatedKeyValues,
    params: Mapping[str, Param],
    files: Sequence[str],
    limits: Mapping[str, Any],
    *,
    sizes: Mapping[str, int | None],
    settings: Settings,
    faults: FaultCollector,
) -> ProgramRunner | None:
    """Build the runner of a program; None if the declaration has no program that can run."""
    arguments: tuple[Any, ...] = fields["command"]
    for member in arguments:
        for part in member if isinstance(member, tuple) else (member,):
            _check_placeholders(part, params, faults)
    program = _find_program(arguments[0], settings, faults)
    outputs = _parse_output_files(fields, faults)
    if program is None:
        return None
    plain_arguments = [_convert_argument_to_text(member) for member in arguments[1:]]
    environment = {str(key): str(value) for key, value in fields.get("environment", {}).items()}
    return ProgramRunner(
        argv=(program, *plain_arguments),
        params=tuple(params.values()),
        files=files,
        outputs=outputs,
        environment=environment,
        cpu_limit_seconds=limits.get("cpu"),
        memory_limit_bytes=sizes["memory"],
        disk_limit_bytes=sizes["disk"] or DEFAULT_DISK_BYTES,
        process_limit=limits.get("processes", DEFAULT_PROCESS_LIMIT),
        lock=_parse_environment_lock(fields, faults),
    )


def _convert_argument_to_text(member: Any) -> str | tuple[str, ...]:
    """Convert an argument, or a group of arguments, to text without places."""
    if isinstance(member, tuple):
        return tuple(str(part) for part in member)
    return str(member)


def _check_placeholders(argument: Any, params: Mapping[str, Param], faults: FaultCollector) -> None:
    """Report the placeholders of an argument that name no parameter."""
    for placeholder in PLACEHOLDER_PATTERN.finditer(argument):
        name = placeholder[1]
        if name not in params:
            faults.add_error(
                f"command: the job type has no parameter {name}",
                argument.locate_character(placeholder.start()),
                suggest_spelling(name, params) or "add it to 'params'",
            )


def _parse_output_files(fields: LocatedKeyValues, faults: FaultCollector) -> dict[str, ProgramOutputFile]:
    """Read the files that become results of a job."""
    outputs: dict[str, ProgramOutputFile] = {}
    for key, section in fields.get("results", {}).items():
        if not RESULT_NAME_PATTERN.fullmatch(key) or key in {"stdout", "stderr"}:
            faults.add_error(
                f"results.{key} is not a valid name for a result",
                key.place,
                "use letters, digits, - and _, but not stdout or stderr",
            )
        file = section.get("file")
        if file is None:
            continue
        path = Path(file)
        if path.is_absolute() or ".." in path.parts:
            faults.add_error(
                f"results.{key}.file must be inside the program's directory",
                file.place,
                "write a path that does not begin with / and does not contain ..",
            )
        if "type" in section:
            required = not section.get("optional", False)
            outputs[str(key)] = ProgramOutputFile(file=str(file), media_type=str(section["type"]), required=required)
    return outputs


def _find_program(program_word: LocatedYamlScalar, settings: Settings, faults: FaultCollector) -> str | None:
    """Find a program: a path relative to the directory of the declaration, or a name in PATH."""
    if PLACEHOLDER_PATTERN.search(program_word):
        faults.add_error(
            "command: the program itself cannot be a parameter", program_word.place, "write the path of the program"
        )
        return None
    if "/" in program_word:
        path = (settings.job_types_directory / str(program_word)).resolve()
        if path.is_file() and os.access(path, os.X_OK):
            return str(path)
        reason = "is not executable" if path.exists() else "does not exist"
        faults.add_error(
            f"command: {program_word} {reason}",
            program_word.place,
            f"check {JOB_TYPES_DIRECTORY}/{program_word}; to make a file executable, run `chmod +x`",
        )
        return None
    program_path = shutil.which(program_word, path=PROGRAM_PATH)
    if program_path is None:
        faults.add_error(
            f"command: there is no program {program_word} in {PROGRAM_PATH}",
            program_word.place,
            f"if this is your own program, write ./{program_word} (a path relative to {JOB_TYPES_DIRECTORY}/)",
        )
    return program_path


def _find_function(
    text: LocatedYamlScalar, settings: Settings, faults: FaultCollector
) -> tuple[Path, str, AnnotatedSignature] | None:
    """Find a function of a Python file in the directory of the declaration, and read its signature."""
    file_name, _, function_name = text.partition(":")
    path = settings.job_types_directory / file_name
    if not function_name.isidentifier() or not path.is_file():
        faults.add_error(
            f"function: {text!r} is not a function of a file in {JOB_TYPES_DIRECTORY}/",
            text.place,
            "write file.py:function",
        )
        return None
    try:
        signature = read_function_signature(path.read_text(encoding="utf-8"), function_name)
    except (SignatureError, OSError, UnicodeDecodeError) as error:
        faults.add_error(f"function: {JOB_TYPES_DIRECTORY}/{file_name}: {error}", text.place)
        return None
    return path.resolve(), function_name, signature


def _merge_params(
    function_params: Sequence[Param],
    declared_params: Mapping[str, Param],
    sections: Mapping[Any, LocatedKeyValues],
    faults: FaultCollector,
) -> dict[str, Param]:
    """Add units, descriptions and limits of the declaration to the parameters of a function."""
    params = {param.name: param for param in function_params}
    for key, section in sections.items():
        for annotated_key in ("type", "file", "required", "many", "default", "allowed"):
            if annotated_key in section.places:
                faults.add_error(
                    f"params.{key}: the function's annotation already sets '{annotated_key}'",
                    section.places[annotated_key],
                    f"remove '{annotated_key}'",
                )
        if key not in params:
            faults.add_error(
                f"params.{key}: the function has no parameter {str(key).lower()}",
                key.place,
                suggest_spelling(key, params) or "remove it",
            )
        elif key in declared_params:
            declared = declared_params[key]
            params[str(key)] = replace(
                params[key],
                unit=declared.unit,
                description=declared.description,
                minimum=declared.minimum,
                maximum=declared.maximum,
            )
    return params


def _build_remote_runner(
    fields: LocatedKeyValues,
    params: Mapping[str, Param],
    files: Sequence[str],
    sizes: Mapping[str, int | None],
    faults: FaultCollector,
) -> RemoteJobRunner | None:
    """Build the runner of a service elsewhere; None if its address has a fault."""
    url: LocatedYamlScalar = fields["remote"]
    if not re.match(URL_PATTERN, url):
        faults.add_error(
            f"`remote` must be an address, not {describe_value(url)}",
            url.place,
            "write an address such as https://other.example/tap/async",
        )
        return None
    forwarded_parameters: frozenset[str] | None = None
    if "params" in fields.places:
        forwarded_parameters = frozenset(params) - frozenset(files)
    result_limit_bytes = sizes["disk"]
    if result_limit_bytes is None:
        result_limit_bytes = DEFAULT_RESULT_LIMIT_BYTES
    fixed_parameters = {str(key): str(value) for key, value in fields.get("send", {}).items()}
    return RemoteJobRunner(
        url=url.rstrip("/"),
        fixed_parameters=fixed_parameters,
        forwarded_parameters=forwarded_parameters,
        result_limit_bytes=result_limit_bytes,
    )


# --- parameters of a request -------------------------------------------------------------------------------------


def build_parameter_check(
    declared_params: Sequence[Param], files: Sequence[str], patterns: Mapping[str, re.Pattern[str]]
) -> Callable[[RequestParams, Collection[str]], None]:
    """Build a function that checks the parameters and files of a request for a job.

    Parameters
    ----------
    declared_params
        The parameters of the job type.
    files
        The names of those that are files.
    patterns
        The patterns of those that have one.

    Returns
    -------
    check
        See `hven.jobs.JobDefinition.check`.
    """

    def check_parameters(params: RequestParams, request_files: Collection[str]) -> None:
        for param in declared_params:
            name = param.name
            if name in files:
                if param.required and name not in request_files:
                    remedy = f"send it as the part {name} of a multipart request"
                    raise ParamError(f"the file {name} is missing", name=name, remedy=remedy)
                continue
            values = [value for value in params.read_all(name) if value != ""]
            if param.required and not values and param.default is None:
                raise ParamError(f"{name} is missing", name=name, remedy=param.description or "give it a value")
            if not param.many:
                params.read_one(name)  # refuses several values
            for value in values:
                check_parameter_value(param, value, patterns.get(name))

    return check_parameters


def check_parameter_value(param: Param, value: str, pattern: re.Pattern[str] | None) -> None:
    """Check one value of a parameter.

    Parameters
    ----------
    param
        The parameter.
    value
        The value as it was sent.
    pattern
        The pattern that the whole value must match; None: any.

    Raises
    ------
    ParamError
        The value is invalid.
    """
    single_params = collect_params([(param.name, value)])
    single_params.check_values([param])
    if param.type.is_integer:
        single_params.read_integer(param.name, minimum=-(10**18))
    if param.type.is_numeric:
        single_params.read_number(param.name, minimum=param.minimum, maximum=param.maximum)
    if pattern is not None and not pattern.fullmatch(value):
        raise ParamError(
            f"{param.name}={value!r:.60} is not valid",
            name=param.name,
            remedy=f"write a value that matches {pattern.pattern}",
        )


DECLARED_JOB_TYPES = DeclaredJobTypeProvider(
    JobDeclarationKind(
        section=JobTypeSection,
        build_type=_build_job_type,
        hint="write `title: ...` and `command: [...]`",
    )
)
