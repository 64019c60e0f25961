"""das2: the service, and the streams that it writes."""
