"""What answers a line: a service in this process, or a server somewhere."""

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from trimtab.server.api.completions import completion_defaults
from trimtab.server.api.embeddings import embeddings_of
from trimtab.server.api.errors import error_object
from trimtab.server.api.schemas.chat import chat_body
from trimtab.server.api.schemas.completions import completion_body
from trimtab.server.exchange import Inbound, Principal
from trimtab.server.lines.answer import LineAnswer
from trimtab.server.lines.request import RequestLine
from trimtab.server.service import Service
from trimtab.server.wire import new_id

logger = logging.getLogger(__name__)

BATCH_PRIORITY = 10
"""Engines run lower numbers first, so requests of a client, at 0, go before those of a file."""


class Answerer(Protocol):
    """Answers lines, many at once."""

    async def answer(self, line: RequestLine) -> LineAnswer:
        """The answer to a line. An expected failure is an answer with its status and envelope; only cancellation is raised."""
        ...


@dataclass(frozen=True, slots=True)
class ServiceAnswerer:
    """Answers by a service in this process, through the validation, locks and limits of the HTTP routes."""

    service: Service
    principal: Principal = field(default_factory=Principal)
    alignment: Mapping[str, Any] | None = None
    """The `alignment` object of lines that have none."""
    priority: int = BATCH_PRIORITY

    async def answer(self, line: RequestLine) -> LineAnswer:
        """The answer to a line."""
        request_id, begin = new_id("req"), time.monotonic()
        try:
            status, body = 200, await self._body(line, request_id)
        except Exception as error:  # the border of a line: what goes wrong with one is its answer
            status, body, _ = error_object(error, request_id=request_id)
            if status >= 500:
                logger.warning("line %d: %s", line.number, type(error).__name__, exc_info=error if status == 500 else None)
        return LineAnswer(line.number, line.custom_id, status, body, request_id, ms=(time.monotonic() - begin) * 1000)

    async def _body(self, line: RequestLine, request_id: str) -> dict[str, Any]:
        body = dict(line.body)
        if line.url != "/v1/embeddings":
            body.setdefault("model", self.service.models()[0])
            if self.alignment is not None:
                body.setdefault("alignment", dict(self.alignment))
        match line.url:
            case "/v1/embeddings":
                return await embeddings_of(self.service, body, self.principal)
            case "/v1/completions":
                wanted = completion_defaults(completion_body(body))
                return (await self.service.completion(self._inbound(wanted, request_id))).body
            case "/v1/chat/completions":
                return (await self.service.chat(self._inbound(chat_body(body), request_id))).body

    def _inbound(self, body: Mapping[str, Any], request_id: str) -> Inbound:
        return Inbound(request_id, body, self.principal, priority=self.priority)
