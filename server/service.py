"""The service: answers validated requests without knowing HTTP. It chooses model and pipeline, runs them, accounts for them."""

import asyncio
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from trimtab.server.account import Account
from trimtab.server.aligned import AlignedChat
from trimtab.server.api.schemas.alignment import AlignmentOptions, BudgetOptions
from trimtab.server.api.schemas.capabilities import check_capabilities
from trimtab.server.api.schemas.caps import check_caps
from trimtab.server.corpora import ServedCorpora
from trimtab.server.engines.base import Engine, Renewable, TokenizerFace, Wire
from trimtab.server.errors import ModelNotFound
from trimtab.server.exchange import Answer, Inbound, Principal, StreamAnswer
from trimtab.server.judges import cautions
from trimtab.server.models import Registry, ServedModel
from trimtab.server.selection import Chooser, Selection
from trimtab.server.settings import Limits, PolicyConfig, Settings
from trimtab.server.wire import params_of
from trimtab.strategies.config import catalogue, describe
from trimtab.strategies.core.budget import Budget
from trimtab.strategies.core.context import RequestContext, Step, Trace
from trimtab.strategies.core.engine import Call, Params, Ports
from trimtab.strategies.core.errors import ConfigError, MissingCapability, RequestRefused, StrategyNotAllowed
from trimtab.strategies.core.messages import Conversation, Prompt
from trimtab.strategies.pipeline import Pipeline

if TYPE_CHECKING:
    from trimtab.retrieval.encoder import Encoder

__all__ = ["Answer", "Inbound", "Principal", "Service", "StreamAnswer"]

NOT_FOR_ENGINES = frozenset({"alignment", "extra_body"})
"""Members of a body that no engine sees."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A request that may run: its model, its pipeline, and what the engine is handed."""

    model: ServedModel
    selection: Selection
    body: Wire
    params: Params
    call: Call
    arrived: float

    @property
    def engine(self) -> Engine:
        """The engine that answers."""
        return self.model.engine


