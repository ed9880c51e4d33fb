"""Songs -> shards -> features -> crops."""
