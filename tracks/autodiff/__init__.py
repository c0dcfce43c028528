"""Autodiff in 35 days: a small PyTorch, written from scratch with numpy."""
