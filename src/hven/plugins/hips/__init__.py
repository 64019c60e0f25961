"""HiPS of a collection's images: build, list and serve them."""
