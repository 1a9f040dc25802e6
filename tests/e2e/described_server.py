"""A server held against its own /openapi.json: requests made up from the description, and what must be true of the answers."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Mapping
from typing import Any

import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import Case, GenerationMode, checks
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    ignored_auth,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)

TIMES = int(os.environ.get("MODELTAP_TEST_TIMES", "0"))
"""As many requests, and others each time; 0 is the same few."""
WAIT_S = 60.0
CHECKS: list[Any] = [
    checks.not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
WITH_OUR_KEY = schemathesis.Config.from_dict({"generation": {"with-security-parameters": False}})
"""Keys are made up by the check that looks what they open, and not for every request."""
Adjust = Callable[[Case, bool], None]
"""Changes a request before it is sent; every other one, the simplest among them, is to ask for something that there is."""


class Described:
    """The server at a URL, by its own description."""

    def __init__(self, url: str, key: str) -> None:
        self._url = url
        self._session = requests.Session()
        self._headers = {"Authorization": f"Bearer {key}"}
        told = self._session.get(f"{url}/openapi.json", headers=self._headers, timeout=WAIT_S).json()
        self._schema = schemathesis.openapi.from_dict(told, config=WITH_OUR_KEY)

    def close(self) -> None:
        self._session.close()

    def hold(self, route: tuple[str, str], mode: GenerationMode, adjust: Adjust, *, num: int) -> set[int]:
        """The statuses of the answers to so many requests; fails if one does not keep to the description."""
        method, path = route
        statuses: set[int] = set()
        turns = itertools.count()
        wanted = [*CHECKS, negative_data_rejection] if mode is GenerationMode.NEGATIVE else CHECKS

        @settings(
            max_examples=num * max(TIMES, 1),
            derandomize=not TIMES,
            database=None,
            suppress_health_check=list(HealthCheck),
            deadline=None,
        )
        @given(case=self._schema[path][method].as_strategy(generation_mode=mode))
        def ask(case: Case) -> None:
            adjust(case, next(turns) % 2 == 0)
            # It asks again without a key and with wrong ones: what one answer proves of a route holds for all of them.
            is_proven = min(statuses, default=500) < 300
            answer = case.call_and_validate(
                base_url=self._url,
                session=self._session,
                headers=self._headers,
                checks=wanted if is_proven else [*wanted, ignored_auth],
                timeout=WAIT_S,
            )
            statuses.add(answer.status_code)

        ask()
        return statuses


def can_be_broken(operation: Mapping[str, Any]) -> bool:
    """Whether a request to it could be one that its description does not allow: a path with any text in it cannot."""
    any_text = {"type": "string"}
    return "requestBody" in operation or any(
        told["in"] != "path" or {name: rule for name, rule in told["schema"].items() if name != "title"} != any_text
        for told in operation.get("parameters", ())
    )
