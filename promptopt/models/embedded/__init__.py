"""The embedded language model, trained from scratch and shipped with the package."""
