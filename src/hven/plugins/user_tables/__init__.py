"""Tables that users keep in the service: addresses below ``/tap``, a job type and ``hven tables``."""
