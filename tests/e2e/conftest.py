"""The server of `triton_scenes` and its clients, for every test of this room."""

from triton_scenes import address, http, over_grpc, served

__all__ = ["address", "http", "over_grpc", "served"]
