"""FastAPI: a pydantic body, the graph in the route itself, which is the fastest for so small a graph. Served by uvicorn."""

from __future__ import annotations

from fastapi import FastAPI
from pydantic import BaseModel
from reference_model import Model

app = FastAPI()
model = Model()


class Row(BaseModel):
    x: list[float]


class Answer(BaseModel):
    y_pred: list[float]


@app.post("/predict")
async def predict(row: Row) -> Answer:
    return Answer(y_pred=model(row.x)[0].tolist())
