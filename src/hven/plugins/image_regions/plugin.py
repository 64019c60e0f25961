"""What this package adds: functions of descriptors, a column of headers, and names of `hven.sky`."""

from __future__ import annotations

from hven.model.plugins import PluginPackage

_FUNCTION_NAMES = (
    "box_contour",
    "chain_area",
    "chain_contour",
    "chain_line",
    "chart",
    "contour_area",
    "contour_bound",
    "contour_fault",
    "contour_moc",
    "contour_pixels",
    "contour_polygon",
    "contour_quality",
    "contour_shape",
    "disc",
    "geojson_contour",
    "list_contour",
    "mask_contour",
    "sun_b0",
    "sun_l0",
    "tfcat_bound",
    "wcs_footprint",
)

PLUGIN = PluginPackage(
    name="image_regions",
    title="Compute regions of contours, labels and footprints from the pixels of images",
    function_definitions={name: f"hven.plugins.image_regions.definitions:{name.upper()}" for name in _FUNCTION_NAMES},
    engine_functions={"duckdb": "hven.plugins.image_regions.duckdb_functions:FUNCTIONS"},
    header_columns={"file.footprint": "hven.plugins.image_regions.header_footprints:compute_footprint_column"},
    sky_names={
        "Chart": "hven.plugins.image_regions.contours:CylindricalMap",
        "Contours": "hven.plugins.image_regions.contours:ContourRegions",
        "Disc": "hven.plugins.image_regions.contours:DiscImage",
        "FREEMAN": "hven.plugins.image_regions.contours:FREEMAN_STEPS",
        "HELIO": "hven.plugins.image_regions.contours:HELIO_STEPS",
        "boxes": "hven.plugins.image_regions.contours:build_regions_from_pixel_boxes",
        "chain_codes": "hven.plugins.image_regions.contours:build_regions_from_chain_codes",
        "directions": "hven.plugins.image_regions.contours:build_regions_from_arcsecond_outlines",
        "masks": "hven.plugins.image_regions.contours:build_regions_from_labels",
        "pixel_lists": "hven.plugins.image_regions.contours:build_regions_from_pixel_lists",
        "sun": "hven.plugins.image_regions.contours:sun",
    },
)
