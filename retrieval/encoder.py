"""A sentence encoder: texts in, unit vectors out.

It runs a sentence-transformers model on this machine. The model is fetched and loaded on first use; calls block, one at a
time, so that a server runs them in a thread. It knows nothing of indices, corpora or HTTP.
"""

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from trimtab.artifacts import DEFAULT_ENCODER, Progress, resolve

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

Vectors = npt.NDArray[np.float32]

FEW_TOKENS = 32
"""Of a batch, padding included: what one thread encodes as soon as several would."""


class EncoderInputError(ValueError):
    """An input cannot be encoded; `index` says which."""

    def __init__(self, message: str, index: int) -> None:
        super().__init__(message)
        self.index = index


class Encoder:
    """A sentence-transformers model by alias, directory or hub id."""

    def __init__(
        self,
        source: str = DEFAULT_ENCODER,
        *,
        name: str | None = None,
        device: str = "cpu",
        batch_size: int = 32,
        progress: Progress | None = None,
    ) -> None:
        self.name = name or source
        """What it is called in requests and corpora."""
        self._source = source
        self._device = device
        self._batch_size = batch_size
        self._progress = progress
        self._lock = threading.RLock()
        self._model: SentenceTransformer | None = None
        self._nested: tuple[int, ...] = ()

    def load(self) -> None:
        """Fetch and load the model, once. Raises ArtifactError where it cannot be had."""
        with self._lock:
            if self._model is None:
                path = resolve(self._source, progress=self._progress).path
                self._nested = _nested_dimensions(path)
                self._model = _read(path, self._device)

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        return int(self._loaded.get_embedding_dimension() or 0)

    @property
    def max_tokens(self) -> int:
        """Longest input, special tokens included; `encode` cuts what is longer."""
        return int(self._loaded.max_seq_length or 512)

    @property
    def vocabulary(self) -> int:
        """Number of token ids."""
        return len(self._loaded.tokenizer)

    @property
    def nested_dimensions(self) -> tuple[int, ...]:
        """Shorter lengths the model was trained to be cut to (Matryoshka); empty for most models."""
        self.load()
        return self._nested

    @property
    def _loaded(self) -> "SentenceTransformer":
        self.load()
        if self._model is None:
            raise RuntimeError("the encoder is not loaded")
        return self._model

    def token_ids(self, texts: Sequence[str], *, limit: int | None = None) -> list[list[int]]:
        """The ids of each text with special tokens, cut to `limit` where one is given."""
        if not texts:
            return []
        with self._lock:
            tokenizer = self._loaded.tokenizer
            options: dict[str, Any] = {"truncation": True, "max_length": limit} if limit else {"truncation": False}
            ids = tokenizer(list(texts), add_special_tokens=True, verbose=False, **options)["input_ids"]
        return [list(sequence) for sequence in ids]

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Where each token of a text lies, characters from and up to; special tokens left out."""
        with self._lock:
            tokenizer = self._loaded.tokenizer
            if not tokenizer.is_fast:  # it cannot say: count characters, of which there are never fewer
                return [(index, index + 1) for index, character in enumerate(text) if not character.isspace()]
            found = tokenizer(text, add_special_tokens=False, truncation=False, return_offsets_mapping=True, verbose=False)
        return [(start, stop) for start, stop in found["offset_mapping"] if stop > start]

    @property
    def window(self) -> int:
        """Most tokens of a text that `encode` reads, special tokens left out."""
        return self.max_tokens - len(self.token_ids([""])[0])

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors of texts, shape (n, dimension), float32; the end of texts over `max_tokens` is not read."""
        return self.encode_ids(self.token_ids(texts, limit=self.max_tokens))

    def encode_ids(self, sequences: Sequence[Sequence[int]]) -> Vectors:
        """Unit vectors of token id lists, shape (n, dimension), float32; the ids are taken as they are.

        Raises EncoderInputError for an empty or too long list or an unknown id.
        """
        self._check(sequences)
        vectors = np.empty((len(sequences), self.dimension), dtype=np.float32)
        order = sorted(range(len(sequences)), key=lambda index: len(sequences[index]))
        for start in range(0, len(order), self._batch_size):
            batch = order[start : start + self._batch_size]
            with self._lock:
                vectors[batch] = self._forward([sequences[index] for index in batch])
        return vectors

    def _check(self, sequences: Sequence[Sequence[int]]) -> None:
        for index, ids in enumerate(sequences):
            if not 0 < len(ids) <= self.max_tokens:
                raise EncoderInputError(f"an input must have 1 to {self.max_tokens} tokens, this has {len(ids)}", index)
            if not all(0 <= token < self.vocabulary for token in ids):
                raise EncoderInputError(f"token ids must lie between 0 and {self.vocabulary - 1}", index)

    def _forward(self, sequences: Sequence[Sequence[int]]) -> Vectors:
        """One padded batch through the model."""
        import torch

        model = self._loaded
        width = max(len(ids) for ids in sequences)
        shape = (len(sequences), width)
        input_ids = torch.full(shape, model.tokenizer.pad_token_id or 0, dtype=torch.long)
        mask = torch.zeros(shape, dtype=torch.long)
        for row, ids in enumerate(sequences):
            input_ids[row, : len(ids)] = torch.tensor(list(ids))
            mask[row, : len(ids)] = 1
        features = {"input_ids": input_ids.to(model.device), "attention_mask": mask.to(model.device)}
        with torch.inference_mode(), _threads(shape[0] * width):
            vectors = model(features)["sentence_embedding"].float()
            unit = torch.nn.functional.normalize(vectors, dim=-1).cpu().numpy()
        return np.asarray(unit, dtype=np.float32)


@contextmanager
def _threads(tokens: int) -> Iterator[None]:
    """One thread for a query: its layers are done before a second one, which sleeps between them, has come awake."""
    import torch

    before = torch.get_num_threads()  # this thread's own, as what is set is
    if tokens > FEW_TOKENS or before == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _read(path: Path, device: str) -> "SentenceTransformer":
    """The model, without the library's progress bar."""
    from sentence_transformers import SentenceTransformer
    from transformers.utils import logging as notices

    from trimtab.retrieval.packed import pack

    shown = notices.is_progress_bar_enabled()
    notices.disable_progress_bar()
    try:
        model = SentenceTransformer(str(path), device=device, local_files_only=True)
    finally:
        if shown:
            notices.enable_progress_bar()
    pack(model)
    return model


def _nested_dimensions(path: Path) -> tuple[int, ...]:
    """What `matryoshka_dimensions` in the model's config says."""
    config = path / "config.json"
    if not config.is_file():
        return ()
    known = json.loads(config.read_text(encoding="utf-8")).get("matryoshka_dimensions") or ()
    return tuple(sorted(int(dimension) for dimension in known))
