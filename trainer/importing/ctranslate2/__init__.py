"""Folders and .argosmodel archives of CTranslate2."""
