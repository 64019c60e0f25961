"""Test the contract of faces: subclass `FaceContract`, name the face, and pytest runs the tests."""

from __future__ import annotations

import asyncio
import re
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import parse_qsl
from xml.etree import ElementTree as ET

import httpx
import pyarrow as pa
from starlette.applications import Starlette

from hven.model import plugins
from hven.model.table import Column, Table
from hven.model.types import STRING
from hven.services.face import ServiceContext, ServiceFace, load_service_faces
from hven.site.auth import ANONYMOUS_PRINCIPAL, DEFAULT_POLICIES
from hven.testing.site import open_tiny_site

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from starlette.routing import BaseRoute

    RequestSender = Callable[..., httpx.Response]

FACE_COLUMNS = (
    Column(name="id", type=STRING, ucd="meta.id;meta.main"),
    Column(name="ra", unit="deg", ucd="pos.eq.ra;meta.main"),
    Column(name="dec", unit="deg", ucd="pos.eq.dec;meta.main"),
    Column(name="mag", unit="mag", ucd="phot.mag"),
)


def _strip_request_infos(votable_bytes: bytes) -> bytes:
    """Remove the request and its date (Data Origin) from an answer."""
    return re.sub(rb'<INFO name="request(_date)?"[^>]*>', b"", votable_bytes)


