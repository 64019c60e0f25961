"""Answer requests of WMTS 1.0.0 (07-057r7): GetCapabilities, and the parameters of GetTile."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from hven.formats import escape_xml, quote_attribute
from hven.model.errors import ParamError
from hven.plugins.maps.body_documents import list_reached_matrix_sets, read_layer_infos
from hven.plugins.maps.tile_matrix_sets import MAX_LEVEL, TILE_PIXELS, TileMatrixSet

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.model.params import RequestParams
    from hven.model.resource import CollectionSpec
    from hven.plugins.maps.map_drawing import LayerRaster
    from hven.plugins.maps.map_rasters import RasterInfo

VERSION = "1.0.0"
PIXEL_METRES = 0.00028  # of a pixel of a screen, by which a scale denominator is defined (07-057r7, 6.1)


def read_tile_parameters(params: RequestParams) -> tuple[str, str, tuple[int, int, int]]:
    """Read the parameters of GetTile.

    Returns
    -------
    layer, set_name, tile
        The tile as level, row and column.

    Raises
    ------
    ParamError
        One of them is missing or wrong.
    """
    texts = {}
    for name in ("LAYER", "TILEMATRIXSET", "TILEMATRIX", "TILEROW", "TILECOL"):
        text = params.read_one(name)
        if not text:
            raise ParamError(
                f"the parameter {name} is missing", name=name, remedy=f"see the values of {name} in the capabilities"
            )
        texts[name] = text
    if (params.read_one("STYLE") or "default") != "default":
        raise ParamError("the only style of a layer is 'default'", name="STYLE", remedy="write STYLE=default")
    if (params.read_one("FORMAT") or "image/png").lower() != "image/png":
        raise ParamError("tiles are only available as PNG", name="FORMAT", remedy="write FORMAT=image/png")
    level, row, column = (params.read_integer(name) or 0 for name in ("TILEMATRIX", "TILEROW", "TILECOL"))
    return texts["LAYER"], texts["TILEMATRIXSET"], (level, row, column)


def write_capabilities(rasters: Sequence[tuple[CollectionSpec, LayerRaster]], service_url: str) -> bytes:
    """Write the capabilities of a collection's tiles."""
    title = escape_xml(str(rasters[0][0].title))
    matrix_sets: dict[str, TileMatrixSet] = {}
    layers = ""
    for _, raster, info in read_layer_infos(rasters):
        reached_sets = list_reached_matrix_sets(info)
        matrix_sets |= {matrix_set.name: matrix_set for matrix_set in reached_sets}
        layers += _write_layer(raster, info, reached_sets, service_url)
    operations = "".join(
        f'<ows:Operation name="{name}"><ows:DCP><ows:HTTP><ows:Get xlink:href={quote_attribute(f"{service_url}?")}>'
        '<ows:Constraint name="GetEncoding"><ows:AllowedValues><ows:Value>KVP</ows:Value></ows:AllowedValues>'
        "</ows:Constraint></ows:Get></ows:HTTP></ows:DCP></ows:Operation>"
        for name in ("GetCapabilities", "GetTile")
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<Capabilities xmlns="http://www.opengis.net/wmts/1.0" '
        'xmlns:ows="http://www.opengis.net/ows/1.1" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'version="{VERSION}"><ows:ServiceIdentification><ows:Title>{title}</ows:Title>'
        f"<ows:ServiceType>OGC WMTS</ows:ServiceType><ows:ServiceTypeVersion>{VERSION}</ows:ServiceTypeVersion>"
        f"</ows:ServiceIdentification><ows:OperationsMetadata>{operations}</ows:OperationsMetadata>"
        f"<Contents>{layers}{''.join(map(_write_matrix_set, matrix_sets.values()))}</Contents>"
        f"<ServiceMetadataURL xlink:href={quote_attribute(f'{service_url}/{VERSION}/WMTSCapabilities.xml')}/>"
        "</Capabilities>\n"
    ).encode()


