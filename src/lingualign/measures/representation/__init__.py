"""How alike a model represents what says the same: parallel sentences, and words in them."""
