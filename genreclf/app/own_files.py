"""Keeps visitors from naming files that are not theirs.

The page sends the path of the song that was uploaded before. Gradio takes any path of this machine there, and fetches
what an address on the network holds, on behalf of whoever asks.
"""

import json
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LARGEST_BYTES = 2**20
"""Of a request that is no upload; the page's own have a few hundred."""


class OwnFilesOnly:
    """Refuses requests that name anything but an upload as a file.

    Args:
        app: What is protected.
        uploads: Folder of the uploads.
    """

    def __init__(self, app: ASGIApp, *, uploads: Path) -> None:
        """Remember them."""
        self.app = app
        self.uploads = uploads.resolve()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with a refusal, or let the request through."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        request = Request(scope, receive)
        if "://" in scope["path"]:
            return await PlainTextResponse("Not an address of this page.", 403)(scope, receive, send)
        if request.method in ("GET", "HEAD") or "multipart/form-data" in request.headers.get("content-type", ""):
            return await self.app(scope, receive, send)
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > LARGEST_BYTES:
                return await PlainTextResponse("Too large.", 413)(scope, receive, send)
        if self._names_another_file(body):
            return await PlainTextResponse("Not a song that was uploaded here.", 403)(scope, receive, send)
        unread: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def again() -> Message:
            return unread.pop() if unread else await receive()

        return await self.app(scope, again, send)

    def _names_another_file(self, body: bytes) -> bool:
        try:
            return not self._are_uploads(json.loads(body or b"null"))
        except (ValueError, RecursionError, OSError):
            # No JSON: nothing that gradio would take a path from, or only to harm.
            return True

    def _are_uploads(self, value: Any) -> bool:
        """Return whether each ``path`` in a request is an upload."""
        if isinstance(value, list):
            return all(map(self._are_uploads, value))
        if not isinstance(value, dict):
            return True
        path = value.get("path")
        mine = not isinstance(path, str) or Path(path).resolve().is_relative_to(self.uploads)
        return mine and all(map(self._are_uploads, value.values()))
