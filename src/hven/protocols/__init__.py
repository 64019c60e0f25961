"""One face each: HTTP in, bytes out. The Protocol record says what a face is; a face does not know the others."""
