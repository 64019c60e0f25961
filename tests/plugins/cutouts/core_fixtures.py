"""What tests of the core need to try what this package adds (`tests/plugin_needs.py`)."""

# what the package makes of `image.fits` in the collection `far`: a row's file on another server
REMOTE_FILE_ADDRESSES = {
    "soda": "/soda/sync?TABLE=far.main&ID=image&PIXELS_1=1+9",
    "conversions": "/collections/far/as/fits/image.fits?PART=0",
    "cubes": "/collections/far/cube/image.fits?SLICE=1",
}
