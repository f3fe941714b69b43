"""An app with the scripted engine behind openai-python and a plain HTTP client."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
from openai import AsyncOpenAI

from tests.asgi import ASGITransport
from trimtab.server.app import create_app
from trimtab.server.settings import ModelConfig, ScriptedConfig, Settings


@dataclass(frozen=True, slots=True)
class Serving:
    """A running app."""

    openai: AsyncOpenAI
    http: httpx2.AsyncClient


def scripted(*answers: str, **settings: Any) -> Settings:
    """Settings of a server whose one model gives these answers in turn; without any it echoes."""
    model = ModelConfig(engine=ScriptedConfig(answers=answers, max_model_len=2048))
    return Settings.model_validate({"models": {"org/test-model": model}, **settings})


@asynccontextmanager
async def serving(settings: Settings, *, key: str = "none") -> AsyncIterator[Serving]:
    """The app of these settings, its lifespan run."""
    transport = ASGITransport(create_app(settings))
    headers = {"authorization": f"Bearer {key}"}
    async with httpx2.AsyncClient(transport=transport, base_url="http://test", headers=headers) as http:
        openai = AsyncOpenAI(base_url="http://test/v1", api_key=key, http_client=http, max_retries=0)
        yield Serving(openai, http)
