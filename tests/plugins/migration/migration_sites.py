"""Sites with resource descriptors for the tests of the conversion."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from hven.descriptor import check_descriptor
from hven.model.settings import Settings, create_site_directory, load_settings
from hven.plugins.drafts.document_drafts import DocumentDraftRequest, find_document_module, write_collection_drafts

INPUTS = Path(__file__).parent / "inputs"


@dataclass(frozen=True, kw_only=True)
class ConvertedSite:
    """A site with collections that were converted."""

    settings: Settings
    drafts: list[Any]

    def load_descriptor(self, name: str) -> dict[str, Any]:
        path = self.settings.locate_descriptor(name)
        descriptor: dict[str, Any] = yaml.safe_load(path.read_text("utf-8"))
        return descriptor

    def read_file(self, name: str, file_name: str) -> str:
        return (self.settings.locate_descriptor(name).parent / file_name).read_text("utf-8")

    def read_report(self, name: str) -> str:
        return self.read_file(name, "migration-report.txt")

    def list_errors(self, name: str) -> list[str]:
        faults = check_descriptor(self.settings.locate_descriptor(name), self.settings)
        return [fault.message for fault in faults if fault.severity == "error"]


def create_site(directory: Path) -> Settings:
    create_site_directory(directory / "site")
    shutil.copytree(INPUTS, directory / "site/inputs")
    return load_settings(directory / "site")


def convert(settings: Settings, name: str, path: Path) -> ConvertedSite:
    """Convert a document as ``hven new`` does."""
    return convert_document(settings, name, path)


def convert_document(settings: Settings, name: str, path: Path, **options: Any) -> ConvertedSite:
    """Convert a document; options are further fields of the request."""
    module = find_document_module(path)
    request = DocumentDraftRequest(
        settings=settings,
        name=name,
        path=path,
        store_connection=lambda collection, file: (f"${collection.upper()}_DB", [file.read_text("utf-8")]),
        **options,
    )
    return ConvertedSite(settings=settings, drafts=[draft for _, draft in write_collection_drafts(request, module)])


def convert_text(directory: Path, text: str, name: str = "sky", **files: str) -> ConvertedSite:
    """Convert a resource descriptor given as text."""
    settings = create_site(directory)
    folder = directory / "site/inputs" / name
    folder.mkdir(exist_ok=True)
    (folder / "q.rd").write_text(text, encoding="utf-8")
    for file_name, file_text in files.items():
        (folder / file_name.replace("__", ".")).write_text(file_text, encoding="utf-8")
    return convert(settings, name, folder / "q.rd")
