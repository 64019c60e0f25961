"""Names of columns in catalogues of solar features, by which programs recognise chain codes and their images."""

from __future__ import annotations

HFC_COLUMN_NAMES = {
    "chain": ("CC", "CH_CC", "CHAIN_CODE", "CHAINCODE"),
    "x": ("CC_X_PIX", "CH_CC_X_PIX", "CC_X", "X"),
    "y": ("CC_Y_PIX", "CH_CC_Y_PIX", "CC_Y", "Y"),
    "radius": ("R_SUN", "RSUN_PIX"),
    "centre": ("CENTER_X,CENTER_Y", "CRPIX1,CRPIX2"),
    "scale": ("CDELT1,CDELT2", "CDELT1"),
    "date": ("DATE_OBS", "DATE-OBS", "FEAT_DATE"),
    "observer": ("CRLN_OBS,CRLT_OBS", "L0,B0"),
    "rotation": ("C_ROTATION", "CAR_ROT", "CARROT"),
    "region": ("S_REGION", "COVERAGE", "REGION", "FOOTPRINT"),
    "name": ("GRANULE_UID", "ID", "NAME"),
}
"""The names that HFC and similar catalogues give the columns of a chain code and of its image; the first match counts.

``CRPIX`` counts from 1.
"""

__all__ = ["HFC_COLUMN_NAMES"]
