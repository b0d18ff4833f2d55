"""What several test modules set up alike."""
