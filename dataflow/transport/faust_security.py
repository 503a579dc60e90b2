"""A cluster's security settings for Faust's applications."""

from __future__ import annotations

import ssl

import faust
from faust.types.auth import CredentialsT

from dataflow.config.model import SecurityConfig


def credentials(security: SecurityConfig) -> CredentialsT | None:
    """Faust's form of a cluster's security settings."""
    if security.protocol == "PLAINTEXT":
        return None
    context = None
    if security.protocol.endswith("SSL"):
        context = ssl.create_default_context(cafile=security.ca_file)
        if security.certificate_file is not None:
            context.load_cert_chain(
                security.certificate_file,
                security.key_file,
                None if security.key_password is None else security.key_password.get_secret_value(),
            )
    if security.protocol == "SSL":
        return faust.SSLCredentials(context)
    return faust.SASLCredentials(
        username=security.username,
        password=None if security.password is None else security.password.get_secret_value(),
        ssl_context=context,
        mechanism=security.sasl_mechanism,
    )
