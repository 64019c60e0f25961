"""A program as a job: arguments built from declared parameters, never by a shell.

A directory of its own, a clean environment, limits.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hven.jobs._job_types import JobFailedError
from hven.model.errors import OperationCancelledError, ParamError, ServiceError, StorageError
from hven.sources.site_programs import start_supervised

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from typing import BinaryIO

    from hven.jobs._job_types import RunningJob
    from hven.model.params import Param, RequestParams

POLL_INTERVAL_SECONDS = 0.05  # seconds between two looks at a program
MAX_ARGUMENT_BYTES = 100_000  # bytes of one argument
MAX_QUOTED_CHARACTERS = 2_000  # characters of its last words that an error tells
PLACEHOLDER_PATTERN = re.compile(r"\{([A-Z][A-Z0-9_]*)\}")
PROGRESS_PATTERN = re.compile(rb"^\W*progress\W+([0-9]+(?:\.[0-9]+)?)\s*(%?)", re.IGNORECASE)
_SIGNAL_EXPLANATIONS = {
    9: "it was killed, probably for its memory",
    24: "it took more processor time than it may",
    25: "it wrote more than it may",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputFile:
    """A file that the program makes in its directory, served as a result."""

    file: str
    media_type: str
    required: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramRunner:
    """A program.

    Attributes
    ----------
    argv
        The program's path, then its arguments. ``{NAME}`` in one stands for a parameter's value; an argument whose
        parameter has no value is left out; a tuple of arguments is left out together; an argument of a parameter with
        several values comes for each.
    params, files
        Those of the type.
    outputs
        Name of a result -> the file that becomes it. What the program writes to its standard output and error are the
        results ``stdout`` and ``stderr`` if there is any.
    environment
        Set beside PATH, LANG, HOME and TMPDIR (the last two are its directory); a value ``$NAME`` is that of this
        service.
    cpu_limit_seconds, memory_limit_bytes, file_limit_bytes
        Of processor time, of address space, of any one file: in seconds and bytes; None: no limit.
    """

    argv: Sequence[str | tuple[str, ...]]
    params: Sequence[Param] = ()
    files: Sequence[str] = ()
    outputs: Mapping[str, OutputFile] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    cpu_limit_seconds: int | None = None
    memory_limit_bytes: int | None = None
    file_limit_bytes: int | None = None

    def __call__(self, running_job: RunningJob) -> None:
        """Run the program for a job.

        Raises
        ------
        JobFailedError
            It ended with another code than 0; the message has its last words.
        ParamError
            A value cannot be an argument.
        """
        run_directory = running_job.directory / f"run-{running_job.job.attempts}"
        shutil.rmtree(run_directory, ignore_errors=True)
        try:
            run_directory.mkdir(parents=True)
            input_paths = {
                name: _link_input_file(name, path, run_directory)
                for name, path in running_job.input_files.items()
                if name in self.files
            }
            arguments = self.build_arguments(running_job.params, input_paths)
            self._run_program(running_job, run_directory, arguments)
        except OSError as error:
            raise StorageError(f"the program's directory cannot be used: {error.strerror}") from error
        finally:
            shutil.rmtree(run_directory, ignore_errors=True)

    def build_arguments(self, params: RequestParams, input_paths: Mapping[str, str]) -> list[str]:
        """Build the arguments.

        Parameters
        ----------
        input_paths
            Name of a parameter -> the file that came for it.

        Raises
        ------
        ParamError
            A value would be taken for an option, or cannot be an argument at all.
        """
        params_by_name = {param.name: param for param in self.params}
        values: dict[str, Sequence[str]] = {name: [path] for name, path in input_paths.items()}
        for name, param in params_by_name.items():
            given_values = [value for value in params.read_all(name) if value != ""]
            if name not in values:
                if param.many:
                    chosen_values = given_values
                else:
                    chosen_values = given_values[-1:]
                values[name] = chosen_values or ([] if param.default is None else [param.default])
        built_arguments: list[str] = []
        for item in self.argv:
            parts = (item,) if isinstance(item, str) else item
            value_counts = [len(values[name]) for part in parts for name in PLACEHOLDER_PATTERN.findall(part)]
            for number in range(max(value_counts, default=1) if all(value_counts) else 0):
                built_arguments += _fill_placeholders(parts, values, params_by_name, number)
        return built_arguments

    def _run_program(self, running_job: RunningJob, run_directory: Path, arguments: list[str]) -> None:
        limits = {
            "RLIMIT_CPU": self.cpu_limit_seconds,
            "RLIMIT_AS": self.memory_limit_bytes,
            "RLIMIT_FSIZE": self.file_limit_bytes,
        }
        output_paths = {
            name: running_job.directory / f".{name}-{running_job.job.attempts}" for name in ("stdout", "stderr")
        }
        with output_paths["stdout"].open("wb") as out, output_paths["stderr"].open("wb") as err:
            environment = _resolve_environment(self.environment)
            process = start_supervised(arguments, run_directory, out, err, environment=environment, limits=limits)
        stream = process.stdin
        if stream is None:
            raise ServiceError("a program was started without a pipe")
        try:
            running_job.set_stop_function(lambda: _close_stream(stream))
            exit_code = _wait_for_program(running_job, process, output_paths)
        finally:
            _close_stream(stream)
            process.wait()
            self._keep_output(running_job, output_paths)
        if running_job.stopped.is_set():
            raise OperationCancelledError("the job was stopped")
        if exit_code:
            raise JobFailedError(
                _explain_failure(exit_code, running_job.directory / f"stderr-{running_job.job.attempts}.txt"),
                remedy="the results stdout and stderr have all that it said",
            )
        for name, output in self.outputs.items():
            path = run_directory / output.file
            if path.is_file() and not path.is_symlink() and run_directory.resolve() in path.resolve().parents:
                running_job.adopt_file_as_result(name, path, media_type=output.media_type, extension=path.suffix)
            elif output.required:
                raise JobFailedError(
                    f"the program did not make the file {output.file}, which was to be the result {name}"
                )

    def _keep_output(self, running_job: RunningJob, output_paths: Mapping[str, Path]) -> None:
        """Keep what it said as results, if it said anything."""
        for name, path in output_paths.items():
            if path.stat().st_size:
                running_job.adopt_file_as_result(name, path, media_type="text/plain; charset=utf-8", extension=".txt")
            else:
                path.unlink()


def _link_input_file(name: str, path: Path, run_directory: Path) -> str:
    """Link, or copy, a file of the request into the program's directory."""
    target = run_directory / f"given-{name}"
    try:
        os.link(path, target)
    except OSError:
        shutil.copyfile(path, target)
    return str(target)


