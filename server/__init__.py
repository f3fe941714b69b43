"""Server: runs models for someone, over HTTP and offline."""
