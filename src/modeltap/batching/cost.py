"""How long a batch will run: a line through what earlier batches of the same shape took."""

from __future__ import annotations

MEMORY = 1 / 32
"""The share of one observation once there are many: about the last 32 batches count."""
TIE = 0.002
"""How much sizes must differ (variance over squared mean) for the slope to follow the data more than the prior's shape."""
STREAK = 4
"""So many outliers in a row on one side are no outliers: the engine has changed, and the line begins anew."""
UNKNOWN_SPREAD = 0.25
MIN_SECONDS = 1e-9


class CostLine:
    """Run time ≈ `fixed_s` + `per_row_s` · rows, fitted online with forgetting. Before data it is the prior.

    Batches of one size alone cannot tell the fixed part from the part per row: then the prior's proportion between them is
    kept, at the height of the data. A single outlier counts only up to a limit.
    """

    __slots__ = (
        "_covariance",
        "_mean_rows",
        "_mean_s",
        "_shape",
        "_streak",
        "_variance",
        "fixed_s",
        "num_seen",
        "per_row_s",
        "spread",
    )

    def __init__(self, *, fixed_s: float = 1e-3, per_row_s: float = 1e-4) -> None:
        if not (fixed_s >= 0 and per_row_s >= 0 and fixed_s + per_row_s > 0):
            raise ValueError(f"a cost line of {fixed_s} s + {per_row_s} s a row is not positive; give seconds above 0")
        self.fixed_s = fixed_s
        self.per_row_s = per_row_s
        self.spread = UNKNOWN_SPREAD
        """Mean distance of a run from the line, as a part of the line's value."""
        self.num_seen = 0
        self._shape = (fixed_s, per_row_s)
        self._mean_rows = self._mean_s = self._variance = self._covariance = 0.0
        self._streak = 0

    def branch(self) -> CostLine:
        """A line without data whose prior is what this one knows now."""
        return CostLine(fixed_s=self.fixed_s, per_row_s=self.per_row_s)

    def predict(self, rows: int) -> float:
        """Seconds that a batch of so many rows will run."""
        return self.fixed_s + self.per_row_s * rows

    @property
    def tells_fixed_part(self) -> bool:
        """Whether the fixed part was measured, on batches of different sizes, and is not only the prior's share."""
        return self.num_seen >= 2 * STREAK and self._variance > TIE * self._mean_rows**2

    def learn(self, rows: int, run_s: float) -> None:
        """A batch of `rows` ran `run_s` seconds."""
        seen_s = self._believed(rows, max(run_s, MIN_SECONDS))
        if self.num_seen:
            distance = abs(seen_s / self.predict(rows) - 1)
            self.spread += max(1 / self.num_seen, MEMORY) * (distance - self.spread)
        self.num_seen += 1
        share = max(1 / self.num_seen, MEMORY)
        more_rows, more_s = rows - self._mean_rows, seen_s - self._mean_s
        self._mean_rows += share * more_rows
        self._mean_s += share * more_s
        self._variance = (1 - share) * (self._variance + share * more_rows**2)
        self._covariance = (1 - share) * (self._covariance + share * more_rows * more_s)
        self._fit()

    def _believed(self, rows: int, run_s: float) -> float:
        """The run time, brought near the line if it is an outlier; a streak of them makes the line start over."""
        expected_s = self.predict(rows)
        limit = 1 + max(4 * self.spread, 0.5)
        if self.num_seen == 0 or expected_s / limit <= run_s <= expected_s * limit:
            self._streak = 0
            return run_s
        side = 1 if run_s > expected_s else -1
        self._streak = self._streak + side if self._streak * side > 0 else side
        if abs(self._streak) >= STREAK:
            self._streak = self.num_seen = 0
            self._shape = (self.fixed_s, self.per_row_s)
            self.spread = UNKNOWN_SPREAD
            return run_s
        return expected_s * limit if side > 0 else expected_s / limit

    def _fit(self) -> None:
        """Least squares through the weighted mean point, the slope drawn towards the shape; neither part is negative."""
        fixed_s, per_row_s = self._shape
        slope_of_shape = per_row_s * self._mean_s / (fixed_s + per_row_s * self._mean_rows)
        tie = TIE * self._mean_rows**2
        slope = (self._covariance + tie * slope_of_shape) / (self._variance + tie)
        self.per_row_s = min(max(slope, 0.0), self._mean_s / self._mean_rows)
        self.fixed_s = max(self._mean_s - self.per_row_s * self._mean_rows, 0.0)
