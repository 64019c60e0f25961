"""Every command of the command line: its parameters, and its output in a walk over a site.

A command without a line here is a fault.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fixed_time import INSTANT_SECONDS
from normal_form import describe_value, mask_text, shorten_lines
from typer.main import get_command

from example_sites import prepare_example
from hven.app._cli.verbs import build_typer_app
from process_runner import run_in_process

EXAMPLE = "18-hesiod"
QUERY = "SELECT TOP 5 name, redshift FROM psz2.main ORDER BY name"
CLOSED_ADDRESS = "http://127.0.0.1:1/tap"  # where nothing listens
COMMAND_LINES: tuple[tuple[str, str], ...] = (  # verb, what stands behind it; {archive}, {other}, {state}, {csv}, {token} and {referee} are of the run
    ("init", "{other}"), ("init", "{other}"),
    ("new", "stars --from {csv} --site {other}"), ("check", "--site {other}"), ("ingest", "stars --site {other}"),
    ("check", ""), ("check", "--json"), ("check", "psz2 --tests --metadata"), ("check", "psz2 --subjects"), ("check", "nothing"),
    ("ingest", "psz2 --dry-run"), ("ingest", "psz2"), ("ingest", "followup --json"), ("ingest", "lowz --sample 5"), ("ingest", "lowz"), ("ingest", "nothing"),
    ("status", ""), ("status", "--json"),
    ("history", "psz2"), ("history", "psz2 --json"), ("history", "psz2 --rules"),
    ("sync", "psz2"), ("sync", "psz2 --json"), ("sync", "psz2 --full"), ("sync", "psz2 --dry-run"),
    ("release add", "R4 psz2 followup"), ("release list", ""), ("release list", "--json"), ("release show", "R4"), ("release show", "R4 --json"),
    ("ingest", "psz2"), ("history", "psz2 --json"), ("diff", "psz2 R4"), ("diff", "psz2 R4 --json"),
    ("release add", "R6 psz2"), ("release diff", "R4 R6"), ("release remove", "R6"), ("rollback", "psz2 --json"), ("rollback", "psz2"),
    ("user add", "anna"), ("user add", "anna"), ("user list", ""), ("user list", "--json"), ("user token", "anna"), ("user password", "anna --remove"),
    ("token add", "anna --for tests"), ("token list", "anna"), ("token list", "anna --json"), ("token end", "nothing"),
    ("project add-member", "hesiod anna --role curator"), ("project list", ""), ("project list", "--json"), ("project show", "hesiod"), ("project show", "hesiod --json"), ("project remove-member", "hesiod anna"),
    ("delegate to", "anna --for bob --until 2030-12-31"), ("delegate end", "nothing"),
    ("referee add", "followup --until 2030-12-31"), ("referee list", ""), ("referee list", "--json"), ("referee end", "nothing"),
    ("audit", ""), ("audit", "--json"),
    *(("query", f'-f {form} "{QUERY}"') for form in ("csv", "json", "text", "votable")), ("query", '-f csv --public "SELECT table_name FROM TAP_SCHEMA.tables ORDER BY table_name"'), ("query", '"SELECT nope FROM psz2.main"'), ("query", ""),
    ("explain", f'"{QUERY}"'), ("explain", '"SELECT nope FROM psz2.main"'),
    ("resolve", '"M 31" --json'), ("resolve", "Jupiter --json"),
    ("region", "{csv} --to polygon"), ("region", "nothing.csv"),
    ("lint", f"{CLOSED_ADDRESS} --timeout 1"), ("mirror", f"{CLOSED_ADDRESS} stars"),
    ("register", "--check"), ("register", "--show psz2"), ("register", "--json"),
    ("report", "--format csv"), ("report", "--format json"), ("report", "--format nothing"),
    ("doi", ""), ("doi", "--json"), ("doi", "psz2 --dry-run"),
    ("verify", ""), ("verify", "psz2 --json"),
    ("schedule list", ""), ("schedule list", "--json"), ("schedule pause", "psz2"), ("schedule resume", "psz2"), ("schedule run", "psz2"),
    ("tables show", "anna mine"), ("tables expire", "anna mine"), ("tables drop", "anna mine"),
    ("move", "psz2 --to duckdb"), ("move", "psz2 --to nothing"), ("reclaim", "nothing"), ("adopt", "nothing"), ("migrate", "ftp://nowhere"), ("fdw", ""),
    ("hips", ""), ("prepare", "psz2"), ("prepare", "psz2 --stop"),
    ("backup", "{archive}"), ("backup", "{archive} --json"), ("restore", "{archive} --check"), ("restore", "{archive} {other}/again --json"), ("restore", "nothing.tar {other}/never"),
    ("package", "psz2 --hash"), ("package", "psz2 --output {other}/psz2.tar"), ("unpack", "{other}/psz2.tar --check"), ("unpack", "nothing.tar"),
    ("handover", "--seal"), ("rebuild", "{other}/rebuilt --from {other}/nothing"),
    ("remove", "lowz"), ("remove", "lowz --purge --json"), ("user remove", "anna"),
    ("schema", ""), ("serve", "--port 80000"), ("work", "--workers 0"), ("stac export", "{other}/stac"),
    ("compare", "psz2.main followup.main"), ("compare", "psz2.main followup.main --group ucd --json"), ("compare", "psz2 nothing.vot"),
    ("export", "psz2 --to cds --check"), ("export", "psz2 {other}/cds --to cds"), ("export", "psz2 {other}/mrt --to mrt --json"), ("export", "nothing {other}/none --to cds"),
    ("alerts", ""), ("alerts", "--job other"), ("queries", "--days 0"), ("queries", "--days 0 --json"),
    ("jobs list", ""), ("jobs run", "nothing"), ("jobs show", "nothing/1"), ("jobs abort", "nothing/1"),
    ("messages list", ""), ("messages list", "--json"), ("messages test", "--to anna@example.org"),
    ("partners", "psz2.main R4"), ("replay", "nothing.log --against http://127.0.0.1:1 --json"),
    ("deploy", "../deployed --to systemd"), ("deploy", "../deployed --to nothing"),
    ("ready", "--json"), ("ready", "http://127.0.0.1:1"), ("promote", "psz2 --to gold"),
    ("doctor", "--seconds 60 --monitor"), ("doctor", "--seconds 60 --json"),
)  # fmt: skip
RUN_MASKS = (
    (re.compile(r"\b(?:anna|[0-9a-f]{12})\.[\w-]{16,}"), "TOKEN"),
    (re.compile(r"\b[0-9a-f]{12}\b"), "IDENT"),
    (re.compile(r"\bseconds=[\d.]+"), "seconds=SECONDS"),
    (re.compile(r"\b\d[\d.,]* ?[kMG]?B\b|\b\d[\d,]* bytes\b"), "SIZE"),
)


def list_verbs() -> Iterator[tuple[str, Any]]:
    """Yield the commands; those of groups have two words."""
    waiting = [("", get_command(build_typer_app(None)))]
    while waiting:
        name, verb = waiting.pop()
        inner = getattr(verb, "commands", None)
        if inner is None:
            yield name, verb
        else:
            waiting.extend((f"{name} {word}".strip(), each) for word, each in inner.items())


def record_verbs(directory: Path) -> dict[str, list[str]]:
    """Record the parameters of each command and the output of each line of the walk."""
    verbs = dict(list_verbs())
    without = sorted(verbs.keys() - {verb for verb, _ in COMMAND_LINES})
    assert not without, f"verbs without a line in {Path(__file__).name}: {', '.join(without)}"
    answers = {f"hven {name} takes": ["verb", *describe_parameters(verb)] for name, verb in verbs.items()}
    site = directory / EXAMPLE
    shutil.copytree(prepare_example(EXAMPLE), site)
    for path in sorted(site.rglob("*")):
        os.utime(path, (INSTANT_SECONDS - 86_400, INSTANT_SECONDS - 86_400))
    (directory / "stars.csv").write_text("name,ra (deg),dec (deg)\nSirius,101.287,-16.716\nVega,279.235,38.784\n")
    words = {"other": "../other", "archive": "../whole.tar", "csv": "../stars.csv"}
    for number, (verb, line) in enumerate(COMMAND_LINES):
        told = line.format(**words)
        given = [*verb.split(), *(a or b for a, b in re.findall(r'"([^"]*)"|(\S+)', told))]
        done = run_in_process(given, site, b"", {})
        rows = verb == "query" and done.returncode == 0
        answers[f"{number:03} hven {verb} {line}".rstrip()] = [
            f"exit {done.returncode}",
            *shorten_lines(describe_output(done.stdout, {str(directory): "DIRECTORY"}, rows=rows)),
            *("stderr: " + told for told in describe_output(done.stderr, {str(directory): "DIRECTORY"}) if done.returncode),
        ]  # fmt: skip
    return answers


def describe_parameters(verb: Any) -> list[str]:
    """Describe the parameters of a command without their help."""
    return [
        f"{' '.join([*one.opts, *one.secondary_opts])} {getattr(getattr(one, 'type', None), 'name', '')} required={one.required} default={mask_text(str(one.default))} nargs={one.nargs} multiple={getattr(one, 'multiple', False)}"
        for one in verb.params
    ]


def describe_output(text: str, replaced: dict[str, str], *, rows: bool = False) -> list[str]:
    """Keep JSON and rows; of sentences keep numbers, names and paths."""
    for pattern, word in RUN_MASKS:
        text = pattern.sub(word, text)
    if rows:
        return mask_text(text, replaced).splitlines()
    try:
        value = json.loads(text)
    except ValueError:
        return [line for line in map(select_data_words, mask_text(text, replaced).splitlines()) if line]
    return describe_value(value, replaced)


def select_data_words(line: str) -> str:
    """Select the words of a line that are data.

    These are words with a digit, with a point, slash or underscore inside, or in capitals.
    """
    words = (word.strip(".,;:!?()[]'\"`│─┃") for word in line.split())
    return " ".join(word for word in words if re.search(r"\d|\w[./_=:]\w", word) or re.fullmatch(r"[A-Z]{2,}", word))
