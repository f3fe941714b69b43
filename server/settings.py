"""Settings: everything a server can be told, as one tree of frozen models; the YAML file and the environment are its forms.

Precedence: flag > environment (`TRIMTAB_*`) > file > default. An unknown key is an error that suggests the nearest one.
Every field is documented beneath itself; the configuration reference is rendered from these models.
"""

from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal

from platformdirs import user_data_path
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from trimtab.artifacts.correction import CorrectionTemplate, FormatName

Spec = str | dict[str, Any] | list[str | dict[str, Any]]
Scope = Literal["infer", "batch", "corpus", "admin"]


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class VllmConfig(_Section):
    """The vLLM engine, in process."""

    kind: Literal["vllm"] = "vllm"
    max_model_len: int | None = Field(default=None, ge=16)
    """Context window in tokens; default the model's own."""
    dtype: str = "auto"
    """auto, float32, bfloat16 or float16."""
    kv_cache_gib: float | None = Field(default=None, gt=0)
    """Memory for keys and values; CPU default 1 GiB, GPU default vLLM's own rule."""
    enforce_eager: bool | None = None
    """No compilation; default true on CPU (faster start), false on GPU."""
    args: dict[str, Any] = Field(default_factory=dict)
    """Any other vLLM engine argument by its own name, e.g. `tensor_parallel_size: 2`, `enable_lora: true`."""
    lora: dict[str, str] = Field(default_factory=dict)
    """LoRA adapters served beside the model: name -> directory."""
    restart_backoff_s: float = Field(default=1.0, gt=0)
    """First wait before a dead engine is started again; doubles up to a minute."""
    start_timeout_s: float = Field(default=900.0, gt=0)
    """Longest time a start may take."""


class TransformersConfig(_Section):
    """The transformers engine (CPU and GPU)."""

    kind: Literal["transformers"] = "transformers"
    max_model_len: int | None = Field(default=None, ge=16)
    """Context window in tokens; default the model's own."""
    dtype: str = "auto"
    """auto, float32, bfloat16 or float16."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""
    max_batch_size: int = Field(default=32, ge=1, le=1024)
    """Largest number of sequences that decode together; more wait."""
    threads: int | None = Field(default=None, ge=1)
    """CPU threads of torch; default all cores."""
    lora: dict[str, str] = Field(default_factory=dict)
    """LoRA adapters served beside the model: name -> directory (extra `train`). Each decodes in batches of its own."""


class UpstreamConfig(_Section):
    """Another OpenAI-compatible server."""

    kind: Literal["upstream"] = "upstream"
    url: str
    """Base URL with its `/v1`."""
    model: str | None = None
    """Model name there; default the first of its list."""
    api_key: SecretStr | None = None
    """Key for the upstream; the client's key is never forwarded."""
    timeout_s: float = Field(default=600.0, gt=0)
    """Longest silence while an answer is awaited."""
    connect_timeout_s: float = Field(default=5.0, gt=0)
    """Longest wait for a connection."""
    max_retries: int = Field(default=2, ge=0, le=10)
    """Repeats of a request that failed before its answer began (connection errors, 408, 429, 5xx)."""
    max_connections: int = Field(default=128, ge=1)
    """Connections kept to the upstream."""
    max_model_len: int | None = Field(default=None, ge=16)
    """Context window in tokens where the upstream does not tell."""
    probe: bool = True
    """Ask the upstream at start what it can do."""


class ScriptedConfig(_Section):
    """A deterministic double: answers from a script, no model."""

    kind: Literal["scripted"] = "scripted"
    answers: tuple[str, ...] = ()
    """Given in turn, then from the start again; without any, the last user message is echoed in a fixed sentence."""
    tokens_per_s: float | None = Field(default=None, gt=0)
    """Pace of the answer; default as fast as possible. Its tokens are bytes."""
    max_model_len: int = Field(default=65536, ge=16)
    """Context window in tokens; its tokens are bytes."""


EngineConfig = Annotated[
    VllmConfig | TransformersConfig | UpstreamConfig | ScriptedConfig,
    Field(discriminator="kind"),
]


class AutoEngine(_Section):
    """vLLM where it is installed, else transformers."""

    kind: Literal["auto"] = "auto"
    max_model_len: int | None = Field(default=None, ge=16)
    """Context window in tokens; default the model's own."""
    dtype: str = "auto"
    """auto, float32, bfloat16 or float16."""
    lora: dict[str, str] = Field(default_factory=dict)
    """LoRA adapters served beside the model: name -> directory."""


