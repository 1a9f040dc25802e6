"""Every path of /v1 that a model answers, or that tells of models; files, fine-tuning and batches add theirs in wiring."""

from __future__ import annotations

from modeltap.api.openai.chat import Chat
from modeltap.api.openai.completions import Completions
from modeltap.api.openai.dispatch import Route
from modeltap.api.openai.embeddings import Embeddings
from modeltap.api.openai.models import Models
from modeltap.api.openai.moderations import Moderations
from modeltap.api.openai.responses import Responses
from modeltap.serving.plane import Plane


def model_routes(plane: Plane, *, max_body_bytes: int) -> list[Route]:
    models = Models(plane)
    completions = Completions(plane, max_body_bytes=max_body_bytes)
    chat = Chat(plane, max_body_bytes=max_body_bytes)
    embeddings = Embeddings(plane, max_body_bytes=max_body_bytes)
    moderations = Moderations(plane, max_body_bytes=max_body_bytes)
    responses = Responses(plane, max_body_bytes=max_body_bytes)
    return [
        Route("GET", "/v1/models", models.list, is_metered=False),
        Route("GET", "/v1/models/{model}", models.get, is_metered=False),
        Route("GET", "/v1/engines", models.list_engines, is_metered=False),
        Route("GET", "/v1/engines/{engine}", models.get_engine, is_metered=False),
        Route("POST", "/v1/completions", completions.answer),
        Route("POST", "/v1/engines/{engine}/completions", completions.answer_engine),
        Route("POST", "/v1/chat/completions", chat.answer),
        Route("POST", "/v1/responses", responses.answer),
        Route("POST", "/v1/embeddings", embeddings.answer),
        Route("POST", "/v1/moderations", moderations.answer),
    ]
