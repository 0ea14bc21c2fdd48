"""Local servers that speak the batch APIs: they shuffle their answers, misbehave on demand and count what they do."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from aiohttp import web

TROUBLE = {"type": "error", "error": {"type": "trouble", "message": "on purpose"}}
MISSING = {"type": "error", "error": {"type": "not_found_error", "message": "no such batch"}}
Answer = Callable[[str], Any]
"""From the last message of a request to its answer's text, or to a whole result."""


class BatchServer:
    """What the two have in common.

    Parameters
    ----------
    answer : see ``Answer``.
    polls : how often a batch is "in progress" before it has ended.
    faults : (method and path's last part) → statuses to answer with, one a call; None passes.
    key : the key that must come with every request.

    Attributes
    ----------
    batches : id → its requests' custom ids, in the order of creation.
    tally : how often each custom id was carried out, and so billed.
    problems : what was wrong with the requests; leaving the block asserts that there is none.
    """

    prefix = ""

    def __init__(
        self,
        answer: Answer = str.upper,
        *,
        polls: int = 1,
        faults: dict[str, Iterable[int | None]] | None = None,
        key: str = "the-key",
    ) -> None:
        self.answer, self.polls, self.key = answer, polls, key
        self.faults = {name: iter(statuses) for name, statuses in (faults or {}).items()}
        self.batches: dict[str, dict[str, Any]] = {}
        self.tally: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()
        self.problems: list[str] = []
        self.swallow = 0
        """Creations that are carried out although their answer is an error."""

    async def __aenter__(self) -> BatchServer:
        app = web.Application(client_max_size=1 << 28, middlewares=[self._guard])
        self.routes(app.router)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}{self.prefix}"
        return self

    async def __aexit__(self, kind: object, *_: object) -> None:
        await self._runner.cleanup()
        if kind is None:
            assert self.problems == []

    def routes(self, router: web.UrlDispatcher) -> None:
        raise NotImplementedError

    @web.middleware
    async def _guard(self, request: web.Request, handler: Any) -> web.StreamResponse:
        name = f"{request.method} {request.path.rstrip('/').rpartition('/')[2]}"
        if (batch := request.path.rpartition("/")[2]) in self.batches:
            name = f"{request.method} batch" if batch else name
        self.calls[name] += 1
        given = request.headers.get("x-api-key") or request.headers.get("authorization", "").removeprefix("Bearer ")
        if given != self.key:
            self.problems.append(f"{name}: key {given!r}")
        status = next(self.faults.get(name, iter(())), None)
        if status is not None and not self.swallow:
            return web.json_response(TROUBLE, status=status)
        response = await handler(request)
        if status is not None:
            self.swallow -= 1
            return web.json_response({"error": {"message": "lost on the way back"}}, status=status)
        return response

    def take(self, requests: list[tuple[str, dict[str, Any]]], **facts: Any) -> str:
        """Carry out a batch; its id."""
        name = f"batch_{len(self.batches)}"
        ids = [custom_id for custom_id, _ in requests]
        if len(set(ids)) < len(ids):
            self.problems.append("an id twice in one batch")
        self.problems += [f"id {i!r}" for i in ids if not (1 <= len(i) <= 64 and i.replace("-", "").isalnum())]
        self.tally.update(ids)
        bodies = dict(requests)
        self.batches[name] = {"bodies": bodies, "polls": self.polls, "created": time.time(), **facts}
        return name

    def waiting(self, batch: dict[str, Any]) -> bool:
        batch["polls"] -= 1
        return batch["polls"] >= 0


class AnthropicBatches(BatchServer):
    """Message Batches."""

    def routes(self, router: web.UrlDispatcher) -> None:
        router.add_post("/v1/messages/batches", self._create)
        router.add_get("/v1/messages/batches", self._list)
        router.add_get("/v1/messages/batches/{id}", self._retrieve)
        router.add_get("/v1/messages/batches/{id}/results", self._results)

    async def _create(self, request: web.Request) -> web.Response:
        body = await request.json()
        version = request.headers.get("anthropic-version")
        if set(body) != {"requests"} or any(set(r) != {"custom_id", "params"} for r in body["requests"]):
            self.problems.append(f"body {list(body)}")
        for one in body["requests"]:
            sampled = "temperature" in one["params"]
            if sampled != (version == "2023-06-01") or not {"model", "max_tokens", "messages"} <= set(one["params"]):
                self.problems.append(f"params {list(one['params'])} under version {version}")
        name = self.take([(one["custom_id"], one["params"]) for one in body["requests"]])
        return web.json_response(self._batch(name, ended=False))

    def _batch(self, name: str, ended: bool) -> dict[str, Any]:
        batch = self.batches[name]
        n = len(batch["bodies"])
        created = time.strftime("%Y-%m-%dT%H:%M:%S.000000Z", time.gmtime(batch["created"]))
        counts = {"processing": n * (not ended), "succeeded": n * ended, "errored": 0, "canceled": 0, "expired": 0}
        return {
            "id": name, "type": "message_batch", "processing_status": "ended" if ended else "in_progress",
            "request_counts": counts, "created_at": created, "results_url": "http://elsewhere.invalid/results",
        }  # fmt: skip

    async def _list(self, request: web.Request) -> web.Response:
        data = [self._batch(name, True) for name in reversed(self.batches)]
        return web.json_response({"data": data, "has_more": False})

    async def _retrieve(self, request: web.Request) -> web.Response:
        name = request.match_info["id"]
        if name not in self.batches:
            return web.json_response(MISSING, status=404)
        return web.json_response(self._batch(name, not self.waiting(self.batches[name])))

    async def _results(self, request: web.Request) -> web.Response:
        batch = self.batches[request.match_info["id"]]
        lines = []
        for custom_id, params in reversed(batch["bodies"].items()):
            result = self.answer(params["messages"][-1]["content"])
            if result is None:
                continue
            if isinstance(result, str):
                usage = {"input_tokens": 1000, "output_tokens": 100, "cache_read_input_tokens": 0}
                message = {"type": "message", "model": params["model"], "content": [{"type": "text", "text": result}]}
                result = {"type": "succeeded", "message": message | {"stop_reason": "end_turn", "usage": usage}}
            lines += [json.dumps({"custom_id": custom_id, "result": result})]
        lines += [*lines[:1], json.dumps({"custom_id": "0" * 32, "result": {"type": "expired"}})]
        return web.Response(text="\n".join(lines) + "\n", content_type="application/x-jsonl")


