"""``hven init``: the first hven.toml of a site, and the directory around it."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING

from hven.model.errors import UserError
from hven.model.settings._site_file import SETTINGS_FILE, load_settings
from hven.model.settings._validation import list_plugin_settings_sections

if TYPE_CHECKING:
    from pathlib import Path


def format_initial_settings(
    *,
    name: str = "Hven site",
    authority: str = "example.org",
    contact_name: str | None = None,
    contact_email: str | None = None,
) -> str:
    """Write the first hven.toml of a site: what is set, and the most wanted settings as comments."""
    quote = json.dumps  # TOML's basic strings are JSON's
    if contact_name:
        contact = f"contact_name = {quote(contact_name)}"
    else:
        contact = '# contact_name = "The data team"'
    if contact_email:
        email = f"contact_email = {quote(contact_email)}"
    else:
        email = '# contact_email = "vo@example.org"'
    heading = (
        "# Settings of this site; docs/reference/settings.md lists all. HVEN_PORT=9000 and the like take "
        "precedence over this file."
    )
    sections = [section for section in list_plugin_settings_sections() if section.template_text]
    section_texts = [section.template_text for section in sections if not section.is_repeated]
    repeated_section_texts = [f"\n{section.template_text.rstrip()}\n" for section in sections if section.is_repeated]
    return f"""{heading}
name = {quote(name)}
authority = {quote(authority)}          # ivo://{authority}/...
{contact}
{email}

# public_url = "https://vo.example.org/hven"   # what readers see; every link is made from it
# host = "127.0.0.1"
# port = 8080
# workers = 2
# keep_snapshots = 3
# disk_budget = "200 GiB"

{"".join(section_texts)}# [limits]
# seconds = 60
# maxrec_default = 2_000_000
# memory = "2 GiB"

# [defaults]              # keys for every descriptor
# publisher = "An observatory"
{"".join(repeated_section_texts)}"""


def create_site_directory(
    directory: Path,
    *,
    name: str | None = None,
    authority: str = "example.org",
    contact_name: str | None = None,
    contact_email: str | None = None,
) -> Path:
    """Create a site: hven.toml, collections/, .gitignore. Files that are there already stay.

    Parameters
    ----------
    directory
        Made if it is not there.
    name
        The site's title; None: the directory's name.
    authority
        Authority of its IVOIDs, ``ivo://authority/..``.
    contact_name, contact_email
        Of who answers for the site; None: the file has a line to fill in.

    Returns
    -------
    Path
        The directory.

    Raises
    ------
    UserError
        It is a site already, or cannot be written.
    """
    file = directory / SETTINGS_FILE
    if file.exists():
        message = f"{directory} is already a site"
        raise UserError(message, remedy=f"edit {file}")
    try:
        (directory / "collections").mkdir(parents=True, exist_ok=True)
        text = format_initial_settings(
            name=name or directory.resolve().name,
            authority=authority,
            contact_name=contact_name,
            contact_email=contact_email,
        )
        file.write_text(text, encoding="utf-8")
        ignore = directory / ".gitignore"
        if not ignore.exists():
            ignore.write_text("var/\nsecrets.toml\n", encoding="utf-8")
    except OSError as error:
        with suppress(OSError):
            file.unlink()  # the disk is full, and its text may be cut off
        message = f"cannot create a site in {directory}: {error.strerror}"
        raise UserError(message) from error
    load_settings(directory, {})
    return directory
