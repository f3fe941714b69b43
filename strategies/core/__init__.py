"""Core: the nouns every strategy speaks: messages, ports, roles, context, errors."""
