"""llama.cpp's server, from the package ``xllamacpp``: ``llama_cpp_server.py MODEL.gguf PORT CONTEXT``."""

from __future__ import annotations

import os
import signal
import sys

import xllamacpp

SLOTS = 4  # requests at a time; each has the whole context

if __name__ == "__main__":
    params = xllamacpp.CommonParams()
    params.model.path, params.port, params.n_ctx = sys.argv[1], int(sys.argv[2]), SLOTS * int(sys.argv[3])
    params.hostnames, params.n_parallel, params.use_jinja = ["127.0.0.1"], SLOTS, True
    params.cpuparams.n_threads = int(os.environ.get("OMP_NUM_THREADS", "1"))
    server = xllamacpp.Server(params)
    signal.pause()
