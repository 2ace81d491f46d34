"""Searching for the recipe that finds most within a time."""
