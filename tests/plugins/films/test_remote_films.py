"""Films of rows of other services: pictures that come in time, and what is told of the others."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from asgi_client import Client
from PIL import Image
from remote_servers import open_hanging_server, reserve_closed_address, serve_pictures, serve_site

from hven.app._server import create_and_start_application
from hven.model.settings import RemoteTapService
from hven.model.table import Column, Table
from hven.model.types import FLOAT64, STRING
from hven.plugins.films.federated_search import remote_films
from hven.site import Site
from hven.testing.site import open_tiny_site

GOOD = 8  # pictures
SIDE = 64
PAGE = "/search/epn/tables/far/far.epn_core/film"
TABLE = Table(
    schema="far",
    name="epn_core",
    primary=("granule_uid",),
    utype="ivo://ivoa.net/std/epntap#table-2.0",
    columns=(
        Column(name="granule_uid", type=STRING, ucd="meta.id"),
        Column(name="target_name", type=STRING),
        Column(name="dataproduct_type", type=STRING),
        Column(name="time_min", type=FLOAT64, unit="d", ucd="time.start"),
        Column(name="time_max", type=FLOAT64, unit="d", ucd="time.end"),
        Column(name="thumbnail_url", type=STRING),
        Column(name="access_url", type=STRING),
        Column(name="access_format", type=STRING),
        Column(name="access_estsize", type=FLOAT64, unit="kbyte"),
    ),
)


def draw_picture(number: int) -> bytes:
    """Draw a picture with a bright bar that moves to the right."""
    values = np.full((SIDE, SIDE), 20, np.uint8)
    values[:, number * 8 : number * 8 + 8] = 250
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str, str]]:
    pictures = {f"/{number}.png": (200, draw_picture(number)) for number in range(GOOD)}
    pictures |= {"/gone.png": (404, b""), "/large.png": (200, bytes(remote_films.MAX_PICTURE_BYTES + 1)), "/page.png": (200, b"<html>")}  # fmt: skip
    with contextlib.ExitStack() as stack:
        address, _ = stack.enter_context(serve_pictures(pictures))
        yield {
            "pictures": address,
            "silent": stack.enter_context(open_hanging_server()),
            "closed": stack.enter_context(reserve_closed_address()),
        }


def list_rows(servers: dict[str, str]) -> pa.Table:
    good = servers["pictures"]
    # Venus has good pictures alone; Mars has others, too; the Moon has one
    rows = [("Venus", f"{good}/{number}.png", "") for number in range(GOOD)]
    rows += [("Mars", f"{good}/{number}.png", "") for number in range(3)]
    others = [f"{good}/gone.png", f"{good}/large.png", f"{good}/page.png", f"{servers['silent']}/a.png"]
    rows += [
        ("Mars", address, "") for address in (*others, f"{servers['closed']}/b.png", None, "ftp://x.example/c.png")
    ]
    rows += [("Moon", f"{good}/0.png", "")]
    rows += [("Io", f"{good}/gone.png", f"{good}/{number}.png") for number in range(2)]
    values = [
        {
            "granule_uid": f"g{number}",
            "target_name": target,
            "dataproduct_type": "im",
            "time_min": 2459000.5 + (-number if target == "Venus" else number),
            "time_max": 2459001.0 + number,
            "thumbnail_url": thumbnail,
            "access_url": file or None,
            "access_format": "image/png" if file else None,
            "access_estsize": 3.0 if file else None,
        }
        for number, (target, thumbnail, file) in enumerate(rows)
    ]
    return pa.Table.from_pylist(values, schema=TABLE.arrow_schema)


@pytest.fixture(scope="module")
def near(tmp_path_factory: pytest.TempPathFactory, servers: dict[str, str]) -> Iterator[tuple[Client, Site]]:
    with contextlib.ExitStack() as stack:
        far = stack.enter_context(open_tiny_site(tmp_path_factory.mktemp("far"), {"far.epn_core": (TABLE, list_rows(servers))}))  # fmt: skip
        address, _ = stack.enter_context(serve_site(far))
        service = RemoteTapService(name="far", title="Far", url=address, tables=("far.epn_core",), seconds=60.0)
        site = stack.enter_context(
            open_tiny_site(tmp_path_factory.mktemp("near"), {}, allow_private=True, remote=(service,))
        )
        yield Client(create_and_start_application(site)), site


def read_page(client: Client, **parameters: str) -> dict[str, Any]:
    answer = client.ask("GET", PAGE, "&".join(f"{name}={value}" for name, value in parameters.items()).encode(), headers={"accept": "application/json"})  # fmt: skip
    assert answer.status == 200, answer.text
    return json.loads(answer.body)  # type: ignore[no-any-return]


def decode(body: bytes) -> list[np.ndarray]:
    av = pytest.importorskip("av")
    with av.open(io.BytesIO(body)) as film:
        return [frame.to_ndarray(format="rgb24").astype(int) for frame in film.decode(film.streams.video[0])]


def find_bar(frame: np.ndarray) -> float:
    """Return where the middle of the bar is, as a share of the width."""
    columns = frame[: frame.shape[1]].mean(axis=(0, 2))
    return float(np.flatnonzero(columns > columns.max() - 60).mean() / frame.shape[1])


def test_the_film_has_the_pictures_in_the_order_of_their_times(near: tuple[Client, Site]) -> None:
    client, _ = near
    pytest.importorskip("av")
    page = read_page(client, target_name="Venus")
    assert (page["frames"], page["left_out"], page["is_cut"]) == (GOOD, {}, False)
    answer = client.get(f"{PAGE}.mp4", target_name="Venus", _width="256")
    assert (answer.status, answer.headers["content-type"]) == (200, "video/mp4"), answer.text[:500]
    bars = [find_bar(frame) for frame in decode(answer.body)]
    assert bars == pytest.approx([(number + 0.5) / 8 for number in reversed(range(GOOD))], abs=0.03), "later is first"


def test_pictures_that_do_not_come_are_told_and_left_out(
    near: tuple[Client, Site], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that never answers costs its own picture, and no more time than the limit."""
    client, site = near
    pytest.importorskip("av")
    monkeypatch.setattr(remote_films, "IDLE_TIMEOUT_SECONDS", 1.0)
    page = read_page(client, target_name="Mars")
    assert page["frames"] == 4, "whether an answer is a picture is known when it is fetched"
    assert page["left_out"] == {
        "status 404": 1,
        "too large": 1,
        "no answer in time": 1,
        "not reached": 1,
        "no picture": 2,
    }
    answer = client.get(f"{PAGE}.mp4", target_name="Mars", _width="256")
    assert answer.status == 200, answer.text
    assert len(decode(answer.body)) == 3
    html = client.get(PAGE, target_name="Mars", lang="fr").text
    assert "omises" in html
    for reason in ("pas de réponse à temps", "état 404", "trop grandes"):
        assert f"1 ({reason})" in html
    assert 'type="hidden" name="target_name" value="Mars"' in html
    assert site.settings.var_directory.joinpath("films").exists()


