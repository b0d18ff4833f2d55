"""What a sweep's report needs of the engine, as values."""
