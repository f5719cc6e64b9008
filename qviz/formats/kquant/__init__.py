"""What the K-quants (Q2_K … Q6_K) share: the search for a scale, and the way through a tensor.

A **super-block** is 256 weights, cut into sub-blocks of 16 or 32. Each sub-block has its own scale (and minimum), and
those are quantized too: a super-block stores one float16 factor for all its scales and small integers for each.
Encoding goes in three stages:

1. *search*: the scale of each sub-block. Plain min–max stretches the levels from the smallest weight to the largest;
   the search tries levels stretched a little more or less, solves a weighted least-squares fit for each, and keeps the
   fit with the smallest error;
2. *share*: the scales of a super-block become integer multiples of one float16;
3. *round*: every weight is rounded again, now with the scales that the file will hold.

Every sum below runs in float32 and in the order of ggml's loops, so that each byte comes out the same. To be fast
nevertheless, sixteen sub-blocks (in stage 2, sixteen super-blocks) lie side by side as `lanes` (see `simd`): in
stage 1 ``x[16 * i + lane]`` is weight i of sub-block `lane`.
"""
