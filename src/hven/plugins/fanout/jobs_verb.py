"""``hven jobs``: run job types and lists from the shell, and see or abort jobs, here or at another Hven site."""

from __future__ import annotations

import contextlib
import logging
import mimetypes
import os
import re
import signal
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hven.app.api import load_site_settings, print_json, print_percentage, print_table
from hven.jobs import QUERY_JOB_TYPE
from hven.jobs.api import worker_processes
from hven.jobs.job_service import FINAL_PHASES
from hven.model.errors import UsageError, UserError, suggest_spelling
from hven.plugins.fanout.job_clients import (
    JOB_ID_PATTERN,
    JobClient,
    JobTypeSummary,
    LocalJobClient,
    RemoteJobClient,
    find_job_type,
)
from hven.plugins.fanout.list_rows import LIST_PARAMETER, TABLE_PARAMETER
from hven.site import Site, find_groups_and_aliases
from hven.site.api.account_users import build_principal
from hven.site.auth import OWNER_PRINCIPAL, with_known_groups_and_names

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from hven.model.settings import Settings
    from hven.site.auth import Principal

TOKEN_VARIABLE = "HVEN_TOKEN"  # noqa: S105  (the name of a variable)
MAX_TOKEN_CHARACTERS = 1_000
STANDARD_INPUT = "-"
# files of plain lines are sent as LIST, all others as TABLE
LINE_EXTENSIONS = ("", ".txt", ".lst", ".dat")
DEFAULT_JOB_COUNT = 20
_SAFE_NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
log = logging.getLogger("hven.jobs")

jobs = typer.Typer(no_args_is_help=True)

Url = Annotated[str | None, typer.Option("--url", metavar="URL", help="Use the jobs of the Hven site at this address.")]
TokenFile = Annotated[
    Path | None,
    typer.Option(
        "--token-file",
        metavar="FILE",
        help=f"With --url: file with the token of your account there (default: the variable {TOKEN_VARIABLE}).",
    ),
]
Account = Annotated[
    str | None, typer.Option("--as", metavar="NAME", help="Use the jobs of this account (default: the owner's).")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
JobName = Annotated[str, typer.Argument(metavar="TYPE/ID", help="The job, as `hven jobs list` names it.")]


@jobs.command("run")
def run_job(
    context: typer.Context,
    *,
    type_name: Annotated[str, typer.Argument(metavar="TYPE", help="The job type or list type.")],
    params: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE...", help="Parameters of the job; KEY=@FILE sends a file."),
    ] = None,
    rows: Annotated[
        str | None,
        typer.Option(
            "--rows", metavar="FILE", help="For lists: file with the rows; - reads lines from standard input."
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="DIR", help="Directory for the results (default: TYPE-ID)."),
    ] = None,
    is_detached: Annotated[
        bool, typer.Option("--detach", help="Start the job and print its name, without waiting for it.")
    ] = False,
    url: Url = None,
    token_file: TokenFile = None,
    account: Account = None,
) -> None:
    """Run a job, show its progress, and save its results.

    Ctrl-C aborts the job. The exit code is 0 if the job is COMPLETED, and otherwise 1.
    """
    with _open_client(context, url, token_file, account) as client:
        job_type = find_job_type(client, type_name)
        values, files = _parse_parameter_words(job_type, params or [])
        if rows is not None:
            _add_list_rows(job_type, rows, values, files)
        job_id = client.create_job(type_name, values, files)
    if is_detached:
        print(f"{type_name}/{job_id}")
        return
    try:
        print(f"hven: started the job {type_name}/{job_id}; Ctrl-C aborts it", file=sys.stderr, flush=True)
        # the site is closed, because its connections must not be in the processes that run jobs
        with _open_client(context, url, token_file, account, has_workers=True) as client:
            job = _show_progress_until_end(client, type_name, job_id)
            for path in _save_results(client, type_name, job, output or Path(f"{type_name}-{job_id}")):
                print(path)
    except KeyboardInterrupt:
        with _open_client(context, url, token_file, account) as client:
            client.stop_job(type_name, job_id)
        print(f"\nhven: aborted the job {type_name}/{job_id}", file=sys.stderr)
        raise
    note = (job.get("jobInfo") or {}).get("note")
    if note:
        print(f"hven: {note}", file=sys.stderr)
    if job["phase"] != "COMPLETED":
        message = (job.get("errorSummary") or {}).get("message") or "no reason is given"
        raise UserError(f"the job {type_name}/{job_id} ended in the phase {job['phase']}: {message}")


