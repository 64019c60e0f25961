"""Checks that need no open site: settings, modes of files, disks, the certificate, and checks of other packages."""

from __future__ import annotations

import os
import re
import shlex
import socket
import ssl
import stat
import time
import tomllib
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from hven.model import plugins
from hven.model.errors import Fault, SourceError
from hven.model.settings import (
    SECRETS_FILE,
    SETTINGS_FILE,
    find_exposed_file_faults,
    find_missing_portal_item_faults,
    find_unavailable_section_faults,
    resolve_secret,
)
from hven.plugins.operations.disk_forecast import find_disk_problems
from hven.plugins.operations.findings import Finding, SiteCheck, convert_fault

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from hven.model.plugins import PluginPackage
    from hven.model.settings import Settings

CONNECT_TIMEOUT_SECONDS = 2.5
CERTIFICATE_WARNING_DAYS = 21
CERTIFICATE_ERROR_DAYS = 7
DAY_SECONDS = 86_400
OWNER_DEPTH = 3  # directories below var/: snapshots/TABLE/SNAPSHOT
_SECRET_PATTERN = re.compile(r"\$[A-Za-z_][A-Za-z0-9_]*")
_UNSET_SECRET_PATTERN = re.compile(r"the secret ([A-Za-z_][A-Za-z0-9_]*) is not set")


def _find_exposed_files(settings: Settings) -> Iterator[Finding]:
    faults = find_exposed_file_faults(settings.directory, settings.var_directory, settings.data_directory)
    for fault in faults:
        yield convert_fault(fault, harm="critical")


def _find_foreign_files(settings: Settings) -> Iterator[Finding]:
    """Report data that the account of the site can't change, as after a command that root ran instead of it."""
    for directory in {settings.var_directory.resolve(), settings.data_directory.resolve()}:
        owner = _find_owner(directory) if directory.is_dir() else 0
        foreign_path = next(_iterate_foreign_paths(directory, owner), None) if owner else None  # root can change all
        if foreign_path is not None:
            yield Finding(
                harm="error",
                subject=str(directory),
                message=f"the account that owns {directory} can't change all of its contents, for example "
                f"{foreign_path}, so queries, runs or jobs may fail",
                remedy="give the contents to that account, and run the site's server and commands only with it",
                command=f"sudo chown -R {owner} {shlex.quote(str(directory))}",
            )


def _find_owner(directory: Path) -> int:
    return directory.stat().st_uid


def _iterate_foreign_paths(directory: Path, owner: int, depth: int = OWNER_DEPTH) -> Iterator[str]:
    try:
        entries = list(os.scandir(directory))
    except OSError:
        return
    for entry in entries:
        try:
            status = entry.stat(follow_symlinks=False)
        except FileNotFoundError:  # a server deletes it meanwhile
            continue
        # several accounts may share a site through a group
        if status.st_uid != owner and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            yield entry.path
        elif depth > 1 and stat.S_ISDIR(status.st_mode):
            yield from _iterate_foreign_paths(directory / entry.name, owner, depth - 1)


def _find_settings_faults(settings: Settings) -> Iterator[Finding]:
    for error in plugins.find_plugin_faults():
        yield Finding(
            harm="error", subject="plug-ins", message=error.message, remedy=error.remedy, command="hven check"
        )
    for fault in (*find_unavailable_section_faults(settings), *find_missing_portal_item_faults(settings)):
        yield convert_fault(fault)


def _find_unset_secrets(settings: Settings) -> Iterator[Finding]:
    """Report the secrets that hven.toml names and that are set nowhere."""
    path = settings.directory / SETTINGS_FILE
    for name in dict.fromkeys(_iterate_secret_names(tomllib.loads(path.read_text(encoding="utf-8")))):
        try:
            resolve_secret(settings.directory, name)
        except SourceError as error:
            yield Finding(
                harm="error",
                subject=SETTINGS_FILE,
                message=error.message,
                remedy=error.remedy,
                command=find_secret_command(settings, error.message),
            )


