"""Reading and writing files. Standard library only, so that the trainer may use it too."""
