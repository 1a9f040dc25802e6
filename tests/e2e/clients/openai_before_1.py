"""What people wrote for openai 0.28, unchanged but for the address and the key; run by its own Python, fails by its status."""

import os

import openai

openai.api_base = os.environ["CLIENT_URL"]
openai.api_key = os.environ["CLIENT_KEY"]

response = openai.Completion.create(engine="tiny", prompt="Once upon", max_tokens=50, n=1, stop=None, temperature=0.7)
assert isinstance(response.choices[0].text, str), response
assert response.object == "text_completion" and response["model"] == "tiny", response
assert 1 <= response.usage.completion_tokens <= 50, response

steady = openai.Completion.create(engine="tiny", prompt="Once upon", max_tokens=50, n=1, stop=None, temperature=0)
assert "king" in steady.choices[0].text, steady
assert steady.choices[0].finish_reason == "stop", steady
by_model = openai.Completion.create(model="tiny", prompt="Once upon", max_tokens=50, temperature=0)
assert by_model.choices[0].text == steady.choices[0].text
parts = openai.Completion.create(engine="tiny", prompt="Once upon", max_tokens=50, temperature=0, stream=True)
assert "".join(part.choices[0].text for part in parts) == steady.choices[0].text
cut = openai.Completion.create(engine="tiny", prompt="Once upon", max_tokens=50, temperature=0, stop=[" king"])
assert "king" not in cut.choices[0].text and cut.choices[0].finish_reason == "stop", cut
several = openai.Completion.create(engine="tiny", prompt=["Once", "The quick"], max_tokens=5, n=2, logprobs=1, echo=True)
assert [choice.index for choice in several.choices] == [0, 1, 2, 3], several
assert several.choices[2].text.startswith("The quick"), several
assert several.choices[0].logprobs.token_logprobs[0] is None, several

messages = [{"role": "system", "content": "Be funny."}, {"role": "user", "content": "Tell me a joke."}]
chat = openai.ChatCompletion.create(model="tiny", messages=messages, max_tokens=60, temperature=0)
assert chat["choices"][0]["message"]["role"] == "assistant", chat
said = chat["choices"][0]["message"]["content"]
assert said and chat.usage.total_tokens == chat.usage.prompt_tokens + chat.usage.completion_tokens, chat
deltas = openai.ChatCompletion.create(model="tiny", messages=messages, max_tokens=60, temperature=0, stream=True)
assert "".join(part["choices"][0]["delta"].get("content", "") for part in deltas) == said

vectors = openai.Embedding.create(model="vectors", input=["a film", "a plot"])
assert len(vectors.data) == 2 and isinstance(vectors.data[0].embedding[0], float), vectors
assert "tiny" in [model.id for model in openai.Model.list().data]
assert openai.Model.retrieve("tiny").owned_by
assert "tiny" in [engine.id for engine in openai.Engine.list().data]

try:
    openai.ChatCompletion.create(model="absent", messages=messages)
except openai.error.InvalidRequestError as problem:
    assert problem.http_status == 404 and problem.code == "model_not_found" and problem.param == "model", problem
else:
    raise AssertionError("a model that is not there answered")
try:
    openai.Completion.create(engine="tiny", prompt="x", temperature=3)
except openai.error.InvalidRequestError as problem:
    assert problem.http_status == 400 and problem.param == "temperature", problem
else:
    raise AssertionError("a temperature of 3 was taken")
try:
    openai.Model.list(api_key="mt-nobody")
except openai.error.AuthenticationError as problem:
    assert problem.http_status == 401, problem
else:
    raise AssertionError("a key of nobody was taken")