@jobs.command("list")
def list_jobs(
    context: typer.Context,
    *,
    type_name: Annotated[str | None, typer.Argument(metavar="TYPE", help="Only jobs of this type.")] = None,
    phases: Annotated[list[str] | None, typer.Option("--phase", help="Only jobs in this phase.")] = None,
    limit: Annotated[
        int, typer.Option("--limit", min=1, max=10_000, help="Maximum number of jobs.")
    ] = DEFAULT_JOB_COUNT,
    url: Url = None,
    token_file: TokenFile = None,
    account: Account = None,
    as_json: Json = False,
) -> None:
    """Show your jobs, the newest first."""
    with _open_client(context, url, token_file, account) as client:
        type_names = [QUERY_JOB_TYPE, *(job_type.name for job_type in client.list_types())]
        if type_name is not None:
            if type_name != QUERY_JOB_TYPE:
                find_job_type(client, type_name)
            type_names = [type_name]
        entries: list[dict[str, Any]] = []
        for name in type_names:
            job_entries = client.list_jobs(name, phases or [], limit)
            entries += [{"job": f"{name}/{entry['id']}", **entry} for entry in job_entries]
    entries.sort(key=lambda entry: str(entry.get("creationTime")), reverse=True)
    del entries[limit:]
    if as_json:
        print_json(entries)
        return
    table_rows = [[entry["job"], entry["phase"], entry.get("creationTime"), entry.get("runId")] for entry in entries]
    print_table(["job", "phase", "created", "run id"], table_rows, title="Jobs")


@jobs.command("show")
def show_job(
    context: typer.Context,
    *,
    job_name: JobName,
    url: Url = None,
    token_file: TokenFile = None,
    account: Account = None,
    as_json: Json = False,
) -> None:
    """Show a job: its phase, progress, parameters, results and error."""
    type_name, job_id = _parse_job_type_and_id(job_name)
    with _open_client(context, url, token_file, account) as client:
        job = client.read_job(type_name, job_id)
    if as_json:
        print_json(job)
        return
    table_rows = [[key, job.get(key)] for key in ("phase", "creationTime", "startTime", "endTime", "destruction")]
    table_rows += [[f"jobInfo {key}", str(value)] for key, value in (job.get("jobInfo") or {}).items()]
    table_rows += [[param["id"], param["value"]] for param in job.get("parameters") or ()]
    table_rows += [[f"result {item['id']}", item.get("mime-type")] for item in job.get("results") or ()]
    if job.get("errorSummary"):
        table_rows.append(["error", job["errorSummary"].get("message")])
    print_table(["what", "value"], [row for row in table_rows if row[1] is not None], title=job_name)


@jobs.command("abort")
def stop_job(
    context: typer.Context,
    *,
    job_name: JobName,
    url: Url = None,
    token_file: TokenFile = None,
    account: Account = None,
) -> None:
    """Abort a job that waits or runs. A list aborts its jobs."""
    type_name, job_id = _parse_job_type_and_id(job_name)
    with _open_client(context, url, token_file, account) as client:
        client.stop_job(type_name, job_id)


@contextlib.contextmanager
def _open_client(
    context: typer.Context,
    url: str | None,
    token_file: Path | None,
    account: str | None,
    *,
    has_workers: bool = False,
) -> Iterator[JobClient]:
    """Open the client of another site, or of this one, if needed with processes that run its jobs."""
    if url is not None:
        if account is not None:
            raise UsageError("--as cannot be combined with --url", remedy="use --token-file with the account's token")
        yield RemoteJobClient(url, _read_token(token_file))
        return
    if token_file is not None:
        raise UsageError("--token-file needs --url", remedy="to use another account of this site, add --as NAME")
    settings = load_site_settings(context)
    with contextlib.ExitStack() as stack:
        if has_workers:
            stack.enter_context(_run_workers(settings))
        site = stack.enter_context(Site(settings))
        yield LocalJobClient(site, _find_principal(site, account))


@contextlib.contextmanager
def _run_workers(settings: Settings) -> Iterator[None]:
    """Run waiting jobs in other processes, beside a server or without one, until the block ends."""

    def run_supervisor(parent_pid: int) -> None:
        os.setsid()  # Ctrl-C is for this command, which aborts the job
        worker_processes.run_job_supervisor(settings, worker_limit=os.cpu_count() or 1, parent_pid=parent_pid)

    pid = worker_processes.fork_process(run_supervisor, "the processes for jobs", log)
    try:
        yield
    finally:
        worker_processes.send_signal(pid, signal.SIGTERM)
        os.waitpid(pid, 0)


def _parse_job_type_and_id(job_name: str) -> tuple[str, str]:
    type_name, slash, job_id = job_name.strip("/").partition("/")
    if not slash or not JOB_ID_PATTERN.fullmatch(job_id):
        raise UsageError(f"{job_name!r:.120} is not the name of a job", remedy="write TYPE/ID, as in `hven jobs list`")
    return type_name, job_id


