"""What the engine counts, kept as a few numbers; vLLM's own Prometheus loggers stay off."""

from collections.abc import Mapping
from typing import Any

from vllm.v1.metrics.loggers import StatLoggerBase


class EngineStats:
    """Numbers over all engine cores, updated after each step."""

    def __init__(self) -> None:
        self._gauges: dict[int, tuple[int, int, float]] = {}
        self._totals = {"prefix_cache_queries_tokens": 0.0, "prefix_cache_hits_tokens": 0.0, "preemptions": 0.0, "steps": 0.0}

    def factory(self, vllm_config: Any, engine_index: int = 0) -> "StepLogger":
        """A logger for one engine core, in the form vLLM asks for."""
        self._gauges.clear()
        return StepLogger(self, engine_index)

    def record(self, engine_index: int, scheduler: Any, iteration: Any) -> None:
        """Take in one step of one core."""
        if scheduler is not None:
            waiting = scheduler.num_waiting_reqs + scheduler.num_skipped_waiting_reqs
            self._gauges[engine_index] = (scheduler.num_running_reqs, waiting, scheduler.kv_cache_usage)
            self._totals["prefix_cache_queries_tokens"] += scheduler.prefix_cache_stats.queries
            self._totals["prefix_cache_hits_tokens"] += scheduler.prefix_cache_stats.hits
            self._totals["steps"] += 1
        if iteration is not None:
            self._totals["preemptions"] += iteration.num_preempted_reqs

    def numbers(self) -> Mapping[str, float]:
        """running, waiting (requests), kv_cache_usage (fraction), and totals since the start of the server."""
        gauges = list(self._gauges.values())
        return {
            "running": float(sum(g[0] for g in gauges)),
            "waiting": float(sum(g[1] for g in gauges)),
            "kv_cache_usage": max((g[2] for g in gauges), default=0.0),
            **self._totals,
        }


class StepLogger(StatLoggerBase):  # type: ignore[misc]
    """vLLM's logger interface over `EngineStats`."""

    def __init__(self, stats: EngineStats, engine_index: int = 0) -> None:
        self._stats = stats
        self._engine_index = engine_index

    def record(self, scheduler_stats: Any, iteration_stats: Any, mm_cache_stats: Any = None, engine_idx: int = 0) -> None:
        """Called by vLLM after each step."""
        self._stats.record(self._engine_index, scheduler_stats, iteration_stats)

    def log_engine_initialized(self) -> None:
        """Nothing to do."""
