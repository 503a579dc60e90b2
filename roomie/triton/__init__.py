"""Triton servers: one on this machine by pip alone, what is asked of one, and a fake of it."""
