"""The system state (snapshots, runs, leases) on SQLAlchemy Core."""
