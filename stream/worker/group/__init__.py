"""Which fixes of a batch are taken, and which vehicle each is of."""
