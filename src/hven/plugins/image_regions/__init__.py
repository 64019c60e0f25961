"""Regions on the sphere that are made of pixels: contours, labels and footprints of images."""
