"""`tfm doctor`: explains an installation, also one that is broken.

Nothing here imports numpy or onnxruntime into the process that reports: what they do is seen in
processes of their own (trial.py), so that a library which cannot be imported, or which crashes,
is a finding like any other.
"""
