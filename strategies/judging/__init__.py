"""Judging: how good an answer is, in a number; what decoders search by and revisers accept by."""