class OpenAIBatches(BatchServer):
    """Files and batches."""

    prefix = "/v1"

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.files: dict[str, str] = {}
        self.refuse: list[str] = []
        """Codes with which the next batches are refused after they were accepted."""

    def routes(self, router: web.UrlDispatcher) -> None:
        router.add_post("/v1/files", self._upload)
        router.add_get("/v1/files/{id}/content", self._content)
        router.add_post("/v1/batches", self._create)
        router.add_get("/v1/batches", self._list)
        router.add_get("/v1/batches/{id}", self._retrieve)

    async def _upload(self, request: web.Request) -> web.Response:
        form = await request.post()
        if form["purpose"] != "batch" or not form["file"].filename.endswith(".jsonl"):
            self.problems.append(f"upload {form}")
        name = f"file-{len(self.files)}"
        self.files[name] = form["file"].file.read().decode()
        return web.json_response({"id": name, "object": "file", "purpose": "batch"})

    async def _content(self, request: web.Request) -> web.Response:
        return web.Response(text=self.files[request.match_info["id"]])

    async def _create(self, request: web.Request) -> web.Response:
        body = await request.json()
        if (body["endpoint"], body["completion_window"]) != ("/v1/chat/completions", "24h"):
            self.problems.append(f"batch {body}")
        lines = [json.loads(line) for line in self.files[body["input_file_id"]].splitlines()]
        for line in lines:
            if (line["method"], line["url"]) != ("POST", body["endpoint"]):
                self.problems.append(f"line {line}")
        if self.refuse:
            name = self.take([], code=self.refuse.pop(0), metadata=body["metadata"])
        else:
            name = self.take([(line["custom_id"], line["body"]) for line in lines], metadata=body["metadata"])
        return web.json_response(self._batch(name, "validating"))

    def _batch(self, name: str, status: str) -> dict[str, Any]:
        batch = self.batches[name]
        if status == "completed" and not batch.setdefault("done", False):
            batch["done"] = True
            lines: dict[str, list[str]] = {"output": [], "error": []}
            for custom_id, body in reversed(batch["bodies"].items()):
                answer = self.answer(body["messages"][-1]["content"])
                if isinstance(answer, str):
                    choice = {"index": 0, "message": {"role": "assistant", "content": answer}, "finish_reason": "stop"}
                    usage = {"prompt_tokens": 1000, "completion_tokens": 100}
                    chat = {"model": body["model"], "choices": [choice], "usage": usage}
                    answer = {"response": {"status_code": 200, "body": chat}, "error": None}
                if answer is not None:
                    good = (answer.get("response") or {}).get("status_code") == 200
                    lines["output" if good else "error"].append(json.dumps({"custom_id": custom_id, **answer}))
            for kind, some in lines.items():
                if some:
                    self.files[f"{kind}-{name}"] = "\n".join(some) + "\n"
        errors = {"data": [{"code": batch["code"], "message": "refused"}]} if status == "failed" else None
        files = {f"{k}_file_id": f"{k}-{name}" if f"{k}-{name}" in self.files else None for k in ("output", "error")}
        return {"id": name, "object": "batch", "status": status, "created_at": int(batch["created"]),
                "metadata": batch["metadata"], "errors": errors, **files}  # fmt: skip

    async def _list(self, request: web.Request) -> web.Response:
        return web.json_response({"data": [self._batch(name, "in_progress") for name in reversed(self.batches)]})

    async def _retrieve(self, request: web.Request) -> web.Response:
        name = request.match_info["id"]
        if name not in self.batches:
            return web.json_response(MISSING, status=404)
        batch = self.batches[name]
        if "code" in batch:
            return web.json_response(self._batch(name, "failed"))
        return web.json_response(self._batch(name, "in_progress" if self.waiting(batch) else "completed"))
