"""What every room needs and none owns: atomic files, the store, names, devices, process groups."""
