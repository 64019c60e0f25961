"""Faces that a table's `services` can leave out say so themselves: a face of a plug-in can do it, too."""

from __future__ import annotations

from hven.model import plugins
from hven.services.face import load_service_faces

SELECTABLE_FACES = {"tap", "cone", "portal", "files", "sia", "sia2", "ssa"}


def test_the_core_has_the_faces_that_serve_what_a_table_allows() -> None:
    package_faces = {name for package in plugins.list_plugin_packages() for name in package.protocols}
    faces = load_service_faces()
    assert {name for name in faces.keys() - package_faces if faces[name].is_selectable} == SELECTABLE_FACES
