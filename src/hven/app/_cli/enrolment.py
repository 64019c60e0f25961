"""How a site comes into the registries of the Virtual Observatory: what hven.toml lacks, what is sent to whom, and what a registry has harvested."""

from __future__ import annotations

import re
import sys
import tomllib
from typing import TYPE_CHECKING

import typer

from hven.app._cli.context import show_json, spelled
from hven.app._cli.remote_query import ask
from hven.model import settings as settings_room
from hven.model.errors import UsageError, UserError
from hven.services import registering

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hven.model.settings import Settings
    from hven.services.face import Surroundings

MOST = 100_000  # records of a site that a registry is asked for
# keys of hven.toml -> the question that asks for them: one for each record that a site begins with
QUESTIONS = {
    ("authority",): "The authority, first part of all identifiers (ivo://AUTHORITY/..): yours for ever",
    ("public_url", "contact_email"): "The registry: the address at which everybody finds this site, and the e-mail address of whom harvesters and readers write to",
    ("registry.organisation",): "The organisation: the institute that publishes, by its name",
}  # fmt: skip


def guide(context: typer.Context, settings: Settings) -> None:
    """Print what is to be done until registries know a site."""
    lacking = registering.lacking(settings)
    file = settings.directory / settings_room.FILE
    own = {key: line for key, line in lacking.items() if "." not in key}
    said = [f"    {line}  # {registering.NEEDED[key][1]}" for key, line in own.items()]
    if len(own) < len(lacking):
        said += ["", "    [registry]", *(f"    {line}  # {registering.NEEDED[key][1]}" for key, line in lacking.items() if key not in own)]  # fmt: skip
    steps = [
        *([f"Write into {file}, before its first section and in place of what stands there of it (or let {spelled(context, 'register', '--write')} ask you):\n\n" + "\n".join(said) + "\n"] if said else []),
        f"Ask a registry whether somebody has the authority already, by TAP: SELECT ivoid FROM rr.resource WHERE ivoid = 'ivo://{settings.authority.lower()}'",
        f"Mend what {spelled(context, 'register', '--check')} tells; see the records with {spelled(context, 'register', '--show')}.",
        f"Write {settings.url}/oai into the form of the registry of registries, https://rofr.ivoa.net: it validates the records, and from then on others harvest them, mostly every night.",
        f"Look a day later what they have: {spelled(context, 'register', '--harvested', '--at', 'URL')} (URL: of a RegTAP service).",
    ]  # fmt: skip
    if not lacking:
        print(f"{file} says all that registries need.")
    print("\n".join(f"{number}. {step}" for number, step in enumerate(steps, start=1)))
    print(f"For HAPI's list of servers: {spelled(context, 'register', '--hapi')}")


def ask_and_write(settings: Settings) -> Settings:
    """Ask a person for what hven.toml lacks, write it there, and read it again.

    Raises
    ------
    UsageError
        Nobody can be asked.
    UserError
        An answer is none, or the file is written in a way that lines cannot be added to: it stays as it was.
    """
    lacking = registering.lacking(settings)
    if not lacking:
        return settings
    if not sys.stdin.isatty():
        raise UsageError("--write asks questions, and this is no terminal", remedy="hven register prints the lines to paste")  # fmt: skip
    said: dict[str, str] = {}
    for keys, question in QUESTIONS.items():
        if wanted := [key for key in keys if key in lacking]:
            answer = typer.prompt(question, err=True).strip()
            # an e-mail address is known by its sign, whatever stands first
            words = (
                sorted(answer.split(), key=lambda word: "@" in word and "://" not in word)
                if len(keys) > 1
                else [answer]
            )
            known = dict(zip(keys, words, strict=False)) if len(words) > 1 else dict(zip(wanted, words, strict=False))
            said |= {key: known[key] for key in wanted if key in known}
    file = settings.directory / settings_room.FILE
    before = file.read_bytes()
    file.write_bytes(with_lines(before.decode(), said).encode())
    try:
        found = settings_room.load(settings.directory)
    except UserError:
        file.write_bytes(before)
        raise
    left = registering.lacking(found)
    if left:
        print(f"still to be said: {', '.join(left)}", file=sys.stderr)
    return found


