"""Pictures → one of several classes."""

from modeltap.domain.task import Task
from modeltap.tasks.answers import decode_classes

TASK = Task(
    name="image-classification",
    summary="pictures, or arrays shaped like them, → one of several classes",
    forms=("images", "arrays"),
    target="class",
    losses=("cross-entropy",),
    metric="accuracy",
    higher_is_better=True,
    architecture="cnn",
    decode=decode_classes,
    unit="image",
)
