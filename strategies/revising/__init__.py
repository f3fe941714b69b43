"""Revisers: strategies that change a draft answer."""
