"""Writes numbers.npz (2,000 × 10 and a number) for regression.yaml, vectors.npz (3,000 × 100 and a class of 10) for
classifier.yaml and tokens.npz (3,000 × 20 whole numbers and a class of 3) for sequence.yaml: random inputs, and targets that
a network can learn from them."""

import numpy as np

rng = np.random.default_rng(0)

x = rng.normal(size=(2_000, 10)).astype(np.float32)
y = x @ rng.normal(size=10) + 0.5 * np.abs(x[:, 0]) + rng.normal(scale=0.1, size=2_000)
np.savez("numbers.npz", x=x, y=y.astype(np.float32))

centre = rng.normal(size=(10, 100))
label = rng.integers(0, 10, size=3_000)
np.savez("vectors.npz", x=(centre[label] + rng.normal(size=(3_000, 100))).astype(np.float32), y=label)

token = rng.integers(4, 30, size=(3_000, 20))
for marker in (1, 2, 3, 1, 2, 3):
    token[np.arange(3_000), rng.integers(0, 20, size=3_000)] = marker
place = np.where(np.isin(token, [1, 2, 3]), np.arange(20), -1).argmax(axis=1)
np.savez("tokens.npz", x=token, y=token[np.arange(3_000), place])
