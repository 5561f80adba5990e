"""The terms of a variational autoencoder: errors of the reconstruction, and the divergence of the codes.

Source: Kingma and Welling, "Auto-Encoding Variational Bayes", ICLR 2014, appendix B.
"""

from torch import Tensor


def divergence_from_standard_normal(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Return the sum over all numbers of the Kullback-Leibler divergence KL(N(mean, variance) || N(0, 1))."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum()


def squared_error(found: Tensor, wanted: Tensor) -> Tensor:
    """Map two (B, C, h, w) tensors to the (B, h, w) squares of their differences, summed over channels.

    They are float32 whatever the tensors are: such sums leave the range of half precision.
    """
    return (found.float() - wanted.float()).square().sum(1)
