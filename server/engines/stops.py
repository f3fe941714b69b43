"""Stop strings in a stream of text: what may be shown now, and whether the answer ends here."""


class StopText:
    """Holds back the end of the text while it may be the start of a stop string; the stop string itself is never shown."""

    __slots__ = ("_held", "_longest", "_stops")

    def __init__(self, stops: tuple[str, ...]) -> None:
        self._stops = stops
        self._longest = max(map(len, stops), default=0)
        self._held = ""

    def push(self, text: str) -> tuple[str, bool]:
        """(text that may be shown, whether a stop string is complete; the text then ends before the earliest one)."""
        if not self._stops:
            return text, False
        text = self._held + text
        found = [at for at in (text.find(stop) for stop in self._stops) if at >= 0]
        if found:
            self._held = ""
            return text[: min(found)], True
        keep = self._open_end(text)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep], False

    def skip(self, text: str) -> str:
        """All text held back and this one, without looking for stop strings."""
        text, self._held = self._held + text, ""
        return text

    def flush(self) -> str:
        """What was held back, at the end of an answer that no stop string ended."""
        held, self._held = self._held, ""
        return held

    def _open_end(self, text: str) -> int:
        """Length of the longest end of the text that starts a stop string."""
        for size in range(min(self._longest - 1, len(text)), 0, -1):
            if any(stop.startswith(text[-size:]) for stop in self._stops):
                return size
        return 0
