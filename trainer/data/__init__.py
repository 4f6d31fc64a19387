"""Parallel text to token ids to batches, and the vocabularies."""
