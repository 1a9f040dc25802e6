"""A scikit-learn model as MLflow keeps it, imported over HTTP, deployed and asked: it answers as scikit-learn does."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import sklearn_models
from fault_server import serving


def test_from_an_mlflow_directory_to_the_same_answers(tmp_path: Path) -> None:
    model = sklearn_models.boosted()
    path = sklearn_models.write(model, tmp_path / "model.skops")
    flavour = "flavors:\n  sklearn: {pickled_model: model.skops, serialization_format: skops}\n"
    with zipfile.ZipFile(tmp_path / "mlflow.zip", "w") as archive:
        archive.writestr("model/MLmodel", flavour)
        archive.write(path, "model/model.skops")
    table = sklearn_models.table().head(50)
    rows = [{name: None if value != value else value for name, value in row.items()} for row in table.to_dicts()]
    with serving(tmp_path / "home") as server:
        sent = (tmp_path / "mlflow.zip").read_bytes()
        made = server.client.post("/api/models/import", params={"name": "income"}, content=sent)
        assert made.status_code == 201, made.text
        deployed = server.client.post("/api/deployments", json={"name": "income", "model": "income@1"})
        assert deployed.status_code < 300, deployed.text
        answer = server.client.post("/predict/income", content=json.dumps({"instances": rows}))
        assert answer.status_code == 200, answer.text
        predictions = answer.json()["predictions"]
    expected = model.predict_proba(table)
    given = np.array([[one["scores"][label] for label in model.classes_] for one in predictions])
    assert np.abs(given - expected).max() < 1e-5
    assert [one["label"] for one in predictions] == model.predict(table).tolist()
