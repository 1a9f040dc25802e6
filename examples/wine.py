"""Writes wine.csv, 178 wines with 13 measurements and their cultivar as scikit-learn bundles them, and rows.csv to ask with."""

from pathlib import Path

from sklearn.datasets import load_wine

wine = load_wine()
title = ",".join(wine.feature_names)
lines = [",".join(map(str, row)) for row in wine.data.tolist()]
labels = [str(wine.target_names[label]) for label in wine.target]
labelled = [f"{line},{label}" for line, label in zip(lines, labels, strict=True)]

Path("wine.csv").write_text("\n".join([f"{title},cultivar", *labelled]) + "\n", encoding="utf-8")

# One wine of each cultivar; in the last one the first measurement, alcohol, is not known.
asked = [lines[labels.index(label)] for label in sorted(set(labels))]
asked[-1] = "," + asked[-1].partition(",")[2]
Path("rows.csv").write_text("\n".join([title, *asked]) + "\n", encoding="utf-8")
