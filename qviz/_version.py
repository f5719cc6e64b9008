"""The version, for whoever needs it below the public face."""

__version__ = "0.1.0"
