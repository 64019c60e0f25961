"""What the kind of source needs beside the address of a server."""

OPTIONS = {"oifits": {"files": "a.fits"}}
