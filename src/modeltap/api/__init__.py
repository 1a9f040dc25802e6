"""HTTP: the raw ASGI data plane, the control routes, and the only table from errors to status codes."""
