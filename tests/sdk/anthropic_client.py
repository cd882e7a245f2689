"""What the official client of Anthropic reads."""

import json

import anthropic
from anthropic import Anthropic, Omit
from anthropic.types import Message
from reading import JSON, error, filled, tool_call

SECRET = "sk-sipp-0123456789abcdef"

# By which of its classes the client means which fault. An error within a stream has the status of the stream.
FAULTS: dict[str, tuple[type, ...]] = {
    "authentication": (anthropic.AuthenticationError,),
    "authorization": (anthropic.PermissionDeniedError,),
    "rate_limited": (anthropic.RateLimitError,),
    "quota_exceeded": (anthropic.PaymentRequiredError,),
    "invalid_request": (anthropic.BadRequestError, anthropic.RequestTooLargeError),
    "model_not_found": (anthropic.NotFoundError,),
    "timeout": (anthropic.DeadlineExceededError, anthropic.GatewayTimeoutError),
    "overloaded": (anthropic.InternalServerError, anthropic.OverloadedError, anthropic.APIStatusError),
}

FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}


def ask(url: str, request: JSON, retries: int, expected: JSON) -> JSON:
    """Sends a recorded request, and writes down what the client reads."""
    client = Anthropic(api_key=SECRET, base_url=url, max_retries=retries)
    # It sends the key as a bearer token, which the API takes too; its reference has a header for keys.
    headers = {"x-api-key": SECRET, "authorization": Omit(), "anthropic-version": request["headers"]["anthropic-version"]}
    body = request["body"]
    try:
        if body["stream"]:
            helped = {name: value for name, value in body.items() if name != "stream"}
            with client.messages.stream(**helped, extra_headers=headers) as stream:
                return read(stream.get_final_message(), stream.request_id)
        message = client.messages.create(**body, extra_headers=headers)
        return read(message, message._request_id)
    except anthropic.APIError as raised:
        said = raised.body.get("error", {}) if isinstance(raised.body, dict) else {}
        return error(raised, FAULTS, filled({"message": said.get("message"), "code": said.get("type")}), expected)


def read(message: Message, request_id: str | None) -> JSON:
    """A whole message."""
    usage = message.usage
    blocks = message.content
    signatures = [
        block.signature if block.type == "thinking" else f"redacted:{block.data}"
        for block in blocks
        if block.type in ("thinking", "redacted_thinking")
    ]
    calls = [tool_call(block.id, block.name, json.dumps(block.input)) for block in blocks if block.type == "tool_use"]
    fields = {
        "reasoning": "".join(block.thinking for block in blocks if block.type == "thinking") or None,
        "signatures": signatures,
        "tool_calls": calls,
        "finish_reason": FINISH[message.stop_reason or ""],
        "upstream_request_id": request_id,
        "upstream_response_id": message.id,
    }
    details = getattr(usage, "output_tokens_details", None)
    counts = {
        "input_tokens": usage.input_tokens
        + (usage.cache_read_input_tokens or 0)
        + (usage.cache_creation_input_tokens or 0),
        "output_tokens": usage.output_tokens,
        "cached_tokens": usage.cache_read_input_tokens,
        "cache_write_tokens": usage.cache_creation_input_tokens,
        "reasoning_tokens": details and details.thinking_tokens,
    }
    text = "".join(block.text for block in blocks if block.type == "text")
    return {"text": text, "usage": filled(counts), **filled(fields)}
