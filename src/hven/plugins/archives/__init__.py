"""Archives (ZIP, TAR) of the files to which rows lead."""
