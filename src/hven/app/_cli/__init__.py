"""Run the verbs of the command line, and map their errors to exit codes.

The codes are 0 for success, 1 for faulty data or input, 2 for wrong usage, and 3 for faults of the server or of Hven.
"""

from __future__ import annotations

import errno
import gc
import os
import sys
import tempfile
import traceback
from functools import cache
from pathlib import Path
from typing import Any

from hven.model import plugins
from hven.model.errors import OperationCancelledError, ServiceError, UsageError, UserError

STORAGE_ERRNOS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}
INTERRUPTED_EXIT_CODE = 130  # as shells report a program that Ctrl-C ended
# New objects between two rounds of the garbage collector. With Python's 700 the rounds take a tenth of the time of a
# short verb.
GC_THRESHOLD = 5_000


# Each kind of error has its own exit code.
def main(argv: list[str] | None = None) -> int:  # noqa: PLR0911
    """Run the command line, and return the exit code."""
    gc.set_threshold(GC_THRESHOLD)
    if argv is None:
        arguments = sys.argv[1:]
    else:
        arguments = list(argv)
    try:
        code = _run_command(move_site_option_first(arguments))
        sys.stdout.flush()
    except (KeyboardInterrupt, OperationCancelledError):
        _print_message("stopped")
        return INTERRUPTED_EXIT_CODE
    except UsageError as error:
        _print_message(str(error))
        return 2
    except UserError as error:
        _print_message(str(error))
        return 1
    except ServiceError as error:
        _print_message(str(error))
        return 3
    except BrokenPipeError:  # `hven query .. | head`: the other program has read all that it wanted
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        return _report_system_error(error)
    except Exception as error:  # noqa: BLE001  (the user gets a sentence, and the traceback goes to a file)
        return _report_internal_error(error)
    return code


def _run_command(arguments: list[str]) -> int:
    """Run one verb, and turn typer's own errors into exit codes."""
    import typer  # noqa: PLC0415  (here, so that Ctrl-C during the import is caught)

    usage_error: Any = typer.BadParameter.__mro__[2]  # ClickException, wherever this version of typer keeps it
    verb = _find_verb(arguments)
    package = plugins.find_disabled_package("verbs", verb)
    if package is not None:
        message = (
            f"`hven {verb}` belongs to the plug-in package {package}, but {plugins.SELECTION_VARIABLE} does not list "
            "this package"
        )
        raise UsageError(message, remedy=f"add {package} to {plugins.SELECTION_VARIABLE}")
    try:
        command = _build_verb_command(verb)
        _start_python_gc()
        with command.make_context("hven", arguments) as context:
            context.command.invoke(context)
    except typer.Exit as exit_request:
        return exit_request.exit_code
    except typer.Abort:
        raise KeyboardInterrupt from None
    except usage_error as error:
        error.show()
        return 2
    return 0


def _start_python_gc() -> None:
    """Start the garbage collector if `hven.app.main` stopped it; it does not search the modules that are loaded."""
    if not gc.isenabled():
        gc.freeze()
        gc.enable()


@cache
def _build_verb_command(verb: str) -> Any:
    """Build the command for a verb, once in a process."""
    from typer.main import get_command  # noqa: PLC0415  (as above)

    from hven.app._cli.verbs import build_typer_app  # noqa: PLC0415  (as above)

    return get_command(build_typer_app(verb))


def _find_verb(arguments: list[str]) -> str:
    """Find the verb among arguments that `move_site_option_first` has ordered."""
    remaining = arguments
    if arguments[:1] == ["--site"]:
        remaining = arguments[2:]
    elif arguments and arguments[0].startswith("--site="):
        remaining = arguments[1:]
    return next(iter(remaining), "")


def move_site_option_first(arguments: list[str]) -> list[str]:
    """Move ``--site DIR`` to the front of the arguments, from wherever the user wrote it."""
    for position, word in enumerate(arguments):
        if word == "--":
            break
        if word.startswith("--site="):
            site_option = [word]
        elif word == "--site" and position + 1 < len(arguments):
            site_option = arguments[position : position + 2]
        else:
            continue
        return [*site_option, *arguments[:position], *arguments[position + len(site_option) :]]
    return arguments


def _print_message(text: str) -> None:
    line = text if "\n" in text else f"hven: {text}"
    print(line, file=sys.stderr)


def _report_system_error(error: OSError) -> int:
    """Report an error of the operating system in one sentence, and return the exit code."""
    reason = error.strerror or str(error)
    if error.errno in STORAGE_ERRNOS:
        _print_message(f"{error.filename or 'the output'} cannot be written: {reason.lower()}; make space on the disk")
        return 3
    if error.filename is None:
        return _report_internal_error(error)
    remedy = ""
    if isinstance(error, PermissionError):
        remedy = "; give the account that runs this command access to this path and to the directories above it"
    _print_message(f"{error.filename}: {reason.lower()}{remedy}")
    return 1


def _report_internal_error(error: Exception) -> int:
    place = plugins.describe_error_origin(error)
    log_file = _write_traceback_file(error)
    _print_message(
        f"an unexpected error occurred in {place} ({type(error).__name__}: {error}); report it, and attach {log_file}"
    )
    return 3


def _write_traceback_file(error: BaseException) -> Path:
    """Write the traceback to a temporary file, which the user can attach to a report."""
    with tempfile.NamedTemporaryFile("w", prefix="hven-", suffix=".log", delete=False, encoding="utf-8") as file:
        traceback.print_exception(error, file=file)
    return Path(file.name)
