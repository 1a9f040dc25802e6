"""What the server says of itself: structured logs, without payloads."""
