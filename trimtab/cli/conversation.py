"""The conversation behind `trimtab chat`: its turns, how an answer streams to the terminal, and how it is stopped."""

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx2
import openai
import typer

from trimtab import OpenAI


def base_url(url: str) -> str:
    """The URL with `/v1` where it names a host alone."""
    return url.rstrip("/") if urlsplit(url).path.strip("/") else f"{url.rstrip('/')}/v1"


@dataclass(slots=True)
class Talk:
    """One conversation with one model."""

    client: OpenAI
    model: str
    system: str | None = None
    spec: Any = None
    """Strategy of every turn; None leaves it to the server."""
    trace: bool = False
    params: dict[str, Any] = field(default_factory=dict)
    """Sampling parameters of every turn."""
    turns: list[dict[str, str]] = field(default_factory=list)
    failures: int = 0
    """How many turns ended with an error."""

    def reset(self) -> None:
        """Forget what was said; the system message stays."""
        self.turns.clear()

    def say(self, text: str) -> None:
        """Send a message and show the answer as it comes. A failed turn is forgotten, a stopped one keeps what was shown."""
        self.turns.append({"role": "user", "content": text})
        pieces: list[str] = []
        try:
            self._stream(pieces)
        except KeyboardInterrupt:
            print(" [stopped]")
        except (openai.OpenAIError, httpx2.HTTPError) as error:
            typer.secho(f"\nError: {error}" if pieces else f"Error: {error}", err=True, fg=typer.colors.RED)
            self.failures += 1
            self.turns.pop()
            return
        self.turns.append({"role": "assistant", "content": "".join(pieces)})

    def _stream(self, pieces: list[str]) -> None:
        """Print the answer to the turns so far, collecting it in `pieces`."""
        alignment = self._alignment()
        body: dict[str, Any] = {"extra_body": {"alignment": alignment}} if alignment else {}
        stream: Any = self.client.chat.completions.create(
            model=self.model, messages=self._messages(), stream=True, **self.params, **body
        )
        report = None
        with stream:
            for chunk in stream:
                report = getattr(chunk, "alignment", None) or report
                for choice in chunk.choices:
                    if choice.delta.content:
                        pieces.append(choice.delta.content)
                        print(choice.delta.content, end="", flush=True)
        print()
        if self.trace:
            from trimtab.cli.trace_view import show

            show(report)

    def _alignment(self) -> dict[str, Any]:
        """The `alignment` object of every turn."""
        strategy = {"strategy": self.spec} if self.spec is not None else {}
        return {**strategy, "trace": "full"} if self.trace else strategy

    def _messages(self) -> Any:
        head = [{"role": "system", "content": self.system}] if self.system else []
        return [*head, *self.turns]
