"""Training of the networks that ship with the project."""
