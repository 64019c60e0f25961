"""Write files for service managers from templates: never over a file that somebody has changed."""

from __future__ import annotations

import hashlib
import ipaddress
import json
import os
import re
from dataclasses import dataclass, replace
from importlib import resources
from typing import TYPE_CHECKING, Any

from hven import __version__
from hven.model.errors import ConflictError, UserError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from hven.model.settings import Settings

# target -> folders of templates
TEMPLATE_FOLDERS = {
    "systemd": ("systemd",),
    "container": ("container",),
    "compose": ("compose", "container"),
    "kubernetes": ("kubernetes", "container"),
}
DRAIN_SECONDS = 5  # a client that sends a request at least this often loses none
GRACE_SECONDS = 60  # time that running answers get to end
SPARE_STOP_SECONDS = 60  # time that jobs and workers need besides, on a busy machine
SPARE_ANSWER_SECONDS = 60  # a proxy waits longer for an answer than the server computes
HOME_DIRECTORIES = tuple(f"/{name}/" for name in ("home", "root", "run/user"))  # what ProtectHome hides
POD_NETWORK = "10.0.0.0/8"  # where many clusters have their pods; the file says that it must be checked
MAX_FILE_BYTES = 1 << 20  # a larger file was not written by this module
_HEAD = "# Written by hven deploy, checksum {}. After a change, hven deploy keeps your file.\n"
_DIGEST_PATTERN = re.compile(r"sha256:[0-9a-f]{64}")
_IMAGE_PATTERN = re.compile(r"docker\.io/library/[\w.-]+:[\w.-]+")
_HEAD_PATTERN = re.compile(r"\A# Written by hven deploy, checksum ([0-9a-f]{16})\.[^\n]*\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentFile:
    """A file that `hven deploy` writes.

    Attributes
    ----------
    name
        Name of the file.
    text
        Its content, with a first line by which a later run sees whether somebody has changed the file.
    """

    name: str
    text: str


def render_deployment_files(
    settings: Settings, target: str, *, pinned_images: Sequence[str] = ()
) -> list[DeploymentFile]:
    """Render the files for a target.

    Parameters
    ----------
    settings
        Settings of the site.
    target
        A key of `TEMPLATE_FOLDERS`.
    pinned_images
        Images of the files with their digests: ``name:tag@sha256:...``.

    Raises
    ------
    UserError
        A setting cannot stand in these files, or they do not use an image.
    """
    from jinja2 import Environment, StrictUndefined  # noqa: PLC0415  (only this command needs it)

    environment = Environment(
        block_start_string="[%",
        block_end_string="%]",
        variable_start_string="[[",
        variable_end_string="]]",
        comment_start_string="[#",
        comment_end_string="#]",
        trim_blocks=True,
        keep_trailing_newline=True,
        undefined=StrictUndefined,
        autoescape=False,  # noqa: S701  (no HTML: filters write each value as its format requires)
    )
    environment.filters |= {
        "comment": _format_comment,
        "unit": _format_unit_value,
        "unit_word": _format_unit_word,
        "yaml": json.dumps,
    }
    values = _collect_template_values(settings)
    bodies: dict[str, str] = {}
    for folder in TEMPLATE_FOLDERS[target]:
        templates = resources.files(__package__) / "templates" / folder
        for template in sorted(templates.iterdir(), key=lambda entry: entry.name):
            bodies[template.name] = environment.from_string(template.read_text(encoding="utf-8")).render(values)
    for pinned_image in pinned_images:
        bodies = _pin_image(bodies, pinned_image)
    return [DeploymentFile(name=name, text=_HEAD.format(_hash_text(body)) + body) for name, body in bodies.items()]


def _pin_image(bodies: Mapping[str, str], pinned_image: str) -> dict[str, str]:
    """Add the digest of an image where files use it, so that each build and each start gets the same one."""
    image, _, digest = pinned_image.partition("@")
    if not _DIGEST_PATTERN.fullmatch(digest):
        raise UserError(
            f"--pin {pinned_image}: this is not an image with its digest",
            remedy="write NAME:TAG@sha256:DIGEST; `skopeo inspect docker://NAME:TAG` prints the digest",
        )
    # not in comments and labels, which name the image, and not where it has a digest
    use_pattern = re.compile(rf'(?<!name="){re.escape(image)}(?=[\s}}"]|$)', re.MULTILINE)
    pinned_bodies = {name: use_pattern.sub(pinned_image, body) for name, body in bodies.items()}
    if pinned_bodies == bodies:
        used_images = {match[0] for body in bodies.values() for match in _IMAGE_PATTERN.finditer(body)}
        raise UserError(
            f"--pin {pinned_image}: these files do not use {image}",
            remedy=f"they use {', '.join(sorted(used_images)) or 'no images'}",
        )
    return pinned_bodies


def write_files(files: list[DeploymentFile], directory: Path, *, overwrite: bool) -> dict[str, str]:
    """Write files into a directory, all or none.

    Returns
    -------
    actions
        What was done with each file: ``written``, ``replaced`` or ``unchanged``.

    Raises
    ------
    ConflictError
        Somebody has changed one of the files since it was written, or wrote it.
    """
    actions = {file.name: _find_write_action(directory / file.name, file.text) for file in files}
    changed_names = [name for name, action in actions.items() if action == "changed"]
    if changed_names and not overwrite:
        raise ConflictError(
            f"somebody has changed {', '.join(changed_names)} in {directory}; nothing was written",
            remedy="write to another directory and compare the files, or use --overwrite to discard these changes",
        )
    directory.mkdir(parents=True, exist_ok=True)
    for file in files:
        if actions[file.name] == "unchanged":
            continue
        path = directory / file.name
        new_path = directory / f".{file.name}.new"
        new_path.write_text(file.text, encoding="utf-8")
        new_path.replace(path)
    return {name: "replaced" if action == "changed" else action for name, action in actions.items()}


def _find_write_action(path: Path, text: str) -> str:
    if not os.path.lexists(path):
        return "written"
    if not path.is_file() or path.is_symlink() or path.stat().st_size > MAX_FILE_BYTES:
        return "changed"
    present_text = path.read_bytes().decode("utf-8", "replace")
    if present_text == text:
        return "unchanged"
    head = _HEAD_PATTERN.match(present_text)
    is_own_file = head is not None and head[1] == _hash_text(present_text[head.end() :])
    return "replaced" if is_own_file else "changed"


def _hash_text(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _collect_template_values(settings: Settings) -> Mapping[str, Any]:
    site_directory = settings.directory.resolve()
    writable_directories = sorted({str(site_directory), str(settings.data_directory.resolve())})
    is_in_home = any(f"{directory}/".startswith(HOME_DIRECTORIES) for directory in writable_directories)
    local_host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104
    local_address = replace(settings, host=local_host).listening_address
    proxies = [proxy for proxy in settings.trusted_proxies if not ipaddress.ip_network(proxy).is_loopback]
    root_path = settings.root_path.rstrip("/")
    return {
        "name": settings.title or settings.name,
        "version": __version__,
        "image": f"hven:{__version__.replace('+', '-')}",
        "site": str(site_directory),
        "writable": list(_drop_nested_directories(writable_directories)),
        "is_in_home": is_in_home,
        "address": settings.listening_address,
        "local_url": f"http://{local_address}{root_path}",
        "port": settings.port,
        "root_path": root_path,
        "workers": settings.workers,
        "trusted_proxies": ",".join(proxies or (POD_NETWORK,)),
        "replicas": 2 if (settings.store or "").startswith("postgres") else 1,  # SQLite belongs to one machine
        # a site that already has a state in SQLite keeps it
        "has_database": settings.store is None and not (settings.var_directory / "hven.sqlite").exists(),
        "drain": DRAIN_SECONDS,
        "grace": GRACE_SECONDS,
        "stop": 2 * DRAIN_SECONDS + GRACE_SECONDS + SPARE_STOP_SECONDS,
        "answer": int(settings.limits.seconds) + SPARE_ANSWER_SECONDS,
    }


def _drop_nested_directories(directories: list[str]) -> Iterator[str]:
    for directory in directories:
        if not any(directory.startswith(f"{outer}/") for outer in directories):
            yield directory


def _format_comment(text: str) -> str:
    """Write a text into a comment of one line."""
    return " ".join("".join(character if character.isprintable() else " " for character in text).split())


def _format_unit_value(text: str) -> str:
    """Write a text as the value of a setting of systemd, where % begins a specifier."""
    if not text.isprintable():
        raise UserError(
            f"{text!r} cannot be written to a systemd unit, because it contains a control character",
            remedy="rename the directory, or change the setting",
        )
    return text.replace("%", "%%").rstrip("\\ ")


def _format_unit_word(text: str) -> str:
    """Write a text as one word of a command or of a list in a unit of systemd."""
    word = _format_unit_value(text)
    if re.fullmatch(r"[A-Za-z0-9_./:%@+=,-]+", word):
        return word
    escaped_word = word.replace("\\", "\\\\").replace('"', '\\"').replace("$", "$$")
    return f'"{escaped_word}"'
