"""What the engine's thread does next: a chunk of new prompts, a chunk of scoring, a step of the running batch.

It owns the rows from queue to end and is used by one thread only. An exception in a piece of work ends the requests of that
piece and no others.
"""

import copy
import logging
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence

import torch

from trimtab.server.engines.transformers.admission import Group, next_group
from trimtab.server.engines.transformers.batch import Batch
from trimtab.server.engines.transformers.cache import RowStates
from trimtab.server.engines.transformers.detokenizer import Decode
from trimtab.server.engines.transformers.model import LoadedModel
from trimtab.server.engines.transformers.prefill import Prefill
from trimtab.server.engines.transformers.prefixes import PrefixStore
from trimtab.server.engines.transformers.row import Job, Row, ScoreJob
from trimtab.server.engines.transformers.sampler import choose
from trimtab.server.engines.transformers.scoring import Scored, Scoring
from trimtab.server.engines.transformers.waiting import RowQueue
from trimtab.server.engines.transformers.weights import WeightJob, load_weights
from trimtab.strategies.core.errors import EngineError, EngineFailure

logger = logging.getLogger(__name__)

AnyJob = Job | ScoreJob | WeightJob

CHUNK_TOKENS = {"cpu": 1024, "cuda": 8192}
"""Prompt tokens computed between two steps of the running batch."""
SCORED_TOGETHER = 8
COUNTED = ("prompt_tokens", "cached_tokens", "generated_tokens", "steps", "failures")
PREFIX_BYTES = 256 * 2**20


