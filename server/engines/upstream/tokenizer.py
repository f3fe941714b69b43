"""The tokenizer of a vLLM upstream, asked over HTTP: `/tokenize`, `/detokenize` and, where it is open, `/tokenizer_info`.

The calls block, as the protocol asks; answers about the same text are kept. Contents are escaped as they are in requests, so
that the ids are those of what the engine will see.
"""

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import httpx2

from trimtab.server.engines.base import Wire
from trimtab.server.engines.upstream import faults
from trimtab.server.engines.upstream.content import safe_messages
from trimtab.server.engines.upstream.link import LOST, Link, headers_of, parsed
from trimtab.server.engines.upstream.profile import Profile
from trimtab.server.wire import dumps

LONGEST_CALL_S = 15.0
"""A tokenizer that takes longer is as good as gone."""
KEPT_ANSWERS = 4096
CHAT_FIELDS = ("tools", "add_generation_prompt", "continue_final_message", "chat_template_kwargs")


class UpstreamTokenizer:
    """`TokenizerFace` over a vLLM server. Safe to use from threads."""

    def __init__(self, link: Link, profile: Profile, *, transport: httpx2.BaseTransport | None = None) -> None:
        self._link = link
        self._profile = profile
        timeout = httpx2.Timeout(min(link.config.timeout_s, LONGEST_CALL_S), connect=link.config.connect_timeout_s)
        self._client = httpx2.Client(transport=transport, headers=headers_of(link.config), timeout=timeout)
        self._answers: OrderedDict[str, Any] = OrderedDict()
        self._lock = threading.Lock()

    def tokenize_chat(self, body: Mapping[str, Any]) -> list[int]:
        """Ids of `messages` as the upstream's template renders them."""
        asked = {name: body[name] for name in CHAT_FIELDS if body.get(name) is not None}
        asked.setdefault("add_generation_prompt", not asked.get("continue_final_message"))
        return list(self._ask("/tokenize", {**asked, "messages": safe_messages(body["messages"])})["tokens"])

    def tokenize_text(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        """Ids of a raw prompt."""
        return list(self._ask("/tokenize", {"prompt": text, "add_special_tokens": add_special_tokens})["tokens"])

    def detokenize(self, token_ids: Sequence[int]) -> str:
        """Text of ids, control tokens shown."""
        return str(self._ask("/detokenize", {"tokens": list(token_ids)})["prompt"]) if token_ids else ""

    def token_strings(self, token_ids: Sequence[int]) -> list[str]:
        """One string a token."""
        return [self.detokenize([token]) for token in token_ids]

    def info(self) -> Wire:
        """What the upstream tells about its tokenizer, and the names of its ends where it does not."""
        ends = sorted(self._profile.eos_token_ids)
        known = {"eos_token": self.detokenize(ends[:1])} if ends and not self._profile.tokenizer_info else {}
        return {"tokenizer_class": "upstream", **known, **self._profile.tokenizer_info}

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _ask(self, path: str, body: Wire) -> Any:
        """The answer, kept from before or fetched. Raises as requests do."""
        key = path + dumps(body)
        with self._lock:
            if key in self._answers:
                self._answers.move_to_end(key)
                return self._answers[key]
        answer = self._fetch(self._link.root + path, {"model": self._profile.model, **body})
        with self._lock:
            self._answers[key] = answer
            while len(self._answers) > KEPT_ANSWERS:
                self._answers.popitem(last=False)
        return answer

    def _fetch(self, url: str, body: Wire) -> Any:
        try:
            response = self._client.post(url, json=body)
        except LOST as error:
            raise faults.from_transport(error, self._link.base) from error
        if not response.is_success:
            raise faults.from_status(response.status_code, response.content, response.headers)
        return parsed(response.content)
