"""Files named in an operator's strategies: read here, so that what runs, and what a client may send, holds text alone."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

MEMBER = "prompt_file"
"""Stands for `prompt` in a strategy object of a configuration file or a command line; a request that has it is refused."""


class PromptFileError(ValueError):
    """A file that a strategy names cannot be read."""


def with_prompts(tree: Any, directory: Path) -> Any:
    """The tree with the text of each strategy's `prompt_file` as its `prompt`.

    directory: what relative paths start from. Raises PromptFileError naming the strategy and the file.
    """
    if isinstance(tree, list):
        return [with_prompts(child, directory) for child in tree]
    if not isinstance(tree, Mapping):
        return tree
    read = {name: with_prompts(child, directory) for name, child in tree.items()}
    if "kind" not in read or MEMBER not in read:
        return read
    return {**{name: child for name, child in read.items() if name != MEMBER}, "prompt": _text(read, directory)}


def _text(strategy: Mapping[str, Any], directory: Path) -> str:
    name = strategy[MEMBER]
    if not isinstance(name, str) or "prompt" in strategy:
        raise PromptFileError(f"{strategy['kind']}.{MEMBER} is the path of a text file, in place of `prompt`")
    try:
        return (directory / Path(name).expanduser()).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PromptFileError(f"{strategy['kind']}.{MEMBER}: {name} cannot be read: {error}") from None
