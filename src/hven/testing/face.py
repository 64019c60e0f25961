"""What every face must honour: subclass `FaceContract`, name the face, and pytest runs it."""

from __future__ import annotations

import asyncio
import re
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import parse_qsl
from xml.etree import ElementTree as ET

import httpx
import pyarrow as pa
from starlette.applications import Starlette

from hven.model import plugins
from hven.model.table import Column, Table
from hven.model.types import STRING
from hven.services.face import Face, ServiceContext, load_faces
from hven.site.auth import ANONYMOUS_PRINCIPAL, DEFAULT_POLICIES
from hven.testing.site import open_tiny_site

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    Ask = Callable[..., httpx.Response]

FACE_COLUMNS = (
    Column(name="id", type=STRING, ucd="meta.id;meta.main"),
    Column(name="ra", unit="deg", ucd="pos.eq.ra;meta.main"),
    Column(name="dec", unit="deg", ucd="pos.eq.dec;meta.main"),
    Column(name="mag", unit="mag", ucd="phot.mag"),
)


def _strip_request_infos(document: bytes) -> bytes:
    """Return an answer without the request that it answers (Data Origin), and without its date."""
    return re.sub(rb'<INFO name="request(_date)?"[^>]*>', b"", document)


class FaceContract:
    """The promises of `hven.services.face.Face`. pytest collects subclasses whose names begin with ``Test``.

    Attributes
    ----------
    name
        Of the face.
    table, rows
        What it is asked for; another table where it needs more than an identifier, positions and magnitudes.
    """

    name: ClassVar[str]
    table: ClassVar[Table] = Table(
        schema="tiny", name="stars", columns=FACE_COLUMNS, position=("ra", "dec"), primary=("id",)
    )
    rows: ClassVar[pa.Table] = pa.table({"id": ["a", "b"], "ra": [83.6, 83.7], "dec": [22.0, 22.1], "mag": [1.0, 2.0]})

    @property
    def face(self) -> Face:
        """The face itself."""
        loaded_face: Face = plugins.load_plugin("protocols", self.name).FACE
        return loaded_face

    @property
    def path(self) -> str:
        """Where it is asked."""
        return self.face.build_url(self.table, "")

    @contextmanager
    def serve_site(self, directory: Path) -> Iterator[Ask]:
        """Serve a tiny site with all installed faces in this process, without a socket.

        Parameters
        ----------
        directory
            Where the site is made.

        Yields
        ------
        ask
            A function of path, parameters, method (GET unless told) and headers that returns the `httpx.Response`.
        """
        faces = load_faces()
        with open_tiny_site(directory, {self.table.qualified_name: (self.table, self.rows)}) as site:
            start_time = datetime.now(UTC)
            context = ServiceContext(
                site=site,
                identify_principal=lambda _: ANONYMOUS_PRINCIPAL,
                policies=DEFAULT_POLICIES,
                faces=faces,
                start_time=start_time,
            )
            routes = [route for face in faces.values() for route in face.build_all_routes(context)]
            app = Starlette(routes=routes)

            async def send_request(
                path: str, parameters: Mapping[str, str], method: str, headers: Mapping[str, str]
            ) -> httpx.Response:
                async with httpx.AsyncClient(
                    transport=httpx.ASGITransport(app), base_url="http://vo.example"
                ) as client:
                    if method == "POST":
                        request_arguments = {"data": parameters}
                    else:
                        request_arguments = {"params": parameters}
                    return await client.request(method, path, headers=headers, **request_arguments)  # type: ignore[arg-type]

            yield lambda path, given=(), method="GET", **headers: asyncio.run(
                send_request(path, dict(given), method, headers)
            )

    def test_it_says_what_it_is(self) -> None:
        """Its parameters have names of their own and descriptions; the example gives no others."""
        assert self.face.name == self.name
        assert self.face.title
        names = [param.name for param in self.face.all_params]
        assert names == [name.upper() for name in dict.fromkeys(names)]
        assert all(param.description for param in self.face.all_params)
        assert {name for name, _ in parse_qsl(self.face.example)} <= set(names)

    def test_its_example_is_answered(self, tmp_path: Path) -> None:
        """By GET as by POST, and with the columns alone; who has the answer is told so."""
        example_params = dict(parse_qsl(self.face.example))
        with self.serve_site(tmp_path) as ask:
            response = ask(self.path, example_params)
            assert response.status_code == 200, response.text
            assert _strip_request_infos(ask(self.path, example_params, "POST").content) == _strip_request_infos(
                response.content
            )
            assert ask(self.path, {**example_params, "MAXREC": "0"}).status_code == 200
            assert ask(self.path, example_params, **{"if-none-match": response.headers["etag"]}).status_code == 304
            assert ask(self.path, example_params, "HEAD").content == b""

    def test_what_it_does_not_know_is_named(self, tmp_path: Path) -> None:
        """Nobody takes the answer for one to a parameter that was ignored."""
        example_params = dict(parse_qsl(self.face.example))
        with self.serve_site(tmp_path) as ask:
            assert "ELSEWHERE" in ask(self.path, {**example_params, "ELSEWHERE": "1", "RESPONSEFORMAT": "votable"}).text

    def test_faults_are_told_in_its_own_document(self, tmp_path: Path) -> None:
        """What is missing, of the wrong kind or out of bounds is named; so is a table that is not there."""
        face = self.face
        example_params = dict(parse_qsl(self.face.example))
        wrong = {param.name: "no-such" for param in face.all_params if param.type.is_numeric or param.allowed}
        wrong |= {
            param.name: str(param.maximum + (param.period or 0) + 1)
            for param in face.all_params
            if param.maximum is not None
        }
        with self.serve_site(tmp_path) as ask:
            for name, value in [
                *wrong.items(),
                *((param.name, "") for param in face.params if param.required and face.build_query is not None),
            ]:
                response = ask(self.path, {**example_params, name: value})
                assert response.status_code == (200 if face.error_responder.answers_with_200 else 400), response.text
                assert response.headers["content-type"].startswith(face.error_responder.media_type)
                assert name in response.text or (value and value in response.text)
            if face.is_table_service:
                assert ask(face.path.replace("{table}", "tiny.none"), example_params).status_code == 404

    def test_programs_and_people_are_told_how_to_ask(self, tmp_path: Path) -> None:
        """OpenAPI has it; of a service over a table the capabilities and the form, too."""
        names = [param.name for param in self.face.all_params]
        with self.serve_site(tmp_path) as ask:
            openapi = ask("/openapi.json").json()
            documented_names = [
                parameter.get("$ref", "").rpartition("/")[2] or parameter["name"]
                for parameter in openapi["paths"][self.face.path]["get"]["parameters"]
            ]
            assert documented_names == names
            if self.face.is_table_service:
                document = ET.fromstring(ask(f"{self.path}/capabilities").content)  # noqa: S314  (our own)
                ways = [
                    [parameter.text for parameter in way.iterfind("param/name")]
                    for way in document.iterfind("capability/interface")
                ]
                assert all(way == names for way in ways[1:]), "the first one is that of the capabilities"
                page = ask(f"/collections/{self.table.schema}/{self.table.name}/services/{self.name}").text
                assert all(f'name="{name}"' in page for name in names)


__all__ = ["FaceContract"]
