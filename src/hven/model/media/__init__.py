"""Product formats (fits, cdf, netcdf, images): header, slice, render, series. Built in *Products*; what is here are the headers of FITS files."""

PRIVATE = ("cards",)
