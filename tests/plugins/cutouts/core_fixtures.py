"""What tests of the core need to try what this package adds (`tests/plugin_needs.py`)."""

from hven.plugins.cutouts.pixel_windows import CutoutSelection
from hven.plugins.cutouts.product_conversions import write_product_as_fits, write_product_as_votable
from hven.plugins.cutouts.product_cutting import cut_product

# what checks of media do with products (`tests/product_checks.py`)
PRODUCT_WRITERS = {
    "CutoutSelection": CutoutSelection,
    "cut_product": cut_product,
    "write_product_as_fits": write_product_as_fits,
    "write_product_as_votable": write_product_as_votable,
}

# what the package makes of `image.fits` in the collection `far`: a row's file on another server
REMOTE_FILE_ADDRESSES = {
    "soda": "/soda/sync?TABLE=far.main&ID=image&PIXELS_1=1+9",
    "conversions": "/collections/far/as/fits/image.fits?PART=0",
    "cubes": "/collections/far/cube/image.fits?SLICE=1",
}
