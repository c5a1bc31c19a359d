"""Recordings of real training steps, and the program that makes them."""
