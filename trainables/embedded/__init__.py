"""The embedded model: a small LLaVA, the scenes it sees and the questions it answers."""
