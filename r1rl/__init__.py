"""r1rl: reproduce DeepSeek-R1-Zero with rule-based rewards, and see whether self-verification emerges."""

__version__ = "0.1.0"
