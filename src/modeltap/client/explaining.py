"""`client.explain`: why a deployment answers as it does, row by row."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any, overload

import msgspec

from modeltap.client.predicting import Picture, metered_headers, prediction_body
from modeltap.client.receipt import Receipt, read_receipt
from modeltap.client.transport import Transport, segment
from modeltap.client.values import Answer, Deployment, read_answer

SPARE_S = 30.0
"""That an answer may take longer than the server gives the explanation itself."""


class Explained(Answer, frozen=True, kw_only=True):
    """One row's. Of a table `values` ({"column", "value", "shapley", "error"}, the largest first), of a picture `heat` and
    `png`, of a text `words` ({"text", "start", "end", "score"}) and `html`; `fidelity` has `deletion_auc`, `insertion_auc`,
    `random_auc` and for Shapley values `additivity_gap`."""

    prediction: Any
    method: str
    answer: float
    """What is explained: the probability of a class, or the predicted number."""
    label: str | None = msgspec.field(default=None, name="class")
    base: float | None = None
    values: tuple[dict[str, Any], ...] = ()
    heat: tuple[tuple[float, ...], ...] = ()
    words: tuple[dict[str, Any], ...] = ()
    html: str = ""
    fidelity: dict[str, Any] = msgspec.field(default_factory=dict)
    rows: int = 0

    @property
    def png(self) -> bytes:
        """The picture under its heat map, as a PNG file; empty for what is no picture."""
        return base64.b64decode(self.raw.get("png") or "")


class Explanations(Sequence[Explained]):
    """One a row, in order; `model` is the version that was asked, `rows` what its engine ran in all."""

    def __init__(self, raw: dict[str, Any], receipt: Receipt) -> None:
        self.raw = raw
        self.receipt = receipt
        self.model: str = raw.get("model", "")
        self.rows: int = raw.get("rows", 0)
        self._all = [read_answer(one, Explained) for one in raw.get("explanations", ())]

    @property
    def cost(self) -> Decimal | None:
        """What the call was charged; None where it was charged in an earlier try."""
        return self.receipt.cost

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[Explained]:
        return iter(self._all)

    @overload
    def __getitem__(self, index: int) -> Explained: ...
    @overload
    def __getitem__(self, index: slice) -> list[Explained]: ...
    def __getitem__(self, index: int | slice) -> Explained | list[Explained]:
        return self._all[index]

    def __repr__(self) -> str:
        return f"<{len(self)} explanations of {self.model}>"


class Explain:
    """Called as `client.explain(…)`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def __call__(
        self,
        deployment: str | Deployment | None,
        instances: Any = None,
        *,
        csv: str | bytes | None = None,
        image: Picture | None = None,
        method: str | None = None,
        rows: int | None = None,
        label: str | None = None,
        seed: int = 0,
        timeout_s: float | None = None,
        idempotency_key: str | None = None,
    ) -> Explanations:
        """Why each row gets its answer: a table's columns by Shapley values, a picture's pixels, a text's words.

        instances, csv, image: as `predict` takes them. method: shapley, occlusion or rise, as the model allows. rows: that an
        engine may run for each explanation. label: the class to explain; the predicted one where none is named. The same call
        gives the same explanation. Raises what `predict` does, InvalidInput for what cannot be explained so, and
        DeadlinePassed.
        """
        content, content_type = prediction_body(instances, csv=csv, image=image)
        name = deployment.name if isinstance(deployment, Deployment) else deployment
        asked = {"method": method, "rows": rows, "class": label, "seed": seed or None, "timeout_s": timeout_s}
        return send(self._transport, name, content, content_type, asked, idempotency_key=idempotency_key)


def send(
    transport: Transport,
    deployment: str | None,
    content: bytes,
    content_type: str,
    asked: dict[str, Any],
    *,
    idempotency_key: str | None = None,
) -> Explanations:
    """The explanations of a body as it is."""
    timeout_s = asked.get("timeout_s")
    answered = transport.ask(
        "POST",
        "/explain" if deployment is None else f"/explain/{segment(deployment)}",
        params={name: str(value) for name, value in asked.items() if value is not None},
        content=content,
        headers=metered_headers(transport, content_type, idempotency_key),
        timeout_s=max(transport.timeout_s, (timeout_s or 60.0) + SPARE_S),
    )
    return Explanations(transport.decoded(answered), read_receipt(answered.headers))
