"""Run a program as a job: in a directory of its own, with a clean environment and limits.

Its arguments are built from declared parameters, and no shell is involved.
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

from hven.jobs import JobFailedError
from hven.model.errors import OperationCancelledError, ParamError, ServiceError, StorageError
from hven.plugins.declared_jobs.environment_record import compute_environment_digest
from hven.plugins.declared_jobs.program_limits import (
    CHECK_INTERVAL_SECONDS,
    DEFAULT_DISK_BYTES,
    DEFAULT_PROCESS_LIMIT,
    ProgramWatch,
    measure_files,
    redact_file,
)
from hven.sources.site_programs import start_supervised_program

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from typing import BinaryIO

    from hven.jobs import RunningJob
    from hven.model.params import Param, RequestParams

POLL_INTERVAL_SECONDS = 0.05  # between two checks of a program
MAX_ARGUMENT_BYTES = 100_000
MAX_QUOTED_CHARACTERS = 2_000  # of the last output of a program, in an error
PLACEHOLDER_PATTERN = re.compile(r"\{([A-Z][A-Z0-9_]*)\}")
PROGRESS_PATTERN = re.compile(rb"^\W*progress\W+([0-9]+(?:\.[0-9]+)?)\s*(%?)", re.IGNORECASE)
_SIGNAL_EXPLANATIONS = {
    9: "it was killed, probably because it used too much memory",
    24: "it used more processor time than its limit",
    25: "it wrote more than its limit",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramOutputFile:
    """A file that the program writes to its directory, and that becomes a result."""

    file: str
    media_type: str
    required: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramRunner:
    """Run jobs by a program.

    Attributes
    ----------
    argv
        Path of the program, then its arguments. ``{NAME}`` in an argument stands for the value of a parameter. An
        argument whose parameter has no value is left out; a tuple of arguments is left out as a whole. An argument of a
        parameter with several values is repeated for each of them.
    params, files
        Parameters of the job type, and those of them that are files.
    outputs
        Name of a result -> the file that becomes it. Non-empty standard output and error become the results ``stdout``
        and ``stderr``.
    environment
        Variables in addition to PATH, LANG, HOME and TMPDIR (the last two are its directory). A value ``$NAME`` stands
        for a variable of this service.
    cpu_limit_seconds, memory_limit_bytes
        Limits of processor time and of address space; None: no limit.
    disk_limit_bytes
        Maximum size of all files and of the output together, and of each of them.
    process_limit
        Maximum number of processes.
    lock
        The digest that the environment must have; empty: any.
    """

    argv: Sequence[str | tuple[str, ...]]
    params: Sequence[Param] = ()
    files: Sequence[str] = ()
    outputs: Mapping[str, ProgramOutputFile] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    cpu_limit_seconds: int | None = None
    memory_limit_bytes: int | None = None
    disk_limit_bytes: int = DEFAULT_DISK_BYTES
    process_limit: int = DEFAULT_PROCESS_LIMIT
    lock: str = ""

    def __call__(self, running_job: RunningJob) -> None:
        """Run the program for a job.

        Raises
        ------
        JobFailedError
            The exit code of the program is not 0; the message has its last output.
        ParamError
            A value cannot be an argument.
        """
        run_directory = running_job.directory / f"run-{running_job.job.attempts}"
        shutil.rmtree(run_directory, ignore_errors=True)
        try:
            run_directory.mkdir(parents=True)
            input_paths: dict[str, str] = {}
            for name, path in running_job.input_files.items():
                if name in self.files:
                    input_paths[name] = _link_input_file(name, path, run_directory)
            arguments = self.build_arguments(running_job.params, input_paths)
            self._record_and_check_environment(running_job)
            self._run_program_and_adopt_results(running_job, run_directory, arguments)
        except OSError as error:
            raise StorageError(f"the program's directory cannot be used: {error.strerror}") from error
        finally:
            shutil.rmtree(run_directory, ignore_errors=True)

    def _record_and_check_environment(self, running_job: RunningJob) -> None:
        """Record the digest of the environment, and compare it with the lock of the declaration."""
        digest = compute_environment_digest(self.argv)
        running_job.report_progress(environment=digest)
        if self.lock and digest != self.lock:
            raise JobFailedError(
                f"the environment of the program has changed: its digest is {digest}, but the lock is {self.lock}",
                remedy="restore the program and the packages, or set 'lock' in the declaration to the new digest",
            )

    def build_arguments(self, params: RequestParams, input_paths: Mapping[str, str]) -> list[str]:
        """Build the arguments of the program.

        Parameters
        ----------
        params
            Parameters of the job.
        input_paths
            Name of a parameter -> path of its file.

        Raises
        ------
        ParamError
            A value would be an option for the program, or cannot be an argument.
        """
        params_by_name = {param.name: param for param in self.params}
        values: dict[str, Sequence[str]] = {name: [path] for name, path in input_paths.items()}
        for name, param in params_by_name.items():
            if name in values:
                continue
            param_values = [value for value in params.read_all(name) if value != ""]
            if not param.many:
                param_values = param_values[-1:]
            if not param_values and param.default is not None:
                param_values = [param.default]
            values[name] = param_values
        arguments: list[str] = []
        for member in self.argv:
            parts = member
            if isinstance(member, str):
                parts = (member,)
            value_counts: list[int] = []
            for part in parts:
                value_counts += [len(values[name]) for name in PLACEHOLDER_PATTERN.findall(part)]
            # without a value of each parameter, the arguments are left out
            repetitions = 0
            if all(value_counts):
                repetitions = max(value_counts, default=1)
            for value_number in range(repetitions):
                arguments += _fill_placeholders(parts, values, params_by_name, value_number)
        return arguments

    def _run_program_and_adopt_results(
        self, running_job: RunningJob, run_directory: Path, arguments: list[str]
    ) -> None:
        limits = {
            "RLIMIT_CPU": self.cpu_limit_seconds,
            "RLIMIT_AS": self.memory_limit_bytes,
            "RLIMIT_FSIZE": self.disk_limit_bytes,
        }
        attempt = running_job.job.attempts
        output_paths = {name: running_job.directory / f".{name}-{attempt}" for name in ("stdout", "stderr")}
        environment = _resolve_environment(self.environment)
        given_bytes, _ = measure_files(run_directory)
        with output_paths["stdout"].open("wb") as stdout, output_paths["stderr"].open("wb") as stderr:
            process = start_supervised_program(
                arguments, run_directory, stdout, stderr, environment=environment, limits=limits
            )
        supervisor_pipe = process.stdin
        if supervisor_pipe is None:
            raise ServiceError("a program was started without a pipe")
        try:
            running_job.set_stop_function(lambda: _close_stream(supervisor_pipe))
            watch = ProgramWatch(
                supervisor_pid=process.pid,
                directory=run_directory,
                output_paths=tuple(output_paths.values()),
                disk_limit_bytes=self.disk_limit_bytes + given_bytes,
                process_limit=self.process_limit,
            )
            exit_code, excess = _wait_for_program(running_job, process, output_paths, watch)
        finally:
            _close_stream(supervisor_pipe)
            process.wait()
            self._save_output_as_results(running_job, output_paths)
        if running_job.stopped.is_set():
            raise OperationCancelledError("the job was stopped")
        if excess is not None:
            raise JobFailedError(
                f"the program was stopped, because {excess}",
                remedy="start a smaller job, or ask the operators to raise the limit",
            )
        if exit_code:
            stderr_path = running_job.directory / f"stderr-{attempt}.txt"
            raise JobFailedError(
                _explain_failure(exit_code, stderr_path),
                remedy="see the complete output of the program in the results 'stdout' and 'stderr'",
            )
        resolved_directory = run_directory.resolve()
        for name, output in self.outputs.items():
            path = run_directory / output.file
            # a link must not make another file of this machine a result
            is_own_file = path.is_file() and not path.is_symlink() and resolved_directory in path.resolve().parents
            if is_own_file:
                running_job.adopt_file_as_result(name, path, media_type=output.media_type, extension=path.suffix)
            elif output.required:
                raise JobFailedError(
                    f"the result {name!r} is missing: the program did not write the file {output.file}"
                )

    def _save_output_as_results(self, running_job: RunningJob, output_paths: Mapping[str, Path]) -> None:
        """Make the output of the program results, unless it is empty; without values of this service's environment."""
        secrets = [os.environ.get(value[1:], "") for value in self.environment.values() if value.startswith("$")]
        for name, path in output_paths.items():
            if path.stat().st_size:
                redact_file(path, secrets)
                running_job.adopt_file_as_result(name, path, media_type="text/plain; charset=utf-8", extension=".txt")
            else:
                path.unlink()


