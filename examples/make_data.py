"""Writes numbers.npz (2,000 × 10 and a number) for regression.yaml and vectors.npz (3,000 × 100 and a class of 10) for
classifier.yaml: random inputs, and targets that a network can learn from them."""

import numpy as np

rng = np.random.default_rng(0)

x = rng.normal(size=(2_000, 10)).astype(np.float32)
y = x @ rng.normal(size=10) + 0.5 * np.abs(x[:, 0]) + rng.normal(scale=0.1, size=2_000)
np.savez("numbers.npz", x=x, y=y.astype(np.float32))

centre = rng.normal(size=(10, 100))
label = rng.integers(0, 10, size=3_000)
np.savez("vectors.npz", x=(centre[label] + rng.normal(size=(3_000, 100))).astype(np.float32), y=label)
