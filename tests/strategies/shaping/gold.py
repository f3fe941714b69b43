"""A club's rules, written here, and questions about them with the rules that settle each: gold bundles for `norms`."""

from dataclasses import dataclass

RULES = {
    "boats-1": "Club boats are lent to members who have passed the sailing test, for one day at a time.",
    "boats-2": "Whoever damages a club boat reports it to the harbour master on the same day and pays the first 200 euros.",
    "boats-3": "Children under fourteen sail club boats only with an adult on board.",
    "guests-1": "A member may bring two guests a month; guests sign the visitors' book.",
    "guests-2": "Guests may not take the helm of a club boat outside the harbour.",
    "keys-1": "Keys of the clubhouse are never lent to anybody who is not a member.",
    "keys-2": "A lost key is reported at once, and the member pays for the new lock.",
    "noise-1": "Music on the terrace ends at ten in the evening, on Saturdays at midnight.",
    "dogs-1": "Dogs are welcome on the terrace on a lead and not in the clubhouse.",
    "fees-1": "Fees are due on the first of March; whoever cannot pay asks the treasurer for instalments before that day.",
    "fees-2": "A member who is three months late with fees may not borrow club boats until they are paid.",
    "fire-1": "Nobody lights a fire or a grill on the jetty.",
}


@dataclass(frozen=True, slots=True)
class Question:
    """A question of multiple choice."""

    text: str
    options: tuple[str, str, str]
    answer: str
    """The letter of the right option."""
    rules: frozenset[str]
    """Ids of the rules that settle it."""


QUESTIONS = (
    Question(
        "May my guest take the helm of the club boat on the open sea?",
        ("yes", "only on Saturdays", "no"),
        "C",
        frozenset({"guests-2"}),
    ),
    Question(
        "I am four months late with my fees. May I borrow a club boat today?",
        ("no", "yes", "with two guests"),
        "A",
        frozenset({"boats-1", "fees-2"}),
    ),
    Question(
        "May my daughter of twelve and her friend of thirteen sail a club boat alone?",
        ("yes", "no", "if they sign the visitors' book"),
        "B",
        frozenset({"boats-3"}),
    ),
    Question(
        "My cousin, who is not a member, lost the key of the clubhouse that I gave him. What did I do wrong?",
        ("I lent the key", "nothing", "I brought a guest"),
        "A",
        frozenset({"keys-1", "keys-2"}),
    ),
    Question(
        "Can we bring the dog and light a grill on the jetty?",
        ("the grill only", "both", "not the grill"),
        "C",
        frozenset({"dogs-1", "fire-1"}),
    ),
)
