"""What online training asks of an engine, over HTTP: samples of a served policy and new weights for it.

Any Trimtab server will do, and for samples any other that answers token ids (vLLM's own). Requests run at once, so that the
server batches them; each holds one prompt, because a request has one seed.
"""

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx2

from trimtab.cli.rollouts import GREEDY_BELOW, prompt_seed, sample_of
from trimtab.training.errors import RolloutError
from trimtab.training.online.protocols import Sample

TIMEOUT_S = 600.0
"""Longest silence while samples are awaited or weights are pushed."""
SAMPLES_A_REQUEST = 16
"""A server's `limits.n` unless it is told otherwise."""
REQUESTS_AT_ONCE = 32
"""Below a server's `limits.concurrency_per_key`."""

NEUTRAL: Mapping[str, Any] = {
    "top_k": 0,
    "min_p": 0.0,
    "repetition_penalty": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "logprobs": 0,
    "return_token_ids": True,
    "alignment": {"strategy": "plain"},
}
"""Nothing but temperature and top_p shapes the distribution, nothing shapes the prompt or revises the sample."""

Wire = Mapping[str, Any]


class RemotePolicy:
    """`Rollouts` and `Weights` over a server; a context that ends with `close`."""

    def __init__(
        self,
        url: str,
        model: str,
        *,
        api_key: str | None = None,
        samples_a_request: int = SAMPLES_A_REQUEST,
        requests_at_once: int = REQUESTS_AT_ONCE,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        """url: with or without `/v1`. model: a base model of that server. api_key: default the environment's TRIMTAB_API_KEY;
        a push needs its scope `admin`. samples_a_request: at most the server's `limits.n`.
        """
        key = api_key or os.environ.get("TRIMTAB_API_KEY")
        base = f"{url.rstrip('/').removesuffix('/v1')}/v1"
        self._http = httpx2.Client(
            base_url=base,
            headers={"authorization": f"Bearer {key}"} if key else {},
            timeout=TIMEOUT_S,
            limits=httpx2.Limits(max_connections=requests_at_once, max_keepalive_connections=requests_at_once),
            transport=transport,
        )
        self._threads = ThreadPoolExecutor(requests_at_once, "rollouts")
        self._model = model
        self._samples_a_request = samples_a_request

    def sample(
        self,
        prompts: Sequence[Sequence[int]],
        *,
        n: int,
        max_tokens: int,
        temperature: float,
        top_p: float,
        seed: int,
    ) -> list[list[Sample]]:
        """`n` continuations of each prompt. See `trimtab.training.online.protocols.Rollouts`.

        Raises RolloutError also where somebody else pushes weights meanwhile: nobody knows then which of them sampled.
        """
        version = self._version()
        drawn = 1 if temperature < GREEDY_BELOW else n
        shared = {**NEUTRAL, "model": self._model, "max_tokens": max_tokens, "temperature": temperature, "top_p": top_p}
        work = [
            self._threads.submit(self._samples, {**shared, "prompt": list(ids)}, drawn, prompt_seed(seed, place), version)
            for place, ids in enumerate(prompts)
        ]
        try:
            found = [one.result() for one in work]
        finally:
            for one in work:
                one.cancel()
        if self._version() != version:
            raise RolloutError(f"the weights of {self._model!r} were replaced while it was sampled")
        return [samples if drawn == n else samples * n for samples in found]

    def push(self, directory: Path) -> int:
        """Sample with the weights of a checkpoint from here on. See `trimtab.training.online.protocols.Weights`.

        directory: must be there under the same absolute path where the server runs.
        """
        answer = self._ask("POST", f"/models/{quote(self._model)}/weights", {"path": str(directory.resolve())})
        return int(answer["version"])

    def close(self) -> None:
        """Close the connections. Safe to call twice."""
        self._threads.shutdown(cancel_futures=True)
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _version(self) -> int:
        """Version of the weights that the server computes with; 0 where it cannot replace them."""
        cards = self._ask("GET", "/models")["data"]
        card = next((card for card in cards if card["id"] == self._model), None)
        if card is None:
            raise RolloutError(f"the server serves no {self._model!r} but: {', '.join(card['id'] for card in cards)}")
        return int((card.get("alignment") or {}).get("weights_version") or 0)

    def _samples(self, shared: Wire, n: int, seed: int, version: int) -> list[Sample]:
        """The samples of one prompt, in requests as large as the server takes; it gives sample `j` of one the seed `+ j`."""
        found: list[Sample] = []
        for start in range(0, n, self._samples_a_request):
            body = {**shared, "n": min(self._samples_a_request, n - start), "seed": seed + start}
            choices = sorted(self._ask("POST", "/completions", body)["choices"], key=lambda choice: int(choice["index"]))
            found += [_sample(choice, version) for choice in choices]
        return found

    def _ask(self, method: str, path: str, body: Wire | None = None) -> Wire:
        """The answer to a request. Raises RolloutError with the server's own words."""
        try:
            answer = self._http.request(method, path, json=body)
        except httpx2.HTTPError as error:
            raise RolloutError(f"the server of {self._model!r} cannot be reached: {error}") from error
        if answer.status_code != 200:
            raise RolloutError(f"the server of {self._model!r} answered {answer.status_code}: {_told(answer)}")
        told: Wire = answer.json()
        return told


def _sample(choice: Wire, version: int) -> Sample:
    if choice.get("token_ids") is None or not choice.get("logprobs"):
        raise RolloutError("the server answers no token ids with log-probabilities; a Trimtab or vLLM server does")
    return sample_of(choice["token_ids"], choice["logprobs"]["token_logprobs"], choice["finish_reason"], version)


def _told(answer: httpx2.Response) -> str:
    """What an error answer says."""
    try:
        return str(answer.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return answer.text[:200]
