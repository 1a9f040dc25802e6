"""Server programs of the peers: each is run by the interpreter of its own environment, and imports nothing of modeltap."""
