"""Commands that run an installation or feed it."""
