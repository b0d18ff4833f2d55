"""What the commands print that is not a result: overviews, costs, checks, this machine."""
