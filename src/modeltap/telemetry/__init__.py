"""What the server says of itself: structured logs, metrics and traces, without payloads."""
