"""Whether an alignment helps and what it costs: the same prompts under several alignments, scored, with intervals."""
