"""Shapes on the sphere, MOCs, HEALPix cover, DALI and STC-S text, frames of bodies. No I/O."""
