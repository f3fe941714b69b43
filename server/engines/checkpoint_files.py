"""A checkpoint whose weights are to replace those of a running model, judged by its files before the engine is touched."""

import json
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open

from trimtab.artifacts.directory import inspect_directory
from trimtab.artifacts.errors import InvalidModel
from trimtab.strategies.core.errors import RequestRefused

Shapes = Mapping[str, tuple[int, ...]]

TIED = "lm_head.weight"
"""Left out of checkpoints whose head is the embedding."""


def check_checkpoint(directory: Path) -> None:
    """Raise RequestRefused unless the directory holds a whole language model in safetensors."""
    if not directory.is_dir():
        raise RequestRefused(f"path: there is no directory {str(directory)[:500]!r} where the server runs", param="path")
    try:
        kind = inspect_directory(directory, str(directory))
    except InvalidModel as error:
        raise RequestRefused(f"path: {error}", param="path") from error
    if kind not in {"chat", "base"}:
        raise RequestRefused(f"path: {str(directory)!r} holds a {kind} and no language model", param="path")


def check_shapes(new: Shapes, own: Shapes, directory: Path) -> None:
    """Raise RequestRefused for the first weight that the model has and the checkpoint has not in that shape, or the reverse."""
    differing = [name for name in sorted({*new, *own}) if new.get(name) != own.get(name)]
    if not differing:
        return
    name = differing[0]
    raise RequestRefused(
        f"path: the weights in {str(directory)!r} are not those of this model: {len(differing)} differ; {name} is "
        f"{_shown(new.get(name))} there and {_shown(own.get(name))} here",
        param="path",
    )


def _shown(shape: tuple[int, ...] | None) -> str:
    return "absent" if shape is None else f"{list(shape)}"


def stored_shapes(directory: Path) -> dict[str, tuple[int, ...]]:
    """The shapes that the files of a checkpoint hold, a tied head left out. Raises RequestRefused for a broken file."""
    shapes: dict[str, tuple[int, ...]] = {}
    for path in sorted(directory.glob("*.safetensors")):
        try:
            with safe_open(path, framework="np") as file:
                shapes |= {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118  no dict
        except (OSError, SafetensorError) as error:
            raise RequestRefused(f"path: {path.name} in {str(directory)!r} cannot be read: {error}", param="path") from error
    if _is_tied(directory):
        shapes.pop(TIED, None)
    return shapes


def _is_tied(directory: Path) -> bool:
    config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    return bool(config.get("tie_word_embeddings", False))
