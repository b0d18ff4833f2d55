"""One trial: its stages in the order in which they run, and the jobs that ask for them."""
