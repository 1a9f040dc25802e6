"""/v1/files: send, list, look at, fetch and remove files."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import msgspec

from modeltap.api.asgi import Answer, FileAnswer, Receive, Scope, json_answer
from modeltap.api.openai.dispatch import Route, need
from modeltap.api.openai.form_upload import receive_form
from modeltap.api.openai.listing import limit_of, page_answer, query_of
from modeltap.api.openai.problems import refused
from modeltap.api.services import ServicesOf
from modeltap.control.files import MAX_PAGE, UPLOAD_SETTING, Expiry
from modeltap.domain.stored_file import StoredFile
from modeltap.serving.call import Call
from modeltap.storage.files import Order

OCTETS = b"application/octet-stream"
ORDERS: tuple[Order, ...] = ("asc", "desc")


class FileRoutes:
    """Every key that may predict or train has files."""

    def __init__(self, services_of: ServicesOf) -> None:
        self._services_of = services_of

    def routes(self) -> list[Route]:
        return [
            Route("POST", "/v1/files", self.create, is_metered=False),
            Route("GET", "/v1/files", self.list, is_metered=False),
            Route("GET", "/v1/files/{file_id}", self.get, is_metered=False),
            Route("DELETE", "/v1/files/{file_id}", self.remove, is_metered=False),
            Route("GET", "/v1/files/{file_id}/content", self.content, is_metered=False),
        ]

    async def create(self, scope: Scope, receive: Receive, call: Call) -> Answer:
        """Takes a form with `purpose`, `file`, and perhaps `expires_after`."""
        need(call, "predict", "train")
        files = self._services_of(call.principal.tenant).files
        upload = await asyncio.to_thread(files.new_upload)
        try:
            form = await receive_form(scope, receive, upload, limit_bytes=files.limit_bytes, setting=UPLOAD_SETTING)
            purpose, filename = form.fields.get("purpose"), form.filename
            if purpose is None:
                raise refused("purpose", "the field 'purpose' is missing; say what the file is for, such as fine-tune or batch")
            if filename is None:
                raise refused("file", "the form has no part 'file'; send the file as one with a name")
            expiry = _expiry(form.fields)
            made = await asyncio.to_thread(
                lambda: files.add(call.principal, upload, filename=filename, purpose=purpose, expiry=expiry)
            )
        finally:
            await asyncio.to_thread(upload.unlink, missing_ok=True)
        return json_answer(file_facts(made))

    async def list(self, scope: Scope, _receive: Receive, call: Call) -> Answer:
        need(call, "predict", "train")
        query = query_of(scope)
        limit = limit_of(query, default=MAX_PAGE, most=MAX_PAGE)
        order = next((one for one in ORDERS if one == query.get("order", "desc")), None)
        if order is None:
            raise refused("order", f"order is {query['order'][:40]!r}; give asc or desc")
        files = self._services_of(call.principal.tenant).files
        page = await asyncio.to_thread(
            lambda: files.page(call.principal, purpose=query.get("purpose"), after=query.get("after"), order=order, limit=limit)
        )
        return page_answer([file_facts(file) for file in page.files], has_more=page.has_more)

    async def get(self, scope: Scope, _receive: Receive, call: Call) -> Answer:
        need(call, "predict", "train")
        files = self._services_of(call.principal.tenant).files
        return json_answer(file_facts(await asyncio.to_thread(files.get, call.principal, scope["path_params"]["file_id"])))

    async def remove(self, scope: Scope, _receive: Receive, call: Call) -> Answer:
        need(call, "predict", "train")
        files = self._services_of(call.principal.tenant).files
        gone = await asyncio.to_thread(files.remove, call.principal, scope["path_params"]["file_id"])
        return json_answer({"id": gone.id, "object": "file", "deleted": True})

    async def content(self, scope: Scope, _receive: Receive, call: Call) -> Answer:
        """The bytes, as they were sent."""
        need(call, "predict", "train")
        files = self._services_of(call.principal.tenant).files
        found, path = await asyncio.to_thread(files.content, call.principal, scope["path_params"]["file_id"])
        file = await asyncio.to_thread(path.open, "rb")
        name = quote(found.filename, safe="")
        shown = (b"content-disposition", f"attachment; filename*=UTF-8''{name}".encode())
        size_bytes = os.fstat(file.fileno()).st_size
        return FileAnswer(200, file, size_bytes, OCTETS, headers=[shown])


def file_facts(file: StoredFile) -> dict[str, Any]:
    """The file as every client of OpenAI's reads it."""
    return {
        "id": file.id,
        "object": "file",
        "bytes": file.size_bytes,
        "created_at": int(file.created_at.timestamp()),
        "expires_at": None if file.expires_at is None else int(file.expires_at.timestamp()),
        "filename": file.filename,
        "purpose": file.purpose,
        "status": "processed",
        "status_details": None,
    }


def _expiry(fields: Mapping[str, str]) -> Expiry | None:
    """`expires_after[anchor]` and `expires_after[seconds]`. Raises InvalidInput."""
    given = {
        name.removeprefix("expires_after[").removesuffix("]"): value
        for name, value in fields.items()
        if name.startswith("expires_after[") and name.endswith("]")
    }
    if not given:
        return None
    try:
        return msgspec.convert(given, Expiry, strict=False)
    except msgspec.ValidationError as problem:
        told = str(problem).replace("`", "'")
        raise refused("expires_after", f"expires_after: {told}; give anchor created_at, and 3600 to 2592000 seconds") from None
