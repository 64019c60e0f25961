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
from hven.services.face import Face, Surroundings, known
from hven.site.auth import ANONYMOUS, DEFAULT
from hven.testing.site import tiny_site

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    Ask = Callable[..., httpx.Response]

COLUMNS = (
    Column(name="id", type=STRING, ucd="meta.id;meta.main"),
    Column(name="ra", unit="deg", ucd="pos.eq.ra;meta.main"),
    Column(name="dec", unit="deg", ucd="pos.eq.dec;meta.main"),
    Column(name="mag", unit="mag", ucd="phot.mag"),
)


def _said(document: bytes) -> bytes:
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
        schema="tiny", name="stars", columns=COLUMNS, position=("ra", "dec"), primary=("id",)
    )
    rows: ClassVar[pa.Table] = pa.table({"id": ["a", "b"], "ra": [83.6, 83.7], "dec": [22.0, 22.1], "mag": [1.0, 2.0]})

    @property
    def face(self) -> Face:
        """The face itself."""
        found: Face = plugins.load("protocols", self.name).FACE
        return found

    @property
    def path(self) -> str:
        """Where it is asked."""
        return self.face.url(self.table, "")

    @contextmanager
    def served(self, directory: Path) -> Iterator[Ask]:
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
        faces = known()
        with tiny_site(directory, {self.table.qualified: (self.table, self.rows)}) as site:
            around = Surroundings(
                site=site, reader=lambda _: ANONYMOUS, policies=DEFAULT, faces=faces, started=datetime.now(UTC)
            )
            app = Starlette(routes=[route for face in faces.values() for route in face.addresses(around)])

            async def asked(
                path: str, given: Mapping[str, str], method: str, headers: Mapping[str, str]
            ) -> httpx.Response:
                async with httpx.AsyncClient(
                    transport=httpx.ASGITransport(app), base_url="http://vo.example"
                ) as client:
                    sent = {"data": given} if method == "POST" else {"params": given}
                    return await client.request(method, path, headers=headers, **sent)  # type: ignore[arg-type]

            yield lambda path, given=(), method="GET", **headers: asyncio.run(asked(path, dict(given), method, headers))

    def test_it_says_what_it_is(self) -> None:
        """Its parameters have names of their own and descriptions; the example gives no others."""
        assert self.face.name == self.name
        assert self.face.title
        names = [param.name for param in self.face.known]
        assert names == [name.upper() for name in dict.fromkeys(names)]
        assert all(param.description for param in self.face.known)
        assert {name for name, _ in parse_qsl(self.face.example)} <= set(names)

    def test_its_example_is_answered(self, tmp_path: Path) -> None:
        """By GET as by POST, and with the columns alone; who has the answer is told so."""
        given = dict(parse_qsl(self.face.example))
        with self.served(tmp_path) as ask:
            found = ask(self.path, given)
            assert found.status_code == 200, found.text
            assert _said(ask(self.path, given, "POST").content) == _said(found.content)
            assert ask(self.path, {**given, "MAXREC": "0"}).status_code == 200
            assert ask(self.path, given, **{"if-none-match": found.headers["etag"]}).status_code == 304
            assert ask(self.path, given, "HEAD").content == b""

    def test_what_it_does_not_know_is_named(self, tmp_path: Path) -> None:
        """Nobody takes the answer for one to a parameter that was ignored."""
        given = dict(parse_qsl(self.face.example))
        with self.served(tmp_path) as ask:
            assert "ELSEWHERE" in ask(self.path, {**given, "ELSEWHERE": "1", "RESPONSEFORMAT": "votable"}).text

    def test_faults_are_told_in_its_own_document(self, tmp_path: Path) -> None:
        """What is missing, of the wrong kind or out of bounds is named; so is a table that is not there."""
        face, given = self.face, dict(parse_qsl(self.face.example))
        wrong = {one.name: "no-such" for one in face.known if one.type.is_numeric or one.allowed}
        wrong |= {one.name: str(one.maximum + (one.period or 0) + 1) for one in face.known if one.maximum is not None}
        with self.served(tmp_path) as ask:
            for name, value in [
                *wrong.items(),
                *((one.name, "") for one in face.params if one.required and face.ask is not None),
            ]:
                found = ask(self.path, {**given, name: value})
                assert found.status_code == (200 if face.faults.patient else 400), found.text
                assert found.headers["content-type"].startswith(face.faults.kind)
                assert name in found.text or (value and value in found.text)
            if face.asked_of_a_table:
                assert ask(face.path.replace("{table}", "tiny.none"), given).status_code == 404

    def test_programs_and_people_are_told_how_to_ask(self, tmp_path: Path) -> None:
        """OpenAPI has it; of a service over a table the capabilities and the form, too."""
        names = [param.name for param in self.face.known]
        with self.served(tmp_path) as ask:
            told = ask("/openapi.json").json()
            given = [
                one.get("$ref", "").rpartition("/")[2] or one["name"]
                for one in told["paths"][self.face.path]["get"]["parameters"]
            ]
            assert given == names
            if self.face.asked_of_a_table:
                document = ET.fromstring(ask(f"{self.path}/capabilities").content)  # noqa: S314  (our own)
                ways = [
                    [one.text for one in way.iterfind("param/name")]
                    for way in document.iterfind("capability/interface")
                ]
                assert all(way == names for way in ways[1:]), "the first one is that of the capabilities"
                page = ask(f"/collections/{self.table.schema}/{self.table.name}/services/{self.name}").text
                assert all(f'name="{name}"' in page for name in names)


__all__ = ["FaceContract"]
