"""How a site comes into the registries of the Virtual Observatory.

What hven.toml lacks, what is sent to whom, and what a registry has harvested.
"""

from __future__ import annotations

import re
import sys
import tomllib
from typing import TYPE_CHECKING

import typer

from hven.app._cli.context import format_command, show_json
from hven.app._cli.remote_query import run_remote_query
from hven.model import settings as site_settings
from hven.model.errors import UsageError, UserError
from hven.services import registry_validation

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hven.model.settings import Settings
    from hven.services.face import ServiceContext

MAX_RECORDS = 100_000  # records of a site that a registry is asked for
# keys of hven.toml -> the question that asks for them: one for each record that a site begins with
SETTING_QUESTIONS = {
    ("authority",): "The authority, first part of all identifiers (ivo://AUTHORITY/..): yours for ever",
    (
        "public_url",
        "contact_email",
    ): (
        "The registry: the address at which everybody finds this site, and the e-mail address of whom harvesters "
        "and readers write to"
    ),
    ("registry.organisation",): "The organisation: the institute that publishes, by its name",
}


def print_guide(context: typer.Context, settings: Settings) -> None:
    """Print what is to be done until registries know a site."""
    missing_settings = registry_validation.list_missing_settings(settings)
    file = settings.directory / site_settings.SETTINGS_FILE
    top_level_lines = {key: line for key, line in missing_settings.items() if "." not in key}
    setting_lines = [
        f"    {line}  # {registry_validation.REQUIRED_SETTINGS[key][1]}" for key, line in top_level_lines.items()
    ]
    if len(top_level_lines) < len(missing_settings):
        setting_lines += [
            "",
            "    [registry]",
            *(
                f"    {line}  # {registry_validation.REQUIRED_SETTINGS[key][1]}"
                for key, line in missing_settings.items()
                if key not in top_level_lines
            ),
        ]
    steps = [
        *(
            [
                (
                    f"Write into {file}, before its first section and in place of what stands there of it (or let "
                    f"{format_command(context, 'register', '--write')} ask you):\n\n"
                )
                + "\n".join(setting_lines)
                + "\n"
            ]
            if setting_lines
            else []
        ),
        (
            f"Ask a registry whether somebody has the authority already, by TAP: SELECT ivoid FROM rr.resource "
            f"WHERE ivoid = 'ivo://{settings.authority.lower()}'"
        ),
        (
            f"Mend what {format_command(context, 'register', '--check')} tells; see the records with "
            f"{format_command(context, 'register', '--show')}."
        ),
        (
            f"Write {settings.site_url}/oai into the form of the registry of registries, https://rofr.ivoa.net: it "
            f"validates the records, and from then on others harvest them, mostly every night."
        ),
        (
            f"Look a day later what they have: {format_command(context, 'register', '--harvested', '--at', 'URL')} "
            f"(URL: of a RegTAP service)."
        ),
    ]
    if not missing_settings:
        print(f"{file} says all that registries need.")
    print("\n".join(f"{number}. {step}" for number, step in enumerate(steps, start=1)))
    print(f"For HAPI's list of servers: {format_command(context, 'register', '--hapi')}")


def request_missing_settings(settings: Settings) -> Settings:
    """Ask a person for what hven.toml lacks, write it there, and read it again.

    Raises
    ------
    UsageError
        Nobody can be asked.
    UserError
        An answer is none, or the file is written in a way that lines cannot be added to: it stays as it was.
    """
    missing_settings = registry_validation.list_missing_settings(settings)
    if not missing_settings:
        return settings
    if not sys.stdin.isatty():
        raise UsageError(
            "--write asks questions, and this is no terminal", remedy="hven register prints the lines to paste"
        )
    answers: dict[str, str] = {}
    for keys, question in SETTING_QUESTIONS.items():
        wanted_keys = [key for key in keys if key in missing_settings]
        if wanted_keys:
            answer = typer.prompt(question, err=True).strip()
            # an e-mail address is known by its sign, whatever stands first
            if len(keys) > 1:
                words = sorted(answer.split(), key=lambda word: "@" in word and "://" not in word)
            else:
                words = [answer]
            if len(words) > 1:
                given_answers = dict(zip(keys, words, strict=False))
            else:
                given_answers = dict(zip(wanted_keys, words, strict=False))
            answers |= {key: given_answers[key] for key in wanted_keys if key in given_answers}
    file = settings.directory / site_settings.SETTINGS_FILE
    old_content = file.read_bytes()
    file.write_bytes(update_settings_text(old_content.decode(), answers).encode())
    try:
        new_settings = site_settings.load_settings(settings.directory)
    except UserError:
        file.write_bytes(old_content)
        raise
    still_missing = registry_validation.list_missing_settings(new_settings)
    if still_missing:
        print(f"still to be said: {', '.join(still_missing)}", file=sys.stderr)
    return new_settings


