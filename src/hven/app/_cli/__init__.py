"""The verbs of the command line; ``main`` maps errors to exit codes: 0 fine, 1 the data's fault, 2 wrong usage, 3 ours."""

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
from hven.model.errors import Cancelled, ServiceError, UsageError, UserError

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}
STOPPED = 130  # what shells report of a program that Ctrl-C ended
ROUND = 5_000  # new objects between two rounds of the collector: with Python's 700 they take a tenth of a short verb, most of it while modules are imported


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    gc.set_threshold(ROUND)
    words = site_first(list(sys.argv[1:] if argv is None else argv))
    try:
        code = _run(words)
        sys.stdout.flush()
    except (KeyboardInterrupt, Cancelled):
        _say("stopped")
        return STOPPED
    except UsageError as error:
        _say(str(error))
        return 2
    except UserError as error:
        _say(str(error))
        return 1
    except ServiceError as error:
        _say(str(error))
        return 3
    except BrokenPipeError:  # `hven query .. | head`: the reader has what it wanted
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.errno in FULL:
            _say(f"the answer cannot be written: {(error.strerror or '').lower()}; make room")
            return 3
        if error.filename is None:
            return _ours(error)
        remedy = (
            "; the account that runs this needs the right to it, and to the directories above it"
            if isinstance(error, PermissionError)
            else ""
        )
        _say(f"{error.filename}: {(error.strerror or str(error)).lower()}{remedy}")
        return 1
    except Exception as error:  # noqa: BLE001  (the last net: a person gets a sentence, the file gets the traceback)
        return _ours(error)
    return code


def _run(words: list[str]) -> int:
    """Run one verb; typer's own errors become exit codes here."""
    import typer  # noqa: PLC0415  (Ctrl-C while it is loaded is caught)

    refusal: Any = typer.BadParameter.__mro__[2]  # ClickException, wherever this version of typer keeps it
    try:
        with _command(_verb(words)).make_context("hven", words) as context:
            context.command.invoke(context)
    except typer.Exit as ended:
        return ended.exit_code
    except typer.Abort:
        raise KeyboardInterrupt from None
    except refusal as error:
        error.show()
        return 2
    return 0


@cache
def _command(verb: str) -> Any:
    """Build the command for a verb, once in this process."""
    from typer.main import get_command  # noqa: PLC0415  (as above)

    from hven.app._cli.verbs import command  # noqa: PLC0415  (as above)

    return get_command(command(verb))


def _verb(words: list[str]) -> str:
    """Find the verb among the words, as `site_first` left them."""
    after = (
        words[2:] if words[:1] == ["--site"] else words[1:] if words[:1] and words[0].startswith("--site=") else words
    )
    return after[0] if after else ""


def site_first(words: list[str]) -> list[str]:
    """Move ``--site DIR`` in front of the verb, wherever it was written."""
    for number, word in enumerate(words):
        if word == "--":
            break
        if word.startswith("--site="):
            return [word, *words[:number], *words[number + 1 :]]
        if word == "--site" and number + 1 < len(words):
            return [word, words[number + 1], *words[:number], *words[number + 2 :]]
    return words


def _say(text: str) -> None:
    print(f"hven: {text}" if "\n" not in text else text, file=sys.stderr)


def _ours(error: Exception) -> int:
    _say(
        f"something went wrong in {plugins.blamed(error)} ({type(error).__name__}: {error}); please report it with {_kept(error)}"
    )
    return 3


def _kept(error: BaseException) -> Path:
    """Write the traceback to a file, for the report."""
    with tempfile.NamedTemporaryFile("w", prefix="hven-", suffix=".log", delete=False, encoding="utf-8") as file:
        traceback.print_exception(error, file=file)
    return Path(file.name)
