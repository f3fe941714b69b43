"""Engines: adapters between a model runtime and the ports of `trimtab.strategies.core.engine`."""
