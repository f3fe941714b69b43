"""What a started engine consists of. Importing this module imports torch and transformers; the engine does so in a thread."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from trimtab.server.engines.encoding import ChatEncoder
from trimtab.server.engines.transformers.adapters import adapted
from trimtab.server.engines.transformers.detokenizer import Decode
from trimtab.server.engines.transformers.face import HfTokenizerFace
from trimtab.server.engines.transformers.model import LoadedModel, load
from trimtab.server.engines.transformers.pieces import Pieces
from trimtab.server.engines.transformers.prompts import PromptEncoder
from trimtab.server.engines.transformers.row import Job, ScoreJob
from trimtab.server.engines.transformers.sampling import check_ids, resolve
from trimtab.server.engines.transformers.scheduler import Scheduler
from trimtab.server.engines.transformers.weights import Tensors, WeightJob
from trimtab.server.engines.transformers.worker import Mailbox, Worker
from trimtab.server.settings import TransformersConfig
from trimtab.strategies.core.engine import Call, Params
from trimtab.strategies.core.errors import ConfigError, ContextLengthExceeded, RequestRefused


@dataclass(frozen=True, slots=True)
class Runtime:
    """A loaded model with its thread and its encoders."""

    model: LoadedModel
    worker: Worker
    encoder: ChatEncoder
    prompts: PromptEncoder
    face: HfTokenizerFace
    pieces: Pieces
    decode: Decode

    @property
    def dtype(self) -> str:
        """Of the weights, e.g. bfloat16."""
        return str(self.model.network.dtype).removeprefix("torch.")

    def submit(self, ids: Sequence[int], params: Params, call: Call) -> tuple[Job, Mailbox]:
        """Queues a request. Raises RequestRefused, ContextLengthExceeded and EngineUnavailable."""
        limits, prompt = self.model.limits, tuple(ids)
        check_ids(prompt, limits, "prompt")
        sampling = resolve(params, len(prompt), limits)
        mailbox = Mailbox(self.worker.outbox)
        job = Job(call.request_id, call.priority, call.cache_salt, prompt, sampling, mailbox)
        if sampling.max_tokens:
            self.worker.post(lambda scheduler: scheduler.add(job))
        return job, mailbox

    def submit_score(self, ids: Sequence[int], top: int, call: Call) -> tuple[ScoreJob, Mailbox]:
        """Queues a prompt to be scored. Raises RequestRefused, ContextLengthExceeded and EngineUnavailable."""
        limits, prompt = self.model.limits, tuple(ids)
        check_ids(prompt, limits, "prompt")
        if not 0 <= top <= limits.vocabulary:
            raise RequestRefused(f"logprobs is {top}; it must be between 0 and {limits.vocabulary}.", param="logprobs")
        if not prompt:
            raise RequestRefused("The prompt is empty: it encodes to 0 tokens.", param="prompt")
        if len(prompt) > limits.window:
            raise ContextLengthExceeded(
                f"The prompt has {len(prompt)} tokens; the context window is {limits.window}.", param="prompt"
            )
        mailbox = Mailbox(self.worker.outbox)
        job = ScoreJob(call.request_id, prompt, top, mailbox)
        self.worker.post(lambda scheduler: scheduler.add_score(job))
        return job, mailbox

    def submit_weights(self, tensors: Tensors, call: Call) -> tuple[WeightJob, Mailbox]:
        """Queues new weights, which come in when the work that is queued now has ended. Raises EngineUnavailable."""
        mailbox = Mailbox(self.worker.outbox)
        job = WeightJob(call.request_id, tensors, mailbox)
        self.worker.post(lambda scheduler: scheduler.replace_weights(job))
        return job, mailbox


def open_runtime(path: Path, config: TransformersConfig, *, name: str, chat_template: str | None) -> Runtime:
    """Loads the model and starts its thread; blocks for seconds. Raises ConfigError and OSError."""
    model = load(path, config)
    tokenizer = model.tokenizer
    if getattr(tokenizer, "backend_tokenizer", None) is None:
        raise ConfigError(f"The tokenizer of {name} has no fast form (tokenizer.json); the engine needs one.", param="engine")
    encoder = ChatEncoder(tokenizer, chat_template)
    prompts = PromptEncoder(encoder, name=name, has_template=bool(chat_template or tokenizer.chat_template))
    decode = text_of(tokenizer)
    worker = _worker(model, decode, config, name)
    face = HfTokenizerFace(tokenizer, encode_chat=prompts.body, encode_text=prompts.text, max_model_len=model.limits.window)
    worker.start()
    return Runtime(model, worker, encoder, prompts, face, Pieces(tokenizer), decode)


def open_adapters(runtime: Runtime, config: TransformersConfig) -> dict[str, Runtime]:
    """The runtime's model under each adapter of the settings, a thread each. Raises ConfigError; then no thread is left."""
    models = {name: adapted(runtime.model, Path(directory), name=name) for name, directory in config.lora.items()}
    opened: dict[str, Runtime] = {}
    for name, model in models.items():
        worker = _worker(model, runtime.decode, config, name)
        worker.start()
        opened[name] = replace(runtime, model=model, worker=worker)
    return opened


def _worker(model: LoadedModel, decode: Decode, config: TransformersConfig, name: str) -> Worker:
    return Worker(lambda: Scheduler(model, decode, config.max_batch_size), name=name, threads=config.threads)


def text_of(tokenizer: Any) -> Decode:
    """Ids to text, control tokens left out, nothing tidied up."""
    backend = tokenizer.backend_tokenizer

    def decode(ids: Sequence[int]) -> str:
        text: str = backend.decode(list(ids), skip_special_tokens=True)
        return text

    return decode
