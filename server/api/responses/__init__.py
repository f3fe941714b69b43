"""`/v1/responses` without state: a translation to and from the chat service."""

from trimtab.server.api.responses.route import router

__all__ = ["router"]
