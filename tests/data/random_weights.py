"""The numbers of `random_weights` of the crate, in its order: what the reference scripts beside this file fill models with."""

import numpy as np

MASK = (1 << 64) - 1


class RandomWeights:
    def __init__(self, seed):
        self.state = (seed * 0x9E3779B97F4A7C15 & MASK) | 1

    def uniform(self):
        self.state ^= self.state << 13 & MASK
        self.state ^= self.state >> 7
        self.state ^= self.state << 17 & MASK
        return np.float32(self.state >> 40) / np.float32(1 << 23) - np.float32(1)

    def array(self, shape, scale, middle):
        values = [middle + scale * self.uniform() for _ in range(int(np.prod(shape)))]
        return np.array(values, dtype=np.float32).reshape(shape)
