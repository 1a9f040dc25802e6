"""How a request wants its text chosen, as the engine takes it; what this engine cannot do is refused by its field."""

from __future__ import annotations

import msgspec

from modeltap.api.openai.fields import ResponseFormat, Writing
from modeltap.api.openai.problems import refused, too_long
from modeltap.domain.generation import MAX_GRAMMAR_BYTES, MAX_STOP_CHARS, MAX_STOPS, Grammar, Sampling

MAX_TOP_LOGPROBS = 1


def sampling_of(
    request: Writing,
    *,
    max_tokens: int,
    logprobs: bool = False,
    echo: bool = False,
    grammar: Grammar | None = None,
) -> Sampling:
    """Raises InvalidInput, naming the field."""
    if request.logit_bias:
        raise refused("logit_bias", "this engine has no 'logit_bias'; leave it out")
    check_stream(request)
    temperature = 1.0 if request.temperature is None else request.temperature
    top_p = 1.0 if request.top_p is None else request.top_p
    return Sampling(
        max_tokens=max_tokens,
        temperature=0.0 if top_p == 0 else temperature,
        top_p=top_p or 1.0,
        top_k=request.top_k or 0,
        seed=request.seed,
        presence_penalty=request.presence_penalty or 0.0,
        frequency_penalty=request.frequency_penalty or 0.0,
        stop=stops_of(request.stop),
        logprobs=logprobs,
        echo=echo,
        grammar=grammar,
    )


def check_stream(request: Writing) -> None:
    """Raises InvalidInput for options of a stream without one."""
    if request.stream_options is not None and not request.stream:
        raise refused("stream_options", "'stream_options' are for a stream; leave them out, or send 'stream': true")


def stops_of(stop: str | list[str] | None) -> tuple[str, ...]:
    """Raises InvalidInput for too many, or ones that cannot be found."""
    stops = (stop,) if isinstance(stop, str) else tuple(stop or ())
    if len(stops) > MAX_STOPS:
        raise refused("stop", f"'stop' has {len(stops):,} texts; at most {MAX_STOPS} are taken")
    for one in stops:
        if not 1 <= len(one) <= MAX_STOP_CHARS:
            raise refused("stop", f"a text of 'stop' has {len(one):,} characters; it takes 1 to {MAX_STOP_CHARS}")
    return stops


def check_top_logprobs(param: str, given: int | None) -> None:
    """Raises InvalidInput for more alternatives than the engine tells."""
    if given is not None and given > MAX_TOP_LOGPROBS:
        raise refused(param, f"'{param}' is {given}; this engine tells the log-probability of one token, send 0 or 1")


def room_of(prompt_tokens: int, context_tokens: int, given: int | None, *, param: str, default: int | None) -> int:
    """How many tokens may be written after this prompt: what was asked for, else `default`, else all that fits.

    Raises ContextTooLong where the two do not fit together, InvalidInput for more than any prompt leaves room for.
    """
    if given is not None and given > context_tokens:
        raise refused(param, f"'{param}' is {given:,}; the model reads and writes {context_tokens:,} tokens together")
    left = context_tokens - prompt_tokens
    if prompt_tokens + (1 if given is None else given) > context_tokens:
        asks = "" if given is None else f" and '{param}' asks for {given:,} more"
        raise too_long(
            param if given else "messages" if default is None else "prompt",
            f"the prompt has {prompt_tokens:,}{asks}; shorten it or ask for less",
            context_tokens,
        )
    if given is not None:
        return given
    return left if default is None else min(default, left)


def grammar_of(wanted: ResponseFormat | None, *, param: str = "response_format") -> Grammar | None:
    """What the answer must fit. Raises InvalidInput for a schema that is missing or too large."""
    if wanted is None or wanted.type == "text":
        return None
    if wanted.type == "json_object":
        return Grammar("json-object")
    if wanted.json_schema is None:
        raise refused(f"{param}.json_schema", "a format of type 'json_schema' takes the schema in 'json_schema'")
    return schema_grammar(wanted.json_schema.schema, param=f"{param}.json_schema.schema")


def schema_grammar(schema: object, *, param: str) -> Grammar:
    """Raises InvalidInput if it is too large."""
    text = msgspec.json.encode(schema)
    if len(text) > MAX_GRAMMAR_BYTES:
        raise refused(param, f"the JSON schema has {len(text):,} bytes; at most {MAX_GRAMMAR_BYTES:,} are taken")
    return Grammar("json-schema", text.decode())
