"""A user's own evaluation: files of questions, and lmms-eval tasks that nobody here knows."""
