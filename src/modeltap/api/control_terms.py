"""Limits and terms on the wire: amounts are decimals as text, and what a body leaves out stays as it was."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from modeltap.domain.deployment import MAX_BATCH, MAX_DEADLINE_MS, MAX_REPLICAS, Terms
from modeltap.domain.money import parse_budget, parse_price, show_budget, show_price
from modeltap.domain.tenant import Limits
from modeltap.domain.usage import UNITS

MAX_COUNT = 1_000_000_000
_NEW = Terms()
"""What a deployment is served by that nobody has said anything about."""


def _as_text(given: Any) -> str:
    """A JSON number with a point is a float, which cannot hold every amount."""
    if isinstance(given, bool) or not isinstance(given, (str, int)):
        raise PydanticCustomError("amount", 'give the amount of the currency as text, such as "12.50"')
    return str(given)


Amount = Annotated[str, BeforeValidator(_as_text)]
Count = Annotated[int, Field(ge=1, le=MAX_COUNT)]


class LimitsBody(BaseModel):
    """null takes a limit away."""

    model_config = ConfigDict(extra="forbid", strict=True)
    rpm: Count | None = None
    upm: Count | None = None
    concurrency: Count | None = None
    budget_day: Amount | None = None
    budget_month: Amount | None = None

    def changes(self) -> dict[str, Any]:
        """The fields of Limits that were given. Raises InvalidInput for what is no amount."""
        changes: dict[str, Any] = {}
        for name in self.model_fields_set:
            value = getattr(self, name)
            if name.startswith("budget_"):
                changes[f"{name}_nano"] = None if value is None else parse_budget(value, name)
            else:
                changes[name] = value
        return changes


class TermsBody(BaseModel):
    """price: unit → what 1,000 of it cost."""

    model_config = ConfigDict(extra="forbid", strict=True)
    price: dict[str, Amount] = {}
    public: bool = False
    public_limits: LimitsBody = LimitsBody()
    replicas: Annotated[int, Field(ge=1, le=MAX_REPLICAS)] = _NEW.replicas
    isolate: bool = False
    deadline_ms: Annotated[int, Field(ge=1, le=MAX_DEADLINE_MS)] | None = _NEW.deadline_ms
    max_batch: Annotated[int, Field(ge=1, le=MAX_BATCH)] = _NEW.max_batch

    def changes(self) -> dict[str, Any]:
        """The fields of Terms that were given. Raises InvalidInput for what is no amount."""
        changes: dict[str, Any] = {}
        for name in self.model_fields_set:
            value = getattr(self, name)
            if name == "price":
                changes[name] = {unit: parse_price(amount, f"price.{unit}") for unit, amount in value.items()}
            elif name == "public_limits":
                changes[name] = value.changes()
            else:
                changes["is_public" if name == "public" else name] = value
        return changes


def limits_facts(limits: Limits) -> dict[str, Any]:
    return {
        "rpm": limits.rpm,
        "upm": limits.upm,
        "concurrency": limits.concurrency,
        "budget_day": None if limits.budget_day_nano is None else show_budget(limits.budget_day_nano),
        "budget_month": None if limits.budget_month_nano is None else show_budget(limits.budget_month_nano),
    }


def terms_facts(terms: Terms) -> dict[str, Any]:
    return {
        "price": {unit: show_price(getattr(terms.price, unit)) for unit in UNITS},
        "public": terms.is_public,
        "public_limits": limits_facts(terms.public_limits),
        "replicas": terms.replicas,
        "isolate": terms.isolate,
        "deadline_ms": terms.deadline_ms,
        "max_batch": terms.max_batch,
    }
