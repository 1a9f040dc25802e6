"""POST /v1/embeddings: texts, or ids of the model's own tokenizer, → vectors.

Letters: N texts, D numbers of a vector.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from modeltap.api.asgi import Answer, Receive, Scope, json_answer
from modeltap.api.body import apart, read_body
from modeltap.api.openai.fields import IDS, Label, Name
from modeltap.api.openai.problems import refused, too_long
from modeltap.api.openai.reading import decode_request
from modeltap.api.openai.text_models import find_text_version
from modeltap.data.subwords import id_rows
from modeltap.data.text_reading import TextReader
from modeltap.errors import ContextTooLong
from modeltap.serving.call import Call
from modeltap.serving.plane import Plane
from modeltap.tasks.text_embedding import TASK

MAX_INPUTS = 2048
"""OpenAI's own bound."""
CHARS_PER_TOKEN = 1024
"""A text with more characters a token than this does not fit, whatever they are: it is not even read."""


_TEXT = {"type": "string", "minLength": 1}


def _several(what: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": what, "minItems": 1, "maxItems": MAX_INPUTS}


class EmbeddingRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """POST /v1/embeddings."""

    model: Name
    input: Annotated[Any, msgspec.Meta(extra_json_schema={"anyOf": [_TEXT, _several(_TEXT), IDS, _several(IDS)]})]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] | None = None
    user: Label | None = None
    """Accepted without effect."""


_DECODER = msgspec.json.Decoder(EmbeddingRequest)


class Embeddings:
    def __init__(self, plane: Plane, *, max_body_bytes: int) -> None:
        self._plane = plane
        self._max_body_bytes = max_body_bytes

    async def answer(self, scope: Scope, receive: Receive, call: Call) -> Answer:
        """The vectors in the order of the inputs. Raises InvalidInput, ContextTooLong, ModelNotFound, LimitReached."""
        body = await read_body(scope, receive, limit_bytes=self._max_body_bytes)
        request = decode_request(body, _DECODER)
        version = find_text_version(self._plane, call, request.model, TASK)
        reader = version.texts
        assert reader is not None, "what is charged by the token has a reader of texts"
        with version.held():
            _check_dimensions(request.dimensions, version.signature.outputs[0].shape[1])
            ids = await apart(len(body), lambda: read_inputs(request.input, reader))
            outputs = await self._plane.infer(call, {version.signature.inputs[0].name: id_rows(ids)}, len(ids))
            vector_ND: Any = outputs[version.manifest.output]
            usage = {"prompt_tokens": call.units, "total_tokens": call.units}
            return await apart(vector_ND.nbytes, lambda: _answer(request, vector_ND, usage))


def read_inputs(given: Any, reader: TextReader) -> list[list[int]]:
    """The ids of each input. Raises InvalidInput, saying which one is wrong, and ContextTooLong."""
    if isinstance(given, str):
        return _ids_of([("input", given)], reader)
    if not isinstance(given, list) or not given:
        raise refused("input", "'input' is a text, a list of texts, a list of token ids, or a list of such lists")
    if all(type(one) is int for one in given):
        return [_checked(given, reader, "input")]
    if len(given) > MAX_INPUTS:
        raise refused("input", f"'input' has {len(given):,} texts; at most {MAX_INPUTS:,} are taken at a time")
    if all(isinstance(one, str) for one in given):
        return _ids_of([(f"input[{place}]", one) for place, one in enumerate(given)], reader)
    for place, one in enumerate(given):
        if not (isinstance(one, list) and one and all(type(number) is int for number in one)):
            raise refused(f"input[{place}]", f"'input[{place}]' is neither a text nor a list of ids, as the others are")
    return [_checked(one, reader, f"input[{place}]") for place, one in enumerate(given)]


def _ids_of(texts: Sequence[tuple[str, str]], reader: TextReader) -> list[list[int]]:
    for param, text in texts:
        if not text:
            raise refused(param, f"'{param}' is empty; send at least one character")
        if "\x00" in text:
            raise refused(param, f"'{param}' holds a NUL character, which no text has")
        if len(text) > reader.max_ids * CHARS_PER_TOKEN:
            raise _too_long(param, f"{len(text):,} characters", reader)
    found = reader.whole([text for _, text in texts])
    return [_fitting(ids, reader, param) for ids, (param, _) in zip(found, texts, strict=True)]


def _checked(ids: list[int], reader: TextReader, param: str) -> list[int]:
    wrong = next((number for number in ids if not 0 <= number < reader.size), None)
    if wrong is not None:
        raise refused(param, f"'{param}' has the token id {wrong}; those of this model are 0 to {reader.size - 1:,}")
    return _fitting(ids, reader, param)


def _fitting(ids: list[int], reader: TextReader, param: str) -> list[int]:
    if len(ids) > reader.max_ids:
        raise _too_long(param, f"{len(ids):,} tokens", reader)
    return ids


def _too_long(param: str, given: str, reader: TextReader) -> ContextTooLong:
    return too_long(param, f"it has {given}; shorten it", reader.max_ids, what=f"'{param}'")


def _check_dimensions(wanted: int | None, width: int) -> None:
    if wanted is not None and wanted > width:
        raise refused("dimensions", f"'dimensions' is {wanted}; the vectors of this model have {width}, ask for 1 to {width}")


def _answer(request: EmbeddingRequest, vector_ND: NDArray[np.float32], usage: dict[str, int]) -> Answer:
    if request.dimensions is not None and request.dimensions < vector_ND.shape[1]:
        vector_ND = shortened(vector_ND, request.dimensions)
    shown: list[Any]
    if request.encoding_format == "base64":
        shown = [base64.b64encode(vector_D.astype("<f4").tobytes()).decode() for vector_D in vector_ND]
    else:
        shown = vector_ND.tolist()
    data = [{"object": "embedding", "index": place, "embedding": one} for place, one in enumerate(shown)]
    return json_answer({"object": "list", "data": data, "model": request.model, "usage": usage})


def shortened(vector_ND: NDArray[np.float32], width: int) -> NDArray[np.float32]:
    """The first numbers of each vector, scaled to length 1 again."""
    cut_ND = vector_ND[:, :width].astype(np.float64)
    length_N1 = np.sqrt((cut_ND**2).sum(axis=1, keepdims=True))
    scaled: NDArray[np.float32] = (cut_ND / np.maximum(length_N1, 1e-12)).astype(np.float32)
    return scaled
