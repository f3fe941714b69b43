"""Where an evaluation's answers come from: a model in this process, or a server; with the engines that scorers ask."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace

from trimtab.artifacts import read_manifest
from trimtab.artifacts.checkpoint import manifest_file
from trimtab.cli.conversation import base_url
from trimtab.cli.eval_run import Wanted
from trimtab.cli.flags import load
from trimtab.cli.in_process import built, prepare
from trimtab.server.api.auth import everybody
from trimtab.server.evaluation.catalogue import CATALOGUE
from trimtab.server.evaluation.identity import model_sha256, named, prompts_sha256, spec_sha256, steps_sha256
from trimtab.server.evaluation.records import Alignment
from trimtab.server.evaluation.runner import RunError
from trimtab.server.lines.answering import Answerer, ServiceAnswerer
from trimtab.server.lines.offline import PatientAnswerer
from trimtab.server.lines.remote import RemoteAnswerer
from trimtab.server.service import Service
from trimtab.server.settings import Settings, Spec
from trimtab.strategies.core.engine import Ports

REMOTE = "remote"
"""What runs a model at a server, as a header says it."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where answers come from."""

    answerer: Answerer
    model: str
    model_sha256: str
    """Empty for a server, which does not say."""
    engine: str
    alignments: tuple[Alignment, ...]
    service: Service | None
    """With the engines that scorers ask; None beside a server where nothing asks one."""


@asynccontextmanager
async def place_of(wanted: Wanted) -> AsyncIterator[Place]:
    """Where the answers come from, ready; closed at the end. Raises as `serve` does, and for alignments that cannot run."""
    if wanted.url is not None:
        async with _server(wanted, wanted.url) as place:
            yield place
        return
    settings = load(wanted.flags, wanted.config)
    async with running(settings) as service:
        model = trained(wanted.flags.model) or service.models()[0]
        alignments = await _resolved(service, model, wanted.specs)
        served = service.registry.resolve(model).model
        weights = await asyncio.to_thread(model_sha256, service, served.id)
        answerer = PatientAnswerer(ServiceAnswerer(service, everybody(settings.policies)))
        yield Place(answerer, model, weights, served.engine.kind, alignments, service)


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[Service]:
    """The service of these settings, started; closed at the end."""
    prepare(settings)
    service = await asyncio.to_thread(built, settings)
    await service.start()
    try:
        yield service
    finally:
        await service.close()


@asynccontextmanager
async def _server(wanted: Wanted, url: str) -> AsyncIterator[Place]:
    """A server. What its alignments are made of is its own affair, so they are told apart by how they are written."""
    model = wanted.model if wanted.model is not None else await asyncio.to_thread(_first_model, url, wanted.api_key)
    alignments = named(wanted.specs, spec_sha256)
    async with AsyncExitStack() as stack:
        answerer = await stack.enter_async_context(
            RemoteAnswerer(url, api_key=wanted.api_key, model=model, connections=wanted.concurrency)
        )
        service = await stack.enter_async_context(running(_beside(wanted, url, model))) if _asks(wanted) else None
        yield Place(answerer, model, "", REMOTE, alignments, service)


def _asks(wanted: Wanted) -> bool:
    """Whether scorers may ask an engine of this process, beside a server."""
    named_ones = [CATALOGUE[name] for name in wanted.scorers or ()]
    return bool(wanted.flags.roles or wanted.config or any(entry.asks for entry in named_ones))


def _beside(wanted: Wanted, url: str, model: str) -> Settings:
    """Settings with the roles that were given, and the server's model as far as it shows likelihoods."""
    flags = replace(wanted.flags, engine="upstream", upstream=base_url(url), upstream_api_key=wanted.api_key, model=model)
    return load(flags, wanted.config)


def _first_model(url: str, api_key: str | None) -> str:
    """The default model of a server. Raises RunError where it does not say."""
    import openai

    from trimtab import OpenAI

    try:
        with OpenAI(base_url=base_url(url), api_key=api_key or "none", max_retries=2) as client:
            return str(client.models.list().data[0].id)
    except (openai.OpenAIError, IndexError) as error:
        raise RunError(f"{url} tells no model: {error}") from None


async def _resolved(service: Service, model: str, specs: Sequence[Spec]) -> tuple[Alignment, ...]:
    """The alignments. Raises ConfigError for one that cannot run here."""
    engines: dict[str, Ports] = {
        "policy": service.registry.resolve(model).model.ports,
        **{role: engine.ports for role, engine in service.roles.items()},
    }
    for spec in specs:
        pipeline = service.chooser.parse(spec, param="--align")
        pipeline.check(engines, param="--align")
        await asyncio.to_thread(pipeline.prove, engines)
    prompts = prompts_sha256()

    def sha256_of(spec: Spec) -> str:
        steps = service.chooser.parse(spec).steps
        return steps_sha256([step for step in steps if step.kind != "plain"], prompts)

    return named(specs, sha256_of)


def trained(source: str | None) -> str | None:
    """The model that a run of `train` made to answer, which is served beside its base; None for every other source."""
    file = manifest_file(source) if source else None
    manifest = read_manifest(file.parent) if file is not None else None
    return manifest.name if manifest is not None else None
