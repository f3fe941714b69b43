"""Retrieval: text in, hits out; a leaf that knows no strategy and no server."""
