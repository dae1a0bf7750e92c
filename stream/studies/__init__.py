"""Studies: a question put to recorded rows or to a file, solved, kept and shown."""
