"""Routes: who visits whom when, with competences and time windows."""
