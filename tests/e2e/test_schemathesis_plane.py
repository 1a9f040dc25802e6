"""Predictions are answered as /openapi.json says, by a real server: for whatever fits it and for what does not, and for nobody
without a key."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any, cast

import pytest
from described_server import Described, can_be_broken
from door_world import TENSOR, key_of, wait_ready
from fault_server import serving
from metered_home import make_metered_home
from schemathesis import Case, GenerationMode

from modeltap.api.control import control_app
from modeltap.api.described_plane import TAG

Route = tuple[str, str]
DOCUMENT = control_app(cast(Any, None)).openapi()
ROUTES = [
    (method.upper(), path)
    for path, operations in DOCUMENT["paths"].items()
    for method, operation in operations.items()
    if operation.get("tags") == [TAG]
]
BREAKABLE = [(method, path) for method, path in ROUTES if can_be_broken(DOCUMENT["paths"][path][method.lower()])]
NUM = 24
ONE_ROW = bytes(16)
HEAD_LENGTH = "inference-header-content-length"
ROWS = {"application/json": {"instances": [[1, 2, 3, 4]]}, "text/csv": "1,2,3,4\n"}


def lead(case: Case, is_there: bool) -> None:
    if is_there and case.path_parameters:
        case.path_parameters["deployment"] = "double"


def please(case: Case, is_there: bool) -> None:
    """The request is one that the deployment answers, whatever else is in it."""
    lead(case, is_there)
    if not is_there or case.media_type is None:
        return
    if not case.operation.path.endswith("/infer"):
        case.body = ROWS.get(case.media_type, case.body)
    elif isinstance(case.body, dict):
        case.headers.pop(HEAD_LENGTH, None)
        case.body["inputs"] = [TENSOR]
        case.body.pop("parameters", None)
        if case.body.get("outputs"):
            case.body["outputs"] = [{"name": "y"}]
    else:
        case.headers.pop(HEAD_LENGTH, None)
        case.body = ONE_ROW


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Described]:
    """One deployment, `double`: x FP32 (N, 4) → y = 2 x; a graph of bare tensors, which is not explained."""
    folder = tmp_path_factory.mktemp("plane")
    make_metered_home(folder / "home", folder)
    with serving(folder / "home") as server:
        wait_ready(server, "double")
        with closing(Described(str(server.client.base_url), key_of(server))) as described:
            yield described
        assert "Traceback" not in server.log(), server.log()[-5000:]


@pytest.mark.parametrize("route", BREAKABLE, ids=" ".join)
def test_a_path_refuses_what_its_description_does_not_allow(described: Described, route: Route) -> None:
    described.hold(route, GenerationMode.NEGATIVE, lead, num=NUM)


@pytest.mark.parametrize("route", ROUTES, ids=" ".join)
def test_a_path_keeps_to_its_description(described: Described, route: Route) -> None:
    statuses = described.hold(route, GenerationMode.POSITIVE, please, num=NUM)
    assert min(statuses) < 300 or route[1].startswith("/explain"), f"nothing but refusals: {statuses}"
