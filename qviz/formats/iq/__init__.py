"""What the IQ1, IQ2 and IQ3 formats share: their codebooks, and the search through them."""
