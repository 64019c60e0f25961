"""Files of named arrays: CDF, netCDF, HDF5 and IDL SAVE, as product files and as sources of rows."""