class FaceContract:
    """Test what every `hven.services.face.ServiceFace` must do.

    Pytest collects subclasses whose names begin with ``Test``.

    Attributes
    ----------
    name
        Name of the face.
    table, rows
        The published table; another one where the face needs more than an identifier, positions and magnitudes.
    """

    name: ClassVar[str]
    table: ClassVar[Table] = Table(
        schema="tiny", name="stars", columns=FACE_COLUMNS, position=("ra", "dec"), primary=("id",)
    )
    rows: ClassVar[pa.Table] = pa.table({"id": ["a", "b"], "ra": [83.6, 83.7], "dec": [22.0, 22.1], "mag": [1.0, 2.0]})

    @property
    def face(self) -> ServiceFace:
        """The tested face."""
        loaded_face: ServiceFace = plugins.load_plugin("protocols", self.name).FACE
        return loaded_face

    @property
    def path(self) -> str:
        """The path of the service over the table."""
        return self.face.build_url(self.table, "")

    @contextmanager
    def open_request_sender(self, directory: Path) -> Iterator[RequestSender]:
        """Serve a tiny site with all installed faces in this process, without a socket.

        Parameters
        ----------
        directory
            The directory of the site.

        Yields
        ------
        send_request
            A function of path, parameters, method (GET by default) and headers that returns the `httpx.Response`.
        """
        faces = load_service_faces()
        with open_tiny_site(directory, {self.table.qualified_name: (self.table, self.rows)}) as site:
            start_time = datetime.now(UTC)
            context = ServiceContext(
                site=site,
                identify_principal=lambda _: ANONYMOUS_PRINCIPAL,
                policies=DEFAULT_POLICIES,
                faces=faces,
                start_time=start_time,
            )
            routes: list[BaseRoute] = []
            for face in faces.values():
                routes += face.build_routes_and_register_standard_ids(context)
            app = Starlette(routes=routes)
            transport = httpx.ASGITransport(app)

            async def send_request(
                path: str, parameters: Mapping[str, str], method: str, headers: Mapping[str, str]
            ) -> httpx.Response:
                argument_name = "data" if method == "POST" else "params"
                async with httpx.AsyncClient(transport=transport, base_url="http://vo.example") as client:
                    arguments: dict[str, Any] = {"headers": headers, argument_name: parameters}
                    return await client.request(method, path, **arguments)

            def request(path: str, parameters: Any = (), method: str = "GET", **headers: str) -> httpx.Response:
                return asyncio.run(send_request(path, dict(parameters), method, headers))

            yield request

    def test_the_face_describes_itself(self) -> None:
        """Its parameters have unique names and descriptions; the example uses no others."""
        assert self.face.name == self.name
        assert self.face.title
        names = [param.name for param in self.face.all_params]
        distinct_names = dict.fromkeys(names)
        assert names == [name.upper() for name in distinct_names]
        assert all(param.description for param in self.face.all_params)
        example_names = {name for name, _ in parse_qsl(self.face.example)}
        assert example_names <= set(names)

    def test_answers_agree_for_all_methods(self, tmp_path: Path) -> None:
        """GET and POST give the same answer; so do a request for the columns alone and a conditional request."""
        example_params = dict(parse_qsl(self.face.example))
        with self.open_request_sender(tmp_path) as request:
            response = request(self.path, example_params)
            assert response.status_code == 200, response.text
            post_response = request(self.path, example_params, "POST")
            assert _strip_request_infos(post_response.content) == _strip_request_infos(response.content)
            empty_response = request(self.path, {**example_params, "MAXREC": "0"})
            assert empty_response.status_code == 200
            cached_response = request(self.path, example_params, **{"if-none-match": response.headers["etag"]})
            assert cached_response.status_code == 304
            assert request(self.path, example_params, "HEAD").content == b""

    def test_ignored_parameters_are_named(self, tmp_path: Path) -> None:
        """The answer names parameters that it ignored."""
        example_params = dict(parse_qsl(self.face.example))
        with self.open_request_sender(tmp_path) as request:
            parameters = {**example_params, "ELSEWHERE": "1", "RESPONSEFORMAT": "votable"}
            assert "ELSEWHERE" in request(self.path, parameters).text

    def test_errors_use_the_error_document_of_the_face(self, tmp_path: Path) -> None:
        """The error document names a missing value, one of the wrong type or out of bounds, and an unknown table."""
        face = self.face
        example_params = dict(parse_qsl(self.face.example))
        wrong_values = list(self._list_wrong_parameter_values())
        expected_status = 200 if face.error_responder.answers_with_200 else 400
        with self.open_request_sender(tmp_path) as request:
            for name, value in wrong_values:
                response = request(self.path, {**example_params, name: value})
                assert response.status_code == expected_status, response.text
                assert response.headers["content-type"].startswith(face.error_responder.media_type)
                assert name in response.text or (value and value in response.text)
            if face.is_table_service:
                unknown_table_path = face.path.replace("{table}", "tiny.none")
                assert request(unknown_table_path, example_params).status_code == 404

    def _list_wrong_parameter_values(self) -> Iterator[tuple[str, str]]:
        """Yield parameters of the face, each with a value that it must refuse."""
        for param in self.face.all_params:
            if param.maximum is not None:
                yield param.name, str(param.maximum + (param.period or 0) + 1)
            elif param.type.is_numeric or param.allowed:
                yield param.name, "no-such"
        for param in self.face.params:
            if param.required and self.face.build_query is not None:
                yield param.name, ""

    def test_openapi_and_capabilities_list_the_parameters(self, tmp_path: Path) -> None:
        """OpenAPI describes the service; the capabilities and the form do so for a service over a table."""
        names = [param.name for param in self.face.all_params]
        with self.open_request_sender(tmp_path) as request:
            openapi = request("/openapi.json").json()
            documented_names = []
            for parameter in openapi["paths"][self.face.path]["get"]["parameters"]:
                component_name = parameter.get("$ref", "").rpartition("/")[2]
                documented_names.append(component_name or parameter["name"])
            assert documented_names == names
            if self.face.is_table_service:
                capabilities = request(f"{self.path}/capabilities")
                document = ET.fromstring(capabilities.content)  # noqa: S314  (our own document)
                # the first interface is that of the capabilities
                for interface in list(document.iterfind("capability/interface"))[1:]:
                    parameter_names = [parameter.text for parameter in interface.iterfind("param/name")]
                    assert parameter_names == names
                page = request(f"/collections/{self.table.schema}/{self.table.name}/services/{self.name}").text
                assert all(f'name="{name}"' in page for name in names)


__all__ = ["FaceContract"]