def _write_layer(raster: LayerRaster, info: RasterInfo, matrix_sets: Sequence[TileMatrixSet], service_url: str) -> str:
    layer = raster.layer
    boxes = "".join(_write_box(matrix_set, info) for matrix_set in matrix_sets)
    abstract = f"<ows:Abstract>{escape_xml(str(layer.description))}</ows:Abstract>" if layer.description else ""
    dimension, templates = "", []
    for name, unit, values, default in layer.list_dimensions():
        dimension += f"<Dimension><ows:Identifier>{name.title()}</ows:Identifier><ows:UOM>{unit}</ows:UOM>"
        dimension += f"<Default>{default}</Default>{''.join(f'<Value>{value}</Value>' for value in values)}"
        dimension += "</Dimension>"
        templates.append(f"{name.upper()}={{{name.title()}}}")
    ending = f"?{'&'.join(templates)}" if templates else ""
    links = "".join(
        f"<TileMatrixSetLink><TileMatrixSet>{m.name}</TileMatrixSet></TileMatrixSetLink>" for m in matrix_sets
    )
    template = (
        f"{service_url}/{VERSION}/{quote(layer.name)}/default/{{TileMatrixSet}}/{{TileMatrix}}/{{TileRow}}/{{TileCol}}"
    )
    return (
        f"<Layer><ows:Title>{escape_xml(str(layer.title))}</ows:Title>{abstract}"
        f"<ows:Identifier>{escape_xml(layer.name)}</ows:Identifier>{boxes}"
        '<Style isDefault="true"><ows:Identifier>default</ows:Identifier></Style>'
        f"<Format>image/png</Format>{dimension}{links}"
        f'<ResourceURL format="image/png" resourceType="tile" template={quote_attribute(f"{template}.png{ending}")}/>'
        "</Layer>"
    )


def _write_box(matrix_set: TileMatrixSet, info: RasterInfo) -> str:
    """Write the box of a raster in the frame of a set. QGIS takes the box as it is, whatever its frame."""
    frame = matrix_set.frame
    bounds = frame.extent
    if frame.is_cylindrical:
        west, south, east, north = info.lon_lat_bounds
        scale = 1.0 if frame.is_geographic else frame.body.metres_per_degree
        bounds = west * scale, south * scale, east * scale, north * scale
    lower, upper = frame.write_corners(bounds)
    return (
        f'<ows:BoundingBox crs="{frame.ogc_urn}"><ows:LowerCorner>{lower}</ows:LowerCorner>'
        f"<ows:UpperCorner>{upper}</ows:UpperCorner></ows:BoundingBox>"
    )


def _write_matrix_set(matrix_set: TileMatrixSet) -> str:
    """Describe a set; the corner has the order of the axes of its frame."""
    frame = matrix_set.frame
    west, _, _, north = frame.extent
    scale = frame.metres_per_unit / PIXEL_METRES
    corner = frame.write_coordinates(west, north)
    matrices = "".join(
        f"<TileMatrix><ows:Identifier>{level}</ows:Identifier>"
        f"<ScaleDenominator>{matrix_set.get_resolution(level) * scale!r}</ScaleDenominator>"
        f"<TopLeftCorner>{corner}</TopLeftCorner><TileWidth>{TILE_PIXELS}</TileWidth>"
        f"<TileHeight>{TILE_PIXELS}</TileHeight><MatrixWidth>{matrix_set.columns * 2**level}</MatrixWidth>"
        f"<MatrixHeight>{2**level}</MatrixHeight></TileMatrix>"
        for level in range(MAX_LEVEL + 1)
    )
    return (
        f"<TileMatrixSet><ows:Identifier>{matrix_set.name}</ows:Identifier>"
        f"<ows:SupportedCRS>{frame.ogc_urn}</ows:SupportedCRS>{matrices}</TileMatrixSet>"
    )
