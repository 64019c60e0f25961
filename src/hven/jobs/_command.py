"""A program as a job: arguments built from declared parameters, never by a shell; a directory of its own, a clean environment, limits."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hven.jobs._types import Failed
from hven.model.errors import Cancelled, ParamError, ServiceError, StorageError
from hven.sources.programs import warded

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from typing import BinaryIO

    from hven.jobs._types import Work
    from hven.model.params import Param, Params

LOOK = 0.05  # seconds between two looks at a program
LONGEST = 100_000  # bytes of one argument
SAID = 2_000  # characters of its last words that an error tells
HOLE = re.compile(r"\{([A-Z][A-Z0-9_]*)\}")
PROGRESS = re.compile(rb"^\W*progress\W+([0-9]+(?:\.[0-9]+)?)\s*(%?)", re.IGNORECASE)
_SIGNALS = {
    9: "it was killed, probably for its memory",
    24: "it took more processor time than it may",
    25: "it wrote more than it may",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """A file that the program makes in its directory, served as a result."""

    file: str
    media_type: str
    required: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A program.

    Attributes
    ----------
    argv
        The program's path, then its arguments. ``{NAME}`` in one stands for a parameter's value; an argument whose parameter has no
        value is left out; a tuple of arguments is left out together; an argument of a parameter with several values comes for each.
    params, files
        Those of the type.
    outputs
        Name of a result -> the file that becomes it. What the program writes to its standard output and error are the results
        ``stdout`` and ``stderr`` if there is any.
    environment
        Set beside PATH, LANG, HOME and TMPDIR (the last two are its directory); a value ``$NAME`` is that of this service.
    seconds, memory, disk
        Of processor time, of address space, of any one file: in seconds and bytes; None: no limit.
    """

    argv: Sequence[str | tuple[str, ...]]
    params: Sequence[Param] = ()
    files: Sequence[str] = ()
    outputs: Mapping[str, Output] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    seconds: int | None = None
    memory: int | None = None
    disk: int | None = None

    def __call__(self, work: Work) -> None:
        """Run the program for a job.

        Raises
        ------
        Failed
            It ended with another code than 0; the message has its last words.
        ParamError
            A value cannot be an argument.
        """
        place = work.directory / f"run-{work.job.attempts}"
        shutil.rmtree(place, ignore_errors=True)
        try:
            place.mkdir(parents=True)
            given = {name: _brought(name, path, place) for name, path in work.files.items() if name in self.files}
            self._run(work, place, self.arguments(work.params, given))
        except OSError as error:
            raise StorageError(f"the program's directory cannot be used: {error.strerror}") from error
        finally:
            shutil.rmtree(place, ignore_errors=True)

    def arguments(self, params: Params, files: Mapping[str, str]) -> list[str]:
        """Build the arguments.

        Parameters
        ----------
        files
            Name of a parameter -> the file that came for it.

        Raises
        ------
        ParamError
            A value would be taken for an option, or cannot be an argument at all.
        """
        known = {param.name: param for param in self.params}
        values: dict[str, Sequence[str]] = {name: [path] for name, path in files.items()}
        for name, param in known.items():
            found = [value for value in params.all(name) if value != ""]
            if name not in values:
                chosen = found if param.many else found[-1:]
                values[name] = chosen or ([] if param.default is None else [param.default])
        made: list[str] = []
        for item in self.argv:
            parts = (item,) if isinstance(item, str) else item
            counts = [len(values[name]) for part in parts for name in HOLE.findall(part)]
            for number in range(max(counts, default=1) if all(counts) else 0):
                made += _filled(parts, values, known, number)
        return made

    def _run(self, work: Work, place: Path, argv: list[str]) -> None:
        limits = {"RLIMIT_CPU": self.seconds, "RLIMIT_AS": self.memory, "RLIMIT_FSIZE": self.disk}
        said = {name: work.directory / f".{name}-{work.job.attempts}" for name in ("stdout", "stderr")}
        with said["stdout"].open("wb") as out, said["stderr"].open("wb") as err:
            warden = warded(argv, place, out, err, environment=_settled(self.environment), limits=limits)
        stream = warden.stdin
        if stream is None:
            raise ServiceError("a program was started without a pipe")
        try:
            work.stoppable(lambda: _close(stream))
            code = _watch(work, warden, said)
        finally:
            _close(stream)
            warden.wait()
            self._keep(work, said)
        if work.stopped.is_set():
            raise Cancelled("the job was stopped")
        if code:
            raise Failed(
                _why(code, work.directory / f"stderr-{work.job.attempts}.txt"),
                remedy="the results stdout and stderr have all that it said",
            )
        for name, output in self.outputs.items():
            path = place / output.file
            if path.is_file() and not path.is_symlink() and place.resolve() in path.resolve().parents:
                work.taking(name, path, media_type=output.media_type, extension=path.suffix)
            elif output.required:
                raise Failed(f"the program did not make the file {output.file}, which was to be the result {name}")

    def _keep(self, work: Work, said: Mapping[str, Path]) -> None:
        """Keep what it said as results, if it said anything."""
        for name, path in said.items():
            if path.stat().st_size:
                work.taking(name, path, media_type="text/plain; charset=utf-8", extension=".txt")
            else:
                path.unlink()


