"""One transaction a batch, whatever happens."""
