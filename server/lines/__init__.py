"""Requests as lines of a file: OpenAI's batch format in and out, and what answers a line. Used by batches and evaluations."""
