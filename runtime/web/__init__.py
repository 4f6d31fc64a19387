"""The page that translates, and the static folder in which it needs no server."""

from .folder import write_web_folder

__all__ = ["write_web_folder"]
