"""/api/models/import: a model that was made elsewhere, as a file, an archive or a form."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request

from modeltap.api.asgi import Message
from modeltap.api.body import media_type
from modeltap.api.control_data import UPLOAD_SETTING, spool
from modeltap.api.services import Use
from modeltap.control.model_imports import UPLOAD, import_folder, import_model
from modeltap.domain.names import parse_name
from modeltap.errors import InvalidInput, TooLarge, Unavailable
from modeltap.importing.unpacking import place_in

router = APIRouter(tags=["models"])
MAX_FILES = 200


@router.post("/models/import", status_code=201)
async def import_a_model(request: Request, services: Use, name: str) -> dict[str, Any]:
    """Try the body (an .onnx file, or a ZIP or form of one with the files of its weights) in a process of its own, and
    register it as the next version of `name`."""
    parse_name("model", name)
    with import_folder(services.home) as folder:
        if media_type(request.scope) == "multipart/form-data":
            await _take_form(request, folder, services.max_upload_bytes)
        else:
            await spool(request, folder / UPLOAD, services.max_upload_bytes)
        return await asyncio.to_thread(import_model, services.models, name, folder, limit_bytes=services.max_upload_bytes)


async def _take_form(request: Request, folder: Path, limit_bytes: int) -> None:
    """Keeps the form's only file as an upload, several by their own names. Raises TooLarge, InvalidInput, InvalidData."""
    from starlette.datastructures import UploadFile
    from starlette.exceptions import HTTPException
    from starlette.formparsers import MultiPartException

    size = 0

    async def counted() -> Message:
        nonlocal size
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise Unavailable("the client closed the connection before the upload was complete")
        size += len(message.get("body", b""))
        if size > limit_bytes:
            raise TooLarge(given_bytes=None, limit_bytes=limit_bytes, setting=UPLOAD_SETTING)
        return message

    try:
        form = await Request(request.scope, counted).form(max_files=MAX_FILES, max_fields=MAX_FILES)
    except (HTTPException, MultiPartException, KeyError) as problem:
        reason = getattr(problem, "detail", None) or getattr(problem, "message", None) or "no boundary"
        raise InvalidInput(f"the form cannot be read: {reason}") from None
    try:
        uploads = [part for _, part in form.multi_items() if isinstance(part, UploadFile)]
        if not uploads:
            raise InvalidInput("the form holds no file; send an .onnx file, and those of its weights")
        for part in uploads:
            path = folder / UPLOAD if len(uploads) == 1 else place_in(folder / "files", part.filename or "")
            if path.exists():
                raise InvalidInput(f"the form holds the file '{path.name[:80]}' twice")
            with path.open("xb") as target:
                await asyncio.to_thread(shutil.copyfileobj, part.file, target)
    finally:
        await form.close()
