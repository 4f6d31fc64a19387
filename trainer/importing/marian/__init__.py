"""Marian's own files: .npz and .bin models, decoder.yml, and its vocabularies."""