class ModelConfig(_Section):
    """A served model."""

    source: str | None = None
    """Hugging Face id, directory, `.gguf` file or catalogue alias; default the name. Unused by upstream and scripted."""
    engine: Annotated[
        VllmConfig | TransformersConfig | UpstreamConfig | ScriptedConfig | AutoEngine, Field(discriminator="kind")
    ] = Field(default_factory=AutoEngine)
    """What runs it."""
    strategy: Spec | None = None
    """Default strategy of this model; overrides `defaults.strategy`."""
    chat_template: str | None = None
    """A Jinja template (text, or path of a file) in place of the model's own."""


class RoleConfig(_Section):
    """An engine for one role: judge, reward, aligner, embed."""

    source: str | None = None
    """As in `models`."""
    label: str | None = None
    """Of a classifier: name or number of the label whose log-odds are the score; default the second of two."""
    engine: Annotated[
        VllmConfig | TransformersConfig | UpstreamConfig | ScriptedConfig | AutoEngine, Field(discriminator="kind")
    ] = Field(default_factory=AutoEngine)
    """What runs it."""
    template: FormatName | CorrectionTemplate | None = None
    """How an aligner is asked: question_answer, edit_pair, or an object with a `message`; default what lies in its checkpoint
    as `correction.json`."""


class Defaults(_Section):
    """What a request gets that says nothing."""

    strategy: Spec | None = None
    """Strategy or pipeline; default none: requests pass through."""
    on_error: Literal["closed", "open", "degrade"] = "closed"
    """What happens when a step fails."""
    trace: Literal["none", "summary", "full"] = "summary"
    """How much the `alignment` object explains."""
    usage_mode: Literal["total", "final"] = "total"
    """Whether `usage` sums all internal calls or counts the last one."""
    sse_keep_alive_s: float = Field(default=10.0, ge=0)
    """Idle time after which a buffered stream sends a comment; 0 = never."""


class KeyConfig(_Section):
    """An API key. Give `key` or `sha256`, not both."""

    name: str
    """What logs, metrics and policies call it."""
    key: SecretStr | None = None
    """The key itself; `${VAR}` reads the environment."""
    sha256: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")
    """Hexadecimal SHA-256 of the key."""
    scopes: frozenset[Scope] = frozenset({"infer"})
    """What it may do: infer, batch, corpus, admin."""


class PolicyConfig(_Section):
    """What holds for one key, or for all (`key: "*"`)."""

    key: str = "*"
    """Name of the key."""
    lock: str | None = None
    """Pipeline that always runs; a client may add shapers before and revisers after it."""
    strategy: Spec | None = None
    """Default strategy of this key."""
    models: tuple[str, ...] | None = None
    """Models it may use; default all."""
    scopes: frozenset[Scope] | None = None
    """Replaces the key's scopes."""


class Limits(_Section):
    """Caps checked before an engine is touched."""

    body_mib: float = Field(default=4.0, gt=0, le=512)
    """Largest request body."""
    n: int = Field(default=16, ge=1)
    """Choices a request."""
    top_logprobs: int = Field(default=20, ge=0)
    """Most likely tokens a position."""
    stop: int = Field(default=4, ge=0)
    """Stop strings a request."""
    stop_chars: int = Field(default=128, ge=1)
    """Characters a stop string."""
    messages: int = Field(default=2048, ge=1)
    """Messages a request."""
    tools: int = Field(default=128, ge=0)
    """Tools a request."""
    schema_depth: int = Field(default=64, ge=1)
    """Nesting of JSON schemas."""
    max_tokens: int | None = Field(default=None, ge=1)
    """Tokens an answer; default the context window."""
    prompts: int = Field(default=64, ge=1)
    """Prompts a completion request."""
    embedding_inputs: int = Field(default=2048, ge=1)
    """Inputs an embedding request."""
    documents: int = Field(default=1000, ge=1)
    """Documents a request puts into a corpus."""
    document_chars: int = Field(default=200_000, ge=1, le=1_000_000)
    """Characters of a document's text, and of a query."""
    hits: int = Field(default=100, ge=1, le=1000)
    """Documents a search of a corpus may ask for."""
    alignment_calls: int = Field(default=4096, ge=1)
    """Worst-case engine calls of a pipeline; a search that could take more ends there with its best so far."""
    alignment_tokens: int = Field(default=2_000_000, ge=1)
    """Worst-case tokens of a pipeline; a search that could take more ends there with its best so far."""
    concurrency: int = Field(default=256, ge=1)
    """Requests in work at once; beyond it and the queue: 503."""
    queue: int = Field(default=512, ge=0)
    """Requests that may wait for their turn."""
    queue_timeout_s: float = Field(default=60.0, gt=0)
    """Longest wait in the queue."""
    concurrency_per_key: int = Field(default=64, ge=1)
    """Requests of one key in work at once; beyond it: 429."""
    requests_per_minute: int | None = Field(default=None, ge=1)
    """Requests of one key a minute; default no limit."""
    drain_s: float = Field(default=30.0, ge=0)
    """How long running requests may go on after SIGTERM."""


