"""Weights and faces in, features, decisions and exported networks out."""
