"""`tfm serve`: the HTTP service, and the APIs of others that it speaks."""
