"""Metrics: what `/metrics` shows. One registry an app, so that several apps live in one process.

Routes are labelled by their template, never by the path a client sent; models by the name that was served.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

router = APIRouter(tags=["operations"])

_LATENCY_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)

Gauges = Callable[[], Mapping[str, Mapping[str, float]]]
"""Each engine's own gauges, by model name."""


class Metrics:
    """Everything the server counts itself."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        route = ("route", "method")
        self._requests = self._counter("http_requests", "Requests answered.", (*route, "status", "retried"))
        self._latency = self._histogram("http_request_seconds", "From the request's first byte to the answer's last.", route)
        self._children: dict[tuple[str, str, int, bool], tuple[Counter, Histogram]] = {}
        self.in_flight = Gauge("trimtab_http_requests_in_flight", "Requests in work.", registry=self.registry)
        self._first = self._histogram("time_to_first_event_seconds", "From a request to the first event of its stream.", ())
        self._aborted = self._counter("aborted", "Streams that ended early, by reason.", ("reason",))
        self._prompt = self._counter("prompt_tokens", "Prompt tokens of answered requests.", ("model",))
        self._completion = self._counter("completion_tokens", "Completion tokens of answered requests.", ("model",))
        self._alignment = self._counter("alignment", "Answers by strategy and status.", ("strategy", "status"))
        self._calls = self._counter("alignment_calls", "Engine calls of aligned answers, by strategy.", ("strategy",))

    def _counter(self, name: str, text: str, labels: Iterable[str]) -> Counter:
        return Counter(f"trimtab_{name}", text, tuple(labels), registry=self.registry)

    def _histogram(self, name: str, text: str, labels: Iterable[str]) -> Histogram:
        return Histogram(f"trimtab_{name}", text, tuple(labels), buckets=_LATENCY_S, registry=self.registry)

    def request(self, route: str, method: str, status: int, seconds: float, *, retried: bool) -> None:
        """Count a finished request."""
        key = (route, method, status, retried)
        children = self._children.get(key)
        if children is None:
            counter = self._requests.labels(route, method, str(status), "true" if retried else "false")
            children = self._children[key] = (counter, self._latency.labels(route, method))
        children[0].inc()
        children[1].observe(seconds)

    def first_event(self, seconds: float) -> None:
        """Count the time to the first event of a stream."""
        self._first.observe(seconds)

    def aborted(self, reason: str) -> None:
        """Count a stream that ended before its answer was complete."""
        self._aborted.labels(reason).inc()

    def answered(self, answer: Mapping[str, Any]) -> None:
        """Count the tokens and the alignment of an answer (or of the last chunk of one)."""
        inner = answer.get("response")
        if isinstance(inner, Mapping):
            answer = inner
        usage = answer.get("usage")
        if isinstance(usage, Mapping):
            model = str(answer.get("model") or "unknown")
            self._prompt.labels(model).inc(usage.get("prompt_tokens") or usage.get("input_tokens") or 0)
            self._completion.labels(model).inc(usage.get("completion_tokens") or usage.get("output_tokens") or 0)
        alignment = answer.get("alignment")
        if isinstance(alignment, Mapping):
            self._aligned(alignment)

    def _aligned(self, alignment: Mapping[str, Any]) -> None:
        given = alignment.get("strategy")
        kinds = {str(kind) for kind in given} if isinstance(given, list | tuple) else {str(given or "unknown")}
        strategy = "+".join(sorted(kinds))
        self._alignment.labels(strategy, str(alignment.get("status"))).inc()
        self._calls.labels(strategy).inc((alignment.get("usage") or {}).get("calls") or 0)

    def add_engines(self, gauges: Gauges) -> None:
        """Also show the engines' own gauges, read when somebody asks."""
        self.registry.register(_EngineGauges(gauges))


class _EngineGauges(Collector):
    """`trimtab_engine{model, name}`, read at scrape time."""

    def __init__(self, gauges: Gauges) -> None:
        self._gauges = gauges

    def describe(self) -> Iterable[Metric]:
        """Nothing is read at registration."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """One sample a gauge."""
        family = GaugeMetricFamily("trimtab_engine", "What the engines count themselves.", labels=("model", "name"))
        for model, values in self._gauges().items():
            for name, value in values.items():
                family.add_metric((model, name), value)
        yield family


@router.get("/metrics", summary="Prometheus metrics", response_class=Response)
async def metrics(request: Request) -> Response:
    """Everything the server and its engines count, in Prometheus' text format."""
    known: Metrics = request.app.state.metrics
    return Response(generate_latest(known.registry), media_type=CONTENT_TYPE_LATEST)
