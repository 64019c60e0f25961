"""What this package adds: the kind of source ``oifits`` and the medium of the same name."""

from __future__ import annotations

from hven.model.plugins import FileSignature, PluginPackage

PLUGIN = PluginPackage(
    name="interferometry",
    title="Read OIFITS, the files of optical interferometers, as rows and as product files",
    sources={"oifits": "hven.plugins.interferometry.source"},
    media={"oifits": "hven.plugins.interferometry.oifits_medium"},
    extensions={"submissions.checkers": ("hven.plugins.interferometry.submissions.oifits_files",)},
    translations="hven.plugins.interferometry:texts",
    files=(FileSignature(kind="oifits", extensions=("oifits",), media_types={"oifits": "application/x-oifits"}),),
)
