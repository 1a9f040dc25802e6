"""What any call that queues a job may ask of how it runs: ?priority=high&threads=2&memory_bytes=4000000000."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Query, Request

from modeltap.api.access import caller
from modeltap.api.services import Services, ServicesOf
from modeltap.domain.job import JobTerms, Priority

MOST_THREADS = 1024
MOST_MEMORY_BYTES = 1 << 50


def _services(
    request: Request,
    priority: Annotated[Priority | None, Query(description="Before others of the tenant; normal where none is given.")] = None,
    threads: Annotated[int | None, Query(ge=1, le=MOST_THREADS, description="CPU threads; a recipe's own come first.")] = None,
    memory_bytes: Annotated[
        int | None, Query(ge=1, le=MOST_MEMORY_BYTES, description="Of all its processes; more ends the job.")
    ] = None,
) -> Services:
    services_of: ServicesOf = request.app.state.services_of
    terms = JobTerms(priority=priority, threads=threads, memory_bytes=memory_bytes)
    return services_of(caller(request).tenant, terms)


UseForJobs = Annotated[Services, Depends(_services)]
"""As `Use`, of a route that queues a job."""