def _fill_placeholders(
    parts: Sequence[str], values: Mapping[str, Sequence[str]], params_by_name: Mapping[str, Param], value_number: int
) -> list[str]:
    """Write arguments with the values of their parameters; of one with several, that with this number."""

    def get_value(placeholder: re.Match[str]) -> str:
        param_values = values[placeholder[1]]
        return param_values[min(value_number, len(param_values) - 1)]

    filled_arguments = []
    for part in parts:
        text = PLACEHOLDER_PATTERN.sub(get_value, part)
        name = (PLACEHOLDER_PATTERN.findall(part) or [""])[0]
        if "\0" in text or len(text.encode()) > MAX_ARGUMENT_BYTES:
            raise ParamError(
                f"{name} cannot be an argument of a program: it has a NUL byte, or more than "
                f"{MAX_ARGUMENT_BYTES:,} bytes",
                name=name,
            )
        if (
            part.startswith("{")
            and text.startswith("-")
            and not (name in params_by_name and params_by_name[name].type.is_numeric)
        ):
            remedy = "a name of a file may begin with ./"
            raise ParamError(
                f"{name}={text!r:.60} begins with '-', and would be taken for an option", name=name, remedy=remedy
            )
        filled_arguments.append(text)
    return filled_arguments


def _resolve_environment(environment: Mapping[str, str]) -> dict[str, str]:
    resolved = {}
    for name, value in environment.items():
        if value.startswith("$"):
            variable_value = os.environ.get(value[1:])
            if variable_value is None:
                raise ServiceError(f"the environment of this service has no {value[1:]}, which the program needs")
            resolved[name] = variable_value
        else:
            resolved[name] = value
    return resolved


def _wait_for_program(
    running_job: RunningJob, process: subprocess.Popen[bytes], output_paths: Mapping[str, Path]
) -> int:
    """Wait for the end; tell how far it is by its own words."""
    with output_paths["stdout"].open("rb") as file:
        incomplete_line = b""
        while True:
            try:
                exit_code = process.wait(POLL_INTERVAL_SECONDS)
            except subprocess.TimeoutExpired:
                exit_code = None
            incomplete_line = _report_progress(running_job, file, incomplete_line)
            if exit_code is not None:
                return exit_code


def _report_progress(running_job: RunningJob, file: BinaryIO, incomplete_line: bytes) -> bytes:
    """Read the lines that are new; return what has no end yet."""
    progress_share = None
    end = (
        time.monotonic() + 10 * POLL_INTERVAL_SECONDS
    )  # a program that writes without pause does not hold up the look at its end
    while chunk := file.read(1 << 20):
        *lines, incomplete_line = (incomplete_line + chunk).split(b"\n")
        incomplete_line = incomplete_line[-1000:]
        for line in lines:
            match = PROGRESS_PATTERN.match(line[:200])
            if match is not None:
                progress_share = float(match[1]) / (100 if match[2] else 1)
        if time.monotonic() > end:
            break
    if progress_share is not None and 0 <= progress_share <= 1:
        running_job.report_progress(share=progress_share)
    return incomplete_line


def _explain_failure(exit_code: int, stderr_path: Path) -> str:
    last_output = ""
    if stderr_path.is_file():
        with stderr_path.open("rb") as file:
            file.seek(max(0, stderr_path.stat().st_size - 2 * MAX_QUOTED_CHARACTERS))
            lines = deque(file.read().decode("utf-8", "replace").splitlines(), maxlen=20)
        last_output = "\n".join(line for line in lines if line.strip())[-MAX_QUOTED_CHARACTERS:]
    if exit_code > 128:
        number = exit_code - 128
        ending_text = f"was ended by signal {number}" + (
            f": {_SIGNAL_EXPLANATIONS[number]}" if number in _SIGNAL_EXPLANATIONS else ""
        )
    else:
        ending_text = f"ended with exit code {exit_code}"
    return f"the program {ending_text}" + (f"; it said: {last_output}" if last_output else "")


def _close_stream(stream: object) -> None:
    try:
        stream.close()  # type: ignore[attr-defined]
    except OSError:  # the warden is gone already
        return
