"""Find the layers from which `hven hips` builds a HiPS; the libraries for rasters are imported then."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven.model import plugins

if TYPE_CHECKING:
    from hven.plugins.hips.body_surveys import BodyLayer
    from hven.services.face import ServiceContext
    from hven.site.auth import Principal


def find_body_layer(context: ServiceContext, principal: Principal, collection: str, layer_name: str) -> BodyLayer:
    """Find a layer of a collection, with the rights of a reader to its raster.

    Raises
    ------
    HvenError
        There is no such layer, or its raster cannot be read.
    """
    module = plugins.import_hven_module("hven.plugins.maps.hips.layer_rasters", "the HiPS of a layer")
    layer: BodyLayer = module.open_body_layer(context, principal, collection, layer_name)
    return layer
