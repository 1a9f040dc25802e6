"""Asks a deployment with modeltap's SDK, which waits and repeats by itself: python3 predict_sdk.py DEPLOYMENT ROWS.json"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import modeltap
from modeltap.errors import ModeltapError, RateLimited


def main() -> int:
    """0: answered, 1: refused or not reached, 2: called wrongly."""
    if not os.environ.get("MODELTAP_URL") or not os.environ.get("MODELTAP_KEY") or len(sys.argv) != 3:
        print("usage: MODELTAP_URL=… MODELTAP_KEY=… predict_sdk.py DEPLOYMENT ROWS.json", file=sys.stderr)
        return 2
    try:
        rows = json.loads(Path(sys.argv[2]).read_text(encoding="utf-8"))
        with modeltap.Client() as client:
            answers = client.predict(sys.argv[1], rows)
    except RateLimited as problem:
        print(f"error: {problem} (limit {problem.limit}, fits in {problem.retry_after_s} s)", file=sys.stderr)
        return 1
    except (OSError, ValueError, ModeltapError) as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 1
    print(json.dumps(answers.raw, ensure_ascii=False))
    print(f"{answers.model} answered {answers.request_id} at a cost of {answers.cost}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
