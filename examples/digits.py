"""Writes digits.npz, 1,797 handwritten digits of 8×8 pixels as scikit-learn bundles them, and digit.json, one to ask about."""

import json
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

digits = load_digits()
pixels = np.round(digits.images * (255 / 16)).astype(np.uint8)
np.savez("digits.npz", images=pixels, labels=digits.target)
Path("digit.json").write_text(json.dumps({"instances": [pixels[0].tolist()]}), encoding="utf-8")