def _find_principal(site: Site, account: str | None) -> Principal:
    if account is None:
        return OWNER_PRINCIPAL
    if account not in dict(site.store.users.list_accounts()):
        raise UserError(f"there is no account {account!r:.60}", remedy="list the accounts with `hven user list`")
    principal = build_principal(account, site.store, site.settings)
    return with_known_groups_and_names(
        principal, site.settings, site.store.grants, partial(find_groups_and_aliases, site)
    )


def _read_token(token_file: Path | None) -> str:
    """Read a token from a file, or from the environment: other users of the machine can see arguments."""
    token = os.environ.get(TOKEN_VARIABLE, "")
    if token_file is not None:
        try:
            with token_file.open(encoding="utf-8") as file:
                token = file.read(MAX_TOKEN_CHARACTERS)
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{token_file} cannot be read: {error}") from error
    token = token.strip()
    if not token.isascii() or not token.isprintable() or " " in token:
        message = "the token contains characters that are not allowed"
        raise UsageError(message, remedy=f"put only the token into the file or into {TOKEN_VARIABLE}")
    return token


def _parse_parameter_words(
    job_type: JobTypeSummary, words: Sequence[str]
) -> tuple[list[tuple[str, str]], dict[str, Path]]:
    """Read the parameters of a command line. Names may be in lower case."""
    names = {name.upper(): name for name in (*job_type.param_names, *job_type.file_names)}
    values: list[tuple[str, str]] = []
    files: dict[str, Path] = {}
    for word in words:
        key, equals_sign, value = word.partition("=")
        if not equals_sign:
            raise UsageError(f"{word!r:.60} is not a parameter", remedy="write KEY=VALUE")
        name = names.get(key.upper())
        if name is None and key.upper() not in {"RUNID", "EXECUTIONDURATION"}:
            remedy = suggest_spelling(key.upper(), names) or f"the parameters are: {', '.join(names.values())}"
            raise UsageError(f"the job type {job_type.name} has no parameter {key!r:.60}", remedy=remedy)
        if name in job_type.file_names:
            files[str(name)] = _find_input_file(value.removeprefix("@"))
        else:
            values.append((name or key.upper(), value))
    return values, files


def _add_list_rows(job_type: JobTypeSummary, rows: str, values: list[tuple[str, str]], files: dict[str, Path]) -> None:
    """Add the rows of a list: lines of text as LIST, and tables as TABLE."""
    if TABLE_PARAMETER not in job_type.file_names:
        raise UsageError(f"{job_type.name} is not a list type", remedy="leave out --rows, or name a list type")
    if rows == STANDARD_INPUT:
        values.append((LIST_PARAMETER, sys.stdin.read()))
        return
    path = _find_input_file(rows)
    if path.suffix.lower() not in LINE_EXTENSIONS:
        files[TABLE_PARAMETER] = path
        return
    try:
        values.append((LIST_PARAMETER, path.read_text(encoding="utf-8")))
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8 text (byte {error.start})") from None


def _find_input_file(text: str) -> Path:
    path = Path(text)
    if not path.is_file():
        raise UsageError(f"there is no file {text!r:.200}", remedy="correct the path")
    return path


def _show_progress_until_end(client: JobClient, type_name: str, job_id: str) -> Mapping[str, Any]:
    """Wait for the end of a job, and print its progress."""
    job = client.read_job(type_name, job_id)
    has_printed = False
    while job["phase"] not in FINAL_PHASES:
        if job["phase"] == "HELD":
            note = (job.get("jobInfo") or {}).get("note") or "it waits for its owner"
            raise UserError(f"the job {type_name}/{job_id} is HELD: {note}")
        share = (job.get("jobInfo") or {}).get("share")
        if isinstance(share, int | float):
            print_percentage(share)
            has_printed = True
        job = client.wait_briefly_for_change(type_name, job_id, job["phase"])
    if has_printed and sys.stderr.isatty():
        print(file=sys.stderr)
    return job


def _save_results(client: JobClient, type_name: str, job: Mapping[str, Any], directory: Path) -> Iterator[Path]:
    """Save the results of a job; no file is overwritten, and no name leads out of the directory."""
    results = job.get("results") or []
    if results:
        directory.mkdir(parents=True, exist_ok=True)
    for number, result in enumerate(results, 1):
        name = str(result["id"])
        if not _SAFE_NAME_PATTERN.fullmatch(name):
            name = f"result{number}"
        media_type = str(result.get("mime-type") or "").partition(";")[0].strip()
        path = directory / f"{name}{_find_extension(media_type)}"
        try:
            with path.open("xb") as file:
                client.save_result(type_name, str(job["jobId"]), result, file)
        except FileExistsError:
            raise UsageError(f"{path} already exists", remedy="choose another directory with --output") from None
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        yield path


def _find_extension(media_type: str) -> str:
    if "votable" in media_type:
        return ".vot"
    if "parquet" in media_type:
        return ".parquet"
    if "fits" in media_type:
        return ".fits"
    return mimetypes.guess_extension(media_type) or ""
