"""The HTTP side: routes by resource, who may do what, errors as problem+json, health."""
