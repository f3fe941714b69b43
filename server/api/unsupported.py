"""What is not served: OpenAI's other endpoints and unknown paths get a 404 in the envelope that says what is there instead."""

from collections.abc import Mapping

from trimtab.server.errors import NotFound

OPENAI_ENDPOINTS: Mapping[str, str] = {
    "assistants": "",
    "audio": "",
    "chat/completions/": "completions are not stored",
    "chatkit": "",
    "containers": "",
    "conversations": "responses are stateless",
    "evals": "",
    "fine_tuning": "",
    "images": "",
    "moderations": "choose a strategy with the `alignment` object",
    "organization": "",
    "realtime": "",
    "responses/": "responses are stateless and not stored",
    "skills": "",
    "threads": "",
    "uploads": "",
    "vector_stores": "norms and demonstrations are kept at /v1/corpora",
    "videos": "",
}
"""Path below /v1/ -> what to use instead."""


def unknown_path(path: str) -> NotFound:
    """The error of a path nobody serves."""
    shown = path[:200]
    if not path.startswith("/v1/"):
        return NotFound(f"there is nothing at {shown!r}; the API lies below /v1, its description at /openapi.json")
    rest = path.removeprefix("/v1/")
    known = next((name for name in OPENAI_ENDPOINTS if rest == name or rest.startswith(f"{name.rstrip('/')}/")), None)
    if known is None:
        return NotFound(f"the endpoint {shown!r} does not exist here", code="endpoint_not_supported")
    instead = f": {OPENAI_ENDPOINTS[known]}" if OPENAI_ENDPOINTS[known] else ""
    return NotFound(f"the endpoint {shown!r} is not supported{instead}", code="endpoint_not_supported")
