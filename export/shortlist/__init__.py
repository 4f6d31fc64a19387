"""Vocabulary shortlists: logits of the tokens that matter alone."""
