"""Faults of contours without a region: their messages and remedies."""

from __future__ import annotations

FAULT_MESSAGES = {
    "no_contour": "there is no contour",
    "no_file": "the image of the contour is missing, or cannot be read",
    "no_labels": "the file has no label image, which needs two axes and at most 100,000 different whole numbers",
    "too_large": "the image has {number:,} bytes; the limit is 536,870,912",
    "no_label": "no pixel of the image has this label",
    "letter": "character {number} of the chain code is not a digit from 0 to 7",
    "open": "the contour does not close: it ends {number} pixels from its start",
    "no_start": "a position of the contour is missing, or is not a number",
    "too_long": "the contour contains or spans {number:,} pixels; there must be fewer than 1,000,000",
    "no_radius": "the radius of the disc is missing, or is not above 0",
    "no_scale": "the scale or the centre of the image is missing, or is 0",
    "no_observer": (
        "the point below the observer is missing: neither its longitude and latitude nor the date is given"
    ),
    "latitude": "a latitude is above 90 degrees",
    "off_disc": "the contour is entirely beyond the limb",
    "round": "the contour goes all around a map whose pixels do not add up to 360 degrees",
    "rotation": "the rotation number does not match the date",
    "no_geometry": "the text is not a GeoJSON geometry on a sphere",
    "no_area": "a point or line has no area",
    "no_wcs": (
        "the header does not give the positions of its pixels: CTYPEi, CRVALi, CRPIXi or NAXISi is missing, or "
        "is not for longitude and latitude"
    ),
    "projection": "the header names a projection that FITS does not define",
    "singular": (
        "the header's scale (CDi_j, or CDELTi with PCi_j) is missing or singular: all pixels would lie on a line"
    ),
    "distortion": "the header's distortion order (A_ORDER, B_ORDER) is not a whole number from 0 to 9",
    "no_place": "a part of the image's edge has no position in its projection",
}
"""Names of faults -> their messages, with one number."""
FAULT_REMEDIES = {
    "no_contour": "give the contour, or leave such rows out",
    "no_file": "check the path, which is relative to the descriptor",
    "no_labels": "give an image in which the pixels of each region have their own whole number",
    "too_large": "cut or bin the image",
    "no_label": "give a label that is the value of a pixel: a whole number other than 0",
    "letter": "correct the code, or write the table of its steps (helio, freeman, or your own)",
    "open": (
        "correct the code or its start, or write the table of its steps; the last pixel of a contour must touch "
        "the first"
    ),
    "no_start": "correct the position, or leave such rows out",
    "too_long": "give fewer corners, or a coarser image",
    "no_radius": "give the radius in this observation: R_SUN or RSUN_OBS",
    "no_scale": "give the values of this observation: CDELT1, CENTER_X and the like",
    "no_observer": "give the date, or CRLN_OBS and CRLT_OBS",
    "latitude": "check whether longitude and latitude are swapped, or are in radians",
    "off_disc": "check the centre, scale, radius and origin, which must be those of this observation",
    "round": "choose a pixel size of 360 degrees divided by a whole number",
    "rotation": "correct the number or the date; without a number, Hven uses the date",
    "no_geometry": "give a Polygon or MultiPolygon of longitudes and latitudes",
    "no_area": "give a Polygon or MultiPolygon, of three corners or more",
    "no_wcs": "complete the header",
    "projection": "end CTYPEi with a FITS projection: -TAN, -CAR ..",
    "singular": "complete the header",
    "distortion": "correct the order in the header, or leave it out",
    "no_place": "cut the image to the part that has positions in its projection; a missing CUNITi means degrees",
}
"""Names of faults -> their remedies."""
