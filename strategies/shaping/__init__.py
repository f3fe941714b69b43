"""Shapers: strategies that change the prompt before decoding."""
