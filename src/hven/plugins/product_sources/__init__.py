"""Sources that read the headers, images and tables of FITS files and other product files."""
