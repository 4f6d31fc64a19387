"""Models that others trained: Marian, M2M100 and NLLB from the folders that transformers saves."""