def with_lines(text: str, said: Mapping[str, str]) -> str:
    """Write settings into the text of hven.toml; all else stays as it is.

    Raises
    ------
    UserError
        The text cannot be edited by lines.
    """
    wanted = tomllib.loads(text)
    for key, value in said.items():
        section, _, name = key.rpartition(".")
        line = registering.line(key, value)
        holder = wanted.setdefault(section, {}) if section else wanted
        head = re.search(rf"^\[{section}\][^\S\n]*(#.*)?$", text, re.MULTILINE) if section else None
        start = head.end() if head is not None else 0
        if name in holder:  # its first line behind that is its own: keys of the whole stand before all sections
            own = re.search(rf"^[^\S\n]*{name}[^\S\n]*=.*$", text[start:], re.MULTILINE)
            text = f"{text[: start + own.start()]}{line}{text[start + own.end() :]}" if own is not None else text
        elif section:
            text = (
                f"{text[:start]}\n{line}{text[start:]}"
                if head is not None
                else f"{text.rstrip()}\n\n[{section}]\n{line}\n"
            )
        else:
            comments = re.match(r"(#.*\n)*", text)
            at = comments.end() if comments is not None else 0
            text = f"{text[:at]}{line}\n{text[at:]}"
        holder[name] = value
    try:
        same = tomllib.loads(text) == wanted
    except tomllib.TOMLDecodeError:
        same = False
    if not same:
        raise UserError(f"{settings_room.FILE} cannot be edited line by line", remedy="hven register prints the lines to paste")  # fmt: skip
    return text


def look(around: Surroundings, at: str | None, *, as_json: bool) -> None:
    """Ask a searchable registry which of our records it has; exit code 1 if some are lacking."""
    settings = around.site.settings
    url = at or settings.everywhere.registry or ""
    if "://" not in url:
        raise UsageError("which registry shall be asked", remedy="--at URL: the TAP service of a searchable registry (RegTAP)")  # fmt: skip
    ours = {one.ivoid.lower(): one for found in registering.drafts(around).values() for one in found}
    names = [one.lower() for one in settings.authorities]
    quoted = [one.replace("'", "''") for one in names]
    where = " OR ".join(f"ivoid = 'ivo://{one}' OR ivoid LIKE 'ivo://{one}/%'" for one in quoted)
    theirs: dict[str, str] = {}
    with ask(url, f"SELECT ivoid, updated FROM rr.resource WHERE {where}", MOST) as answer:
        for batch in answer.batches():
            theirs |= {str(ivoid).lower(): str(when or "")[:19].replace(" ", "T") for ivoid, when in zip(*(column.to_pylist() for column in batch.columns), strict=True)}  # fmt: skip
    theirs = {one: when for one, when in theirs.items() if one[6:].partition("/")[0] in names}  # _ stands for any sign
    lacking = [one.ivoid for key, one in ours.items() if key not in theirs]
    older = [one.ivoid for key, one in ours.items() if one.changed and (theirs.get(key) or "~") < one.changed[:19]]
    others = [key for key in theirs if key not in ours]
    if as_json:
        show_json({"registry": url, "harvested": len(ours) - len(lacking), "records": len(ours), "lacking": lacking, "older": older, "others": others})  # fmt: skip
    else:
        for what, found in (("not there", lacking), ("older there than here", older), ("there, and not of this site", others)):  # fmt: skip
            for ivoid in found:
                print(f"{what}: {ivoid}")
        print(f"{url} has {len(ours) - len(lacking)} of {len(ours)} records")
    if lacking:
        raise typer.Exit(1)
