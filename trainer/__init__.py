"""The trainer: PyTorch training of the paper's Transformer (`tfm train`)."""
