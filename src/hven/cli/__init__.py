"""The verbs of the command line; ``main`` maps errors to exit codes: 0 fine, 1 the data's fault, 2 wrong usage, 3 ours."""

from __future__ import annotations

import os
import sys
import tempfile
import traceback
from pathlib import Path

import click

from hven.errors import ServiceError, UsageError, UserError

PRIVATE = ()


def main(argv: list[str] | None = None) -> int:
    """Run the command line; give the exit code."""
    from hven.cli.verbs import app

    words = site_first(list(sys.argv[1:] if argv is None else argv))
    try:
        code = app(words, prog_name="hven", standalone_mode=False)
    except click.exceptions.Abort:
        _say("stopped")
        return 130
    except click.ClickException as error:
        error.show()
        return 2
    except UsageError as error:
        _say(str(error))
        return 2
    except (UserError, ServiceError) as error:
        _say(str(error))
        return 1 if isinstance(error, UserError) else 3
    except KeyboardInterrupt:
        _say("stopped")
        return 130
    except BrokenPipeError:  # `hven query .. | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:  # noqa: BLE001  (the last net: a person gets a sentence, the file gets the traceback)
        _say(f"something went wrong in Hven itself ({type(error).__name__}: {error}); please report it with {_kept(error)}")
        return 3
    return code if isinstance(code, int) else 0


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


def _kept(error: BaseException) -> Path:
    """Write the traceback to a file, for the report."""
    with tempfile.NamedTemporaryFile("w", prefix="hven-", suffix=".log", delete=False, encoding="utf-8") as file:
        traceback.print_exception(error, file=file)
    return Path(file.name)
