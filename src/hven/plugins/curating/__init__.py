"""Let curators edit texts of the site in its pages."""
