"""ROOMIE: interference-aware placement of Triton model instances."""
