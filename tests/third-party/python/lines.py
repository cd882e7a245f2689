"""A provider's adapter in Python, for a made-up provider called `lines`: an example to copy.

The provider takes `POST {base-url}/generate` with `{"model": …, "prompt": …}` and answers with text in which each line is
one token. `../README.md` says how this becomes a component. `wit_world` and the `componentize_py_*` modules are made from
the contracts in `wit/`; a function that may fail there raises `Err` here, with the contract's error in it.
"""

import json
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import wit_world
from componentize_py_async_support import spawn
from componentize_py_types import Err, Ok
from wit_world import exports
from wit_world.exports.adapter import CredentialHeader, Description
from wit_world.imports import client, endpoint, http, sipp

PROVIDER = "lines"
FAULTS = {401: sipp.UpstreamFault.AUTHENTICATION, 429: sipp.UpstreamFault.RATE_LIMITED}


class Adapter(exports.Adapter):
    def describe(self) -> list[Description]:
        """Says where the credential goes. The host puts it there: an adapter never sees a secret."""
        credential = CredentialHeader("authorization", "Bearer ")
        return [Description(PROVIDER, None, credential, [sipp.Operation.QUERY, sipp.Operation.CHAT])]


class Inference(exports.Inference):
    async def generate(self, request: sipp.Request) -> sipp.Generation:
        """Returns when the provider's status is known; the tokens follow in the stream."""
        settings = endpoint.get()
        body = {"model": settings.model, "prompt": prompt(request.input)}
        response = await post(f"{settings.base_url}/generate", json.dumps(body).encode())
        status = response.get_status_code()
        text, end = http.Response.consume_body(response, read_whole())
        if status != 200:
            raise upstream(fault(status), status, "\n".join([line async for line in lines(text)]))

        writer, tokens = wit_world.sipp_token_batch_stream()
        done, outcome = wit_world.result_sipp_outcome_sipp_error_future(abandoned)
        spawn(pump(text, end, writer, done, request.context.request_id))
        return sipp.Generation(tokens, outcome)

    async def embed(self, request: sipp.EmbedRequest) -> sipp.Embedding:
        reason = f"{PROVIDER} writes text only; ask another provider for vectors"
        raise Err(sipp.Error_Unsupported(sipp.UnsupportedPayload(sipp.Operation.EMBED, None, reason)))


async def pump(text, end, writer, done, request_id: str | None) -> None:
    """Passes each line on when it has come. Runs on after `generate` returned: that is what `spawn` is for."""
    count, finish = 0, sipp.FinishReason.STOP
    with writer:
        async for line in lines(text):
            count += await writer.write_all([sipp.TokenBatch(sipp.Delta_Text(line + " "), count, 1, [])])
            if writer.reader_dropped:
                finish = sipp.FinishReason.CANCELLED
                break
    usage = sipp.Usage(None, count, None, None, None)
    outcome = Ok(sipp.Outcome(finish, usage, None, sipp.Metadata(request_id, None, None, 0)))
    if finish is sipp.FinishReason.STOP and isinstance(broken := await end.read(), Err):
        outcome = upstream(sipp.UpstreamFault.TRANSPORT, 200, f"the answer broke off: {broken.value}")
    await done.write(outcome)


def prompt(given: sipp.Input) -> str:
    """The raw prompt, or the text of the last user's message: `lines` knows no conversations."""
    if isinstance(given, sipp.Input_Prompt):
        return given.value
    spoken = [message for message in given.value if message.role is sipp.Role.USER]
    if not spoken:
        raise Err(sipp.Error_InvalidRequest("the conversation has no user message; add one"))
    return "".join(part.value for part in spoken[-1].content if isinstance(part, sipp.Part_Text))


async def post(url: str, body: bytes) -> http.Response:
    """Sends JSON and gives the response once its headers have come."""
    parts = urlsplit(url)
    writer, contents = wit_world.byte_stream()
    headers = http.Fields.from_list([("content-type", b"application/json")])
    request, _ = http.Request.new(headers, contents, no_trailers(), None)
    request.set_method(http.Method_Post())
    request.set_scheme(http.Scheme_Https() if parts.scheme == "https" else http.Scheme_Http())
    request.set_authority(parts.netloc)
    request.set_path_with_query(parts.path)

    async def write() -> None:
        with writer:
            await writer.write_all(body)

    spawn(write())
    try:
        return await client.send(request)
    except Err as error:
        raise upstream(sipp.UpstreamFault.TRANSPORT, None, f"no answer: {error.value}") from None


async def lines(text) -> AsyncIterator[str]:
    """The lines of a body, each as soon as it has come."""
    rest = b""
    with text:
        while not text.writer_dropped:
            *whole, rest = (rest + await text.read(16 * 1024)).split(b"\n")
            for line in whole:
                yield line.decode(errors="replace")
    if rest:
        yield rest.decode(errors="replace")


def fault(status: int) -> sipp.UpstreamFault:
    other = sipp.UpstreamFault.OVERLOADED if status >= 500 else sipp.UpstreamFault.PROVIDER
    return FAULTS.get(status, other)


def upstream(fault: sipp.UpstreamFault, status: int | None, message: str) -> Err:
    return Err(sipp.Error_Upstream(sipp.UpstreamPayload(fault, PROVIDER, status, None, message, None, None)))


# A future is made with what it says when nobody writes to it.
def abandoned():
    return Err(sipp.Error_Internal("the adapter gave up before the answer ended"))


def no_trailers():
    return wit_world.result_option_http_fields_http_error_code_future(lambda: Ok(None))[1]


def read_whole():
    return wit_world.result_unit_http_error_code_future(lambda: Ok(None))[1]