def _link_input_file(input_name: str, path: Path, run_directory: Path) -> str:
    """Link or copy a file of the request into the directory of the program."""
    target = run_directory / f"given-{input_name}"
    try:
        os.link(path, target)
    except OSError:
        shutil.copyfile(path, target)
    return str(target)


def _fill_placeholders(
    arguments: Sequence[str], values: Mapping[str, Sequence[str]], params_by_name: Mapping[str, Param], value_index: int
) -> list[str]:
    """Fill arguments with the values of their parameters; `value_index` selects one of several values."""

    def get_value(placeholder: re.Match[str]) -> str:
        param_values = values[placeholder[1]]
        return param_values[min(value_index, len(param_values) - 1)]

    filled_arguments = []
    for part in arguments:
        text = PLACEHOLDER_PATTERN.sub(get_value, part)
        names = PLACEHOLDER_PATTERN.findall(part)
        name = names[0] if names else ""
        if "\0" in text or len(text.encode()) > MAX_ARGUMENT_BYTES:
            raise ParamError(
                f"the program cannot take the value of {name}: the value contains a NUL byte, or is longer than "
                f"{MAX_ARGUMENT_BYTES:,} bytes",
                name=name,
            )
        is_number = name in params_by_name and params_by_name[name].type.is_numeric
        if part.startswith("{") and text.startswith("-") and not is_number:
            remedy = "if the value is the name of a file, put ./ before it"
            raise ParamError(
                f"{name}={text!r:.60} begins with '-', so the program would treat it as an option",
                name=name,
                remedy=remedy,
            )
        filled_arguments.append(text)
    return filled_arguments


