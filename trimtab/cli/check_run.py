"""Where a check is made: at a server, or in this process with the engines that it asks and no others."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trimtab.cli.failure import RUNTIME, USAGE, clear_errors, fail
from trimtab.cli.flags import ServeFlags

if TYPE_CHECKING:
    from trimtab.server.api.schemas.check import CheckRequest
    from trimtab.server.service import Service
    from trimtab.server.settings import Settings

Wire = dict[str, Any]
SHOWN_CHARS = 160
"""Of a rule."""
UNASKED = "unasked"
"""The model of a service that asks none."""
SIDES = {"higher": "higher is better", "lower": "lower is better", "neither": "no better side"}


def checked(body: Wire, flags: ServeFlags, config: Path | None, url: str | None, api_key: str | None) -> Wire:
    """The answer of `/v1/alignment/check`. Ends the command where there is none."""
    if url is not None:
        return _asked(body, url, api_key, flags.model)
    from trimtab.server.api.refusal import validated
    from trimtab.server.api.schemas.check import CheckRequest
    from trimtab.strategies.core.errors import RequestRefused

    with clear_errors():
        try:
            return asyncio.run(_here(validated(CheckRequest, body), flags, config))
        except RequestRefused as error:
            fail(str(error), USAGE)


def _asked(body: Wire, url: str, api_key: str | None, model: str | None) -> Wire:
    """What a server says."""
    import openai

    from trimtab import OpenAI
    from trimtab.cli.conversation import base_url

    asked = {**body, "model": model} if model and body.get("norms", {}).get("judge", "none") != "none" else body
    try:
        with OpenAI(base_url=base_url(url), api_key=api_key or "none") as client:
            answer: Any = client.post("/alignment/check", body=asked, cast_to=object)
    except openai.APIStatusError as error:
        message = error.body.get("message") if isinstance(error.body, dict) else None
        fail(f"{url}: {message or error}", USAGE if error.status_code == 400 else RUNTIME)
    except openai.OpenAIError as error:
        fail(f"{url}: {error}", RUNTIME)
    return dict(answer)


async def _here(request: "CheckRequest", flags: ServeFlags, config: Path | None) -> Wire:
    from trimtab.cli.eval_place import trained
    from trimtab.server.evaluation.checking import check
    from trimtab.server.exchange import Principal

    if request.norms is not None and request.norms.judge != "none":
        request = request.model_copy(update={"model": trained(flags.model)})
    async with _serving(_settings(request, flags, config)) as service:
        return await check(service, request, Principal())


@asynccontextmanager
async def _serving(settings: "Settings") -> AsyncIterator["Service"]:
    """The service, started; nothing is told of a model that stands in for none."""
    from trimtab.artifacts import TerminalProgress
    from trimtab.cli.eval_place import running
    from trimtab.server import logs
    from trimtab.server.assembly import build

    if UNASKED not in settings.models:
        async with running(settings) as service:
            yield service
        return
    logs.configure(settings.http)
    with TerminalProgress() as progress:
        service = await asyncio.to_thread(build, settings, progress=progress)
        await service.start()
    try:
        yield service
    finally:
        await service.close()


def _settings(request: "CheckRequest", flags: ServeFlags, config: Path | None) -> "Settings":
    """The configuration without what this check does not ask: other roles, pipelines, and where nothing reads, the model."""
    from trimtab.cli.flags import load
    from trimtab.server.settings import Defaults, ModelConfig, ScriptedConfig

    settings = load(flags, config)
    reads = request.norms.judge if request.norms is not None else "none"
    asked = {"reward"} if "reward" in _scorers(request) else set()
    asked |= {"judge"} if reads == "judge" else set()
    roles: dict[str, Any] = {role: given for role, given in settings.roles.items() if role in asked}
    models = {name: given.model_copy(update={"strategy": None}) for name, given in settings.models.items()}
    if not _asks_a_model(reads, settings, roles):
        models = {UNASKED: ModelConfig(engine=ScriptedConfig())}
    update = {"models": models, "roles": roles, "pipelines": {}, "policies": (), "defaults": Defaults()}
    return settings.model_copy(update=update)


def _scorers(request: "CheckRequest") -> Sequence[str]:
    """Those that are named or may be chosen."""
    from trimtab.server.evaluation.checking import DEFAULT

    return request.scorers if request.scorers is not None else (() if request.norms is not None else DEFAULT)


def _asks_a_model(reads: str, settings: "Settings", roles: Mapping[str, Any]) -> bool:
    """Whether a served model is asked: by itself, or because a role is lent it."""
    lent = any(isinstance(given, str) and given in settings.models for given in roles.values())
    return lent or reads == "policy" or (reads == "judge" and "judge" not in settings.roles)


def told(answer: Wire) -> str:
    """The answer as lines of text."""
    lines = [_score(one) for one in answer["scores"]]
    if answer["scores"] and answer["norms"]:
        lines.append("")
    lines += [_norm(one) for one in answer["norms"]]
    lines += [f"Warning: {warning}" for warning in answer["warnings"]]
    return "\n".join(lines) if lines else "no rule was found"


def _score(one: Wire) -> str:
    value = f"unscored ({one['unscored']})" if one["value"] is None else f"{one['value']:.4g} ({SIDES[one['better']]})"
    details = "".join(f"; {name} {said}" for name, said in one["details"].items())
    return f"{one['scorer']}: {value}{details}\n  {one['says']}"


def _norm(one: Wire) -> str:
    """A rule with how near it is, and whether it is kept where that was read."""
    text = " ".join(one["text"].split())
    shown = text if len(text) <= SHOWN_CHARS else f"{text[: SHOWN_CHARS - 1]}…"
    head = f"{one['score']:.3f} {one['id']}"
    if "kept" not in one:
        return f"{head}: {shown}"
    verdict = {True: "kept", False: "BROKEN", None: f"no verdict ({one['unscored']})"}[one["kept"]]
    probability = "" if one["probability"] is None else f", probability that it is kept {one['probability']:.2f}"
    return f"{head}: {verdict}{probability}\n  {shown}"
