"""Lines answered by many machines: Ray Data hands them out to actors, each with an engine of its own or a server's address.

The lines that are to be answered are read here and lie in Ray's object store; answers come back as they are there and are
written here, so that one output holds every line once, resumes, and equals that of one machine. Needs the extra `ray`; the
cluster is the one that `RAY_ADDRESS` names, else one on this machine.
"""

import asyncio
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from importlib import import_module
from itertools import islice
from typing import Any

from trimtab.server.errors import ServerError
from trimtab.server.lines.answer import LineAnswer, refused
from trimtab.server.lines.offline import OutageWatch, Place, Write, answer_lines
from trimtab.server.lines.request import BadLine, RequestLine

Columns = Mapping[str, Any]
"""A batch of Ray Data: the name of a column -> its values."""

BLOCK = 32
"""Lines of a block: the least that is handed out."""
LINE, ANSWER = "line", "answer"
"""The only columns; JSON texts."""


@dataclass(frozen=True, slots=True)
class Workers:
    """What Ray reserves."""

    number: int
    """Actors."""
    cpus: float = 1.0
    """Cores of each. Ray has torch use so many threads."""
    gpus: float = 0.0
    """GPUs of each."""


def answer_on_ray(
    lines: Iterable[RequestLine | BadLine], place: Place, write: Write, *, concurrency: int, workers: Workers
) -> None:
    """Every line answered and its answer written, in the order of completion.

    place: opened once in each actor. concurrency: requests in work at once in each of them.
    Raises Outage, what `write` raises, and ServerError without Ray or where an actor cannot start.
    """
    data, watch = ray_data(), OutageWatch()
    requests, blocks, count = _written(lines, write), list[Any](), 0
    while block := list(islice(requests, BLOCK)):
        blocks.append(_stored(block))
        count += len(block)
    if not blocks:
        return
    answered = data.from_arrow_refs(blocks).map_batches(
        LineActor,
        fn_constructor_args=(place, concurrency),
        batch_size=min(2 * concurrency, math.ceil(count / workers.number)),
        batch_format="numpy",
        compute=data.ActorPoolStrategy(size=workers.number),
        num_cpus=workers.cpus,
        num_gpus=workers.gpus,
    )
    for answer in _answers(answered):
        write(answer)
        watch.see(answer)


def _answers(answered: Any) -> Iterator[LineAnswer]:
    """The answers as they come. Raises ServerError where an actor fails."""
    batches = iter(answered.iter_batches(batch_size=None, batch_format="numpy"))
    while True:
        try:
            batch = next(batches, None)
        except import_module("ray.exceptions").RayError as error:
            raise ServerError(f"Ray: {error}") from error
        if batch is None:
            return
        for text in batch[ANSWER]:
            yield LineAnswer(**json.loads(text))


def ray_data() -> Any:
    """The module `ray.data`. Raises ServerError without the extra."""
    try:
        return import_module("ray.data")
    except ImportError as error:
        raise ServerError(f'Ray Data cannot be imported ({error}): pip install "trimtab[ray]"') from None


def _written(lines: Iterable[RequestLine | BadLine], write: Write) -> Iterator[RequestLine]:
    """The requests among the lines; what is none is answered on the way."""
    for line in lines:
        if isinstance(line, BadLine):
            write(refused(line))
        else:
            yield line


def _stored(lines: Iterable[RequestLine]) -> Any:
    """A block in the object store."""
    table = import_module("pyarrow").table({LINE: [json.dumps(asdict(line)) for line in lines]})
    return import_module("ray").put(table)


class LineActor:
    """Answers batches of lines, in an event loop that lives as long as the actor."""

    def __init__(self, place: Place, concurrency: int) -> None:
        self._concurrency = concurrency
        self._runner = asyncio.Runner()
        self._stack = AsyncExitStack()
        self._answerer = self._runner.run(self._stack.enter_async_context(place.open()))

    def __call__(self, batch: Columns) -> dict[str, list[str]]:
        """The answers to the lines of a batch."""
        lines = [RequestLine(**json.loads(text)) for text in batch[LINE]]
        answers: list[str] = []

        def keep(answer: LineAnswer) -> None:
            answers.append(json.dumps(asdict(answer)))

        self._runner.run(answer_lines(lines, self._answerer, keep, concurrency=self._concurrency))
        return {ANSWER: answers}

    def __del__(self) -> None:
        """End what was opened; Ray calls it when the actor goes."""
        self._runner.run(self._stack.aclose())
        self._runner.close()
