"""The bytes of one picture out of a request, whole and bounded."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from common.serve.limits import Limits
from common.serve.refused import Refused

logging.getLogger("python_multipart").setLevel(logging.ERROR)  # it warns of every broken form
FORM = 64 * 1024  # bytes that a form may add to its picture


async def read_upload(request: Request, field: str, limits: Limits, hold: Callable[[int], None]) -> bytes:
    """What a form holds in `field`, or else the body itself. File names and further fields are ignored.

    hold: is told the bytes of each piece before it is kept; what it raises ends the upload.
    Raises Refused: 400 a broken form or a client that went away, 408 too slow, 413 too many bytes, 415 neither
    a form nor a picture, 422 no such field, several of it, or text in it.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    try:
        async with asyncio.timeout(limits.upload_seconds):
            if kind == "multipart/form-data":
                return await _of_form(request, field, limits, hold)
            if kind in ("", "application/octet-stream") or kind.startswith("image/"):
                return b"".join([chunk async for chunk in _bounded(request, limits, hold)])
    except TimeoutError as error:
        raise Refused(408, f"the upload took longer than {limits.upload_seconds:g} s") from error
    except ClientDisconnect as error:
        raise Refused(400, "the upload ended before it was whole") from error
    raise Refused(
        415,
        f"send the picture as multipart/form-data in the field {field}, or as the body with its image/… type",
    )


async def _bounded(
    request: Request, limits: Limits, hold: Callable[[int], None], extra: int = 0
) -> AsyncGenerator[bytes, None]:
    most = int(limits.megabytes * 1e6) + extra
    refused = Refused(413, f"the upload is too large: at most {limits.megabytes:g} MB")
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > most:
        raise refused
    total = 0
    async for chunk in request.stream():
        total += len(chunk)
        if total > most:
            raise refused
        hold(len(chunk))
        yield chunk


async def _of_form(request: Request, field: str, limits: Limits, hold: Callable[[int], None]) -> bytes:
    parser = MultiPartParser(
        request.headers,
        _bounded(request, limits, hold, extra=FORM),
        max_files=8,
        max_fields=32,
        max_part_size=FORM,
    )
    parser.spool_max_size = int(limits.megabytes * 1e6) + FORM  # in memory: it is bounded already
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise Refused(400, f"the form is broken: {error.message}") from error
    except (KeyError, ValueError) as error:  # no boundary, or a charset that there is not
        raise Refused(
            400, "the form is broken: its content type or its parts cannot be understood"
        ) from error
    try:
        files = form.getlist(field)
        if len(files) != 1 or not isinstance(files[0], UploadFile):
            raise Refused(422, f"the form must hold one file in the field {field}")
        data = files[0].file.read()
    finally:
        await form.close()
    if len(data) > limits.megabytes * 1e6:
        raise Refused(413, f"the upload is too large: at most {limits.megabytes:g} MB")
    return data
