"""Models of the Hugging Face hub: safetensors, tokenizer and configuration files of a repository, nothing else.

The download lies in the hub's own cache, shared with every other program on the machine.
"""

import re
from pathlib import Path

from trimtab.artifacts.errors import FetchFailed, HubUnreachable, InvalidModel, NotCached, UnknownModel
from trimtab.artifacts.progress import Progress

HUB_ID = re.compile(r"^(?P<repo>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(@(?P<revision>[\w./-]+))?$")
"""`organisation/name`, optionally `@revision`."""

ALLOWED_FILES = ("*.safetensors", "*.json", "*.jinja", "*.txt", "*.model", "*.tiktoken")
_IGNORED_FILES = ("original/*", "onnx/*", "openvino/*", "*.onnx.json")


def download_snapshot(source: str, *, offline: bool, progress: Progress) -> Path:
    """The local directory of the hub repository `source`.

    offline: take what the hub's cache has and ask nobody.
    Raises UnknownModel, HubUnreachable, NotCached, InvalidModel where the repository has no safetensors.
    """
    import httpx
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    match = HUB_ID.match(source)
    if match is None:
        raise UnknownModel(f"{source!r} is no Hugging Face id: write organisation/name, or organisation/name@revision")
    progress.update(f"fetching {source} from the hub", 0, None)
    ways = "name a local directory, a .gguf file or a catalogue alias (`trimtab models list`) instead"
    try:
        path = snapshot_download(
            match["repo"],
            revision=match["revision"],
            allow_patterns=list(ALLOWED_FILES),
            ignore_patterns=list(_IGNORED_FILES),
            local_files_only=offline,
        )
    except GatedRepoError as error:
        raise HubUnreachable(
            f"{source!r} is gated on the hub: accept its terms there and log in with `hf auth login` (or set HF_TOKEN)"
        ) from error
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise UnknownModel(f"the hub has no model {source!r} (or it is private: set HF_TOKEN); {ways}") from error
    except (LocalEntryNotFoundError, OfflineModeIsEnabled) as error:
        if offline:
            raise NotCached(f"{source!r} is not in the hub's cache, and work is offline; {ways}") from error
        raise HubUnreachable(f"the Hugging Face hub is out of reach and {source!r} is not in its cache; {ways}") from error
    except HfHubHTTPError as error:
        raise HubUnreachable(f"the hub refused {source!r}: {str(error)[:300]}; {ways}") from error
    except httpx.HTTPError as error:
        raise HubUnreachable(f"the Hugging Face hub is out of reach ({error}); {ways}") from error
    except OSError as error:
        raise FetchFailed(f"{source!r} could not be fetched from the hub: {error}; {ways}") from error
    directory = Path(path)
    if not any(directory.rglob("*.safetensors")):
        raise InvalidModel(f"{source!r} has no safetensors weights on the hub, and pickled weights are refused; {ways}")
    return directory
