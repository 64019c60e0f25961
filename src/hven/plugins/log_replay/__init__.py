"""Log replay: send the requests of an old service's log to a new one, and compare the answers."""
