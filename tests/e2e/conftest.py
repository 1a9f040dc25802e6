"""The server of `triton_scenes` and its clients, and the one of `texts_scene`, for every test of this room."""

from texts_scene import texts_served
from triton_scenes import address, http, over_grpc, served

__all__ = ["address", "http", "over_grpc", "served", "texts_served"]
