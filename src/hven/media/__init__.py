"""Product formats (fits, cdf, netcdf, images): header, slice, render, series. Built in *Products*."""