def test_the_sum_of_bytes_has_a_limit(near: tuple[Client, Site], monkeypatch: pytest.MonkeyPatch) -> None:
    client, _ = near
    pytest.importorskip("av")
    monkeypatch.setattr(remote_films, "MAX_FILM_BYTES", 10)
    answer = client.get(f"{PAGE}.mp4", target_name="Venus", _width="384")
    assert answer.status == 404
    assert "a film needs two images, and this search finds 0" in answer.text


def test_small_files_are_shown_instead_of_thumbnails(near: tuple[Client, Site]) -> None:
    assert read_page(near[0], target_name="Io")["frames"] == 2


def test_a_film_has_a_limit_of_pictures(near: tuple[Client, Site], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_films, "MAX_FRAMES", 5)
    page = read_page(near[0], target_name="Venus")
    assert (page["frames"], page["is_cut"]) == (5, True)


def test_too_few_pictures_and_bad_searches_are_refused(near: tuple[Client, Site]) -> None:
    client, _ = near
    page = read_page(client, target_name="Moon")
    assert (page["frames"], page["film"]) == (1, "")
    assert client.get(f"{PAGE}.mp4", target_name="Moon").status == 404
    assert "the search has no condition" in client.get(PAGE).text
    assert client.get(f"{PAGE}.mp4", target_name="Venus", _rate="7").status == 400
    assert client.get(f"{PAGE}.mp4", target_name="Venus", nonsense="7").status == 400
    assert client.get(PAGE.replace("far.", "none."), target_name="Venus").status == 404


def test_the_page_of_the_table_links_to_the_film(near: tuple[Client, Site]) -> None:
    text = near[0].get(PAGE.removesuffix("/film"), target_name="Venus", _sort="-time_min").text
    assert f'{PAGE}?target_name=Venus"' in text
