"""Decoders: strategies that turn a prompt into an answer."""
