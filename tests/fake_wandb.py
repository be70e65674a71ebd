"""A server that W&B's client takes for W&B: it keeps what is sent, and hands out the trials of a sweep."""

import base64
import contextlib
import hashlib
import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import wandb

PROJECT = {"id": "p", "name": "genreclf", "entity": {"id": "e", "name": "someone"}}
SWEEP = "sweep1"


class FakeServer(http.server.BaseHTTPRequestHandler):
    """Answers what runs, sweeps, agents and commands of the client ask for, and keeps what they send."""

    sent: list[tuple[str, dict[str, Any]]]
    commands: list[dict[str, Any]]
    """What an agent is told, one after the other, while it says that none of its runs is running; then to exit."""
    hangs: threading.Event
    """Once set, nothing is answered any more."""
    model: dict[str, bytes]
    """The files of the artifact ``someone/genreclf/model:latest``, which is version 3."""
    digests: dict[str, str]
    """What the artifact says of them, in base64, where that is not the truth."""

    def do_POST(self) -> None:
        if self.hangs.is_set():
            threading.Event().wait(60)
            return
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        asked = json.loads(content) if content[:1] == b"{" else {}
        self.sent.append((self.path, asked))
        data: dict[str, Any] = {}
        if "upsertBucket" in asked.get("query", ""):
            given = asked["variables"]
            project = {**PROJECT, "name": given["project"]}
            bucket = {"id": "b", "name": given["name"], "config": given["config"], "historyLineCount": 0}
            data = {"upsertBucket": {"bucket": {**bucket, "project": project}, "inserted": True}}
        elif "createRunFiles" in asked.get("query", ""):
            place = f"http://{self.headers['Host']}/kept/"
            files = [{"name": name, "uploadUrl": place + name} for name in asked["variables"]["files"]]
            data = {"createRunFiles": {"runID": "b", "uploadHeaders": [], "files": files}}
        elif "RunResumeStatus" in asked.get("query", ""):
            name = asked["variables"]["name"]
            begun = any(one["variables"]["name"] == name for one in self.upserted())
            lines = history_of(self.sent, name)
            counts = {"historyLineCount": len(lines), "eventsLineCount": 0, "logLineCount": 0}
            tails = {"historyTail": json.dumps(lines[-1:]), "eventsTail": "[]", "summaryMetrics": "{}"}
            bucket = {"id": "b", "name": name, "config": "{}", "wandbConfig": '{"t": 1}', "tags": [], **counts, **tails}
            data = {"model": {**PROJECT, "bucket": bucket if begun else None}}
        else:
            asked_of = (asked.get("query", ""), asked.get("variables", {}))
            data = self.of_model(*asked_of) or self.of_sweep(*asked_of)
        answer = json.dumps({"data": data} if self.path == "/graphql" else {}).encode()
        if self.path == "/manifest":
            answer = json.dumps(self.manifest()).encode()
        elif self.path.startswith("/kept/"):
            answer = self.model.get(self.path.removeprefix("/kept/"), answer)
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_PUT = do_POST

    @classmethod
    def of_sweep(cls, query: str, given: dict[str, Any]) -> dict[str, Any]:
        """Answer what is asked of sweeps."""
        if "createArtifact(" in query:  # As if W&B had it, so that nothing is uploaded.
            sequence = {"id": "q", "latestArtifact": None}
            return {"createArtifact": {"artifact": {"id": "a", "state": "COMMITTED", "artifactSequence": sequence}}}
        if "viewer" in query:
            user = {"id": "u", "name": "Someone", "username": "someone", "email": None, "admin": False, "flags": "{}"}
            edges: dict[str, Any] = {"edges": []}
            return {"viewer": {**user, "entity": "someone", "deletedAt": None, "apiKeys": edges, "teams": edges}}
        if "upsertSweep" in query:
            return {"upsertSweep": {"sweep": {"name": SWEEP, "project": PROJECT}, "configValidationWarnings": []}}
        if "SweepWithRuns" in query:
            sweeps = [asked["variables"]["config"] for _, asked in cls.sent if "upsertSweep" in asked.get("query", "")]
            sweep = {"id": "s", "name": SWEEP, "state": "RUNNING", "config": sweeps[-1], "runs": {"edges": []}}
            return {"project": {"sweep": sweep}}
        if "createAgent" in query:
            return {"createAgent": {"agent": {"id": "agent"}}}
        if "agentHeartbeat" in query:
            busy = any(json.loads(given["runState"]).values())
            told = [] if busy else [cls.commands.pop(0) if cls.commands else {"type": "exit"}]
            return {"agentHeartbeat": {"agent": {"id": "agent"}, "commands": json.dumps(told)}}
        return {"project": None} if "query ArtifactType" in query else {}

    @classmethod
    def upserted(cls) -> list[dict[str, Any]]:
        """Return what was sent of runs themselves."""
        return [asked for _, asked in cls.sent if "upsertBucket" in asked.get("query", "")]

    def of_model(self, query: str, given: dict[str, Any]) -> dict[str, Any]:
        """Answer what is asked of the model."""
        here = f"http://{self.headers['Host']}"
        if "query ArtifactMembershipByName" in query:
            return {"project": {"artifactCollectionMembership": self.membership(given["name"])}}
        if "useArtifact" in query:
            return {"useArtifact": {"artifact": {"id": "a"}}}
        if "query FetchArtifactManifest" in query:
            return {"artifact": {"currentManifest": {"file": {"directUrl": f"{here}/manifest"}}}}
        if "query GetArtifactMembershipFileUrls" in query:
            files = [
                {"node": {"__typename": "File", "name": name, "directUrl": f"{here}/kept/{name}"}}
                for name in self.model
            ]
            listed = {"files": {"pageInfo": {"endCursor": None, "hasNextPage": False}, "edges": files}}
            return {"project": {"artifactCollection": {"__typename": "ArtifactSequence", "artifactMembership": listed}}}
        return {}

    @classmethod
    def membership(cls, name: str) -> dict[str, Any] | None:
        """Return what is known of the artifact."""
        if not name.startswith("model:"):
            return None
        project = {"id": "p", "internalId": "1", "name": "genreclf", "entity": {"name": "someone"}}
        collection = {"__typename": "ArtifactSequence", "name": "model", "project": project}
        artifact = {
            **{
                "__typename": "Artifact",
                "id": "a",
                "artifactSequence": collection,
                "versionIndex": 3,
                "state": "COMMITTED",
            },
            **{"artifactType": {"name": "model"}, "description": None, "metadata": "{}", "ttlDurationSeconds": -1},
            **{"ttlIsInherited": True, "tags": [], "historyStep": None, "size": 1, "digest": "d", "commitHash": "c"},
            **{"fileCount": len(cls.model), "createdAt": "2026-01-01T00:00:00Z", "updatedAt": None, "aliases": []},
        }
        aliases = [{"__typename": "ArtifactAlias", "id": "l", "alias": "latest"}]
        found = {"__typename": "ArtifactCollectionMembership", "id": "m", "versionIndex": 3}
        return {
            **found,
            "createdAt": "2026-01-01T00:00:00Z",
            "aliases": aliases,
            "artifactCollection": collection,
            "artifact": artifact,
        }

    @classmethod
    def manifest(cls) -> dict[str, Any]:
        """Return the list of the model's files."""

        def entry(name: str, content: bytes) -> dict[str, Any]:
            digest = base64.b64encode(hashlib.md5(content).digest()).decode()
            return {"digest": cls.digests.get(name, digest), "size": len(content), "birthArtifactID": "a"}

        layout = {"storageLayout": "V2"}
        contents = {name: entry(name, content) for name, content in cls.model.items()}
        kind = {"version": 1, "storagePolicy": "wandb-storage-policy-v1", "storagePolicyConfig": layout}
        return {**kind, "contents": contents}

    def log_message(self, *_: object) -> None:
        pass


