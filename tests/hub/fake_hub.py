"""A hub of its own on the loopback, with the answers that huggingface_hub asks for to push and to pull."""

import base64
import hashlib
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

TOKEN = "hf_fake"
REPO = "someone/metal-or-not"


class Hub(ThreadingHTTPServer):
    """Keeps repositories in memory; `files[repo][path]` holds the bytes."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.files: dict[str, dict[str, bytes]] = {}
        self.private: dict[str, bool] = {}
        self.claimed_sizes: dict[str, int] = {}
        self.fetched: list[str] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Answers(BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, *_: Any) -> None:
        pass

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers["Authorization"] != f"Bearer {TOKEN}":
            return self.answer({"error": "Invalid token"}, 401)
        words = urlsplit(self.path).path.strip("/").split("/")
        if words == ["api", "repos", "create"]:
            asked = json.loads(body)
            repo = f"{asked['organization']}/{asked['name']}"
            known = repo in self.server.files
            self.server.files.setdefault(repo, {})
            self.server.private.setdefault(repo, asked.get("visibility") == "private")
            return self.answer({"url": f"{self.server.address}/{repo}"}, 409 if known else 200)
        if words == ["api", "validate-yaml"]:
            return self.answer({"warnings": []})
        repo, action = "/".join(words[2:4]), words[4]
        if action == "preupload":
            modes = [
                {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False}
                for file in json.loads(body)["files"]
            ]
            return self.answer({"files": modes})
        assert action == "commit"
        for line in map(json.loads, body.splitlines()):
            if line["key"] == "file":
                self.server.files[repo][line["value"]["path"]] = base64.b64decode(line["value"]["content"])
        sha = self.sha(repo)
        url = f"{self.server.address}/{repo}/commit/{sha}"
        return self.answer({"success": True, "commitOid": sha, "commitUrl": url})

    def do_GET(self) -> None:
        words = [unquote(word) for word in urlsplit(self.path).path.strip("/").split("/")]
        repo = "/".join(words[2:4] if words[0] == "api" else words[:2])
        files = self.server.files.get(repo)
        if files is None:
            return self.answer({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})
        if words[0] != "api":
            path = "/".join(words[4:])
            self.server.fetched.append(path)
            headers = {"X-Repo-Commit": self.sha(repo), "ETag": f'"{hashlib.sha1(files[path]).hexdigest()}"'}
            return self.answer(files[path], 200, headers)
        sizes = {path: self.server.claimed_sizes.get(path, len(content)) for path, content in files.items()}
        if words[4:5] == ["tree"]:
            return self.answer([{"type": "file", "path": path, "size": sizes[path], "oid": "0" * 40} for path in files])
        siblings = [{"rfilename": path, "size": sizes[path]} for path in files]
        known = {"id": repo, "sha": self.sha(repo), "private": self.server.private.get(repo, False)}
        return self.answer({**known, "siblings": siblings, "tags": [], "downloads": 0})

    do_HEAD = do_GET

    def sha(self, repo: str) -> str:
        return hashlib.sha1(repr(sorted(self.server.files[repo].items())).encode()).hexdigest()

    def answer(self, content: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
