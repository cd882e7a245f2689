"""Writes down what a client read, in the words of `expected.jsonl`."""

import json
from collections.abc import Mapping
from math import sqrt
from typing import Any

JSON = dict[str, Any]


def filled(fields: Mapping[str, Any]) -> JSON:
    """The fields that hold something."""
    return {name: value for name, value in fields.items() if value not in (None, [], {})}


def rounded(number: float) -> float:
    """A number as transcripts hold it."""
    return round(number * 1e3) / 1e3


def tool_call(id: str, name: str, arguments: str) -> JSON:
    """A tool call, with its arguments in one form, whatever blanks the model wrote."""
    return {"id": id, "name": name, "arguments": json.dumps(json.loads(arguments), separators=(",", ":"))}


def vectors(vectors: list[list[float]]) -> JSON:
    """What is known of vectors."""
    return {
        "dimensions": len(vectors[0]),
        "begin": [[rounded(number) for number in vector[:4]] for vector in vectors],
        "norms": [rounded(sqrt(sum(number * number for number in vector))) for vector in vectors],
    }


def error(raised: Any, faults: Mapping[str, tuple[type, ...]], said: JSON, expected: JSON) -> JSON:
    """What a client raised; what it does not tell is as expected.

    `faults` says by which of its classes a client means which of our faults, and `said` what it found in the body.
    """
    expected = expected["error"]
    meant = type(raised) in faults.get(expected["fault"], ())
    response = getattr(raised, "response", None)
    got = {
        "fault": expected["fault"] if meant else type(raised).__name__,
        # That of the stream is none of an error within it.
        "status": expected["status"] and getattr(raised, "status_code", None),
        "request_id": getattr(raised, "request_id", None),
        "retry_after": None if response is None else wait(response.headers),
        **said,
    }
    return {"error": {**expected, **filled(got)}}


def wait(headers: Mapping[str, str]) -> int | None:
    """Milliseconds to wait before another attempt, unless a date says so."""
    for name, unit in (("retry-after-ms", 1), ("retry-after", 1000)):
        if (text := headers.get(name, "")).isdigit():
            return int(text) * unit
    return None
