"""One vehicle's part of a batch, folded into rows."""
