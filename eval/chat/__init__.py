"""Fine-tuning causal models on conversations."""