@dataclass(slots=True)
class Service:
    """Served models, engines by role, pipelines and corpora of one server."""

    settings: Settings
    registry: Registry
    roles: Mapping[str, Engine] = field(default_factory=dict)
    embedders: Mapping[str, "Encoder"] = field(default_factory=dict)
    corpora: ServedCorpora | None = None
    """Norms and demonstrations; None where the server keeps none."""
    judge_cautions: Mapping[str, str] = field(default_factory=dict)
    """Model id -> what answers judged by its judge should be warned of."""
    chooser: Chooser = field(init=False)

    def __post_init__(self) -> None:
        self.chooser = Chooser(self.settings.pipelines, self.settings.defaults)

    def engines(self) -> list[Engine]:
        """Every engine once."""
        unique: dict[int, Engine] = {}
        for engine in (*(model.engine for model in self.registry.models.values()), *self.roles.values()):
            unique[id(engine)] = engine
        return list(unique.values())

    async def start(self) -> None:
        """Start the engines, check every configured pipeline against them, open the corpora that one reads.

        Ends what it started on failure.
        """
        try:
            for engine in self.engines():
                await engine.start()
            await self._check_configured()
            if self.corpora is not None:
                await self.corpora.warm(self._configured_corpora())
            self.judge_cautions = await asyncio.to_thread(cautions, self.settings, list(self.registry.models))
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Close every engine and the corpora. Safe to call twice."""
        stores = [self.corpora.close()] if self.corpora else []
        await asyncio.gather(*(engine.close() for engine in self.engines()), *stores)

    async def _check_configured(self) -> None:
        """Raise ConfigError where a configured pipeline cannot run on a model it may meet."""
        for policy in self.settings.policies:
            self._check_met(policy)
        for model in self.registry.models.values():
            for param, pipeline in self._configured(model):
                pipeline.check(self._ports(model), param=param)
                await asyncio.to_thread(pipeline.prove, self._ports(model))

    def _configured(self, model: ServedModel) -> Iterator[tuple[str, Pipeline]]:
        """Every pipeline of the configuration that may meet a model, by the key that gives it."""
        specs: dict[str, Any] = {f"pipelines.{name}": name for name in self.settings.pipelines}
        specs |= {f"policies.{p.key}.lock": p.lock for p in self.settings.policies if p.lock is not None}
        specs |= {f"policies.{p.key}.strategy": p.strategy for p in self.settings.policies if p.strategy is not None}
        specs |= {"defaults.strategy": self.settings.defaults.strategy, f"models.{model.id}.strategy": model.strategy}
        for param, spec in specs.items():
            if spec is not None:
                yield param, self.chooser.parse(spec, param=param)

    def _configured_corpora(self) -> list[str]:
        """The corpora that a configured pipeline reads."""
        pipelines = [pipeline for model in self.registry.models.values() for _, pipeline in self._configured(model)]
        names = [name for pipeline in pipelines for step in pipeline.steps for name in step.corpora()]
        return list(dict.fromkeys(names))

    def _check_met(self, policy: PolicyConfig) -> None:
        """Raise ConfigError for a lock that locks nothing and for models nobody serves."""
        if policy.lock is not None and self.chooser.parse(policy.lock, param="policies.lock").is_plain:
            raise ConfigError(
                f"policies.{policy.key}.lock: {policy.lock!r} is plain and would lock nothing", param="policies.lock"
            )
        served = [*self.registry.models, *self.embedders]
        for name in policy.models or ():
            if name not in served:
                message = f"policies.{policy.key}.models: no model is called {name!r}; served: {', '.join(served)}"
                raise ConfigError(message, param="policies.models")

    def models(self) -> list[str]:
        """All names, the default model first."""
        return self.registry.names()

    def model_card(self, name: str) -> Wire:
        """The model object of a name. Raises ModelNotFound."""
        return self.registry.card(name, self.settings.defaults.strategy)

    def tokenizer(self, name: str | None, principal: Principal) -> TokenizerFace:
        """The tokenizer of a model; None = the default model.

        Raises ModelNotFound, StrategyNotAllowed where the key may not use it, RequestRefused where it has none.
        """
        model = self.model(name, principal)
        if model.engine.tokenizer is None:
            raise RequestRefused(f"the model {model.id!r} has no tokenizer here", param="model", code="unsupported_by_engine")
        return model.engine.tokenizer

    def max_model_len(self, name: str | None) -> int | None:
        """The context window of a model in tokens."""
        return self.registry.resolve(name or self.models()[0]).model.engine.capabilities.max_model_len

    async def push_weights(self, name: str, directory: Path, principal: Principal) -> Wire:
        """Replace the weights of a model that is served; it is done to its end also where its caller has gone.

        Raises ModelNotFound, StrategyNotAllowed, and RequestRefused where this model's weights stay or cannot be these.
        """
        model = self.model(name, principal)
        engine = model.engine
        if model.adapter is not None or not isinstance(engine, Renewable):
            what = "an adapter" if model.adapter is not None else f"run by the engine {engine.kind}"
            raise RequestRefused(
                f"the model {model.id!r} is {what}; weights are pushed to a base model that runs on vllm or transformers",
                param="model",
                code="unsupported_by_engine",
            )
        version = await asyncio.shield(asyncio.ensure_future(engine.push_weights(directory)))
        return {"object": "model.weights", "model": model.id, "version": version}

    def model(self, name: str | None, principal: Principal) -> ServedModel:
        """A model that a key may use; None = the default one. Raises ModelNotFound, StrategyNotAllowed."""
        model = self.registry.resolve(self.models()[0] if name is None else name).model
        _check_policy(principal, model.id)
        return model

    def embedder(self, name: str | None, principal: Principal) -> "Encoder":
        """An embedding model; None = the default one. Raises ModelNotFound, StrategyNotAllowed."""
        name = next(iter(self.embedders)) if name is None else name
        if name not in self.embedders:
            known = ", ".join(self.embedders)
            raise ModelNotFound(f"the embedding model {name[:200]!r} does not exist; embedding models: {known}", param="model")
        _check_policy(principal, name)
        return self.embedders[name]

    def catalogue(self) -> list[Wire]:
        """Every strategy this server knows."""
        return [describe(config) for config in catalogue().values()]

    async def chat(self, inbound: Inbound) -> Answer:
        """The whole answer to a chat request."""
        plan = self._plan(inbound, "chat")
        if plan.selection.pipeline is None:
            return Answer(await plan.engine.wire.chat(plan.body, plan.call))
        aligned = self._aligned(plan, plan.selection.pipeline)
        body = await aligned.answer()
        return Answer(body, aligned.account.headers())

    async def chat_stream(self, inbound: Inbound) -> StreamAnswer:
        """The streamed answer to a chat request; what can be refused without an engine is refused here."""
        plan = self._plan(inbound, "chat")
        pipeline = plan.selection.pipeline
        if pipeline is None:
            return StreamAnswer(plan.engine.wire.chat_stream(plan.body, plan.call))
        keep_alive_s = self.settings.defaults.sse_keep_alive_s if pipeline.streaming == "buffered" else 0.0
        headers = {"x-alignment-strategy": ",".join(pipeline.names)}
        return StreamAnswer(self._aligned(plan, pipeline).events(), headers, keep_alive_s)

    async def shaped(self, inbound: Inbound) -> Prompt:
        """What a chat request's engine would be asked, after its pipeline's shapers. Refuses what `chat` refuses."""
        plan = self._plan(inbound, "chat")
        if plan.selection.pipeline is None:
            return Conversation.from_wire(plan.body["messages"])
        return await self._aligned(plan, plan.selection.pipeline).shaped()

    async def completion(self, inbound: Inbound) -> Answer:
        """The whole answer to a raw-text request."""
        plan = self._plan(inbound, "completions")
        return Answer(await plan.engine.wire.completion(plan.body, plan.call))

    async def completion_stream(self, inbound: Inbound) -> StreamAnswer:
        """The streamed answer to a raw-text request."""
        plan = self._plan(inbound, "completions")
        return StreamAnswer(plan.engine.wire.completion_stream(plan.body, plan.call))

    def _plan(self, inbound: Inbound, endpoint: Literal["chat", "completions"]) -> Plan:
        """Everything that can be decided before an engine is touched. Raises what is wrong with the request."""
        body, principal = inbound.body, inbound.principal
        check_caps(body, self.settings.limits, endpoint)
        resolved = self.registry.resolve(body["model"])
        model = resolved.model
        _check_policy(principal, model.id)
        given = body.get("alignment")
        selection = self.chooser.choose(
            AlignmentOptions.model_validate(given) if given is not None else None,
            header=inbound.header_strategy,
            alias=resolved.alias,
            model_default=model.strategy,
            principal=principal,
        )
        check_capabilities(body, model.engine.capabilities)
        params = params_of(body)
        self._check_pipeline(selection, model, params, endpoint)
        clean = {name: value for name, value in body.items() if name not in NOT_FOR_ENGINES}
        if model.adapter is not None:
            clean["model"] = model.adapter
        salt = None if principal.name == "anonymous" else principal.name
        return Plan(
            model, selection, clean, params, Call(inbound.request_id, "policy", inbound.priority, salt), inbound.arrived
        )

    def _check_pipeline(self, selection: Selection, model: ServedModel, params: Params, endpoint: str) -> None:
        """Raise where the pipeline cannot run here, may not run here, or could cost too much.

        What a spent budget only cuts short may cost as much as it likes: it runs under the limits as a budget.
        """
        pipeline = selection.pipeline
        if pipeline is None:
            return
        if endpoint == "completions" and not pipeline.is_plain:
            names = ", ".join(pipeline.names)
            if selection.locked:
                raise StrategyNotAllowed(f"the pipeline {names} is locked for this key and works on conversations only")
            raise MissingCapability(
                f"{names} works on conversations, not on raw prompts: use /v1/chat/completions, or choose 'plain' here"
            )
        pipeline.check(self._ports(model))
        limits, cost = self.settings.limits, pipeline.cost(params, bounded=True)
        tokens = max(cost.completion_tokens, cost.calls * (model.engine.capabilities.max_model_len or 0))
        for spent, allowed, name in (
            (cost.calls, limits.alignment_calls, "alignment_calls"),
            (tokens, limits.alignment_tokens, "alignment_tokens"),
        ):
            if spent > allowed:
                raise ConfigError(
                    f"{', '.join(pipeline.names)} could take {spent} in the worst case; limits.{name} allows {allowed}",
                    code="strategy_too_expensive",
                )

    def _ports(self, model: ServedModel) -> dict[str, Ports]:
        return {"policy": model.ports, **{role: engine.ports for role, engine in self.roles.items()}}

    def _aligned(self, plan: Plan, pipeline: Pipeline) -> AlignedChat:
        """The runner of one aligned chat request."""
        options, defaults = plan.selection.options, self.settings.defaults
        level = options.trace or defaults.trace
        trace = Trace(f"trace-{plan.call.request_id}", level)
        ctx = RequestContext(
            request_id=plan.call.request_id,
            engines=self._ports(plan.model),
            params=plan.params,
            budget=_budget(options, plan.arrived, self.settings.limits if pipeline.is_anytime else None),
            trace=trace,
            step=Step("pipeline", "pipeline"),
            seed=plan.params.seed if plan.params.seed is not None else secrets.randbits(31),
            priority=plan.call.priority,
            cache_salt=plan.call.cache_salt,
            corpora=self.corpora,
            encoder=self.corpora.encoder if self.corpora else None,
            cautions={"judge": caution} if (caution := self.judge_cautions.get(plan.model.id)) else {},
        )
        account = Account(pipeline, ctx, level, options.usage_mode or defaults.usage_mode)
        return AlignedChat(plan.engine, pipeline, ctx, plan.body, plan.selection.on_error, account)


def _check_policy(principal: Principal, model: str) -> None:
    """Raise StrategyNotAllowed where the key's policy leaves the model out."""
    allowed = principal.policy.models if principal.policy else None
    if allowed is not None and model not in allowed:
        shown = ", ".join(allowed) or "none"
        raise StrategyNotAllowed(f"the key {principal.name!r} may not use the model {model!r}; allowed: {shown}")


def _budget(options: AlignmentOptions, arrived: float, limits: Limits | None) -> Budget:
    """The budget a request asked for, within limits where there are any; its deadline runs from its arrival."""
    given = options.budget or BudgetOptions()
    deadline = None if given.deadline_ms is None else arrived + given.deadline_ms / 1000
    if limits is None:
        return Budget(given.max_calls, given.max_tokens, deadline)
    return Budget(
        min(given.max_calls or limits.alignment_calls, limits.alignment_calls),
        min(given.max_tokens or limits.alignment_tokens, limits.alignment_tokens),
        deadline,
    )
