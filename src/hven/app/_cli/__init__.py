"""The verbs of the command line; ``main`` maps errors to exit codes.

0 fine, 1 the data's fault, 2 wrong usage, 3 ours.
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
INTERRUPTED_EXIT_CODE = 130  # what shells report of a program that Ctrl-C ended
# new objects between two rounds of the collector: with Python's 700 they take a tenth of a short verb, most of it while
# modules are imported
GC_THRESHOLD = 5_000


# each kind of error has its exit code
def main(argv: list[str] | None = None) -> int:  # noqa: PLR0911
    """Run the command line; return the exit code."""
    gc.set_threshold(GC_THRESHOLD)
    words = move_site_option_first(list(sys.argv[1:] if argv is None else argv))
    try:
        code = _run_command(words)
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
    except BrokenPipeError:  # `hven query .. | head`: the reader has what it wanted
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.errno in STORAGE_ERRNOS:
            _print_message(f"the answer cannot be written: {(error.strerror or '').lower()}; make room")
            return 3
        if error.filename is None:
            return _report_internal_error(error)
        if isinstance(error, PermissionError):
            remedy = "; the account that runs this needs the right to it, and to the directories above it"
        else:
            remedy = ""
        _print_message(f"{error.filename}: {(error.strerror or str(error)).lower()}{remedy}")
        return 1
    except Exception as error:  # noqa: BLE001  (the last net: a person gets a sentence, the file gets the traceback)
        return _report_internal_error(error)
    return code


def _run_command(arguments: list[str]) -> int:
    """Run one verb; typer's own errors become exit codes here."""
    import typer  # noqa: PLC0415  (Ctrl-C while it is loaded is caught)

    usage_error: Any = typer.BadParameter.__mro__[2]  # ClickException, wherever this version of typer keeps it
    try:
        with _build_command(_find_verb(arguments)).make_context("hven", arguments) as context:
            context.command.invoke(context)
    except typer.Exit as ended:
        return ended.exit_code
    except typer.Abort:
        raise KeyboardInterrupt from None
    except usage_error as error:
        error.show()
        return 2
    return 0


@cache
def _build_command(verb: str) -> Any:
    """Build the command for a verb, once in this process."""
    from typer.main import get_command  # noqa: PLC0415  (as above)

    from hven.app._cli.verbs import build_command  # noqa: PLC0415  (as above)

    return get_command(build_command(verb))


def _find_verb(arguments: list[str]) -> str:
    """Find the verb among the words, as `move_site_option_first` left them."""
    if arguments[:1] == ["--site"]:
        remaining = arguments[2:]
    elif arguments[:1] and arguments[0].startswith("--site="):
        remaining = arguments[1:]
    else:
        remaining = arguments
    return remaining[0] if remaining else ""


def move_site_option_first(arguments: list[str]) -> list[str]:
    """Move ``--site DIR`` in front of the verb, wherever it was written."""
    for number, word in enumerate(arguments):
        if word == "--":
            break
        if word.startswith("--site="):
            return [word, *arguments[:number], *arguments[number + 1 :]]
        if word == "--site" and number + 1 < len(arguments):
            return [word, arguments[number + 1], *arguments[:number], *arguments[number + 2 :]]
    return arguments


def _print_message(text: str) -> None:
    print(f"hven: {text}" if "\n" not in text else text, file=sys.stderr)


def _report_internal_error(error: Exception) -> int:
    _print_message(
        f"something went wrong in {plugins.locate_error(error)} ({type(error).__name__}: {error}); please "
        f"report it with {_write_traceback(error)}"
    )
    return 3


def _write_traceback(error: BaseException) -> Path:
    """Write the traceback to a file, for the report."""
    with tempfile.NamedTemporaryFile("w", prefix="hven-", suffix=".log", delete=False, encoding="utf-8") as file:
        traceback.print_exception(error, file=file)
    return Path(file.name)
