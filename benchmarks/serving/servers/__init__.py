"""What is measured: each server is started, and then says in which forms it takes a row."""

from __future__ import annotations

from benchmarks.serving.servers.contract import Endpoint, Run, Server
from benchmarks.serving.servers.modeltap import FEATURES, WORKERS, Modeltap
from benchmarks.serving.servers.peers import PEERS
from benchmarks.serving.servers.prototype import Prototype

SERVERS: tuple[Server, ...] = (Modeltap(), Prototype(), *PEERS)
NAMES = tuple(server.name for server in SERVERS)

__all__ = ["FEATURES", "NAMES", "PEERS", "SERVERS", "WORKERS", "Endpoint", "Modeltap", "Run", "Server"]
