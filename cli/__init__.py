"""The videojam command."""
