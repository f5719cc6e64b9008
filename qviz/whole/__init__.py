"""Jobs over whole models: what a piece of one is, and who works on it."""
