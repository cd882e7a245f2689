"""Asks fake upstreams what the cassettes say, with the providers' own clients, and compares what those read.

Takes a list of jobs as JSON on standard input, and writes the differences that it found, one text for each job, as a list
to standard output. `tests/sdk.rs` starts it.
"""

import json
import sys
from collections.abc import Callable
from typing import TypedDict

import anthropic_client
import openai_client
from reading import JSON, tool_call


class Job(TypedDict):
    """A cassette."""

    provider: str
    """Whose client to ask."""
    url: str
    """Where the fake upstream listens."""
    request: JSON
    """Path, headers and body of the request that was recorded."""
    retries: int
    """How often to ask again."""
    expected: JSON
    """What came out of it, by our own client."""


CLIENTS: dict[str, Callable[..., JSON]] = {
    "anthropic": anthropic_client.ask,
    "openai": openai_client.ask,
    "openai_compatible": openai_client.ask,
}

# Of what our own client says, what a provider's has no word for.
OWN = {"endpoint", "normalized", "request_id", "retries"}


def differences(expected: JSON, got: JSON) -> str:
    """Where the two differ; empty when they do not."""
    names = {name for name in (*expected, *got) if name not in OWN}
    return "\n".join(
        f"{name}: we read {expected.get(name)!r}, their client reads {got.get(name)!r}"
        for name in sorted(names)
        if expected.get(name) != got.get(name)
    )


def check(job: Job) -> str:
    """Asks once, and compares."""
    [expected] = job["expected"].values()
    for call in expected.get("tool_calls", []):
        call.update(tool_call(**call))
    try:
        got = CLIENTS[job["provider"]](job["url"], job["request"], job["retries"], expected)
    except Exception as error:  # noqa: BLE001 - whatever their client throws is a difference
        return f"their client fails: {error!r}"
    return differences(expected, got)


if __name__ == "__main__":
    json.dump([check(job) for job in json.load(sys.stdin)], sys.stdout)
