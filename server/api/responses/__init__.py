"""`/v1/responses` without state: a translation to and from the chat service."""
