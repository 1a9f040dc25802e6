"""Options → torch modules, one file an architecture."""
