"""The HTTP door: connections, bodies, requests, answers."""
