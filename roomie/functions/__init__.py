"""Functions of pipelines that run on what ROOMIE has placed."""
