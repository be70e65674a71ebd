"""A page that is served, as a client that skips the browser sees it."""

import http.client
import json
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Page:
    """A page that is served, and the song that was uploaded to it."""

    port: int
    uploads: Path
    mine: str

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, bytes]:
        client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            client.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
            answer = client.getresponse()
            return answer.status, answer.read()
        finally:
            client.close()

    def tell(
        self, value: Any, path: str = "/gradio_api/call/analyze", kind: str = "application/json"
    ) -> tuple[int, bytes]:
        return self.ask("POST", path, value if isinstance(value, bytes) else json.dumps(value), content_type=kind)

    def upload(self, name: str, content: bytes, **headers: str) -> tuple[int, bytes]:
        return self.ask("POST", "/gradio_api/upload", form(name, content), content_type=FORM, **headers)

    def analyzed(self, path: str) -> str:
        status, answer = self.tell(song(path))
        assert status == 200
        return self.ask("GET", f"/gradio_api/call/analyze/{json.loads(answer)['event_id']}")[1].decode()

    def end_of(self, begun: bytes) -> bytes:
        """Send the start of a request and return what comes until the server closes."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=60) as client:
            client.sendall(begun)
            answer = b""
            while part := client.recv(65536):
                answer += part
            return answer

    def files(self) -> set[Path]:
        return set(self.uploads.rglob("*"))


FORM = "multipart/form-data; boundary=b"


def form(name: str, content: bytes) -> bytes:
    head = f'--b\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'
    return head.encode() + content + b"\r\n--b--\r\n"


def song(path: object) -> dict[str, Any]:
    return {"data": [{"path": path, "meta": {"_type": "gradio.FileData"}}]}
