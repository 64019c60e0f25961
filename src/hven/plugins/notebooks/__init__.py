"""Write the search of a page as a Jupyter notebook."""