def summary_of(name: str) -> dict[str, Any]:
    """Return the last summary of a run that was sent."""
    parts = (asked.get("files", {}) for path, asked in FakeServer.sent if path.endswith(f"/{name}/file_stream"))
    lines = [part["wandb-summary.json"]["content"][-1] for part in parts if "wandb-summary.json" in part]
    return dict(json.loads(lines[-1])) if lines else {}


def history_of(sent: list[tuple[str, dict[str, Any]]], name: str) -> list[str]:
    """Return the lines of a run's history that were sent, each at the place that the client gave it."""
    lines: dict[int, str] = {}
    for path, asked in sent:
        if path.endswith(f"/{name}/file_stream") and (part := asked.get("files", {}).get("wandb-history.jsonl")):
            lines |= dict(enumerate(part["content"], part["offset"]))
    return [lines[place] for place in sorted(lines)]


@contextlib.contextmanager
def fake_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[http.server.ThreadingHTTPServer]:
    """Let W&B take a `FakeServer` for its own."""
    FakeServer.sent, FakeServer.commands, FakeServer.model, FakeServer.digests = [], [], {}, {}
    FakeServer.hangs = threading.Event()
    wandb.teardown()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), FakeServer) as answering:
        threading.Thread(target=answering.serve_forever, daemon=True).start()
        online(tmp_path, monkeypatch, f"http://127.0.0.1:{answering.server_port}")
        yield answering
        answering.shutdown()
    wandb.teardown()


def online(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    """Let W&B take a server of ours for its own."""
    monkeypatch.delenv("WANDB_MODE")
    for name, value in (("API_KEY", "0" * 40), ("BASE_URL", address), ("SILENT", "true")):
        monkeypatch.setenv(f"WANDB_{name}", value)
    for name in ("CONFIG", "CACHE", "DATA"):
        monkeypatch.setenv(f"WANDB_{name}_DIR", str(tmp_path / "wandb-home"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
