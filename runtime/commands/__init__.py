"""The commands `tfm run` and `tfm info`, and what all packages' commands share. Click is used here
alone."""
