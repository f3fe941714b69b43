"""Data of an evaluation: files in many forms in, samples out."""
