"""Asking a server and reading what it answers; and a server whose engines are doubles."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from tests.asgi import ASGITransport
from tests.contracts.strategies.cases import ALIGNER, ALIGNING, MODEL, QUESTION, STATUSES, fitted
from tests.contracts.strategies.doubles import Asked, Watched
from trimtab.server.app import create_app
from trimtab.server.assembly import build
from trimtab.server.engines.scripted import Script
from trimtab.server.models import Registry, ServedModel
from trimtab.server.service import Service
from trimtab.server.settings import KeyConfig, ModelConfig, PolicyConfig, RoleConfig, ScriptedConfig, Settings


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer, or an error."""

    status: int
    headers: Mapping[str, str]
    body: dict[str, Any]

    @property
    def texts(self) -> list[str]:
        """The text of each choice."""
        return [choice["message"]["content"] or "" for choice in self.body["choices"]]

    @property
    def finishes(self) -> list[str]:
        """The finish reason of each choice."""
        return [choice["finish_reason"] for choice in self.body["choices"]]

    @property
    def alignment(self) -> dict[str, Any]:
        """The account."""
        told: dict[str, Any] = self.body["alignment"]
        return told

    @property
    def error(self) -> dict[str, Any]:
        """The members of the error."""
        told: dict[str, Any] = self.body["error"]
        return told


@dataclass(frozen=True, slots=True)
class Stream:
    """A streamed answer."""

    status: int
    chunks: list[dict[str, Any]]
    done: bool

    @property
    def choices(self) -> list[dict[str, Any]]:
        """Every choice of every chunk, in order."""
        return [choice for chunk in self.chunks for choice in chunk.get("choices", ())]

    @property
    def texts(self) -> list[str]:
        """The text of each choice."""
        count = max((choice["index"] for choice in self.choices), default=-1) + 1
        said = [""] * count
        for choice in self.choices:
            said[choice["index"]] += choice["delta"].get("content") or ""
        return said

    @property
    def finishes(self) -> list[tuple[int, str]]:
        """Index and reason, in the order they came."""
        return [(choice["index"], choice["finish_reason"]) for choice in self.choices if choice["finish_reason"]]

    @property
    def failed(self) -> bool:
        """Whether it ended with an error, before its first event or after it."""
        return self.status != 200 or any("error" in chunk for chunk in self.chunks)


@dataclass(frozen=True, slots=True)
class Client:
    """Asks a server whose keys are called `key-NAME`."""

    http: httpx2.AsyncClient
    model: str = MODEL

    async def ask(self, strategy: Any, *, key: str = "free", **fields: Any) -> Reply:
        """The whole answer to one question under a strategy."""
        body = body_of(strategy, self.model, **fields)
        answer = await self.http.post("/v1/chat/completions", json=body, headers={"authorization": f"Bearer key-{key}"})
        return Reply(answer.status_code, dict(answer.headers), answer.json())

    @asynccontextmanager
    async def streaming(self, strategy: Any, *, key: str = "free", **fields: Any) -> AsyncIterator[httpx2.Response]:
        """The answer as it comes."""
        body = {**body_of(strategy, self.model, **fields), "stream": True}
        headers = {"authorization": f"Bearer key-{key}"}
        async with self.http.stream("POST", "/v1/chat/completions", json=body, headers=headers) as answer:
            yield answer

    async def stream(self, strategy: Any, *, key: str = "free", **fields: Any) -> Stream:
        """The streamed answer, to its end."""
        async with self.streaming(strategy, key=key, **fields) as answer:
            text = (await answer.aread()).decode()
        if answer.status_code != 200:
            return Stream(answer.status_code, [json.loads(text)], False)
        events = [event.removeprefix("data: ") for event in text.strip().split("\n\n") if not event.startswith(":")]
        return Stream(200, [json.loads(event) for event in events if event != "[DONE]"], events[-1] == "[DONE]")


