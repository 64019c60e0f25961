"""``hven stac export``: write the collections and items that everybody sees as a static catalogue."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer

from hven.app.api import open_site
from hven.model.errors import UsageError
from hven.plugins.stac.collection_documents import build_collection_document, build_landing_page, build_link
from hven.plugins.stac.feature_documents import encode_xml_or_file_name
from hven.plugins.stac.item_searches import MAX_LIMIT, ItemSearch, read_item_page
from hven.plugins.stac.reader_catalogue import ReaderCatalogue
from hven.services.face import ServiceContext, load_service_faces
from hven.site.auth import ANONYMOUS_PRINCIPAL

if TYPE_CHECKING:
    from hven.plugins.stac.reader_catalogue import ItemCollection

ITEM_LINKS = (
    ("root", "../catalog.json"),
    ("parent", "./collection.json"),
    ("collection", "./collection.json"),
)
MAX_NAME_CHARACTERS = 200  # file systems allow 255 bytes
STAC_VERBS = typer.Typer(no_args_is_help=True)


@STAC_VERBS.callback()
def describe_verbs() -> None:
    """Work with STAC."""


@STAC_VERBS.command("export")
def export_stac_catalogue(
    context: typer.Context, directory: Annotated[Path, typer.Argument(help="Directory, which must be new or empty.")]
) -> None:
    """Write the public collections as a static catalogue."""
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise UsageError(f"{directory} is not empty", remedy="specify a new or empty directory")
    with open_site(context) as site:
        service_context = ServiceContext.create_for_principal(site, ANONYMOUS_PRINCIPAL)
        service_context = replace(service_context, faces=load_service_faces())  # they have links of rows
        catalogue = ReaderCatalogue(service_context, ANONYMOUS_PRINCIPAL, site.settings.site_url)
        landing_page = build_landing_page(catalogue)
        del landing_page["conformsTo"]
        links = [build_link("root", "./catalog.json"), build_link("self", f"{catalogue.root_url}")]
        for collection_id in catalogue.item_tables:
            name = encode_xml_or_file_name(collection_id)
            item_count = _write_collection(catalogue, catalogue.find_collection(collection_id), directory / name)
            links.append(build_link("child", f"./{name}/collection.json"))
            typer.echo(f"{collection_id}: {item_count:,} items")
        directory.mkdir(parents=True, exist_ok=True)
        _write_json(directory / "catalog.json", {**landing_page, "links": links})


def _write_collection(catalogue: ReaderCatalogue, collection: ItemCollection, directory: Path) -> int:
    """Write a collection and its items, page by page, so that no more links are in memory; return the item count."""
    directory.mkdir(parents=True)
    document = build_collection_document(catalogue, collection)
    links = [link for link in document.pop("links") if link["rel"] in {"self", "license", "cite-as", "alternate"}]
    links += [build_link(relation, "../catalog.json") for relation in ("root", "parent")]
    item_count = 0
    with (directory / "collection.json").open("wb") as file:
        file.write(orjson.dumps({**document, "links": links}).removesuffix(b"]}"))
        search = ItemSearch(collection_ids=[collection.id], limit=MAX_LIMIT)
        while True:
            page = read_item_page(catalogue, search)
            for text in page.texts.to_pylist():
                file_name = _write_item(orjson.loads(text), directory)
                file.write(b",\n" + orjson.dumps(build_link("item", f"./{file_name}", "application/geo+json")))
            item_count += len(page.texts)
            if page.next_token is None:
                break
            search = replace(search, token=page.next_token)
        file.write(b"]}\n")
    return item_count


def _write_item(item: dict[str, Any], directory: Path) -> str:
    """Write an item, and return the name of its file."""
    file_name = f"{_build_item_file_name(item['id'])}.json"
    links = [link for link in item["links"] if link["rel"] in {"related", "alternate", "self"}]
    links += [build_link(relation, address) for relation, address in ITEM_LINKS]
    _write_json(directory / file_name, {**item, "links": links})
    return file_name


def _build_item_file_name(item_id: str) -> str:
    """Return the name of the file of an item: a digest of an id that is too long, or the name of another file."""
    name = encode_xml_or_file_name(item_id)
    if len(name) > MAX_NAME_CHARACTERS or name == "collection":  # the name of the collection's own file
        return sha256(item_id.encode()).hexdigest()
    return name


def _write_json(path: Path, document: object) -> None:
    path.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
