"""`python llama_server.py FILE PORT STREAMS CONTEXT THREADS`: llama.cpp's own server, through xllamacpp, until it is ended.

Run by the python of its own environment; it needs nothing of modeltap.
"""

from __future__ import annotations

import os
import signal
import sys

import xllamacpp


def main() -> None:
    path, (port, streams, context, threads) = sys.argv[1], map(int, sys.argv[2:6])
    params = xllamacpp.CommonParams()
    params.model.path = path
    params.hostnames = ["127.0.0.1"]
    params.port = port
    params.n_parallel = streams
    params.n_ctx = streams * context
    params.cont_batching = True
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    params.n_gpu_layers = 0
    if os.environ.get("LLAMA_API_KEY"):
        params.api_keys = [os.environ["LLAMA_API_KEY"]]
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    signal.pause()


if __name__ == "__main__":
    main()