class HttpConfig(_Section):
    """Where and how the server listens."""

    host: str = "127.0.0.1"
    """Address to bind."""
    port: int = Field(default=8000, ge=0, le=65535)
    """Port to bind; 0 = any free one."""
    uds: Path | None = None
    """Unix socket in place of host and port."""
    cors_origins: tuple[str, ...] = ()
    """Origins browsers may call from; default none."""
    metrics_public: bool = False
    """Serve /metrics without a key."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severe level that is logged."""
    log_json: bool = False
    """One JSON object a log line."""
    log_content: bool = False
    """Log prompts and completions, and the words of errors inside requests. They may hold personal data."""

    @property
    def is_private(self) -> bool:
        """Whether only this machine can reach the server."""
        return self.uds is not None or is_loopback(self.host)


class JobsConfig(_Section):
    """Files and batches."""

    database: SecretStr | None = None
    """URL of a PostgreSQL database (extra `postgres`); default an SQLite file in `data_dir`. The files themselves lie in
    `data_dir`, which servers that share a database share too."""
    concurrency: int | None = Field(default=None, ge=1)
    """Lines of batches in work at once, over all batches of this server; default what the largest engine computes together and
    a quarter more. Requests of clients go first."""
    batches: int = Field(default=4, ge=1)
    """Batches in work at once; more wait."""
    lines: int = Field(default=50_000, ge=1)
    """Lines a batch."""
    file_mib: float = Field(default=200.0, gt=0)
    """Largest uploaded file."""
    key_gib: float | None = Field(default=None, gt=0)
    """Disk that the files of one key may take; default no limit."""
    window_s: float = Field(default=86_400.0, gt=0, le=31_536_000)
    """Time a batch has (`completion_window`); then it expires, with what was answered."""
    retention_s: float | None = Field(default=2_592_000.0, gt=0)
    """Age at which files are deleted; default 30 days, none = never."""
    lease_s: float = Field(default=30.0, gt=0, le=3600)
    """How long a batch stays with a worker that is not heard of any more."""


class Settings(_Section):
    """A whole server."""

    models: dict[str, ModelConfig] = Field(default_factory=dict)
    """Served models by name; the first is the default. Empty: the embedded default model."""
    roles: dict[Literal["judge", "reward", "aligner", "embed"], str | RoleConfig] = Field(default_factory=dict)
    """Engines by role: the name of a served model, or a model of its own."""
    encoders: tuple[str, ...] = ()
    """Sentence encoders beside that of the role embed (alias, directory or hub id), for embeddings and for corpora."""
    pipelines: dict[str, Spec] = Field(default_factory=dict)
    """Named pipelines; each appears as the alias `model:name` in /v1/models."""
    defaults: Defaults = Field(default_factory=Defaults)
    """What a request gets that says nothing."""
    keys: tuple[KeyConfig, ...] = ()
    """API keys; without any, the server is open to whoever can reach it."""
    policies: tuple[PolicyConfig, ...] = ()
    """What holds for each key; the first that matches wins."""
    limits: Limits = Field(default_factory=Limits)
    """Caps checked before an engine is touched."""
    jobs: JobsConfig = Field(default_factory=JobsConfig)
    """Files and batches."""
    http: HttpConfig = Field(default_factory=HttpConfig)
    """Where and how the server listens."""
    data_dir: Path | None = None
    """State (corpora, files, batches); default the platform's user data folder."""
    accept_licences: frozenset[str] = frozenset()
    """Licences accepted beforehand, e.g. gemma."""

    @property
    def data_root(self) -> Path:
        """Where state lives."""
        return self.data_dir.expanduser().absolute() if self.data_dir else user_data_path("trimtab")


def load_settings(
    path: Path | None = None,
    *,
    overrides: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Settings:
    """The settings of a file, under the environment's and the caller's. Raises `trimtab.server.config_file.ConfigFileError`."""
    from trimtab.server.config_file import read

    return read(Settings, path, overrides=overrides or {}, environ=environ)
