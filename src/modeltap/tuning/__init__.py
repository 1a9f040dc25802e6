"""Search over recipes: which one is tried next, which ones end early, and what came of all of them."""
