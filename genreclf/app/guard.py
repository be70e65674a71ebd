"""Allow the requests that the page's own script makes, and refuse all others.

Gradio answers many more requests than the page needs. It accepts any path on the server as a song, fetches URLs that a
client sends, and limits neither the size nor the duration of a request.
"""

import asyncio
import json
import re
from pathlib import Path
from typing import Any

from starlette.datastructures import Headers
from starlette.formparsers import MultiPartException
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LARGEST_JSON_BYTES = 2**16
"""Maximum size in bytes of a request that is not an upload; the page's own requests have a few hundred bytes."""

DEEPEST_JSON = 20
"""Maximum nesting depth of lists and objects; the page's own requests have a depth of four."""

FORM_BYTES = 2**16
"""Maximum size in bytes of an upload apart from the song: boundaries, headers and the file name."""

PAUSE_S = 20.0
"""Longest pause in seconds while a request arrives."""

JSON_S = 20.0
"""Time limit in seconds for a request that is not an upload to arrive."""

UPLOAD_S = 900.0
"""Time limit in seconds for an upload, enough for 50 MB at half a megabit per second."""

UPLOAD = "/gradio_api/upload"

_READABLE = re.compile(
    r"/(config|theme\.css|favicon\.ico|manifest\.json|robots\.txt|report)?"
    r"|/(assets|static|svelte|figures|song)/.+"
    r"|/gradio_api/(theme\.css|info|app_id|startup-events|upload_progress|queue/data|queue/status|login_check)"
    r"|/gradio_api/(heartbeat|call/analyze)/[\w-]+"
)
"""URL paths that may be read."""

_FILE = "/gradio_api/file="

_MOST_DIGITS = 15
"""Maximum number of digits of a content length; longer ones are refused without being parsed."""

_POSTED = ("/gradio_api/queue/join", "/gradio_api/call/analyze", "/gradio_api/cancel", "/gradio_api/reset")
"""URL paths to which JSON may be sent."""


class Refused(MultiPartException):
    """Raised for a request that is refused; gradio then deletes the part of an upload that has already arrived."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Guard:
    """Middleware that refuses requests for other URLs or files than the page's, or that are too large or too slow.

    Args:
        app: Application to protect.
        uploads: Folder that holds the uploads.
        largest_song_bytes: Maximum size of an uploaded file in bytes.
    """

    def __init__(self, app: ASGIApp, *, uploads: Path, largest_song_bytes: int) -> None:
        self.app = app
        self.folders = (uploads, uploads.resolve())
        self.largest_upload_bytes = largest_song_bytes + FORM_BYTES

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on to the application, or answer with a refusal."""
        if scope["type"] == "lifespan":
            return await self.app(scope, receive, send)
        if scope["type"] != "http":
            return None
        try:
            scope, receive = await self._checked(scope, receive)
        except Refused as refusal:
            return await PlainTextResponse(refusal.message, refusal.status)(scope, receive, send)
        await self.app(scope, receive, send)

    async def _checked(self, scope: Scope, receive: Receive) -> tuple[Scope, Receive]:
        """Return a request in the form in which it is passed on.

        Raises:
            Refused: The request is not allowed.
        """
        path, headers = scope["path"], Headers(scope=scope)
        if scope["method"] in ("GET", "HEAD"):
            if path.startswith(_FILE):
                self._check_is_upload(path.removeprefix(_FILE))
            elif not _READABLE.fullmatch(path):
                raise Refused(404, "Not an address of this page.")
            if headers.get("content-length", "0") != "0" or "transfer-encoding" in headers:
                raise Refused(413, "Too large.")
            return scope, receive
        if scope["method"] != "POST" or path not in (UPLOAD, *_POSTED):
            raise Refused(404, "Not an address of this page.")
        is_upload = path == UPLOAD
        if _media_type(headers) != ("multipart/form-data" if is_upload else "application/json"):
            raise Refused(415, "This address does not accept this content type.")
        largest_bytes = self.largest_upload_bytes if is_upload else LARGEST_JSON_BYTES
        length = headers.get("content-length", "0")
        if len(length) > _MOST_DIGITS or int(length) > largest_bytes:
            raise Refused(413, "Too large.")
        arriving = _bounded(receive, largest_bytes=largest_bytes, within_s=UPLOAD_S if is_upload else JSON_S)
        if is_upload:
            return scope, arriving
        value = await _json(arriving)
        self._check(value)
        # Gradio gets the checked value, serialized anew, in case its parser would read the original bytes differently.
        return _resent(scope, receive, json.dumps(value).encode())

    def _check(self, value: Any) -> None:
        """Check the JSON content of a request."""
        inputs = value.get("data", []) if isinstance(value, dict) else None
        if not isinstance(inputs, list) or not all(entry is None or isinstance(entry, dict) for entry in inputs):
            raise Refused(403, "Not what the page sends.")
        self._check_paths(value, DEEPEST_JSON)

    def _check_paths(self, value: Any, deepest: int) -> None:
        """Check that each ``path`` in nested JSON is an upload."""
        if not isinstance(value, dict | list):
            return
        if deepest == 0:
            raise Refused(403, "Not what the page sends.")
        if isinstance(value, dict) and "path" in value:
            self._check_is_upload(value["path"])
        for entry in value.values() if isinstance(value, dict) else value:
            self._check_paths(entry, deepest - 1)

    def _check_is_upload(self, path: object) -> None:
        """Check that a path, after resolving links, leads to a regular file in the folder of uploads.

        Nothing is looked up outside of the folder, and the refusal does not reveal whether a file exists elsewhere.
        """
        refusal = Refused(403, "Not a song that was uploaded here.")
        if not isinstance(path, str) or ".." in Path(path).parts:
            raise refusal
        if not any(Path(path).is_relative_to(folder) for folder in self.folders):
            raise refusal
        try:
            found = Path(path).resolve(strict=True)
            mine = found.is_relative_to(self.folders[1]) and found.is_file()
        except (OSError, ValueError, RuntimeError):
            mine = False
        if not mine:
            raise refusal


def _media_type(headers: Headers) -> str:
    return headers.get("content-type", "").partition(";")[0].strip().lower()


def _bounded(receive: Receive, *, largest_bytes: int, within_s: float) -> Receive:
    """Return a receive function that raises `Refused` if the request body is too large or too slow."""
    clock = asyncio.get_running_loop().time
    until_s = clock() + within_s
    n_bytes, complete = 0, False

    async def arriving() -> Message:
        nonlocal n_bytes, complete
        if complete:
            return await receive()
        try:
            async with asyncio.timeout_at(min(until_s, clock() + PAUSE_S)):
                message = await receive()
        except TimeoutError:
            raise Refused(408, "The request did not arrive in time.") from None
        if message["type"] == "http.disconnect":
            raise Refused(400, "The request ended before it was complete.")
        n_bytes += len(message.get("body", b""))
        if n_bytes > largest_bytes:
            raise Refused(413, "The request exceeds the maximum allowed size.")
        complete = not message.get("more_body", False)
        return message

    return arriving


async def _json(receive: Receive) -> Any:
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise Refused(403, "Not what the page sends.") from None


def _resent(scope: Scope, receive: Receive, body: bytes) -> tuple[Scope, Receive]:
    """Return the request with its body replaced by other JSON."""
    replaced = (b"content-type", b"content-length", b"transfer-encoding")
    headers = [(name, value) for name, value in scope["headers"] if name.lower() not in replaced]
    headers += [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    unread: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return unread.pop() if unread else await receive()

    return {**scope, "headers": headers}, again
