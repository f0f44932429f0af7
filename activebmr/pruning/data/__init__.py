"""What lies on disk: images and tables to train on, their downloads, batches of them, and checkpoints of long trainings."""
