"""Files and batches: kept on disk and in a database, worked through beside the requests of clients."""
