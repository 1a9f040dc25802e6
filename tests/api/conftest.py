"""The models of `served_models` and `served_graphs`, for every test of this room."""

from served_graphs import graphs
from served_models import plane, samples, server, trained

__all__ = ["graphs", "plane", "samples", "server", "trained"]
