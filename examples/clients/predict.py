"""Asks a deployment with Python's own library alone: python3 predict.py DEPLOYMENT ROWS.json TENSORS.json"""

from __future__ import annotations

import http.client
import json
import os
import random
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import quote

MAX_RETRIES = 2
MAX_WAIT_S = 120.0
TIMEOUT_S = 60.0


def main() -> int:
    """0: answered, 1: refused or not reached, 2: called wrongly."""
    url, key = os.environ.get("MODELTAP_URL"), os.environ.get("MODELTAP_KEY")
    if not url or not key or len(sys.argv) != 4:
        print("usage: MODELTAP_URL=… MODELTAP_KEY=… predict.py DEPLOYMENT ROWS.json TENSORS.json", file=sys.stderr)
        return 2
    name = quote(sys.argv[1], safe="")
    try:
        rows, tensors = (Path(file).read_text(encoding="utf-8") for file in sys.argv[2:])
        print(ask(f"{url.rstrip('/')}/predict/{name}", f'{{"instances": {rows}}}', key))
        print(ask(f"{url.rstrip('/')}/v2/models/{name}/infer", tensors, key))
    except (OSError, ValueError, RuntimeError) as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 1
    return 0


def ask(url: str, body: str, key: str) -> str:
    """The body of the answer. Its Idempotency-Key makes all tries one request: it is answered, and charged, once."""
    headers = {
        "Authorization": f"Bearer {key}",
        "Content-Type": "application/json",
        "Idempotency-Key": str(uuid.uuid4()),
    }
    num_tries = 0
    while True:
        num_tries += 1
        wait_s: float | None
        try:
            status, told, text = send(url, body, headers)
            if status == 200:
                return text
            reason, wait_s = f"{status}: {detail(text)}", wait_before_retry(num_tries, status, told)
        except (OSError, http.client.HTTPException) as problem:
            reason, wait_s = f"no answer from {url}: {problem}", pause_s(num_tries)
        if wait_s is None or num_tries > MAX_RETRIES:
            raise RuntimeError(reason)
        print(f"{reason}; trying again in {wait_s:.3f} s", file=sys.stderr)
        time.sleep(wait_s)


def send(url: str, body: str, headers: Mapping[str, str]) -> tuple[int, Mapping[str, str], str]:
    """Status, headers and body of one answer, whatever it says."""
    try:
        answer = urllib.request.urlopen(urllib.request.Request(url, body.encode(), dict(headers)), timeout=TIMEOUT_S)
    except urllib.error.HTTPError as refusal:
        answer = refusal
    with answer:
        return answer.status, answer.headers, answer.read().decode("utf-8", "replace")


def wait_before_retry(num_tries: int, status: int, headers: Mapping[str, str]) -> float | None:
    """Seconds until the next try; None where there should be none."""
    should = headers.get("x-should-retry")
    if should == "false" or (should != "true" and status not in (408, 409, 429) and status < 500):
        return None
    wait_s = wait_asked_s(headers)
    if wait_s is None:
        return pause_s(num_tries)
    return wait_s if wait_s <= MAX_WAIT_S else None


def wait_asked_s(headers: Mapping[str, str]) -> float | None:
    """What the server asks for, in milliseconds, in seconds or as a date."""
    milliseconds, after = headers.get("retry-after-ms", ""), headers.get("retry-after", "")
    if milliseconds.isdecimal():
        return int(milliseconds) / 1000
    if after.isdecimal():
        return float(after)
    try:
        return max(0.0, parsedate_to_datetime(after).timestamp() - time.time())
    except ValueError:
        return None


def pause_s(num_tries: int) -> float:
    """Twice as long each time, and not the same for all who wait."""
    return min(0.25 * 2 ** (num_tries - 1), 8.0) * random.uniform(0.5, 1.0)


def detail(text: str) -> str:
    """What a refusal says: `detail` of problem+json, `error` of /v2."""
    try:
        problem = json.loads(text)
        return str(problem.get("detail") or problem["error"])
    except (ValueError, KeyError, AttributeError):
        return text


if __name__ == "__main__":
    sys.exit(main())
