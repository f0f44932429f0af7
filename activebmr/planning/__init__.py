"""What policies are worth, and how one is chosen."""
