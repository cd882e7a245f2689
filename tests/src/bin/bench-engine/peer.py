"""Serves llama.cpp's own server, writes its URL and its memory before the model as the first line, and ends with its input.

    python peer.py MODEL THREADS SLOTS CONTEXT
"""

import os
import sys

import xllamacpp

# The server logs to its output, which is for the URL alone.
output = os.fdopen(os.dup(1), "w")
os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
os.dup2(1, 2)

model, threads, slots, context = sys.argv[1], *map(int, sys.argv[2:5])
params = xllamacpp.CommonParams()
params.model.path = model
params.n_parallel = slots
params.n_ctx = slots * context
params.port = 0
params.cpuparams.n_threads = threads
params.cpuparams_batch.n_threads = threads
with open("/proc/self/status") as status:
    before = next(int(line.split()[1]) << 10 for line in status if line.startswith("RssAnon"))
server = xllamacpp.Server(params)
print(server.listening_address, before, file=output, flush=True)
sys.stdin.read()
os._exit(0)
