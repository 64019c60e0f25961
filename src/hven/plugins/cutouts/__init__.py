"""Parts of the files of rows: cut-outs (SODA), slices and spectra of cubes, and files in other formats."""
