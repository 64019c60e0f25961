"""The pages themselves: a module has the routes of one page; `hven.portal.faces.portal` puts them together."""
