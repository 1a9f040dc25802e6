"""The command line: one file a noun, every command an HTTP client of the server on the home or at a URL."""
