"""Example 30: what the curator committed is what the conversion gives, and pyvo follows the links of its rows."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pyvo
import yaml
from astropy.io import fits
from migration_sites import convert
from PIL import Image

from das2_streams import parse_stream
from example_sites import ingest_all, list_examples, open_example
from file_servers import ServedFiles, serve_ftp, serve_http
from hven.model.settings import Settings, create_site_directory, load_settings
from process_runner import Server, serve_site

EXAMPLE = "30-from-dachs"
NAMES = ("vespa_bass2000", "vespa_hfc1ar", "vespa_hfc1t3", "vespa_nrh", "vespa_orfees")
# what only a curator can write
CURATED_KEYS = {"licence", "citation", "files", "functions", "tests"}
CURATED_TABLE_KEYS = {"series", "links", "columns"}


def build_fits() -> bytes:
    body = io.BytesIO()
    fits.PrimaryHDU([[1, 2], [3, 4]]).writeto(body)
    return body.getvalue()


def build_picture(suffix: str) -> bytes:
    body = io.BytesIO()
    Image.new("RGB", (64, 48), "orange").save(body, {"jpg": "JPEG"}.get(suffix, suffix.upper()))
    return body.getvalue()


class AnyFile(dict[str, bytes]):
    """A server's files: a picture at each path that ends like one, else FITS."""

    def get(self, key: str, default: Any = None) -> Any:
        match = re.search(r"\.(png|gif|jpg)$", key)
        return build_picture(match[1]) if match else build_fits()

    def __missing__(self, key: str) -> bytes:
        return self.get(key)  # type: ignore[no-any-return]

    def __contains__(self, key: object) -> bool:
        return True


def test_the_descriptors_are_those_of_the_conversion(tmp_path: Path) -> None:
    create_site_directory(tmp_path / "site")
    settings: Settings = load_settings(tmp_path / "site")
    example = list_examples()[EXAMPLE]
    site_files = convert(settings, "*", example / "inputs")
    assert sorted(draft.name for draft in site_files.drafts) == list(NAMES)
    for name in NAMES:
        draft = site_files.load_descriptor(name)
        committed = yaml.safe_load((example / f"collections/{name}/{name}.yaml").read_text("utf-8"))
        assert {key for key in draft if key not in CURATED_KEYS} == {
            key for key in committed if key not in CURATED_KEYS
        }
        table, committed_table = draft["tables"]["epn_core"], committed["tables"]["epn_core"]
        assert set(committed_table) - set(table) <= CURATED_TABLE_KEYS
        assert table["standard"] == committed_table["standard"]
        assert table["set"] == committed_table["set"]
        assert table["optional"] == committed_table["optional"]
        assert Path(table["source"]["query"]).name == Path(committed_table["source"]["query"]).name
        filled, committed_columns = (
            {column for key in ("set", "text", "map") for column in keys.get(key, {})}
            for keys in (table, committed_table)
        )
        assert filled <= committed_columns


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with (
        open_example(EXAMPLE, tmp_path_factory.mktemp("example")) as directory,
        serve_http(ServedFiles(AnyFile())) as web,
        serve_ftp(ServedFiles(AnyFile())) as ftp,
    ):
        for path in directory.glob("collections/*/*.yaml"):
            text = re.sub(r"https://[a-z0-9]+\.example\.org", web.address, path.read_text("utf-8"))
            path.write_text(re.sub(r"ftp://[a-z0-9.]+\.example\.org", ftp.address, text), "utf-8")
        ingest_all(directory)
        with serve_site(directory) as running:
            yield running


@pytest.mark.needs("odbc")
@pytest.mark.parametrize("name", NAMES)
def test_pyvo_follows_products_pictures_and_series(server: Server, name: str) -> None:
    service = pyvo.dal.TAPService(f"{server.url}/tap")
    row = service.search(f"SELECT TOP 1 * FROM {name}.epn_core ORDER BY granule_uid")[0]
    links = list(row.getdatalink())
    by_semantics = {link.semantics: link for link in links if link.semantics != "#proc"}
    product = httpx.get(by_semantics["#this"]["access_url"], follow_redirects=True)
    assert product.status_code == 200
    assert product.content[:6] in {b"SIMPLE", b"\x89PNG\r\n"}
    look = httpx.get(by_semantics["#preview"]["access_url"], follow_redirects=True)
    assert Image.open(io.BytesIO(look.content)).size == (64, 48)
    address = row["thumbnail_url"].replace("http://127.0.0.1:8080", server.url)  # the site's address at the ingest
    thumbnail = Image.open(io.BytesIO(httpx.get(address, follow_redirects=True).content))
    assert max(thumbnail.size) <= 100
    assert "CC-BY-4.0 · " in thumbnail.info["Copyright"]
    series = {link["local_semantics"]: link for link in links if link.semantics == "#proc"}
    assert set(series) == {"hapi", "das2"}
    samples = ask_service(series["hapi"]).decode()
    assert len(samples.splitlines()) >= 1
    assert parse_stream(ask_service(series["das2"])).packets


def ask_service(link: Any) -> bytes:
    """Send a request to a service with the values that the link fixes or proposes."""
    (address,) = (str(param.value) for param in link.params if param.name == "accessURL")
    values = {param.name: param.value for param in link.input_params if isinstance(param.value, str) and param.value}
    answer = httpx.get(address, params=values)
    assert answer.status_code == 200
    return answer.content
