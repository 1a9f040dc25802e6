"""Models made elsewhere → bundles. What is parsed was written by others: it is parsed in a process of its own."""
