"""Deployment: files for systemd, containers, Compose and Kubernetes, and a check that a server is ready."""
