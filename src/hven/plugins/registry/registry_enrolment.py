"""Guide a site into the registries of the Virtual Observatory.

This module asks for settings that hven.toml lacks, prints the steps, and compares the site with a registry.
"""

from __future__ import annotations

import re
import sys
import tomllib
from typing import TYPE_CHECKING

import typer

from hven.app.api import format_command, print_json
from hven.app.remote_query import run_remote_query
from hven.descriptor.api.file_replacement import replace_file
from hven.model import settings as site_settings
from hven.model.errors import UsageError, UserError
from hven.plugins.registry import registry_validation

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from hven.model.settings import Settings
    from hven.plugins.registry.record_store import RegistryRecord
    from hven.services.face import ServiceContext

MAX_RECORDS = 100_000  # limit of the query that asks a registry for a site's records
# keys of hven.toml -> the question that asks for them: one for each record with which a site begins
SETTING_QUESTIONS = {
    ("authority",): "The authority, which is the permanent first part of all identifiers (ivo://AUTHORITY/..)",
    ("public_url", "contact_email"): (
        "The registry: the public address of this site, and the e-mail address to which harvesters and readers write"
    ),
    ("registry.organisation",): "The organisation: the name of the institute that publishes",
}


def print_registration_guide(context: typer.Context, settings: Settings) -> None:
    """Print what has to be done until registries know the site."""
    missing_settings = registry_validation.list_missing_settings(settings)
    file = settings.directory / site_settings.SETTINGS_FILE
    check_command = format_command(context, "register", "--check")
    show_command = format_command(context, "register", "--show")
    harvested_command = format_command(context, "register", "--harvested", "--at", "URL")
    steps = [
        (
            f"Ask a registry by TAP whether the authority is already taken: SELECT ivoid FROM rr.resource "
            f"WHERE ivoid = 'ivo://{settings.authority.lower()}'"
        ),
        f"Correct what {check_command} reports. View the records with {show_command}.",
        (
            f"Enter {settings.site_url}/oai in the form at https://rofr.ivoa.net, the registry of registries. "
            "That registry validates the records. From then on, other registries harvest them, usually every night."
        ),
        (
            f"A day later, check which records the registries have: {harvested_command} "
            "(URL: the address of a RegTAP service)."
        ),
    ]
    if missing_settings:
        write_command = format_command(context, "register", "--write")
        setting_lines = "\n".join(_format_setting_lines(missing_settings))
        write_step_and_notify = (
            f"Write these lines into {file}, before its first section; replace lines that are already there "
            f"(or let {write_command} ask you):\n\n{setting_lines}\n"
        )
        steps.insert(0, write_step_and_notify)
    else:
        print(f"{file} has all the settings that registries need.")
    print("\n".join(f"{number}. {step}" for number, step in enumerate(steps, start=1)))
    print(f"To get the entry for HAPI's list of servers, run: {format_command(context, 'register', '--hapi')}")


def _format_setting_lines(missing_settings: Mapping[str, str]) -> list[str]:
    """Format the lines that hven.toml lacks, each with its purpose; those of [registry] come last."""
    top_level_lines: list[str] = []
    registry_lines: list[str] = []
    for key, line in missing_settings.items():
        lines = registry_lines if "." in key else top_level_lines
        lines.append(f"    {line}  # {registry_validation.REQUIRED_SETTINGS[key][1]}")
    if registry_lines:
        return [*top_level_lines, "", "    [registry]", *registry_lines]
    return top_level_lines


def complete_settings_by_prompt(settings: Settings) -> Settings:
    """Ask the user for what hven.toml lacks, write it there, and load the settings again.

    Raises
    ------
    UsageError
        There is no terminal to ask at.
    UserError
        An answer is not valid, or lines cannot be added to the file as it is written. The file stays unchanged.
    """
    missing_settings = registry_validation.list_missing_settings(settings)
    if not missing_settings:
        return settings
    if not sys.stdin.isatty():
        raise UsageError(
            "--write asks questions, so it needs a terminal",
            remedy="run `hven register`, and copy the printed lines to hven.toml",
        )
    answers: dict[str, str] = {}
    for keys, question in SETTING_QUESTIONS.items():
        missing_keys = [key for key in keys if key in missing_settings]
        if missing_keys:
            answer = typer.prompt(question, err=True).strip()
            answers |= _split_prompt_answer(answer, keys, missing_keys)
    file = settings.directory / site_settings.SETTINGS_FILE
    old_content = file.read_bytes()
    replace_file(file, update_settings_text(old_content.decode(), answers))
    try:
        new_settings = site_settings.load_settings(settings.directory)
    except UserError:
        replace_file(file, old_content.decode())
        raise
    still_missing = registry_validation.list_missing_settings(new_settings)
    if still_missing:
        print(f"hven.toml still lacks these settings: {', '.join(still_missing)}", file=sys.stderr)
    return new_settings


def _split_prompt_answer(answer: str, keys: Sequence[str], missing_keys: Sequence[str]) -> dict[str, str]:
    """Split the answer to a question into the values of its missing keys."""
    words = [answer]
    if len(keys) > 1:
        # an e-mail address is recognized by its @, so that the order of the words does not matter
        words = sorted(answer.split(), key=lambda word: "@" in word and "://" not in word)
    answered_keys = missing_keys
    if len(words) > 1:
        answered_keys = keys
    values_by_key = dict(zip(answered_keys, words, strict=False))
    return {key: text for key, text in values_by_key.items() if key in missing_keys}


