"""The models of `served_models`, for every test of this room."""

from served_models import plane, samples, trained

__all__ = ["plane", "samples", "trained"]
