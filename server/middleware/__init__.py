"""ASGI middleware: each file one concern, each costing microseconds."""
