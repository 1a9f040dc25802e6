"""Flask: one row a request, run where it arrives. Served by gunicorn with one worker."""

from __future__ import annotations

from flask import Flask, jsonify, request
from reference_model import Model

app = Flask(__name__)
model = Model()


@app.post("/predict")
def predict():
    return jsonify(y_pred=model(request.get_json()["x"])[0].tolist())
