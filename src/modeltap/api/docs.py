"""/docs: the OpenAPI description as one page that needs nothing from elsewhere, with the data plane's paths beside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

DATA_PLANE = [
    ("POST", "/predict/{deployment}", 'Rows in, answers out: {"instances": [row, …]}, {"inputs": {name: column}}, a bare row, '
     "CSV text, a picture, or a form."),
    ("POST", "/predict", "The same, where there is one deployment or one marked as the default."),
    ("POST", "/explain/{deployment}", "The same bodies in, and why each row gets its answer: by column, pixel or word."),
    ("GET", "/v2/models/{deployment}", "Open Inference Protocol: names, datatypes and shapes."),
    ("POST", "/v2/models/{deployment}/infer", "Open Inference Protocol: tensors as JSON or bytes."),
    ("GET", "/livez", "Whether the process lives; needs no key."),
    ("GET", "/readyz", "Whether it takes requests; needs no key."),
]  # fmt: skip


def render_docs(schema: Mapping[str, Any]) -> str:
    """The page, as HTML."""
    from jinja2 import Environment, PackageLoader, select_autoescape

    environment = Environment(loader=PackageLoader("modeltap.api"), autoescape=select_autoescape())
    groups: dict[str, list[dict[str, Any]]] = {}
    listed = {path for _, path, _ in DATA_PLANE}
    for path, methods in schema["paths"].items():
        for method, operation in methods.items() if path not in listed else ():
            groups.setdefault((operation.get("tags") or ["other"])[0], []).append(
                {
                    "method": method.upper(),
                    "path": path,
                    "summary": operation.get("description") or operation.get("summary", ""),
                    "parameters": operation.get("parameters", []),
                    "body": _body(operation, schema),
                }
            )
    template = environment.get_template("docs.html")
    return template.render(version=schema["info"]["version"], groups=groups, data_plane=DATA_PLANE)


def _body(operation: Mapping[str, Any], schema: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The fields of a JSON body: name, type, whether it must be there."""
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    fields = []
    for reference in _references(content):
        model = schema["components"]["schemas"][reference.rpartition("/")[2]]
        required = set(model.get("required", ()))
        for name, inner in model.get("properties", {}).items():
            fields.append({"model": model["title"], "name": name, "type": _type(inner), "required": name in required})
    return fields


def _references(content: Mapping[str, Any]) -> list[str]:
    if "$ref" in content:
        return [content["$ref"]]
    return [ref for choice in (*content.get("oneOf", ()), *content.get("anyOf", ())) for ref in _references(choice)]


def _type(inner: Mapping[str, Any]) -> str:
    if "const" in inner:
        return f'"{inner["const"]}"'
    choices = [_type(choice) for choice in inner.get("anyOf", ()) if choice.get("type") != "null"]
    return " or ".join(choices) or str(inner.get("type", "any"))
