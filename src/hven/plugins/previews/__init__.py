"""Pictures of files: thumbnails and quicklooks, as addresses and as links of rows."""