def _resolve_environment(environment: Mapping[str, str]) -> dict[str, str]:
    resolved = {}
    for name, value in environment.items():
        if value.startswith("$"):
            variable_value = os.environ.get(value[1:])
            if variable_value is None:
                raise ServiceError(f"the environment variable {value[1:]} is not set, but the program needs it")
            resolved[name] = variable_value
        else:
            resolved[name] = value
    return resolved


def _wait_for_program(
    running_job: RunningJob, process: subprocess.Popen[bytes], output_paths: Mapping[str, Path], watch: ProgramWatch
) -> tuple[int, str | None]:
    """Wait until the program ends or exceeds a limit, and report the progress that it writes."""
    next_check = time.monotonic()
    with output_paths["stdout"].open("rb") as file:
        incomplete_line = b""
        while True:
            try:
                exit_code = process.wait(POLL_INTERVAL_SECONDS)
            except subprocess.TimeoutExpired:
                exit_code = None
            incomplete_line = _report_program_progress(running_job, file, incomplete_line)
            check_start = time.monotonic()
            if exit_code is None and check_start >= next_check:
                excess = watch.find_exceeded_limit()
                if excess is not None:
                    return 0, excess
                # a check of many files takes a tenth of the time at most
                duration = time.monotonic() - check_start
                next_check = check_start + max(CHECK_INTERVAL_SECONDS, 10 * duration)
            if exit_code is not None:
                return exit_code, None


def _report_program_progress(running_job: RunningJob, output_file: BinaryIO, incomplete_line: bytes) -> bytes:
    """Read the new lines of the output, and return the last line if it is incomplete."""
    progress_share: float | None = None
    # a program that writes without a pause must not delay the next check of its end
    end_time = time.monotonic() + 10 * POLL_INTERVAL_SECONDS
    while chunk := output_file.read(1 << 20):
        *lines, incomplete_line = (incomplete_line + chunk).split(b"\n")
        incomplete_line = incomplete_line[-1000:]
        for line in lines:
            match = PROGRESS_PATTERN.match(line[:200])
            if match is not None:
                divisor = 100 if match[2] else 1
                progress_share = float(match[1]) / divisor
        if time.monotonic() > end_time:
            break
    if progress_share is not None and 0 <= progress_share <= 1:
        running_job.report_progress(share=progress_share)
    return incomplete_line


def _explain_failure(exit_code: int, stderr_path: Path) -> str:
    message = f"the program ended with exit code {exit_code}"
    if exit_code > 128:
        signal_number = exit_code - 128
        message = f"the program was stopped by signal {signal_number}"
        if signal_number in _SIGNAL_EXPLANATIONS:
            message += f": {_SIGNAL_EXPLANATIONS[signal_number]}"
    if not stderr_path.is_file():
        return message
    with stderr_path.open("rb") as file:
        file.seek(max(0, stderr_path.stat().st_size - 2 * MAX_QUOTED_CHARACTERS))
        text = file.read().decode("utf-8", "replace")
    last_lines = deque(text.splitlines(), maxlen=20)
    last_output = "\n".join(line for line in last_lines if line.strip())[-MAX_QUOTED_CHARACTERS:]
    if last_output:
        message += f"; its last output was: {last_output}"
    return message


def _close_stream(stream: object) -> None:
    try:
        stream.close()  # type: ignore[attr-defined]
    except OSError:  # the program's supervisor has ended already
        return
