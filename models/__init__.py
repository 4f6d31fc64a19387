"""Model folders that travel in the wheel, as package data."""
