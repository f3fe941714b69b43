"""Wire requests: what OpenAI's clients (and vLLM's) send, validated once; the body itself goes on unchanged."""
