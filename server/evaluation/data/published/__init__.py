"""Rows of published data sets as their files hold them: one form a file, each a function from a record to a sample."""
