"""Faces of the portal: its pages, health, news, jobs, log-in. One file each, as in `hven.services.faces`."""
