"""What runs a bundle: one file an engine, and the child process that tries a graph before the server loads it."""
