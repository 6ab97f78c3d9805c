"""What a recipe would do, before it does."""
