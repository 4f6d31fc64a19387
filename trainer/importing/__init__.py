"""Models that others trained: what transformers, Marian and CTranslate2 write."""
