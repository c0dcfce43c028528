"""``philox_uniform``: the random numbers that Triton's ``tl.rand4x`` makes, by the paper.

Salmon et al., Parallel random numbers: as easy as 1, 2, 3 (2011): Philox-4x32 with 10 rounds.
"""

from __future__ import annotations

from typing import Any


def philox_words(seed: int, counter: Any) -> Any:
    """4 words of 32 bits for each counter, an int64 tensor (n,) → int64 (n, 4)."""
    import torch

    low = 2**32 - 1
    c = [counter & low, counter >> 32, torch.zeros_like(counter), torch.zeros_like(counter)]
    key = [seed & low, seed >> 32 & low]
    for _ in range(10):
        a, b = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]  # modulo 2**64, as int64
        c = [b >> 32 & low ^ c[1] ^ key[0], b & low, a >> 32 & low ^ c[3] ^ key[1], a & low]
        key = [key[0] + 0x9E3779B9 & low, key[1] + 0xBB67AE85 & low]
    return torch.stack(c, dim=-1)


def philox_uniform(n: int, seed: int, device: Any, first: int = 0) -> Any:
    """Numbers first … first + n - 1 of the seed's stream, in [0, 1): float32 (n,).

    Number i is word i % 4 of counter i // 4, folded and scaled as Triton does it.
    """
    import torch

    i = torch.arange(first, first + n, device=device)
    word = philox_words(seed, i // 4).gather(-1, (i % 4)[:, None]).squeeze(-1)
    folded = torch.where(word < 2**31, word, 2**32 - 1 - word)
    return folded.float() * torch.tensor(4.6566127342e-10, device=device)
