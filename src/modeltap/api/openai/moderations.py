"""POST /v1/moderations, answered by a deployment of a text classifier: the one that `model` names, else `moderation`.

The classifier's labels are the categories, but for those that say that nothing was found (`ok`, `safe`, `none`, `0`, …).
A text is flagged where what was found is more likely than nothing; then the likeliest category is true, and any other that is
as likely as not. OpenAI's own categories that the classifier does not know are there, because clients need them: false, 0, and
applied to no kind of input.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from modeltap.api.asgi import Answer, Receive, Scope, json_answer
from modeltap.api.body import apart, read_body
from modeltap.api.openai.fields import Name
from modeltap.api.openai.problems import refused
from modeltap.api.openai.reading import decode_request
from modeltap.api.openai.text_models import find_text_version
from modeltap.errors import InvalidValue, ModelNotFound
from modeltap.serving.call import Call
from modeltap.serving.plane import Plane
from modeltap.serving.version import Version
from modeltap.tasks.text_classification import TASK

DEFAULT = "moderation"
OPENAI_MODELS = frozenset(
    {
        "omni-moderation-latest",
        "omni-moderation-2024-09-26",
        "text-moderation-latest",
        "text-moderation-stable",
        "text-moderation-007",
    }
)
"""Where no deployment is called so, the default one answers: clients send these without being asked."""
HARMLESS = frozenset(
    {
        *("0", "false", "no", "none", "nothing", "ok", "okay", "safe", "clean", "fine", "neutral", "normal", "harmless"),
        *("benign", "acceptable", "allowed", "appropriate", "unflagged", "ham", "other"),
        *("not_flagged", "not_toxic", "non_toxic", "nontoxic", "not_hate", "no_hate", "non_offensive", "not_offensive"),
    }
)
"""Labels, in lower case and with underscores, that say that nothing was found."""
OPENAI_CATEGORIES = (
    "harassment",
    "harassment/threatening",
    "hate",
    "hate/threatening",
    "illicit",
    "illicit/violent",
    "self-harm",
    "self-harm/instructions",
    "self-harm/intent",
    "sexual",
    "sexual/minors",
    "violence",
    "violence/graphic",
)
MAX_INPUTS = 1024
LIKELY = 0.5


_TEXT = {"type": "string"}
_PART = {"type": "object", "properties": {"type": {"const": "text"}, "text": _TEXT}, "required": ["type", "text"]}
_INPUT = {"anyOf": [_TEXT, {"type": "array", "items": {"anyOf": [_TEXT, _PART]}, "minItems": 1, "maxItems": MAX_INPUTS}]}


class ModerationRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """POST /v1/moderations."""

    input: Annotated[Any, msgspec.Meta(extra_json_schema=_INPUT)]
    model: Name | None = None


_DECODER = msgspec.json.Decoder(ModerationRequest)


class Moderations:
    def __init__(self, plane: Plane, *, max_body_bytes: int) -> None:
        self._plane = plane
        self._max_body_bytes = max_body_bytes

    async def answer(self, scope: Scope, receive: Receive, call: Call) -> Answer:
        """A result for each text. Raises InvalidInput, ModelNotFound, LimitReached."""
        body = await read_body(scope, receive, limit_bytes=self._max_body_bytes)
        request = decode_request(body, _DECODER)
        version = self._find(call, request.model)
        texts = read_texts(request.input)
        with version.held():
            try:
                inputs = await apart(len(body), lambda: version.reader.rows(texts))
            except InvalidValue as problem:
                raise refused("input", problem.message) from None
            outputs = await self._plane.infer(call, inputs, len(texts))
            results = [moderated(answer["scores"]) for answer in version.answers(outputs)]
        return json_answer({"id": f"modr-{call.request_id}", "model": version.model_id, "results": results})

    def _find(self, call: Call, name: str | None) -> Version:
        if name is None:
            return find_text_version(self._plane, call, DEFAULT, TASK)
        try:
            return find_text_version(self._plane, call, name, TASK)
        except ModelNotFound:
            if name not in OPENAI_MODELS:
                raise
        return find_text_version(self._plane, call, DEFAULT, TASK)


def read_texts(given: Any) -> list[str]:
    """A text, texts, or parts of the type text. Raises InvalidInput, saying which one is wrong."""
    if isinstance(given, str):
        return [given]
    if not isinstance(given, list) or not given:
        raise refused("input", "'input' is a text, a list of texts, or a list of parts of the type text")
    if len(given) > MAX_INPUTS:
        raise refused("input", f"'input' has {len(given):,} texts; at most {MAX_INPUTS:,} are taken at a time")
    texts = []
    for place, one in enumerate(given):
        text = one.get("text") if isinstance(one, dict) and one.get("type") == "text" else one
        if not isinstance(text, str):
            raise refused(f"input[{place}]", f"'input[{place}]' is no text, and nothing else is judged here")
        texts.append(text)
    return texts


def moderated(scores: Mapping[str, float]) -> dict[str, Any]:
    """One result of the classifier's scores."""
    found = {label: score for label, score in scores.items() if not is_harmless(label)}
    flagged = sum(found.values()) > LIKELY
    likeliest = max(found, key=found.__getitem__, default=None)
    unknown = [name for name in OPENAI_CATEGORIES if name not in found]
    categories = {label: flagged and (label == likeliest or score >= LIKELY) for label, score in found.items()}
    return {
        "flagged": flagged,
        "categories": {**categories, **dict.fromkeys(unknown, False)},
        "category_scores": {**found, **dict.fromkeys(unknown, 0.0)},
        "category_applied_input_types": {**{label: ["text"] for label in found}, **{name: [] for name in unknown}},
    }


def is_harmless(label: str) -> bool:
    """Whether the label says that nothing was found."""
    return "_".join(label.casefold().replace("-", " ").replace("_", " ").split()) in HARMLESS
