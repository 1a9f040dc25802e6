"""LiteLLM with its provider `openai/` pointed at modeltap; run by its own Python, fails by its status."""

import asyncio
import os

import litellm

WHERE = {"api_base": os.environ["CLIENT_URL"], "api_key": os.environ["CLIENT_KEY"], "num_retries": 0}
ASKED = [{"role": "user", "content": "Tell me a joke."}]
ANSWER = os.environ["CLIENT_ANSWER"]


def refused(kind: type[Exception], **asked: object) -> None:
    try:
        litellm.completion(**{"model": "openai/tiny", "messages": ASKED, **WHERE, **asked})
    except kind:
        return
    raise AssertionError(f"{asked} was answered, and not refused with {kind.__name__}")


chat = litellm.completion(model="openai/tiny", messages=ASKED, max_tokens=60, temperature=0, **WHERE)
assert chat.choices[0].message.content == ANSWER, chat
assert chat.choices[0].finish_reason == "stop" and chat.model.endswith("tiny"), chat
stream = litellm.completion(
    model="openai/tiny",
    messages=ASKED,
    max_tokens=60,
    temperature=0,
    stream=True,
    stream_options={"include_usage": True},
    **WHERE,
)
chunks = list(stream)
assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == ANSWER, chunks
built = litellm.stream_chunk_builder(chunks, messages=ASKED)
assert built.usage.total_tokens == chat.usage.total_tokens, (built.usage, chat.usage)


async def several() -> list[str]:
    asked = [litellm.acompletion(model="openai/tiny", messages=ASKED, max_tokens=60, temperature=0, **WHERE) for _ in range(3)]
    return [one.choices[0].message.content for one in await asyncio.gather(*asked)]


assert asyncio.run(several()) == [ANSWER] * 3
schema = {"type": "object", "properties": {"setup": {"type": "string"}}, "required": ["setup"], "additionalProperties": False}
formed = litellm.completion(
    model="openai/tiny",
    messages=ASKED,
    max_tokens=60,
    temperature=0,
    response_format={"type": "json_schema", "json_schema": {"name": "joke", "schema": schema, "strict": True}},
    **WHERE,
)
assert formed.choices[0].message.content.startswith('{"setup"'), formed
text = litellm.text_completion(model="text-completion-openai/tiny", prompt="Once upon", max_tokens=50, temperature=0, **WHERE)
assert "king" in text.choices[0].text, text
vectors = litellm.embedding(model="openai/vectors", input=["a film", "a plot"], **WHERE)
assert len(vectors.data) == 2 and isinstance(vectors.data[0]["embedding"][0], float), vectors
assert vectors.usage.prompt_tokens > 0, vectors

refused(litellm.NotFoundError, model="openai/absent")
refused(litellm.AuthenticationError, api_key="mt-nobody")
refused(litellm.BadRequestError, top_p=7)
refused(litellm.ContextWindowExceededError, messages=[{"role": "user", "content": "cat " * 2_000}])
