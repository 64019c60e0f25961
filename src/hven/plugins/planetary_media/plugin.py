"""What this package adds: three media of product files, the files that sources recognise, and labels of rows."""

from __future__ import annotations

from hven.model.plugins import FileSignature, PluginPackage

PLUGIN = PluginPackage(
    name="planetary_media",
    title="Open product files of planetary missions: PDS3, PDS4 and ISIS",
    media={
        "isis": "hven.plugins.planetary_media.isis",
        "pds3": "hven.plugins.planetary_media.pds3",
        "pds4": "hven.plugins.planetary_media.pds4",
    },
    documents={"label": "hven.plugins.planetary_media.label_document"},
    files=(
        FileSignature(
            kind="product",
            extensions=("lbl", "img", "qub", "imq", "lblx", "cub"),
            leading_pattern=(
                rb"(?s)(?:CCSD\w+ *= *\w+\s|\s|/\*.*?\*/)*(?:PDS_VERSION_ID|ODL_VERSION_ID)\s*="
                rb"|CCSD3ZF|\s*Object *= *IsisCube"
                rb"|(?:\xef\xbb\xbf)?\s*<\?xml.*?<(?:\w+:)?Product_\w+[\s>]"
            ),
            first_line_pattern=r"(?:Object|Group|ODL_VERSION_ID|PDS_VERSION_ID)\s*=|CCSD3ZF",
            text_title="an ISIS or PDS3 product with its label",
            media_types={"lbl": "application/x-pds", "img": "application/x-pds"},
        ),
    ),
)
