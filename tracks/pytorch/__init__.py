"""PyTorch in 32 days: from tensors to a DeepSeek-style language model with latent attention."""
