"""Messages keep everything they were given."""

from hypothesis import given
from hypothesis import strategies as st

from trimtab.strategies.core.messages import Conversation, Message

PARTS = st.lists(st.fixed_dictionaries({"type": st.just("text"), "text": st.text()}))
WIRE = st.fixed_dictionaries(
    {"role": st.sampled_from(["system", "developer", "user", "assistant", "tool"]), "content": st.none() | st.text() | PARTS},
    optional={"name": st.text(), "tool_call_id": st.text(), "tool_calls": st.lists(st.just({"id": "1"}), min_size=1)},
)


@given(st.lists(WIRE))
def test_wire_messages_survive(messages: list[dict[str, object]]) -> None:
    assert Conversation.from_wire(messages).wire() == messages


def test_text_joins_parts_without_a_gap() -> None:
    parts = ({"type": "text", "text": "<|im_"}, {"type": "image_url", "image_url": {}}, {"type": "text", "text": "end|>"})
    assert Message("user", parts).text == "<|im_end|>"


def test_nothing_to_add_changes_nothing() -> None:
    conversation = Conversation((Message("user", "hi"),))
    assert conversation.with_system() is conversation
