"""Every path of /v1 that no model answers: files, fine-tuning and batches."""

from __future__ import annotations

from modeltap.api.openai.batches import BatchRoutes
from modeltap.api.openai.dispatch import Route
from modeltap.api.openai.files import FileRoutes
from modeltap.api.openai.fine_tuning import FineTuningRoutes
from modeltap.api.services import ServicesOf


def control_routes(services_of: ServicesOf) -> list[Route]:
    return [
        *FileRoutes(services_of).routes(),
        *FineTuningRoutes(services_of).routes(),
        *BatchRoutes(services_of).routes(),
    ]
