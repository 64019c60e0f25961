"""Sites whose collections are packed: products with rights, names that need care, rows in several tables."""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import Any

from hven.ingest.api.runs import ingest_collection
from hven.model.settings import load_settings
from hven.plugins.packages.package_contents import collect_contents
from hven.plugins.packages.package_output import WrittenPackage, write_package
from hven.site import Site
from hven.site.auth import OWNER_PRINCIPAL

DESCRIPTOR = """\
collection: night
title: Observations of a night
description: Frames of one night.
citation: Somebody et al. 2024
licence: CC-BY-4.0
creators: [{name: Jane Doe, orcid: 0000-0002-1825-0097}]
contact: {name: The archive, email: archive@example.org}
files: "frames/*"
tables:
  main:
    source: {kind: csv, file: rows.csv}
    primary: id
    columns:
      id: {type: int32}
      pi: {type: string}
      flux: {type: float64, unit: mag}
      file_name: {type: string}
    access: {files: "1 = 1", take: reader in (pi), path: file_name}
  facts:
    source: {kind: csv, file: facts.csv}
    columns: {word: string, number: float64}
"""
PUBLIC_DESCRIPTOR = DESCRIPTOR.replace('    access: {files: "1 = 1", take: reader in (pi), path: file_name}\n', "")
FRAMES = {"a.fits": b"a" * 3000, "b%20 é.fits": b"b" * 700_000, "empty.dat": b"", "c=1.fits": b"c" * 513}


def create_site(directory: Path, *, descriptor: str = DESCRIPTOR, row_count: int = 200, ingest: bool = True) -> Path:
    """Create a site with the collection ``night``; return its directory."""
    folder = directory / "collections/night"
    (folder / "frames").mkdir(parents=True)
    (directory / "hven.toml").write_text('name = "night"\ntitle = "Nights"\npublic_url = "https://night.example.org"\n')
    (folder / "night.yaml").write_text(descriptor)
    names = list(FRAMES)
    for name, body in FRAMES.items():
        (folder / "frames" / name).write_bytes(body)
    lines = ["id,pi,flux,file_name"]
    for number in range(row_count):
        name = names[number] if number < len(names) else ""
        lines.append(f"{number},{('anna', 'bert')[number % 2]},{number * 0.37},{f'frames/{name}' if name else ''}")
    (folder / "rows.csv").write_text("\n".join(lines) + "\n")
    (folder / "facts.csv").write_text("word,number\nequal,1.5\nequal,1.5\nother,\n")
    if ingest:
        with Site(load_settings(directory)) as site:
            ingest_collection(site, "night")
    return directory


def create_empty_site(directory: Path, settings: str = "") -> Path:
    """Create a site without collections."""
    directory.mkdir(parents=True)
    (directory / "hven.toml").write_text(f'name = "other"\n{settings}')
    return directory


def pack(directory: Path, path: Path, *, form: str = "bagit", principal: Any = OWNER_PRINCIPAL) -> WrittenPackage:
    """Write the package of the collection."""
    with Site(load_settings(directory)) as site:
        return write_package(collect_contents(site, "night", principal), form, path)


def unpack_tar(path: Path, directory: Path) -> Path:
    """Unpack a package as any program does; return its top folder."""
    with tarfile.open(path) as tar:
        tar.extractall(directory, filter="data")
    (folder,) = directory.iterdir()
    return folder


def read_members(path: Path) -> dict[str, bytes]:
    """Return the members of a package below its top folder."""
    members = {}
    with tarfile.open(path) as tar:
        for info in tar:
            file = tar.extractfile(info)
            assert file is not None
            members[info.name.partition("/")[2]] = file.read()
    return members
