"""The functions that pipelines are made of, and the interface they share."""