class Scheduler:
    """The work of one model."""

    def __init__(self, model: LoadedModel, decode: Decode, max_rows: int) -> None:
        self._model = model
        self._decode = decode
        self._max_rows = max_rows
        self._chunk = CHUNK_TOKENS.get(model.device.type, CHUNK_TOKENS["cpu"])
        self._batch = Batch(model, max_rows)
        self._prefixes = PrefixStore(PREFIX_BYTES)
        self._queue = RowQueue()
        self._group: Group | None = None
        self._prefill: Prefill | None = None
        self._scores: deque[ScoreJob] = deque()
        self._scored: list[ScoreJob] = []
        self._scoring: Scoring | None = None
        self._weights: WeightJob | None = None
        """Weights that wait until what is queued has ended; nothing is queued meanwhile."""
        self._held: list[Job | ScoreJob] = []
        """What came while weights wait."""
        self._open: dict[AnyJob, int] = {}
        self._arrivals = 0
        self._concerned: Sequence[Row | ScoreJob | WeightJob] = ()
        """What the piece of work now done is for."""
        self.counters: Counter[str] = Counter(dict.fromkeys(COUNTED, 0))
        """What has happened since the start."""

    @property
    def busy(self) -> bool:
        """Whether a step would do anything."""
        return self._working or self._weights is not None

    @property
    def _working(self) -> bool:
        """Whether a request is under way or queued."""
        return bool(self._batch.rows or self._prefill or self._scoring or self._scores or self._queue)

    @property
    def running(self) -> int:
        """Rows that have a place."""
        group = self._group
        return len(self._batch.rows) + (len(group.all_rows) if group else 0) + len(self._scored)

    @property
    def waiting(self) -> int:
        """Rows that wait for one."""
        held = sum(job.sampling.n if isinstance(job, Job) else 1 for job in self._held if not job.ended)
        return len(self._queue) + len(self._scores) + held

    def add(self, job: Job) -> None:
        """Queues the rows of a job."""
        job.arrival, self._arrivals = self._arrivals, self._arrivals + 1
        self._open[job] = job.sampling.n
        self._enter(job)

    def add_score(self, job: ScoreJob) -> None:
        """Queues a prompt to be scored."""
        self._open[job] = 1
        self._enter(job)

    def replace_weights(self, job: WeightJob) -> None:
        """Computes with other weights once everything queued so far has ended; what comes meanwhile waits for them.

        One at a time: the caller waits for the end of a job before the next.
        """
        self._open[job] = 1
        self._weights = job

    def _enter(self, job: Job | ScoreJob) -> None:
        if self._weights is not None:
            self._held.append(job)
        elif isinstance(job, Job):
            self._queue.put(Row(job, index, self._decode) for index in range(job.sampling.n))
        else:
            self._scores.append(job)

    def cancel(self, job: AnyJob) -> None:
        """Ends a job; its rows have left before the next step."""
        job.ended = True
        self._open.pop(job, None)

    def fail(self, error: EngineError, *, request_id: str | None = None) -> None:
        """Ends the jobs of a request (default: all) with an error."""
        self._fail([job for job in self._open if request_id in (None, job.request_id)], error)

    def probe(self) -> None:
        """Raises where the device does not compute."""
        self._model.probe()

    def step(self) -> None:
        """One round of work."""
        self._drop_ended()
        if self._prefill is None and self._queue and len(self._batch.rows) < self._max_rows:
            self._work(self._admit)
        if self._prefill is not None:
            self._work(self._advance_prefill)
        if self._scoring is not None or self._scores:
            self._work(self._advance_scoring)
        if self._batch.rows:
            self._work(self._advance_batch)
        if self._weights is not None and not self._working:
            self._work(self._load_weights)

    def _work(self, work: Callable[[], None]) -> None:
        """Runs a piece of work; where it fails, the requests concerned end and everything else goes on."""
        self._concerned = []
        try:
            work()
        except Exception as error:
            # The request border: whatever a model raises ends the requests of this piece only.
            jobs = {_job_of(item) for item in self._concerned}
            logger.exception("a step failed; requests that end: %s", ", ".join(job.request_id for job in jobs))
            self.counters["failures"] += 1
            self._fail(jobs, EngineFailure(_explain(error)))
            self._recover(error)

    def _recover(self, error: Exception) -> None:
        """Puts things in order after a failed piece of work. Raises where the device itself no longer computes."""
        if not self._batch.intact:
            self._fail([row.job for row in self._batch.rows], EngineFailure(_explain(error)))
            self._batch.clear()
        if _is_memory(error):
            self._prefixes.clear()
        self._drop_ended()
        self._model.probe()

    def _fail(self, jobs: Iterable[AnyJob], error: EngineError) -> None:
        for job in list(jobs):
            if not job.ended:
                self.cancel(job)
                job.sink.put(copy.copy(error))

    def _drop_ended(self) -> None:
        """Takes the rows of ended jobs out of whatever they are in."""
        ended = [index for index, row in enumerate(self._batch.rows) if row.job.ended]
        if ended:
            self._batch.leave(ended)
        if self._group and all(row.job.ended for row in self._group.all_rows):
            self._group = self._prefill = None
        if self._scored and all(job.ended for job in self._scored):
            self._scored, self._scoring = [], None
        if self._weights is not None and self._weights.ended:
            self._weights, held, self._held = None, self._held, []
            for job in held:
                self._enter(job)

    def _load_weights(self) -> None:
        """Computes with the waiting weights from here on; nothing that was computed with the old ones is kept."""
        job = self._weights
        if job is None or job.ended:
            return
        self._concerned = [job]
        self._prefixes.clear()
        load_weights(self._model, job.tensors)
        job.sink.put(None)
        self.cancel(job)

    def _admit(self) -> None:
        """Gives waiting rows a place: those whose prompt is stored start at once, the next group is computed."""
        self._concerned = candidates = self._queue.take(self._max_rows - len(self._batch.rows))
        known, group, later = next_group(candidates, self._prefixes)
        self._queue.put(later)
        if group.prompts:
            self._group, self._prefill = group, Prefill(self._model, group.prompts)
        for prompt, rows in zip(known.prompts, known.rows, strict=True):
            found = prompt.found
            if found and found.logits is not None:
                states = [(keys[:, : found.length], values[:, : found.length]) for keys, values in found.states]
                self._begin(rows, found.logits, states, cached=found.length)

    def _advance_prefill(self) -> None:
        prefill, group = self._prefill, self._group
        if prefill is None or group is None:
            return
        self._concerned = group.all_rows
        logits = prefill.advance(max(1, self._chunk // len(prefill.prompts)))
        if prefill.remaining:
            return
        self._group = self._prefill = None
        for place, (prompt, rows) in enumerate(zip(prefill.prompts, group.rows, strict=True)):
            states, after = prefill.states(place), logits[place, -1]
            self._prefixes.add(prompt.ids, rows[0].job.salt, states, {len(prompt.ids): after})
            self._begin(rows, after, states, cached=prefill.reused[place])

    def _begin(self, rows: Sequence[Row], logits: torch.Tensor, states: RowStates, *, cached: int) -> None:
        """Chooses the first token of rows with the same prompt, from logits (vocabulary,); those that go on join the batch.

        cached: prompt tokens that were not computed for the first of them.
        """
        rows = [row for row in rows if not row.job.ended]
        for place, row in enumerate(rows):
            if row.index == 0:
                row.cached_tokens = len(row.job.prompt) if place else cached
                self.counters["prompt_tokens"] += len(row.job.prompt)
                self.counters["cached_tokens"] += row.cached_tokens
        for row, ends in zip(rows, self._accept(rows, logits.expand(len(rows), -1)), strict=True):
            if not ends:
                self._batch.join(row, states)

    def _advance_batch(self) -> None:
        self._concerned = rows = self._batch.rows
        logits = self._batch.step()
        self.counters["steps"] += 1
        ended = [index for index, ends in enumerate(self._accept(rows, logits)) if ends]
        self._batch.feed()
        for index in ended:
            self._remember(index)
        if ended:
            self._batch.leave(ended)

    def _accept(self, rows: Sequence[Row], logits: torch.Tensor) -> list[bool]:
        """Chooses the next token of each row from logits (rows, vocabulary) and hands it on; which rows end with it."""
        ends = []
        for row, choice in zip(rows, choose(logits, rows), strict=True):
            delta = row.accept(choice)
            self.counters["generated_tokens"] += 1
            row.job.sink.put(delta)
            ends.append(delta.finish_reason is not None)
            if ends[-1]:
                self._close_row(row.job)
        return ends

    def _close_row(self, job: Job) -> None:
        self._open[job] -= 1
        if not self._open[job]:
            self.cancel(job)

    def _remember(self, index: int) -> None:
        """Keeps the states of a row that ended: the next turn of its conversation starts with them."""
        row = self._batch.rows[index]
        if row.index == 0:
            self._prefixes.add(row.job.prompt + tuple(row.output[:-1]), row.job.salt, self._batch.states(index), {})

    def _advance_scoring(self) -> None:
        if self._scoring is None:
            self._scored = []
            while self._scores and len(self._scored) < SCORED_TOGETHER:
                job = self._scores.popleft()
                if not job.ended:
                    self._scored.append(job)
            if not self._scored:
                return
            self._concerned = self._scored
            self._scoring = Scoring(self._model, [Scored(job.ids, job.top) for job in self._scored])
        self._concerned = self._scored
        results = self._scoring.advance(max(1, self._chunk // len(self._scored)))
        if results is None:
            return
        for job, result in zip(self._scored, results, strict=True):
            if not job.ended:
                job.sink.put(result)
                self.cancel(job)
        self._scored, self._scoring = [], None


def _job_of(item: Row | ScoreJob | WeightJob) -> AnyJob:
    return item.job if isinstance(item, Row) else item


def _is_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "not enough memory" in str(error)


def _explain(error: Exception) -> str:
    """What a client is told: the kind of failure, no internals."""
    if _is_memory(error):
        return "The engine ran out of memory while it computed this request; try a shorter prompt or fewer choices."
    return f"The engine failed while it computed this request ({type(error).__name__})."
