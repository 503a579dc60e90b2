"""Training and conversion of the networks: the only part that imports torch (extra ``train``)."""
