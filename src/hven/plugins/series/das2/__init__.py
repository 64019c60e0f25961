"""das2: the service with the streams that it writes, and the source that reads other servers."""