@dataclass(frozen=True, slots=True)
class World:
    """A running app with engines of its own."""

    client: Client
    service: Service
    policy: Watched
    aligner: Watched

    @property
    def engines(self) -> tuple[Watched, ...]:
        """All of them."""
        return (self.policy, self.aligner)

    @property
    def asked(self) -> list[Asked]:
        """Every port call of every engine."""
        return [*self.policy.asked, *self.aligner.asked]

    @property
    def is_idle(self) -> bool:
        """Whether no engine works."""
        return all(engine.open == 0 and engine.running == 0 for engine in self.engines)

    def reset(self) -> None:
        """Forget what was asked; engines answer, run and serve as at first."""
        for engine in self.engines:
            engine.reset()
        self.service.roles = {"aligner": self.aligner}

    def says(self, script: Script) -> None:
        """What all engines say from now on."""
        for engine in self.engines:
            engine.script = script

    async def ask(self, strategy: Any, **fields: Any) -> Reply:
        """The client's whole answer; bare names stand for their fitted forms."""
        return await self.client.ask(fitted(strategy), **fields)

    async def stream(self, strategy: Any, **fields: Any) -> Stream:
        """The client's streamed answer; as `ask`."""
        return await self.client.stream(fitted(strategy), **fields)


def body_of(strategy: Any, model: str = MODEL, **fields: Any) -> dict[str, Any]:
    """A short question under a strategy; `options` go beside the strategy into `alignment`."""
    options = fields.pop("options", {})
    aligned = {} if strategy is None else {"strategy": strategy}
    alignment = {"alignment": {**aligned, **options}} if aligned or options else {}
    asked = {"messages": [{"role": "user", "content": QUESTION}], "max_tokens": 24, "seed": 7}
    return {"model": model, **asked, **fields, **alignment}


def answered(reply: Reply) -> Reply:
    """The reply, which must be an answer."""
    assert reply.status == 200, reply.body
    assert reply.alignment["status"] in STATUSES
    return reply


def settled(told: Any) -> Any:
    """An `alignment` object without what differs from run to run: times and the trace's name."""
    if isinstance(told, dict):
        return {
            name: settled(value)
            for name, value in told.items()
            if name not in {"ms", "trace_id"} and not name.endswith(("_ms", "_s"))
        }
    return [settled(one) for one in told] if isinstance(told, list) else told


def settings_of(data_dir: Path) -> Settings:
    """One scripted model, a scripted aligner, a free key, and a key locked to each strategy."""
    scripted = ModelConfig(engine=ScriptedConfig())
    names = ["free", *ALIGNING]
    return Settings(
        models={MODEL: scripted},
        roles={"aligner": RoleConfig.model_validate(ALIGNER)},
        keys=tuple(KeyConfig.model_validate({"name": name, "key": f"key-{name}"}) for name in names),
        pipelines={f"locked-{kind}": fitted([kind]) for kind in ALIGNING},
        policies=tuple(PolicyConfig(key=kind, lock=f"locked-{kind}") for kind in ALIGNING),
        data_dir=data_dir,
    )


def watched(settings: Settings) -> tuple[Service, Watched, Watched]:
    """The service that these settings build, with engines that watch in place of its own."""
    service = build(settings)
    policy, aligner = Watched(MODEL), Watched("aligner").like(service.roles["aligner"])
    service.registry = Registry({MODEL: ServedModel(MODEL, policy, 1)}, tuple(settings.pipelines))
    service.roles = {"aligner": aligner}
    return service, policy, aligner


@asynccontextmanager
async def running(data_dir: Path) -> AsyncIterator[World]:
    """The app, its lifespan run."""
    settings = settings_of(data_dir)
    service, policy, aligner = watched(settings)
    transport = ASGITransport(create_app(settings, service=service))
    async with transport, httpx2.AsyncClient(transport=transport, base_url="http://test", timeout=60) as http:
        yield World(Client(http), service, policy, aligner)
