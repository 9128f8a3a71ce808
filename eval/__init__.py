"""Quality: fine-tuning on tasks, conversations and MT-Bench."""
