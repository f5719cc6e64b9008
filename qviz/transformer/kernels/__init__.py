"""Compiled parts of a forward pass: products with quantized weights, attention, a token's whole pass."""
