"""Which strings of a tokenizer and its chat template are control strings, and which added tokens are mere vocabulary.

Control: special tokens, tokens that the template writes, and other added tokens that look like marks (`<tool_call>`,
`[multimodal]`). Vocabulary: runs of white space, words, and HTML elements that a tokenizer keeps whole.
"""

import ast
import re
from collections.abc import Iterable, Mapping
from typing import Any

import jinja2

from trimtab.server.engines.encoding.scan import words

_HTML = words(
    "a abbr article aside b blockquote body br button caption center code col colgroup dd del details div dl dt em fieldset "
    "figcaption figure font footer form h1 h2 h3 h4 h5 h6 head header hr html i iframe ins kbd label li link main meta nav ol "
    "option p pre s samp script section select small span strike strong style sub summary sup svg table tbody td textarea "
    "tfoot th thead title tr tt u ul var"
)
_ELEMENT = re.compile(r"</?([a-zA-Z][a-zA-Z0-9]*)/?>")


def template_sources(template: str | Mapping[str, str] | None) -> tuple[str, ...]:
    """The texts of a chat template, which may be one, several by name, or none."""
    if template is None:
        return ()
    return (template,) if isinstance(template, str) else tuple(template.values())


def template_literals(sources: Iterable[str]) -> tuple[str, ...]:
    """Every piece of text that a template can write of its own: data between tags, and string constants in them."""
    environment = jinja2.Environment(autoescape=False)
    literals: list[str] = []
    for source in sources:
        for _, kind, value in environment.lex(source):
            if kind == "data":
                literals.append(value)
            elif kind == "string":
                literals.append(_constant(value))
    return tuple(literal for literal in literals if literal)


def _constant(quoted: str) -> str:
    try:
        return str(ast.literal_eval(quoted.replace("\n", "\\n")))
    except (SyntaxError, ValueError):
        return quoted[1:-1]


def _is_mark(text: str) -> bool:
    element = _ELEMENT.fullmatch(text)
    if element and element[1].lower() in _HTML:
        return False
    return text[0] in "<[{【〈" and any(character.isalnum() for character in text)


def control_tokens(tokenizer: Any, literals: Iterable[str]) -> dict[str, int]:
    """The control strings of a tokenizer and their ids; strings of one character cannot be told from text and are left out.

    literals: what the chat template writes (`template_literals`): an added token in it is a control token.
    """
    written = "\x00".join(literals)
    named = frozenset(tokenizer.all_special_tokens)
    controls: dict[str, int] = {}
    for token_id, token in tokenizer.added_tokens_decoder.items():
        text = token.content
        if len(text) < 2 or text.isspace():
            continue
        in_template = text in written and any(character.isalnum() for character in text)
        if token.special or text in named or in_template or _is_mark(text):
            controls[text] = token_id
    return controls
