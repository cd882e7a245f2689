"""What the official client of OpenAI reads."""

from typing import Any

import openai
from openai import OpenAI
from reading import JSON, error, filled, rounded, tool_call, vectors

SECRET = "sk-sipp-0123456789abcdef"

# By which of its classes the client means which fault.
FAULTS: dict[str, tuple[type, ...]] = {
    "authentication": (openai.AuthenticationError,),
    "authorization": (openai.PermissionDeniedError,),
    "rate_limited": (openai.RateLimitError,),
    # It has no class for an unpaid account.
    "quota_exceeded": (openai.RateLimitError, openai.APIStatusError),
    # Nor for a body that is too large.
    "invalid_request": (
        openai.BadRequestError,
        openai.ConflictError,
        openai.UnprocessableEntityError,
        openai.APIStatusError,
    ),
    # The latter is any status from 500 on, so 501 too.
    "unsupported_feature": (openai.BadRequestError, openai.InternalServerError),
    "model_not_found": (openai.NotFoundError,),
    "timeout": (openai.APIStatusError,),
    # The latter is one within a stream.
    "overloaded": (openai.InternalServerError, openai.APIError),
}


def ask(url: str, request: JSON, retries: int, expected: JSON) -> JSON:
    """Sends a recorded request, and writes down what the client reads."""
    client = OpenAI(api_key=SECRET, base_url=f"{url}/v1", max_retries=retries)
    operations = {
        "/v1/chat/completions": (client.chat.completions, chat),
        "/v1/completions": (client.completions, completion),
        "/v1/embeddings": (client.embeddings, embeddings),
    }
    resource, read = operations[request["path"]]
    known = ("authorization", "content-type")
    headers = {name: value for name, value in request["headers"].items() if name not in known}
    try:
        reply = resource.with_raw_response.create(**request["body"], extra_headers=headers)
        return {**read(reply.parse()), **filled({"upstream_request_id": reply.headers.get("x-request-id")})}
    except openai.APIError as raised:
        body = raised.body if isinstance(raised.body, dict) else {}
        code = body.get("code") or body.get("type")
        said = filled({"message": body.get("message"), "code": code and str(code)})
        return error(raised, FAULTS, said, expected)


def chat(reply: Any) -> JSON:
    """The answer to a conversation, whole or in chunks."""
    if hasattr(reply, "choices"):
        [choice] = reply.choices
        calls = [(call.id, call.function.name, call.function.arguments) for call in choice.message.tool_calls or []]
        logprobs = choice.logprobs.content if choice.logprobs else []
        return answer(pieces([choice.message]), calls, logprobs, choice.finish_reason, reply.usage, reply.id)
    deltas, logprobs, calls = [], [], {}
    finish = usage = id = None
    for chunk in reply:
        id, usage = chunk.id, chunk.usage or usage
        for choice in chunk.choices:
            deltas.append(choice.delta)
            finish = choice.finish_reason or finish
            logprobs += choice.logprobs.content if choice.logprobs else []
            for call in choice.delta.tool_calls or []:
                parts = calls.setdefault(call.index, ["", "", ""])
                for place, part in enumerate((call.id, call.function.name, call.function.arguments)):
                    parts[place] += part or ""
    return answer(pieces(deltas), list(calls.values()), logprobs, finish, usage, id)


def pieces(messages: list[Any]) -> tuple[str, str, bool]:
    """Text, reasoning, and whether the text is a refusal."""
    refusal = "".join(getattr(message, "refusal", None) or "" for message in messages)
    text = "".join(message.content or "" for message in messages)
    reasoning = "".join(getattr(message, "reasoning_content", None) or "" for message in messages)
    return text + refusal, reasoning, bool(refusal)


def answer(said: tuple[str, str, bool], calls: Any, logprobs: Any, finish: str | None, usage: Any, id: Any) -> JSON:
    """An answer of either kind."""
    text, reasoning, refused = said
    likelihoods = [
        {
            "token": token.token,
            "logprob": rounded(token.logprob),
            "top": [{"token": other.token, "logprob": rounded(other.logprob)} for other in token.top_logprobs],
        }
        for token in logprobs
    ]
    fields = {
        "reasoning": reasoning or None,
        "tool_calls": [tool_call(*call) for call in calls],
        "logprobs": likelihoods,
        "finish_reason": "content_filter" if refused else finish,
        "usage": counts(usage),
        "upstream_response_id": id,
    }
    return {"text": text, **filled(fields)}


def completion(reply: Any) -> JSON:
    """The continuation of a prompt, whole or in chunks."""
    chunks = [reply] if hasattr(reply, "choices") else list(reply)
    choices = [choice for chunk in chunks for choice in chunk.choices]
    likelihoods = [
        {
            "token": token,
            "logprob": rounded(logprob),
            "top": [
                {"token": other, "logprob": rounded(likelihood)}
                for other, likelihood in sorted(top.items(), key=lambda item: -item[1])
            ],
        }
        for choice in choices
        if choice.logprobs
        for token, logprob, top in zip(
            choice.logprobs.tokens, choice.logprobs.token_logprobs, choice.logprobs.top_logprobs, strict=True
        )
    ]
    fields = {
        "logprobs": likelihoods,
        "finish_reason": next(choice.finish_reason for choice in choices if choice.finish_reason),
        "usage": counts(next((chunk.usage for chunk in chunks if chunk.usage), None)),
        "upstream_response_id": chunks[0].id,
    }
    return {"text": "".join(choice.text for choice in choices), **filled(fields)}


def embeddings(reply: Any) -> JSON:
    """Vectors."""
    return {**vectors([data.embedding for data in reply.data]), "usage": {"input_tokens": reply.usage.prompt_tokens}}


def counts(usage: Any) -> JSON:
    """Counts of tokens."""
    if usage is None:
        return {}
    read = getattr(usage, "prompt_tokens_details", None)
    written = getattr(usage, "completion_tokens_details", None)
    return filled(
        {
            "input_tokens": usage.prompt_tokens,
            "output_tokens": usage.completion_tokens,
            "cached_tokens": read and read.cached_tokens,
            "reasoning_tokens": written and written.reasoning_tokens,
        }
    )
