"""Job types whose work is a face's: what they need of services stands above the room of jobs."""
