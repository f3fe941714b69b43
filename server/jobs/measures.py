"""What `/metrics` shows of batches: those this server works on, those it brought to an end, and their lines."""

from collections.abc import Callable, Iterable, Mapping

from prometheus_client import Counter
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from trimtab.server.api.metrics import Metrics
from trimtab.server.jobs.records import BatchStatus
from trimtab.server.lines.answer import LineAnswer

Working = Callable[[], Mapping[BatchStatus, int]]
"""How many batches are in work here, by status."""


class JobMetrics:
    """Counts beside a server's own."""

    def __init__(self, metrics: Metrics, working: Working) -> None:
        self._metrics = metrics
        self._ended = Counter("trimtab_batches_ended", "Batches that ended, by status.", ("status",), registry=metrics.registry)
        text = "Lines of batches, by what became of them: completed, failed."
        self._lines = Counter("trimtab_batch_lines", text, ("outcome",), registry=metrics.registry)
        metrics.registry.register(_InWork(working))

    def answered(self, answer: LineAnswer) -> None:
        """Count a line, and the tokens and alignment of its answer."""
        self._lines.labels("completed" if answer.ok else "failed").inc()
        if answer.ok and answer.body is not None:
            self._metrics.answered(answer.body)

    def ended(self, status: BatchStatus) -> None:
        """Count a batch that was brought to this end."""
        self._ended.labels(status).inc()


class _InWork(Collector):
    """`trimtab_batches_in_work{status}`, read at scrape time."""

    def __init__(self, working: Working) -> None:
        self._working = working

    def describe(self) -> Iterable[Metric]:
        """Nothing is read at registration."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """One sample a status."""
        family = GaugeMetricFamily("trimtab_batches_in_work", "Batches this server works on, by status.", labels=("status",))
        for status, count in self._working().items():
            family.add_metric((status,), count)
        yield family
