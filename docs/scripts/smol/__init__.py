"""How the second embedded model was trained."""