def _brought(name: str, path: Path, place: Path) -> str:
    """Link, or copy, a file of the request into the program's directory."""
    target = place / f"given-{name}"
    try:
        os.link(path, target)
    except OSError:
        shutil.copyfile(path, target)
    return str(target)


def _filled(
    parts: Sequence[str], values: Mapping[str, Sequence[str]], known: Mapping[str, Param], number: int
) -> list[str]:
    """Write arguments with the values of their parameters; of one with several, that with this number."""

    def value(hole: re.Match[str]) -> str:
        found = values[hole[1]]
        return found[min(number, len(found) - 1)]

    made = []
    for part in parts:
        text = HOLE.sub(value, part)
        name = (HOLE.findall(part) or [""])[0]
        if "\0" in text or len(text.encode()) > LONGEST:
            raise ParamError(
                f"{name} cannot be an argument of a program: it has a NUL byte, or more than {LONGEST:,} bytes",
                name=name,
            )
        if part.startswith("{") and text.startswith("-") and not (name in known and known[name].type.is_numeric):
            remedy = "a name of a file may begin with ./"
            raise ParamError(
                f"{name}={text!r:.60} begins with '-', and would be taken for an option", name=name, remedy=remedy
            )
        made.append(text)
    return made


def _settled(environment: Mapping[str, str]) -> dict[str, str]:
    made = {}
    for name, value in environment.items():
        if value.startswith("$"):
            found = os.environ.get(value[1:])
            if found is None:
                raise ServiceError(f"the environment of this service has no {value[1:]}, which the program needs")
            made[name] = found
        else:
            made[name] = value
    return made


def _watch(work: Work, warden: subprocess.Popen[bytes], said: Mapping[str, Path]) -> int:
    """Wait for the end; tell how far it is by its own words."""
    with said["stdout"].open("rb") as file:
        rest = b""
        while True:
            try:
                code = warden.wait(LOOK)
            except subprocess.TimeoutExpired:
                code = None
            rest = _told(work, file, rest)
            if code is not None:
                return code


def _told(work: Work, file: BinaryIO, rest: bytes) -> bytes:
    """Read the lines that are new; return what has no end yet."""
    share = None
    end = time.monotonic() + 10 * LOOK  # a program that writes without pause does not hold up the look at its end
    while chunk := file.read(1 << 20):
        *lines, rest = (rest + chunk).split(b"\n")
        rest = rest[-1000:]
        for line in lines:
            found = PROGRESS.match(line[:200])
            if found is not None:
                share = float(found[1]) / (100 if found[2] else 1)
        if time.monotonic() > end:
            break
    if share is not None and 0 <= share <= 1:
        work.told(share=share)
    return rest


def _why(code: int, said: Path) -> str:
    words = ""
    if said.is_file():
        with said.open("rb") as file:
            file.seek(max(0, said.stat().st_size - 2 * SAID))
            lines = deque(file.read().decode("utf-8", "replace").splitlines(), maxlen=20)
        words = "\n".join(line for line in lines if line.strip())[-SAID:]
    if code > 128:
        number = code - 128
        how = f"was ended by signal {number}" + (f": {_SIGNALS[number]}" if number in _SIGNALS else "")
    else:
        how = f"ended with exit code {code}"
    return f"the program {how}" + (f"; it said: {words}" if words else "")


def _close(stream: object) -> None:
    try:
        stream.close()  # type: ignore[attr-defined]
    except OSError:  # the warden is gone already
        return
