"""OIFITS, the files of optical interferometers: granules as rows, and tables of points."""
