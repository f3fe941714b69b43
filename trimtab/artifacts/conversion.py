"""The conversion of a GGUF file, run in a child process and watched."""

import re
from pathlib import Path

from trimtab.artifacts.cache import storage_error
from trimtab.artifacts.child import ChildResult, run_module
from trimtab.artifacts.convert import TYPES_LINE
from trimtab.artifacts.errors import ConversionFailed
from trimtab.artifacts.progress import Progress

_FLOATS = {"F64", "F32", "F16", "BF16"}
_TENSORS = re.compile(r"(\d+)/(\d+) \[")
_ERRNO = re.compile(r"\[Errno (28|122|27)\]|\(os error (28|122|27)\)")
_LAST_ERROR = re.compile(r"^[\w.]+(Error|Exception|Interrupt)\b")


def convert_gguf(gguf: Path, output: Path, *, root: Path, progress: Progress) -> bool:
    """Fill `output` with the safetensors form of the file `gguf`; returns whether the file is quantised.

    root: the cache that `output` lies in, for the message about a full disk.
    Raises ConversionFailed or DiskFull.
    """
    stage, size = f"converting {gguf.name}", gguf.stat().st_size
    progress.update(stage, 0, size)
    types: set[str] = set()

    def on_line(line: str) -> None:
        if line.startswith(TYPES_LINE):
            types.update(line.removeprefix(TYPES_LINE).split())
        if "GGUF" in line and (counted := _TENSORS.search(line)):
            progress.update(stage, size * int(counted[1]) // max(int(counted[2]), 1), size)

    result = run_module(
        "trimtab.artifacts.convert",
        [str(gguf), str(output)],
        on_line=on_line,
        environment={"HF_HUB_OFFLINE": "1", "PYTHONFAULTHANDLER": "1"},
    )
    if result.returncode != 0:
        if number := _ERRNO.search(result.tail):
            raise storage_error(root, int(number[1] or number[2]), "while the converted model was written")
        raise ConversionFailed(f"{gguf.name} could not be converted to safetensors: {_reason(result)}")
    progress.update(stage, size, size)
    return not types <= _FLOATS


def _reason(result: ChildResult) -> str:
    """What the child's end says, in a sentence."""
    if result.returncode == -9:
        return "the conversion was killed (signal 9), as it is when memory runs out; it needs about six times the file's size"
    if result.returncode < 0:
        return f"the conversion died of signal {-result.returncode}"
    lines = [line for line in result.tail.splitlines() if _LAST_ERROR.match(line)]
    return lines[-1] if lines else f"exit status {result.returncode}: {result.tail[-500:]}"
