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
    """What a client raised, as far as it tells.

    `faults` says by which of its classes a client means which of our faults, and `said` what it found in the body.
    """
    expected = expected["error"]
    fault = expected["fault"] if type(raised) in faults[expected["fault"]] else type(raised).__name__
    response = getattr(raised, "response", None)
    headers = {} if response is None else response.headers
    wait = seconds(headers.get("retry-after-ms"), 1) or seconds(headers.get("retry-after"), 1000)
    got = {
        "fault": fault,
        "request_id": getattr(raised, "request_id", None) or expected.get("request_id"),
        "retry_after": expected.get("retry_after") if wait is None else wait,
        "status": getattr(raised, "status_code", None) if expected["status"] is not None else None,
        **said,
    }
    return {"error": {**expected, **got}} if "retry_after" in expected else {"error": {**expected, **filled(got)}}


def seconds(text: str | None, unit: int) -> int | None:
    """A time in some unit, in milliseconds; a date is not one."""
    return int(float(text) * unit) if text and text.replace(".", "").isdigit() else None
