"""Hostile folders, texts and options, tried in child processes with limits; see ../README.md."""