def update_settings_text(text: str, new_values: Mapping[str, str]) -> str:
    """Write settings into the text of hven.toml; the rest of it stays unchanged.

    Raises
    ------
    UserError
        The text cannot be edited line by line.
    """
    expected_settings = tomllib.loads(text)
    for key, value in new_values.items():
        section, _, name = key.rpartition(".")
        line = registry_validation.write_setting_line(key, value)
        section_table = expected_settings
        if section:
            section_table = expected_settings.setdefault(section, {})
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
            f"Hven cannot add the lines to {site_settings.SETTINGS_FILE}, because the file uses a form of TOML that "
            "Hven cannot edit",
            remedy="run `hven register`, and copy the printed lines to hven.toml",
        )
    return text


def _find_section_header_end(text: str, section: str) -> int | None:
    """Return the position behind the header of a section; None if there is no such section."""
    if not section:
        return None
    header = re.search(rf"^\[{section}\][^\S\n]*(#.*)?$", text, re.MULTILINE)
    if header is None:
        return None
    return header.end()


def _replace_setting_line(text: str, section: str, name: str, line: str) -> str:
    # The first line with this name behind the header is the one: top-level keys stand before all sections.
    start = _find_section_header_end(text, section) or 0
    line_match = re.search(rf"^[^\S\n]*{name}[^\S\n]*=.*$", text[start:], re.MULTILINE)
    if line_match is None:
        return text
    return f"{text[: start + line_match.start()]}{line}{text[start + line_match.end() :]}"


def _insert_setting_line(text: str, section: str, line: str) -> str:
    """Insert a line behind the header of its section, or behind the comments with which the file begins."""
    section_end = _find_section_header_end(text, section)
    if section_end is not None:
        return f"{text[:section_end]}\n{line}{text[section_end:]}"
    if section:
        return f"{text.rstrip()}\n\n[{section}]\n{line}\n"
    comments = re.match(r"(#.*\n)*", text)
    insert_position = 0
    if comments is not None:
        insert_position = comments.end()
    return f"{text[:insert_position]}{line}\n{text[insert_position:]}"


def print_comparison_with_exit_code(
    service_context: ServiceContext, registry_url: str | None, *, as_json: bool
) -> None:
    """Print which of the site's records a searchable registry has; exit code 1 if some are missing."""
    settings = service_context.site.settings
    url = registry_url or settings.everywhere.registry or ""
    if "://" not in url:
        raise UsageError(
            "the address of the registry is missing",
            remedy="add --at URL, where URL is the TAP address of a searchable registry (RegTAP)",
        )
    own_records: dict[str, RegistryRecord] = {}
    for records in registry_validation.build_draft_records(service_context).values():
        own_records |= {record.ivoid.lower(): record for record in records}
    harvest_times = _read_harvest_times(url, settings.authorities)
    missing_records = [record.ivoid for key, record in own_records.items() if key not in harvest_times]
    outdated_records = [
        record.ivoid
        for key, record in own_records.items()
        if _is_harvested_record_outdated(record, harvest_times.get(key, ""))
    ]
    unknown_records = [key for key in harvest_times if key not in own_records]
    harvested_count = len(own_records) - len(missing_records)
    if as_json:
        print_json(
            {
                "registry": url,
                "harvested": harvested_count,
                "records": len(own_records),
                "lacking": missing_records,
                "older": outdated_records,
                "others": unknown_records,
            }
        )
    else:
        ivoids_by_finding = {
            "missing from the registry": missing_records,
            "older in the registry than on this site": outdated_records,
            "in the registry, but not a record of this site": unknown_records,
        }
        for finding, ivoids in ivoids_by_finding.items():
            for ivoid in ivoids:
                print(f"{finding}: {ivoid}")
        print(f"{url} has {harvested_count} of the {len(own_records)} records of this site")
    if missing_records:
        raise typer.Exit(1)


def _is_harvested_record_outdated(record: RegistryRecord, harvest_time: str) -> bool:
    """Return whether a record has changed since the version that a registry has; False if either time is unknown."""
    if not record.changed or not harvest_time:
        return False
    return harvest_time < record.changed[:19]


def _read_harvest_times(registry_url: str, authorities: Iterable[str]) -> dict[str, str]:
    """Ask a registry for the records of authorities: identifier in lower case -> when the record was updated."""
    authority_names = [authority.lower() for authority in authorities]
    conditions = []
    for name in authority_names:
        literal = name.replace("'", "''")
        conditions.append(f"ivoid = 'ivo://{literal}' OR ivoid LIKE 'ivo://{literal}/%'")
    query = f"SELECT ivoid, updated FROM rr.resource WHERE {' OR '.join(conditions)}"
    harvest_times: dict[str, str] = {}
    with run_remote_query(registry_url, query, MAX_RECORDS) as result:
        for batch in result.iterate_batches():
            ivoids, update_times = (column.to_pylist() for column in batch.columns)
            for ivoid, update_time in zip(ivoids, update_times, strict=True):
                harvest_times[str(ivoid).lower()] = str(update_time or "")[:19].replace(" ", "T")
    # LIKE takes _ for any character, so that other authorities can match
    return {
        ivoid: update_time
        for ivoid, update_time in harvest_times.items()
        if ivoid.removeprefix("ivo://").partition("/")[0] in authority_names
    }
