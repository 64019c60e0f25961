"""Relations by name, as the tests of engines hand them on."""


class Relations(dict):
    """Relations by name, with a short repr: hypothesis writes it into its reports."""

    def __repr__(self):
        return f"Relations({', '.join(self)})"