def find_secret_command(settings: Settings, message: str) -> str:
    """Return the command that sets a secret, which reads the value from the keyboard; empty: none is unset.

    Parameters
    ----------
    settings
        Settings of the site.
    message
        Message of an error, which may say that a secret is not set.
    """
    unset_match = _UNSET_SECRET_PATTERN.match(message)
    if unset_match is None:
        return ""
    path = shlex.quote(str(settings.directory.resolve() / SECRETS_FILE))
    # TOML has no escapes between apostrophes; the value is neither in the shell's history nor in lists of processes
    return f'(umask 077; read -r value && printf "\\n{unset_match[1]} = \'%s\'\\n" "$value" >> {path})'


def _iterate_secret_names(value: object) -> Iterator[str]:
    if isinstance(value, str) and _SECRET_PATTERN.fullmatch(value):
        yield value
    elif isinstance(value, dict):
        for member in value.values():
            yield from _iterate_secret_names(member)
    elif isinstance(value, list):
        for member in value:
            yield from _iterate_secret_names(member)


def _find_certificate_problems(settings: Settings) -> Iterator[Finding]:
    """Connect to the public address as clients do, and look at its certificate."""
    address = urlsplit(settings.public_url or "")
    if address.scheme != "https" or address.hostname is None:
        return
    host = address.hostname
    try:
        with (
            socket.create_connection((host, address.port or 443), timeout=CONNECT_TIMEOUT_SECONDS) as connection,
            ssl.create_default_context().wrap_socket(connection, server_hostname=host) as encrypted,
        ):
            certificate = encrypted.getpeercert()
    except ssl.SSLCertVerificationError as error:
        yield Finding(
            harm="critical",
            subject=host,
            message=f"clients reject the certificate of {host}: {error.verify_message}",
            remedy="get a certificate for this host, and reload the proxy; with certbot and nginx, run this command",
            command=f"sudo certbot --nginx -d {shlex.quote(host)}",
        )
        return
    except OSError as error:
        yield Finding(
            harm="warning",
            subject=host,
            message=f"{host}, the host of public_url, can't be reached from here: {error.strerror or error}",
            remedy="check the name, the network and the proxy; correct public_url in hven.toml",
            command=f"curl --head {shlex.quote(settings.public_url or '')}",
        )
        return
    end_time = ssl.cert_time_to_seconds(str((certificate or {})["notAfter"]))
    left_days = (end_time - time.time()) / DAY_SECONDS
    if left_days < CERTIFICATE_WARNING_DAYS:
        yield Finding(
            harm="error" if left_days < CERTIFICATE_ERROR_DAYS else "warning",
            subject=host,
            message=f"the certificate of {host} expires in {left_days:.0f} days",
            remedy="renew the certificate and reload the proxy, and find out why automatic renewal doesn't work; "
            "with certbot and nginx, run this command",
            command="sudo certbot renew && sudo systemctl reload nginx",
        )


SETTINGS_CHECKS: tuple[SiteCheck[Settings], ...] = (
    SiteCheck(name="files", title="the modes of secret files", find=_find_exposed_files),
    SiteCheck(name="owners", title="the owners of the site's data", find=_find_foreign_files),
    SiteCheck(name="settings", title="hven.toml", find=_find_settings_faults),
    SiteCheck(name="secrets", title="the secrets of hven.toml", find=_find_unset_secrets),
    SiteCheck(name="disk", title="the disk", find=find_disk_problems),
    SiteCheck(name="certificate", title="the connection to public_url", find=_find_certificate_problems),
)


def list_package_checks() -> list[SiteCheck[Settings]]:
    """List the checks that packages add to ``hven check`` for their settings."""
    return [
        SiteCheck(
            name=package.name,
            title=f"the check of the package {package.name}",
            find=partial(_find_package_faults, package),
        )
        for package in plugins.list_plugin_packages()
        if package.checks
    ]


def _find_package_faults(package: PluginPackage, settings: Settings) -> Iterator[Finding]:
    for fact in plugins.find_package_faults(package, settings):
        if isinstance(fact, Fault):
            yield convert_fault(fact)
