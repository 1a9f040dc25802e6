"""What is known of one request once it was answered: for its line in the log and its spans in a trace."""

from __future__ import annotations

import msgspec


class EndedCall(msgspec.Struct, kw_only=True):
    """Nothing of what was sent or answered, and no key. Parts that the request never came to are 0."""

    operation: str
    """One of few, without names in it: `POST /predict`."""
    request_id: str
    deployment: str
    """'' where none was reached."""
    model: str
    """name@version, or ''."""
    status: int
    """That of HTTP, also for other protocols."""
    code: str = ""
    """Of the named error; '' if answered."""
    rows: int = 0
    total_s: float
    parse_s: float = 0.0
    """From the start until it was queued."""
    queue_s: float = 0.0
    compute_s: float = 0.0
    encode_s: float = 0.0
    """From the outputs to the bytes of the answer."""
