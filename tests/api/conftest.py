"""The models of `served_models`, for every test of this room."""

from served_models import plane, samples, server, trained

__all__ = ["plane", "samples", "server", "trained"]
