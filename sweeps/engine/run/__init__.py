"""Running a sweep: Ray, slots, the lock, progress."""
