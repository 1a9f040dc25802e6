"""/api/models/import: a model that was made elsewhere, as a file, an archive or a form."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from fastapi import APIRouter, Query, Request

from modeltap.api.asgi import Message
from modeltap.api.body import media_type
from modeltap.api.control_data import UPLOAD_SETTING, spool
from modeltap.api.services import Use
from modeltap.control.model_imports import UPLOAD, import_folder, import_model
from modeltap.domain.names import parse_name
from modeltap.errors import InvalidInput, TooLarge, Unavailable
from modeltap.importing.import_options import ImportOptions
from modeltap.importing.samples import ENDINGS
from modeltap.importing.sandbox import require_level
from modeltap.importing.unpacking import place_in

if TYPE_CHECKING:
    from starlette.datastructures import FormData

router = APIRouter(tags=["models"])
MAX_FILES = 200
RECIPE, SAMPLE = BESIDE = ("recipe", "sample")
"""Parts of a form that are no files of the model."""
MAX_RECIPE_BYTES = 4_000_000


@router.post("/models/import", status_code=201)
async def import_a_model(
    request: Request,
    services: Use,
    name: str,
    task: str = "",
    label: Annotated[tuple[str, ...], Query()] = (),
) -> dict[str, Any]:
    """Try the body (the file of a model, or a ZIP or form of its files) in a process of its own, and register it as the next
    version of `name`. A form may also hold a `recipe` (the layers that weights alone belong to) and a `sample` (inputs to try
    it with)."""
    parse_name("model", name)
    options = ImportOptions(task=task, labels=label)
    await asyncio.to_thread(require_level, services.import_sandbox)
    with import_folder(services.home) as folder:
        if media_type(request.scope) == "multipart/form-data":
            options = await _take_form(request, folder, services.max_upload_bytes, options)
        else:
            await spool(request, folder / UPLOAD, services.max_upload_bytes)
        return await asyncio.to_thread(
            import_model, services.models, name, folder, limit_bytes=services.max_upload_bytes, options=options
        )


async def _take_form(request: Request, folder: Path, limit_bytes: int, options: ImportOptions) -> ImportOptions:
    """Keeps the form's only file as an upload, several by their own names; the options with what the form says besides.

    Raises TooLarge, InvalidInput, InvalidData.
    """
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
        options = await _options_of(form, folder, options)
        uploads = [part for key, part in form.multi_items() if isinstance(part, UploadFile) and key not in BESIDE]
        if not uploads:
            raise InvalidInput("the form holds no file of a model; send it, and those of its weights")
        for part in uploads:
            path = folder / UPLOAD if len(uploads) == 1 else place_in(folder / "files", part.filename or "")
            if path.exists():
                raise InvalidInput(f"the form holds the file '{path.name[:80]}' twice")
            with path.open("xb") as target:
                await asyncio.to_thread(shutil.copyfileobj, part.file, target)
        return options
    finally:
        await form.close()


async def _options_of(form: FormData, folder: Path, options: ImportOptions) -> ImportOptions:
    """What the form's `recipe` and `sample` say; the recipe may be a field. Raises InvalidInput for one that is no text."""
    recipe, sample = form.get(RECIPE), form.get(SAMPLE)
    if recipe is not None and not isinstance(recipe, str):
        try:
            recipe = (await recipe.read(MAX_RECIPE_BYTES + 1)).decode("utf-8-sig")
        except UnicodeDecodeError:
            raise InvalidInput("the recipe is no text in UTF-8") from None
    if sample is not None and isinstance(sample, str):
        raise InvalidInput("the sample is sent as a file, whose ending says what it is")
    place = ""
    if sample is not None:
        ending = PurePosixPath(sample.filename or "").suffix.lower()
        if ending not in ENDINGS:
            raise InvalidInput(f"a sample is a file that ends in one of: {', '.join(ENDINGS)}; given was '{ending[:20]}'")
        path = folder / f"{SAMPLE}{ending}"
        with path.open("xb") as target:
            await asyncio.to_thread(shutil.copyfileobj, sample.file, target)
        place = str(path)
    return msgspec.structs.replace(options, recipe=recipe or "", sample=place)
