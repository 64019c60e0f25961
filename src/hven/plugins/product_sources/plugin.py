"""What this package adds: the kinds of sources ``fits`` and ``product``, and uploads of FITS tables."""

from __future__ import annotations

from hven.model.plugins import FileSignature, PluginPackage

PLUGIN = PluginPackage(
    name="product_sources",
    title="Read rows from FITS files and other product files: tables, headers, images, cards",
    sources={
        "fits": "hven.plugins.product_sources.fits_source",
        "product": "hven.plugins.product_sources.product_source",
    },
    files=(
        FileSignature(kind="fits", extensions=("fits", "fit", "fts")),
        FileSignature(kind="product", extensions=("tif", "tiff", "jp2")),
    ),
    upload_kinds=("fits",),
)
