"""The directory of one version: one graph from raw values to answers, weights, golden rows, manifest and card."""
