"""One started vLLM engine with everything that stands over it; a restart makes a new one."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from trimtab.server.engines.base import Wire
from trimtab.server.engines.encoding.chat import ChatEncoder
from trimtab.server.engines.vllm.calls import RunningCall
from trimtab.server.engines.vllm.launch import Launched
from trimtab.server.engines.vllm.openai_layer import Serving, prepared
from trimtab.strategies.core.engine import Call


@dataclass(frozen=True, eq=False)
class Runtime:
    """A running AsyncLLM, its processes and its handlers."""

    launched: Launched
    serving: Serving
    encoder: ChatEncoder
    prioritised: bool
    """Whether the scheduler orders by priority; without it vLLM refuses any but 0."""

    @property
    def engine(self) -> Any:
        """The AsyncLLM."""
        return self.launched.engine

    @property
    def dead(self) -> bool:
        """Whether the engine has died."""
        return bool(self.engine.errored)

    @property
    def idle(self) -> bool:
        """Whether nothing is under way; an engine without work counts no more steps."""
        return self.dead or self.engine.get_num_unfinished_requests() == 0

    async def wait_dead(self) -> str:
        """Return, with the reason, once an engine process has ended."""
        return await self.launched.wait_dead()

    async def stop(self) -> None:
        """End the engine and its processes."""
        await self.launched.stop()

    async def load_weights(self, directory: Path, instead: Path) -> None:
        """Compute with the weights of a checkpoint once what is under way has ended; what comes meanwhile waits.

        instead: a checkpoint that is loaded where that fails, before the failure is raised.
        """
        await self.engine.pause_generation(mode="wait")
        try:
            await self._read(directory)
        except Exception:  # whatever failed, the engine may hold half of the new weights
            await self._read(instead)
            raise
        finally:
            await self.engine.reset_prefix_cache()
            await self.engine.resume_generation()

    async def _read(self, directory: Path) -> None:
        await self.engine.collective_rpc("reload_weights", kwargs={"weights_path": str(directory)})

    async def abort(self, engine_ids: Iterable[str]) -> None:
        """End work by the engine's ids; unknown ones, and a dead engine, are fine."""
        if not self.dead:
            await self.engine.abort(list(engine_ids))

    def salt(self, call: Call) -> str | None:
        """The cache salt of a call in characters that vLLM takes, whatever the caller's own consists of."""
        return None if call.cache_salt is None else sha256(call.cache_salt.encode()).hexdigest()[:32]

    def priority(self, call: Call) -> int:
        """The scheduling priority of a call."""
        return call.priority if self.prioritised else 0

    def body(self, body: Mapping[str, Any], running: RunningCall, call: Call, *, stream: bool) -> Wire:
        """A client's body as vLLM's layer gets it."""
        wire = prepared(
            body,
            model=self.serving.served_name(body.get("model")),
            name=running.name,
            salt=self.salt(call),
            priority=self.priority(call),
        )
        return {**wire, "stream": stream, "stream_options": body.get("stream_options") if stream else None}

    def is_forged(self, body: Mapping[str, Any]) -> bool:
        """Whether content of a chat body would act as a control token on vLLM's own template path."""
        extra = {**(body.get("chat_template_kwargs") or {})}
        if body.get("documents"):
            extra["documents"] = body["documents"]
        return bool(self.encoder.forged(body["messages"], body.get("tools"), extra or None))
