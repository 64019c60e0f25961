"""Tell accounts what happened, by mail or webhook."""
