"""docs/api.md has every route and every error code with its status, and no other."""

from __future__ import annotations

from typing import Any, cast

from checkout import read, section, table

from modeltap.api.access import PREFIX
from modeltap.api.control import control_app
from modeltap.api.docs import DATA_PLANE
from modeltap.api.openai.control_routes import control_routes
from modeltap.api.openai.described import OPERATIONS
from modeltap.api.openai.routes import model_routes
from modeltap.api.problems import UNKNOWN, status_of_code
from modeltap.errors import ModeltapError

NOUNS = ("Datasets", "Jobs", "Batches", "Models", "Deployments", "Keys", "Tenants", "Usage", "The server itself")


def routes(title: str) -> list[str]:
    return [row[0] for row in table(section(read("docs/api.md"), title)) if row[0].partition(" ")[0].isupper()]


def codes(cls: type[ModeltapError] = ModeltapError) -> set[str]:
    own = {cls.code} if cls.__module__ == ModeltapError.__module__ and cls is not ModeltapError else set()
    return own.union(*(codes(child) for child in cls.__subclasses__()))


def test_every_control_route_is_documented_and_every_documented_one_exists():
    paths = control_app(cast(Any, None)).openapi()["paths"]
    exist = {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods if path.startswith(PREFIX)}
    told = [route for title in NOUNS for route in routes(title)]
    assert len(told) == len(set(told))
    assert set(told) == exist


def test_the_paths_of_the_data_plane_are_those_of_the_running_docs_page():
    assert routes("Predictions") == [f"{method} {path}" for method, path, _ in DATA_PLANE]


def test_every_path_of_openais_is_described_and_documented():
    exist = [(route.method, route.pattern) for route in (*model_routes(None, max_body_bytes=1), *control_routes(None))]
    assert len(exist) == len(set(exist))
    assert {(one.method, one.path) for one in OPERATIONS} == set(exist)
    told = [
        route for title in ("OpenAI's models and texts", "OpenAI's files, fine-tuning and batches") for route in routes(title)
    ]
    assert sorted(told) == sorted(f"{method} {path}" for method, path in exist)


def test_every_error_code_has_its_status():
    told = {code: int(status) for code, status in table(section(read("docs/api.md"), "Errors"))}
    assert told == {code: status_of_code(code) for code in {*codes(), UNKNOWN["code"]}}
