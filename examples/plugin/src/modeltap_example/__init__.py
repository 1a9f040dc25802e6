"""An architecture and a task of one's own for modeltap."""
