"""Strategies: how a request is aligned. Model-free: no torch, no HTTP."""
