"""Arrange the rows, the map, the plot and the card of a table's page, and choose what opens first."""
