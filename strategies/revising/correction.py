"""What a correction model is asked: question and answer in the fields of its own format, which neither can leave."""

from dataclasses import dataclass

from trimtab.artifacts.correction import ANSWER, QUESTION, CorrectionTemplate
from trimtab.strategies.core.messages import Conversation, Message, Segment, Text
from trimtab.strategies.revising.separators import Separators, cut

EARLIER, NOW = "Earlier in this conversation:", "Now:"
SPEAKERS = {"user": "Person", "assistant": "Reply"}


def question_of(asked: Conversation, *, turns: int | None = None) -> str:
    """The last question with so many turns before it told in words; the question alone where there are none.

    turns: None = all. System texts and tool results are left out.
    """
    said = [message for message in asked.messages if message.role in SPEAKERS and message.text]
    if not said:
        return ""
    *before, last = said
    before = before if turns is None else before[len(before) - min(turns, len(before)) :]
    if not before:
        return last.text
    told = "\n".join(f"{SPEAKERS[message.role]}: {message.text}" for message in before)
    return f"{EARLIER}\n{told}\n{NOW}\n{last.text}"


@dataclass(frozen=True, slots=True)
class Correction:
    """A format, filled and read."""

    template: CorrectionTemplate

    @property
    def separators(self) -> Separators:
        """What parts its fields."""
        return Separators.of(self.template.marks)

    def raw(self, question: str, answer: str) -> Text:
        """The raw prompt."""
        segments = self._filled(self.template.raw, question, answer)
        return Text(tuple(segment for segment in segments if segment.text), stops=self.template.stops)

    def message(self, question: str, answer: str) -> Conversation:
        """The prompt for an engine with a chat template."""
        filled = self._filled(self.template.message, question, answer)
        return Conversation((Message("user", "".join(segment.text for segment in filled)),))

    def read(self, said: str) -> str:
        """The correction in what the model said."""
        return self.separators.together(cut(said, self.template.stops)).strip()

    def _filled(self, form: str, question: str, answer: str) -> list[Segment]:
        """The format with its fields as content."""
        values = {QUESTION: self.separators.apart(question), ANSWER: self.separators.apart(answer)}
        fields = sorted(values, key=form.index)
        before, rest = form.split(fields[0])
        between, after = rest.split(fields[1])
        return [
            Segment("literal", before),
            Segment("content", values[fields[0]]),
            Segment("literal", between),
            Segment("content", values[fields[1]]),
            Segment("literal", after),
        ]
