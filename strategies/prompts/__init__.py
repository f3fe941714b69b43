"""Prompts: this project's own texts, versioned and hashed."""
