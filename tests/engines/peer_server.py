"""A small server that speaks OpenAI's protocol, as a process of its own: what stands behind an upstream in the tests.

`python peer_server.py PORT`. It answers with words "w0 w1 …", as many as `max_tokens` says; how, the name of the model says.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys

import uvicorn

MODELS = (
    "good",
    "silent",
    "breaks",
    "dies",
    "busy",
    "refuses",
    "redirects",
    "endless",
    "garbage",
    "failing",
    "calls",
    "chatless",
)
CONTEXT = 512
CALLS = [
    {"id": f"call_{n}", "type": "function", "function": {"name": "weather", "arguments": json.dumps({"city": city})}}
    for n, city in enumerate(("Bern", "Oslo"))
]


class Peer:
    def __init__(self):
        self.asked = []
        self.left = 0
        self.key = os.environ.get("PEER_KEY") or os.environ.get("VLLM_API_KEY", "")

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            return
        path, headers = scope["path"], dict(scope["headers"])
        if path == "/health":
            await self.say(send, 200, {})
        elif path == "/seen":
            await self.say(send, 200, {"asked": self.asked, "left": self.left, "pid": os.getpid()})
        elif self.key and headers.get(b"authorization") != f"Bearer {self.key}".encode():
            await self.say(send, 401, {"error": {"message": "wrong key"}})
        elif path == "/v1/models":
            listed = [{"id": name, "object": "model", "max_model_len": CONTEXT} for name in MODELS]
            await self.say(send, 200, {"object": "list", "data": listed})
        else:
            body = b""
            while True:
                message = await receive()
                body += message.get("body", b"")
                if not message.get("more_body"):
                    break
            request = json.loads(body)
            self.asked.append({"path": path, "host": headers[b"host"].decode(), **request})
            await self.write(path, request, receive, send)

    async def write(self, path, request, receive, send):
        model = request["model"]
        if model == "busy":
            await self.say(send, 429, {"error": {"message": "slow down"}}, [(b"retry-after", b"7")])
        elif model == "refuses":
            await self.say(send, 400, {"error": {"message": "temperature is too hot", "param": "temperature"}})
        elif model == "redirects":
            await self.say(send, 307, {}, [(b"location", b"http://127.0.0.1:1/v1/chat/completions")])
        elif model == "chatless" and path != "/v1/completions":
            await self.say(send, 404, {"error": {"message": "no chat template"}})
        elif model == "failing":
            await self.say(send, 500, {"detail": "out of memory"})
        elif model == "garbage":
            await self.say(send, 200, ["not", "an", "object"])
        elif request.get("stream"):
            await self.stream(path, request, receive, send)
        else:
            await self.whole(path, request, send)

    async def whole(self, path, request, send):
        limit = request.get("max_tokens") or request.get("max_completion_tokens") or 5
        text = " ".join(f"w{i}" for i in range(limit))
        choice = {"index": 0, "finish_reason": "length"}
        choice |= {"text": text} if path == "/v1/completions" else {"message": {"role": "assistant", "content": text}}
        if request["model"] == "calls":
            choice |= {"finish_reason": "tool_calls", "message": {"role": "assistant", "content": None, "tool_calls": CALLS}}
        answer = {"id": "theirs", "object": "x", "created": 1, "model": "their-model", "choices": [choice], "secret": "inner"}
        if request["model"] != "silent":
            answer["usage"] = {"prompt_tokens": 7, "completion_tokens": limit, "total_tokens": 7 + limit}
        await self.say(send, 200, answer)

    async def stream(self, path, request, receive, send):
        model = request["model"]
        endless = model == "endless"
        limit = 10**9 if endless else request.get("max_tokens") or request.get("max_completion_tokens") or 5
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        gone = asyncio.create_task(receive())
        if model == "calls":
            await self.event(send, {"choices": [{"index": 0, "finish_reason": None, "delta": {"content": "Let me see. "}}]})
            for n, call in enumerate(CALLS):
                name, arguments = call["function"]["name"], call["function"]["arguments"]
                parts = [{"id": call["id"], "type": "function", "function": {"name": name, "arguments": arguments[:3]}}]
                parts += [{"function": {"arguments": arguments[3:]}}]
                for part in parts:
                    delta = {"tool_calls": [{"index": n, **part}]}
                    await self.event(send, {"choices": [{"index": 0, "finish_reason": None, "delta": delta}]})
            limit = 0
        for i in range(limit):
            if model in ("breaks", "dies") and i == 3:
                if model == "dies":
                    os._exit(9)
                return await send({"type": "http.response.body", "body": b""})
            piece = {"text": f"w{i} "} if path == "/v1/completions" else {"delta": {"content": f"w{i} "}}
            await self.event(send, {"choices": [{"index": 0, "finish_reason": None, **piece}]})
            if endless:
                done, _ = await asyncio.wait([gone], timeout=0.005)
                if done:
                    self.left += 1
                    return None
        last = {"text": ""} if path == "/v1/completions" else {"delta": {}}
        await self.event(send, {"choices": [{"index": 0, "finish_reason": "length", **last}]})
        if model != "silent" and (request.get("stream_options") or {}).get("include_usage"):
            usage = {"prompt_tokens": 7, "completion_tokens": limit, "total_tokens": 7 + limit}
            await self.event(send, {"choices": [], "usage": usage})
        gone.cancel()
        await send({"type": "http.response.body", "body": b"data: [DONE]\n\n"})
        return None

    async def event(self, send, value):
        whole = {"id": "theirs", "object": "x", "created": 1, "model": "their-model", **value}
        data = b": a comment\r\ndata: " + json.dumps(whole).encode() + b"\r\n\r\n"
        await send({"type": "http.response.body", "body": data, "more_body": True})

    async def say(self, send, status, value, more=()):
        body = json.dumps(value).encode()
        headers = [(b"content-type", b"application/json"), *more]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


if __name__ == "__main__":
    if "--broken" in sys.argv:
        print("no such weights", flush=True)
        sys.exit(3)
    print("the peer begins", flush=True)
    uvicorn.run(Peer(), host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", access_log=False, lifespan="off")
