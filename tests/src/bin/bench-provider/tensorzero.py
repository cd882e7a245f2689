"""Serves TensorZero's gateway, writes its URL as the first line, and ends with its input.

    python tensorzero.py CONFIGURATION
"""

import os
import sys

# The gateway logs to its output, which is for the URL alone.
output = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)

from tensorzero.tensorzero import _start_http_gateway

gateway = _start_http_gateway(
    config_file=sys.argv[1], clickhouse_url=None, postgres_url=None, valkey_url=None, async_setup=False
)
print(gateway.base_url, file=output, flush=True)
sys.stdin.read()
