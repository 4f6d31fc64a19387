"""Whether an export equals PyTorch (verify), and how well a system translates (evaluate)."""