def update_settings_text(text: str, new_values: Mapping[str, str]) -> str:
    """Write settings into the text of hven.toml; all else stays as it is.

    Raises
    ------
    UserError
        The text cannot be edited by lines.
    """
    expected_settings = tomllib.loads(text)
    for key, value in new_values.items():
        section, _, name = key.rpartition(".")
        line = registry_validation.write_setting_line(key, value)
        section_table = expected_settings.setdefault(section, {}) if section else expected_settings
        if name in section_table:
            text = _replace_setting_line(text, section, name, line)
        else:
            text = _insert_setting_line(text, section, line)
        section_table[name] = value
    try:
        is_equal = tomllib.loads(text) == expected_settings
    except tomllib.TOMLDecodeError:
        is_equal = False
    if not is_equal:
        raise UserError(
            f"{site_settings.SETTINGS_FILE} cannot be edited line by line",
            remedy="hven register prints the lines to paste",
        )
    return text


def _find_section_end(text: str, section: str) -> int | None:
    """Return where the head of a section ends; None: there is no such section."""
    match = re.search(rf"^\[{section}\][^\S\n]*(#.*)?$", text, re.MULTILINE) if section else None
    return None if match is None else match.end()


def _replace_setting_line(text: str, section: str, name: str, line: str) -> str:
    # the first line of that name behind the head is its own: keys of the whole stand before all sections
    start = _find_section_end(text, section) or 0
    line_match = re.search(rf"^[^\S\n]*{name}[^\S\n]*=.*$", text[start:], re.MULTILINE)
    if line_match is None:
        return text
    return f"{text[: start + line_match.start()]}{line}{text[start + line_match.end() :]}"


def _insert_setting_line(text: str, section: str, line: str) -> str:
    """Write a new line behind the head of its section, or behind the comments with which the file begins."""
    section_end = _find_section_end(text, section)
    if section_end is not None:
        return f"{text[:section_end]}\n{line}{text[section_end:]}"
    if section:
        return f"{text.rstrip()}\n\n[{section}]\n{line}\n"
    comments = re.match(r"(#.*\n)*", text)
    insert_position = 0 if comments is None else comments.end()
    return f"{text[:insert_position]}{line}\n{text[insert_position:]}"


def compare_with_registry(service_context: ServiceContext, registry_url: str | None, *, as_json: bool) -> None:
    """Ask a searchable registry which of our records it has; exit code 1 if some are lacking."""
    settings = service_context.site.settings
    url = registry_url or settings.everywhere.registry or ""
    if "://" not in url:
        raise UsageError(
            "which registry shall be asked", remedy="--at URL: the TAP service of a searchable registry (RegTAP)"
        )
    own_records = {
        record.ivoid.lower(): record
        for ivoids in registry_validation.draft_records(service_context).values()
        for record in ivoids
    }
    names = [record.lower() for record in settings.authorities]
    quoted = [record.replace("'", "''") for record in names]
    where = " OR ".join(f"ivoid = 'ivo://{record}' OR ivoid LIKE 'ivo://{record}/%'" for record in quoted)
    registry_records: dict[str, str] = {}
    with run_remote_query(url, f"SELECT ivoid, updated FROM rr.resource WHERE {where}", MAX_RECORDS) as answer:
        for batch in answer.iterate_batches():
            registry_records |= {
                str(ivoid).lower(): str(when or "")[:19].replace(" ", "T")
                for ivoid, when in zip(*(column.to_pylist() for column in batch.columns), strict=True)
            }
    registry_records = {
        record: when for record, when in registry_records.items() if record[6:].partition("/")[0] in names
    }  # _ stands for any sign
    missing_records = [record.ivoid for key, record in own_records.items() if key not in registry_records]
    outdated_records = [
        record.ivoid
        for key, record in own_records.items()
        if record.changed and (registry_records.get(key) or "~") < record.changed[:19]
    ]
    unknown_records = [key for key in registry_records if key not in own_records]
    if as_json:
        show_json(
            {
                "registry": url,
                "harvested": len(own_records) - len(missing_records),
                "records": len(own_records),
                "lacking": missing_records,
                "older": outdated_records,
                "others": unknown_records,
            }
        )
    else:
        for finding, ivoids in (
            ("not there", missing_records),
            ("older there than here", outdated_records),
            ("there, and not of this site", unknown_records),
        ):
            for ivoid in ivoids:
                print(f"{finding}: {ivoid}")
        print(f"{url} has {len(own_records) - len(missing_records)} of {len(own_records)} records")
    if missing_records:
        raise typer.Exit(1)
